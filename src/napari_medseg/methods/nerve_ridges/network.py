"""A bank of oriented line filters as a network without trained values."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REACH_SD = 3  # a Gaussian ends here


class LineFilter(nn.Module):
    """Strength of the brightest line through each pixel, in SD of the picture around it.

    The picture is first evened out (less its local mean, divided by its local SD); its strength is the largest answer
    of second derivatives of Gaussians, stretched along the line, over `directions` (the matched filter of Chaudhuri
    et al., IEEE TMI 8(3), 1989).

    Parameters
    ----------
    width, length
        SD of the filter across and along the line, pixels.
    surroundings
        SD of the Gaussian that takes local mean and SD, pixels.
    """

    def __init__(self, width: float, length: float, surroundings: float, directions: int = 16) -> None:
        super().__init__()
        self.around: Tensor
        self.lines: Tensor
        self.register_buffer("around", gaussian(surroundings), persistent=False)
        self.register_buffer("lines", line_kernels(width, length, directions), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map a picture (B, 1, Y, X) to strengths (B, 1, Y, X), 0 or more."""
        detail = x - self._mean(x)
        deviation = self._mean(detail**2).clamp_min(1e-12).sqrt()
        even = torch.where(deviation > 1e-5, detail / deviation, torch.zeros_like(detail))
        return _padded(even, self.lines.to(x.dtype)).amax(1, keepdim=True).clamp_min(0)

    def _mean(self, x: Tensor) -> Tensor:
        row = self.around.to(x.dtype)[None, None]
        return _padded(_padded(x, row[..., None, :]), row[..., :, None])


def reach(width: float, length: float, surroundings: float) -> int:
    """Return the radius of `LineFilter` in pixels: of a line, and of the mean within the SD around it."""
    return math.ceil(REACH_SD * max(width, length)) + 2 * math.ceil(REACH_SD * surroundings)


def gaussian(sd: float) -> Tensor:
    """Return a Gaussian of sum 1 (n,)."""
    n = math.ceil(REACH_SD * sd)
    values = torch.exp(-(torch.arange(-n, n + 1.0) ** 2) / (2 * sd**2))
    return values / values.sum()


def line_kernels(width: float, length: float, directions: int) -> Tensor:
    """Return filters (directions, 1, n, n) of sum 0 and norm 1: a bright line with dark sides, in each direction."""
    n = math.ceil(REACH_SD * max(width, length))
    steps = torch.arange(-n, n + 1.0)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    kernels = []
    for k in range(directions):
        angle = math.pi * k / directions
        along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
        kernel = (1 - (across / width) ** 2) * torch.exp(-((across / width) ** 2 + (along / length) ** 2) / 2)
        kernel = kernel - kernel.mean()
        kernels.append(kernel / kernel.norm())
    return torch.stack(kernels)[:, None]


def _padded(x: Tensor, kernels: Tensor) -> Tensor:
    """Convolve with the border repeated."""
    rows, columns = (n // 2 for n in kernels.shape[-2:])
    return F.conv2d(F.pad(x, (columns, columns, rows, rows), mode="replicate"), kernels)
