"""Test-time views: an image as it is, mirrored and turned, whose answers are brought back and averaged."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor


@dataclass(frozen=True)
class View:
    """One way to look at a batch (B, C, *spatial): turned by 90 degrees or not, then mirrored along some axes."""

    flips: tuple[int, ...] = ()
    turned: bool = False

    def of(self, x: Tensor) -> Tensor:
        """Return what the network sees of `x`."""
        x = torch.rot90(x, 1, (-2, -1)) if self.turned else x
        return torch.flip(x, self.flips) if self.flips else x

    def back(self, answer: Tensor) -> Tensor:
        """Return the answer to `of` as one to `x` itself."""
        answer = torch.flip(answer, self.flips) if self.flips else answer
        return torch.rot90(answer, -1, (-2, -1)) if self.turned else answer


def views_of(ndim: int) -> list[View]:
    """Return the views of images with `ndim` spatial axes: flips of the last two, in 2D each also turned."""
    turns = (False, True) if ndim == 2 else (False,)
    return [View(flips, turned) for flips, turned in product(((), (-1,), (-2,), (-1, -2)), turns)]
