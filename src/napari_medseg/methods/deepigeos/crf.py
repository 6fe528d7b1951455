"""CRF-Net: mean-field inference in a local window with a learned pairwise function (Wang et al. 2019, DeepIGeoS).

For every offset of the window the neighbour is a shifted view, its weight is computed anew, used and dropped:
memory is O(N L) for N pixels and L classes, in training too (the offsets are check-pointed).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise, product
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Kernel = Literal["gaussian", "bilateral", "freeform"]
CHUNK = 1 << 18
EXACT = 4096
FINE = 1 << 16


class GaussianKernel(nn.Module):
    """Intensity-only weight w exp(-|df|^2 / (2 theta^2)); w is learned."""

    def __init__(self, weight: float = 1.0, theta: float = 0.08) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.theta = theta

    def forward(self, difference: Tensor, distance: float) -> Tensor:
        """Map feature differences (B, F, N) of pairs `distance` pixels apart to weights (B, N)."""
        return self.weight * torch.exp(-difference.square().sum(1) / (2 * self.theta**2))


class BilateralKernel(nn.Module):
    """Appearance plus smoothness: w1 exp(-d^2/2ta^2 - |df|^2/2tb^2) + w2 exp(-d^2/2tg^2); w1 and w2 are learned."""

    def __init__(
        self, weights: tuple[float, float] = (5.0, 3.0), theta: tuple[float, float, float] = (15.0, 0.05, 6.0)
    ) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights))
        self.theta = theta

    def forward(self, difference: Tensor, distance: float) -> Tensor:
        """Map feature differences (B, F, N) of pairs `distance` pixels apart to weights (B, N)."""
        alpha, beta, gamma = self.theta
        appearance = torch.exp(-difference.square().sum(1) / (2 * beta**2)) * math.exp(-(distance**2) / (2 * alpha**2))
        return self.weights[0] * appearance + self.weights[1] * math.exp(-(distance**2) / (2 * gamma**2))


class FreeformKernel(nn.Module):
    """Pairwise-Net: a perceptron on (feature differences, distance), leaky ReLU 0.01 after every layer.

    Parameters
    ----------
    n_features
        Feature channels F; the perceptron has F + 1 inputs.
    hidden
        Sizes of the hidden layers.
    """

    def __init__(self, n_features: int, hidden: tuple[int, ...] = (64, 32)) -> None:
        super().__init__()
        self.n_features, self.hidden = n_features, hidden
        sizes = (n_features + 1, *hidden, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw He-normal weights; the last bias starts above 0 so that the leaky output is alive."""
        for layer in cast("list[nn.Linear]", self.layers):
            nn.init.kaiming_normal_(layer.weight, a=0.01, generator=generator)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(layer.bias, 0.5)

    def forward(self, difference: Tensor, distance: float) -> Tensor:
        """Map feature differences (B, F, N) of pairs `distance` pixels apart to weights (B, N)."""
        return torch.cat([self.evaluate(part, distance) for part in torch.split(difference, CHUNK, 2)], 1)

    def evaluate(self, difference: Tensor, distance: float | Tensor) -> Tensor:
        """Evaluate the perceptron on (B, F, N) and a distance (number or (B, 1, N)), giving (B, N)."""
        x = difference
        for index, layer in enumerate(cast("list[nn.Linear]", self.layers)):
            weight, bias = layer.weight, layer.bias
            if index == 0:
                x = torch.matmul(weight[:, :-1], x) + (weight[:, -1:] * distance + bias[:, None])
            else:
                x = torch.matmul(weight, x) + bias[:, None]
            x = F.leaky_relu(x, 0.01)
        return x[:, 0]


