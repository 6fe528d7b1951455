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

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg.device import fast_precision, memory_format
from napari_medseg.errors import CheckpointError, one_line
from napari_medseg.graphcut.energy import INPUTS
from napari_medseg.nn.batch_norm import folded

CPU = torch.device("cpu")  # so few cells are no work for a GPU
WEIGHTS = Path(__file__).parent / "weights"
WIDTHS: dict[int, tuple[int, ...]] = {2: (16, 32, 64, 96), 3: (12, 24, 48)}  # channels of each level, by dimensions
FINE = 16  # channels of the cells of a volume, before they are taken together
MARKS = slice(3, 6)  # inputs of which a coarser cell has the largest, not the mean


class StrokeNet(nn.Module):
    """Convolutions on cells: (B, C, *cells) to log-odds (B, 1, *cells), cells being multiples of `step`."""

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
        out: Tensor = self.last(self.features(x))
        return out

    def features(self, x: Tensor) -> Tensor:
        """Map (B, C, *cells) to (B, channels of the first level, *cells)."""
        pool = F.max_pool2d if self.ndim == 2 else F.max_pool3d
        levels: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(pool(x, 2) if i else x)
            levels.append(x)
        for block, level in zip(reversed(self.up), reversed(levels[:-1]), strict=True):
            x = block(torch.cat([level, resized(x, level.shape[2:])], 1))
        return x


class FineStrokeNet(nn.Module):
    """A `StrokeNet` for volumes on cells twice as long, and what each cell adds to its answer.

    (B, C, *cells) to log-odds (B, 1, *cells), cells being multiples of `step`.
    """

    def __init__(self, in_channels: int = INPUTS) -> None:
        super().__init__()
        self.coarse = StrokeNet(3, in_channels)
        self.ndim, self.step = 3, 2 * self.coarse.step
        self.fine = _block(in_channels + WIDTHS[3][0], FINE, 3)
        self.last = nn.Conv3d(FINE, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, *cells) to (B, 1, *cells)."""
        marks = F.max_pool3d(x[:, MARKS], 2)
        means = resized(torch.cat([x[:, : MARKS.start], x[:, MARKS.stop :]], 1), marks.shape[2:])
        features = self.coarse.features(torch.cat([means[:, : MARKS.start], marks, means[:, MARKS.start :]], 1))
        own = self.last(self.fine(torch.cat([x, resized(features, x.shape[2:])], 1)))
        out: Tensor = own + resized(self.coarse.last(features), x.shape[2:])
        return out


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (B, C, *cells) interpolated linearly to other cells; half as many along each axis are means."""
    return F.interpolate(x, size=tuple(size), mode="bilinear" if x.ndim == 4 else "trilinear", align_corners=False)


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
    padding = [p for n in reversed(inputs.shape[1:]) for p in (0, -n % network.step)]
    inside = tuple(slice(0, n) for n in inputs.shape[1:])
    x = F.pad(torch.from_numpy(inputs)[None].to(network.last.weight.dtype), padding)
    with torch.inference_mode():
        odds = network(x.contiguous(memory_format=memory_format(CPU, network.ndim)))
    return np.asarray(odds[0, 0].float().numpy()[inside])


def _prepared(network: Net, precision: str) -> Net:
    """Return a copy without batch norms that computes in a precision."""
    dtype = torch.float32 if precision == "auto" else getattr(torch, precision)
    ready: Net = copy.deepcopy(folded(network))  # type: ignore[assignment]
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
