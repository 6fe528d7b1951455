"""A small network that says how much each cell is for the object, from what the terms of the energy say of all cells.

A U-Net (Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28) in the manner of R-Net (Wang et al. 2019,
doi:10.1109/TPAMI.2018.2840695, section 3.2): image, marks and geodesic distances in, log-odds of one object of any
kind out. It sees a grid of a fixed number of cells alone, so its cost does not grow with an image, nor its answer
depend on the size of an object. ``scripts/train_stroke_network.py`` trains it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.device import fast_precision, memory_format
from napari_medseg.errors import CheckpointError, one_line
from napari_medseg.graphcut.learned import INPUTS
from napari_medseg.nn.batch_norm import folded

CPU = torch.device("cpu")  # so few cells are no work for a GPU
WEIGHTS = Path(__file__).parent / "weights"
WIDTHS: dict[int, tuple[int, ...]] = {2: (16, 32, 64, 96), 3: (12, 24, 48)}  # channels of each level, by dimensions
FINE = 16  # channels of the cells of a volume, before they are taken together
MODES = {2: "bilinear", 3: "trilinear"}  # of interpolation, by dimensions
VECTOR = 16  # channels that the processor takes at once: of others torch interpolates one by one
REACH = 2  # cells over which the two convolutions that make them look
MARKS = slice(3, 6)  # inputs that are 0 or 1: a coarser cell has the largest, not the mean


class StrokeNet(nn.Module):
    """Convolutions on cells: (B, C, *cells) to log-odds (B, 1, *cells)."""

    def __init__(self, ndim: int, in_channels: int = INPUTS, widths: Sequence[int] = ()) -> None:
        super().__init__()
        widths = tuple(widths) or WIDTHS[ndim]
        self.ndim, self.step = ndim, 2 ** (len(widths) - 1)
        self.down = nn.ModuleList(
            _block(before, after, ndim) for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.up = nn.ModuleList(_block(low + high, high, ndim) for high, low in pairwise(widths))
        self.last = (nn.Conv2d if ndim == 2 else nn.Conv3d)(widths[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *cells) to (B, 1, *cells)."""
        out: Tensor = self.last(self.features(filled_up(x, self.step)))
        return cut_to(out, x.shape[2:])

    def features(self, x: Tensor) -> Tensor:
        """Map (B, C, *cells), cells being multiples of `step`, to (B, channels of the first level, *cells)."""
        pool = F.max_pool2d if self.ndim == 2 else F.max_pool3d
        levels: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(pool(x, 2) if i else x)
            levels.append(x)
        for block, level in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([level, doubled(x)], 1))
        return x