class Table:
    """A freeform function of one feature, tabulated over the intensity range of one image (inference).

    With one feature the perceptron is a piecewise linear curve per distance: it is evaluated at `EXACT` differences,
    interpolated to `FINE`, and looked up instead of being evaluated for every pair. The error is below 1e-3.

    Parameters
    ----------
    kernel
        The function.
    features
        Padded feature map (B, 1, *spatial).
    distances
        The distances that will be asked for.
    """

    points = FINE

    def __init__(self, kernel: FreeformKernel, features: Tensor, distances: Iterable[float]) -> None:
        limit = (features.amax() - features.amin()).clamp_min(1e-6)
        grid = torch.linspace(-1, 1, EXACT, device=features.device, dtype=features.dtype)[None, None] * limit
        self.places = features * ((self.points - 1) / 2 / limit)
        self.curves = {
            distance: self._curve(checkpoint(kernel.evaluate, grid, distance, use_reentrant=False)[0])
            for distance in distances
        }

    def __call__(self, here: Tensor, there: Tensor, distance: float) -> Tensor:
        """Return weights for two views of `places`, `distance` pixels apart, in their shape."""
        index = (here - there).add_(FINE / 2).to(torch.int32)
        return self.curves[distance].index_select(0, index.flatten()).reshape(index.shape)

    def _curve(self, exact: Tensor) -> Tensor:
        return F.interpolate(exact[None, None], FINE, mode="linear", align_corners=True)[0, 0]


class LearnedTable(Table):
    """The same for training: interpolated between the `EXACT` differences, so that the perceptron gets gradients."""

    points = EXACT

    def __call__(self, here: Tensor, there: Tensor, distance: float) -> Tensor:
        """Return weights for two views of `places`, `distance` pixels apart, in their shape."""
        place = (here - there).add_((EXACT - 1) / 2).flatten()
        low = place.floor().clamp_(0, EXACT - 2)
        left = self.curves[distance].index_select(0, low.int())
        right = self.curves[distance].index_select(0, low.int() + 1)
        return torch.lerp(left, right, place - low).reshape(here.shape)

    def _curve(self, exact: Tensor) -> Tensor:
        return exact


def contrast_target(difference: Tensor, distance: Tensor, omega: float = 0.5, sigma: float = 0.08) -> Tensor:
    """Return omega exp(-|df|^2 / (2 sigma^2 F)) / d for differences (..., F); d counts as 1 below 1."""
    squared = difference.square().sum(-1) / difference.shape[-1]
    return omega * torch.exp(-squared / (2 * sigma**2)) / distance.clamp_min(1)


def synthetic_pairs(n: int, n_features: int, sigma: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw differences (n, F), half of them near `sigma` and half of unit spread, and distances (n,) in [0, 8]."""
    spread = torch.where(torch.rand(n, 1, generator=generator) < 0.5, 2 * sigma, 1.0)
    difference = torch.randn(n, n_features, generator=generator) * spread
    return difference, torch.rand(n, generator=generator) * 8


def pretrain_pairwise(
    kernel: FreeformKernel,
    *,
    samples: int = 100_000,
    epochs: int = 10,
    omega: float = 0.5,
    sigma: float = 0.08,
    seed: int = 0,
) -> float:
    """Fit a pairwise function to the contrast-sensitive target and return the final mean squared error.

    The layers are drawn anew and everything is seeded on the CPU: the result depends on the arguments only.
    """
    generator = torch.Generator().manual_seed(seed)
    difference, distance = synthetic_pairs(samples, kernel.n_features, sigma, generator)
    target = contrast_target(difference, distance, omega, sigma)
    work = FreeformKernel(kernel.n_features, kernel.hidden)
    work.initialise(generator)
    steps = epochs * max(1, samples // 1000)
    optimizer = torch.optim.Adam(work.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    with torch.enable_grad():
        for _ in range(steps):
            pick = torch.randint(samples, (1000,), generator=generator)
            fitted = work.evaluate(difference[pick].T[None], distance[pick][None, None])[0]
            loss = (fitted - target[pick]).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        error = (work.evaluate(difference.T[None], distance[None, None])[0] - target).square().mean().item()
    kernel.load_state_dict(work.state_dict())
    return error


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
