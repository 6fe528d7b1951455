"""CRF-Net: mean-field inference in a local window with a learned pairwise function (Wang et al. 2019, DeepIGeoS).

For every offset of the window the neighbour is a shifted view, its weight is computed anew, used and dropped:
memory is O(N L) for N pixels and L classes, in training too (the offsets are check-pointed).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from napari_medseg.methods.deepigeos.pairwise import (
    BilateralKernel,
    FreeformKernel,
    GaussianKernel,
    Kernel,
    LearnedTable,
    Table,
    pretrain_pairwise,
)

WINDOWS = {2: (7, 7), 3: (3, 5, 5)}
HARD = 1000.0
Weigher = Callable[[tuple[int, ...]], Tensor]
KERNELS = {"gaussian": GaussianKernel, "bilateral": BilateralKernel}


class CRFNet(nn.Module):
    """Mean-field iterations as layers: CRF-Net(f), and (fu) when scribbles are given.

    With unaries U = logits, Q = softmax(logits) and m_i(l) = sum_j w_ij Q_j(l) over the window, an iteration sets
    logits = U - mu m. Neighbours outside the image count as 0. The compatibility mu (L, L) starts as Potts.

    Parameters
    ----------
    n_classes
        Classes L.
    n_features
        Feature channels F (normalised intensities; no gradient flows to them).
    ndim
        2 or 3.
    kernel
        ``"freeform"``, ``"bilateral"`` or ``"gaussian"``.
    window
        Odd window sizes per axis; default 7x7, in 3D 5x5 in plane and 3 slices (axes ``Z Y X``).
    iterations
        Iterations in (training, inference).
    hidden
        Hidden layers of the freeform perceptron.
    cache_bytes
        In inference weights are kept between iterations if all fit in this, and computed anew otherwise.
    """

    def __init__(
        self,
        n_classes: int = 2,
        n_features: int = 1,
        *,
        ndim: int = 2,
        kernel: Kernel = "freeform",
        window: tuple[int, ...] | None = None,
        iterations: tuple[int, int] = (3, 5),
        hidden: tuple[int, ...] = (64, 32),
        cache_bytes: int = 1 << 29,
    ) -> None:
        super().__init__()
        self.n_classes, self.n_features, self.iterations = n_classes, n_features, iterations
        self.window = window or WINDOWS[ndim]
        self.cache_bytes = cache_bytes
        self.kernel: nn.Module = FreeformKernel(n_features, hidden) if kernel == "freeform" else KERNELS[kernel]()
        self.compatibility = nn.Parameter(1 - torch.eye(n_classes))
        self.pretrained: Tensor
        self.register_buffer("pretrained", torch.zeros((), dtype=torch.uint8))
        radii = [size // 2 for size in self.window]
        self.radii = tuple(radii)
        self.offsets = [o for o in product(*(range(-r, r + 1) for r in radii)) if any(o)]

    def forward(self, logits: Tensor, features: Tensor, scribbles: Tensor | None = None) -> Tensor:
        """Refine logits (B, L, *spatial) by features (B, F, *spatial).

        `scribbles` (B, *spatial) integer, 0 none and k + 1 for class k, fixes those pixels: their logits become
        +1000 and -1000 and no message reaches them.
        """
        with torch.autocast(logits.device.type, enabled=False):
            if logits.dtype in (torch.float16, torch.bfloat16):
                logits = logits.float()
            unary, free = self.constrain(logits, scribbles)
            features = self._pad(features.detach().to(logits.dtype))
            weigh = self._cached(self._weigher(features), features)
            current = unary
            for _ in range(self.iterations[0 if self.training else 1]):
                messages = self._messages(torch.softmax(current, 1), weigh)
                update = torch.einsum("lk,bk...->bl...", self.compatibility.to(logits.dtype), messages)
                current = unary - (update if free is None else update * free)
            return current

    def pretrain(self, seed: int = 0) -> bool:
        """Pre-train a freeform kernel once; a network read from a checkpoint is left as it is. Tell if it was done."""
        needed = isinstance(self.kernel, FreeformKernel) and not self.pretrained.item()
        if needed:
            pretrain_pairwise(self.kernel, seed=seed)  # type: ignore[arg-type]
        self.pretrained.fill_(1)
        return needed

    def constrain(self, logits: Tensor, scribbles: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return logits with scribbled pixels set to +-1000, and the mask (B, 1, *spatial) of free pixels."""
        if scribbles is None:
            return logits, None
        marks = scribbles[:, None]
        classes = torch.arange(1, self.n_classes + 1, device=logits.device).reshape(1, -1, *[1] * (logits.ndim - 2))
        hard = torch.where(marks == classes, HARD, -HARD).to(logits.dtype)
        marked = (marks > 0) & (marks <= self.n_classes)
        return torch.where(marked, hard, logits), (~marked).to(logits.dtype)

    def _pad(self, x: Tensor) -> Tensor:
        return F.pad(x, [r for radius in reversed(self.radii) for r in (radius, radius)])

    def _shifted(self, padded: Tensor, offset: tuple[int, ...]) -> Tensor:
        for axis, (radius, step) in enumerate(zip(self.radii, offset, strict=True), 2):
            padded = padded.narrow(axis, radius + step, padded.shape[axis] - 2 * radius)
        return padded

    def _weigher(self, features: Tensor) -> Weigher:
        """Return the function from an offset to the weights (B, 1, *spatial) of the pairs it makes."""
        here = (0,) * len(self.radii)
        if isinstance(self.kernel, FreeformKernel) and features.shape[1] == 1:
            distances = {math.hypot(*offset) for offset in self.offsets}
            table = (LearnedTable if torch.is_grad_enabled() else Table)(self.kernel, features, distances)
            centre = self._shifted(table.places, here)
            return lambda offset: table(centre, self._shifted(table.places, offset), math.hypot(*offset))

        def weigh(offset: tuple[int, ...]) -> Tensor:
            difference = self._shifted(features, here) - self._shifted(features, offset)
            weight: Tensor = self.kernel(difference.flatten(2), math.hypot(*offset))
            return weight.reshape(difference.shape[0], 1, *difference.shape[2:])

        return weigh

    def _cached(self, weigh: Weigher, features: Tensor) -> Weigher:
        """Keep all weights for the iterations to come if they fit."""
        needed = features[:, 0].numel() * len(self.offsets) * features.element_size()
        if torch.is_grad_enabled() or needed > self.cache_bytes:
            return weigh
        return {offset: weigh(offset) for offset in self.offsets}.__getitem__

    def _messages(self, probabilities: Tensor, weigh: Weigher) -> Tensor:
        messages = torch.zeros_like(probabilities)
        padded = self._pad(probabilities)

        def contribution(padded: Tensor, offset: tuple[int, ...]) -> Tensor:
            return weigh(offset) * self._shifted(padded, offset)

        for offset in self.offsets:
            if torch.is_grad_enabled():
                part = checkpoint(contribution, padded, offset, use_reentrant=False, preserve_rng_state=False)
                messages = messages + part
            else:
                messages.addcmul_(weigh(offset), self._shifted(padded, offset))
        return messages