class FineStrokeNet(nn.Module):
    """A `StrokeNet` for volumes on cells twice as long, and what each cell adds to its answer.

    (B, C, *cells) to log-odds (B, 1, *cells).
    """

    def __init__(self, in_channels: int = INPUTS) -> None:
        super().__init__()
        self.coarse = StrokeNet(3, in_channels)
        self.ndim, self.step = 3, 2 * self.coarse.step
        self.fine = _block(in_channels + WIDTHS[3][0], FINE, 3)
        self.last = nn.Conv3d(FINE, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *cells) to (B, 1, *cells)."""
        full, cells = filled_up(x, self.step), x.shape[2:]
        means = halved(full)
        means[:, MARKS] = (means[:, MARKS] > 0).to(x.dtype)
        features = self.coarse.features(means)
        seen = tuple(n + REACH for n in cells)  # farther cells change nothing
        own = self.last(self.fine(torch.cat([cut_to(full, seen), cut_to(doubled(features), seen)], 1)))
        return cut_to(own, cells) + cut_to(doubled(self.coarse.last(features)), cells)


def filled_up(x: Tensor, step: int) -> Tensor:
    """Return (B, C, *cells) with zeros behind, so that cells are multiples of `step`."""
    return F.pad(x, [p for n in reversed(x.shape[2:]) for p in (0, -n % step)])


def cut_to(x: Tensor, cells: Sequence[int]) -> Tensor:
    """Return the first `cells` of (B, C, *cells), as many as there are."""
    for axis, n in enumerate(cells, 2):
        x = x.narrow(axis, 0, min(n, x.shape[axis]))
    return x


def halved(x: Tensor) -> Tensor:
    """Return (B, C, *cells) in cells twice as long: their means."""
    return F.interpolate(x, scale_factor=0.5, mode=MODES[x.ndim - 2], align_corners=False)


def doubled(x: Tensor) -> Tensor:
    """Return (B, C, *cells) in cells half as long, by linear interpolation between their middles."""
    if x.shape[1] % VECTOR == 0:
        return F.interpolate(x, scale_factor=2.0, mode=MODES[x.ndim - 2], align_corners=False)
    y = x.movedim(1, -1).float()
    for axis in range(1, y.ndim - 1):
        n = y.shape[axis]
        first, last = y.narrow(axis, 0, 1), y.narrow(axis, n - 1, 1)
        before = torch.cat([first, y.narrow(axis, 0, n - 1)], axis)
        after = torch.cat([y.narrow(axis, 1, n - 1), last], axis)
        y = torch.stack([y.lerp(before, 0.25), y.lerp(after, 0.25)], axis + 1).flatten(axis, axis + 1)
    return y.to(x.dtype).movedim(-1, 1)


Net = StrokeNet | FineStrokeNet


def network_of(ndim: int) -> Net:
    """Return the network for pictures (2) or volumes (3) with random weights."""
    return StrokeNet(2) if ndim == 2 else FineStrokeNet()


def _block(before: int, after: int, ndim: int) -> nn.Sequential:
    conv, norm = (nn.Conv2d, nn.BatchNorm2d) if ndim == 2 else (nn.Conv3d, nn.BatchNorm3d)
    layers: list[nn.Module] = []
    for channels in (before, after):
        layers += [conv(channels, after, 3, padding=1, bias=False), norm(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def log_odds(network: Net, inputs: np.ndarray, precision: str = "auto") -> np.ndarray:
    """Return the log-odds of the object, float32 (*cells), for inputs float32 (C, *cells), found on the processor."""
    return _answer(_prepared(network, fast_precision(precision, CPU, True)), inputs)


def bundled(inputs: np.ndarray, precision: str = "auto") -> np.ndarray:
    """Return the log-odds by the network that ships with the package; a volume of one layer is a picture."""
    layer = next((axis for axis, n in enumerate(inputs.shape) if axis and n == 1 and inputs.ndim > 3), None)
    if layer is not None:
        return np.expand_dims(bundled(inputs.squeeze(layer), precision), layer - 1)
    return _answer(_ready(inputs.ndim - 1, fast_precision(precision, CPU, True)), inputs)


def _answer(network: Net, inputs: np.ndarray) -> np.ndarray:
    """Return what a prepared network says."""
    x = torch.from_numpy(inputs)[None].to(network.last.weight.dtype)
    with torch.inference_mode():
        odds = network(x.contiguous(memory_format=memory_format(CPU, network.ndim)))
    return np.asarray(odds[0, 0].float().numpy())


class _FastConv(nn.Module):
    """A convolution by oneDNN, which torch itself does not ask for one small picture or volume in float32."""

    def __init__(self, conv: nn.Conv2d | nn.Conv3d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self._how: Any = conv.padding, conv.stride, conv.dilation, conv.groups

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, C, *cells) as the convolution does."""
        out: Tensor = torch.mkldnn_convolution(x, self.weight, self.bias, *self._how)
        return out


def _prepared(network: Net, precision: str) -> Net:
    """Return a copy without batch norms that computes in a precision."""
    dtype = torch.float32 if precision == "auto" else getattr(torch, precision)
    ready: Net = copy.deepcopy(folded(network))  # type: ignore[assignment]
    if dtype is torch.float32 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for part in list(ready.modules()):
            for name, child in part.named_children():
                if isinstance(child, nn.Conv2d | nn.Conv3d):
                    setattr(part, name, _FastConv(child))
    return ready.to(dtype).to(memory_format=memory_format(CPU, network.ndim))  # type: ignore[no-any-return, call-overload]


@cache
def _ready(ndim: int, precision: str) -> Net:
    """Return the network that ships with the package, prepared."""
    return _prepared(load(ndim), precision)


@cache
def load(ndim: int) -> Net:
    """Return the network for pictures (2) or volumes (3) that ships with the package."""
    return read(WEIGHTS / f"strokes_{ndim}d.pt", ndim)


def read(path: Path, ndim: int) -> Net:
    """Return a network with the weights of a file.

    Raises
    ------
    CheckpointError
        If the file does not exist, is damaged, or holds the weights of another network.
    """
    try:
        with torch.inference_mode(False):  # a caller's inference mode would not let batch norms be folded
            network = network_of(ndim)
            values = torch.load(path, map_location=CPU, weights_only=True)
            network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in values.items()})
    except Exception as error:  # the unpickler raises anything on damaged bytes
        reason = getattr(error, "strerror", None) or one_line(error, 100)
        raise CheckpointError(
            f"The network for strokes cannot be read from {path} ({reason}). "
            "Install napari-medseg again, or turn off the setting Network."
        ) from error
    return network.eval()
