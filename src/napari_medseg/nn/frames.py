"""Bring batches of camera frames to a network's size and grey range, on any device."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CENTRE = 127.0


def from_numpy(frames: np.ndarray) -> Tensor:
    """Return a tensor of `frames`, copied only where torch cannot share the memory."""
    shareable = frames.flags.writeable and all(step >= 0 for step in frames.strides)
    return torch.from_numpy(frames if shareable else frames.copy())


def to_rgb(frames: Tensor) -> Tensor:
    """Map (B, c, Y, X) grey, RGB or RGBA of any number type to float32 (B, 3, Y, X) in 0..255.

    Integers are scaled by their type's maximum; fractions up to 1 count as 0..1, larger ones as 0..255.
    """
    peak = 255.0
    if not frames.dtype.is_floating_point and frames.dtype is not torch.uint8:
        peak = 1.0 if frames.dtype is torch.bool else float(torch.iinfo(frames.dtype).max)
    elif frames.dtype.is_floating_point and float(frames.max()) <= 1:
        peak = 1.0
    rgb = frames[:, :3].to(torch.float32)
    if peak != 255.0:
        rgb = rgb * (255.0 / peak)
    return rgb.expand(-1, 3, -1, -1) if rgb.shape[1] == 1 else rgb


def shrink(frames: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """Return `to_rgb` of frames (B, c, Y, X) at another size; on the CPU bytes stay bytes, ten times faster."""
    if frames.dtype is torch.uint8 and frames.device.type == "cpu":
        return to_rgb(resize(frames[:, :3], size, antialias=antialias))
    return resize(to_rgb(frames), size, antialias=antialias)


def resize(frames: Tensor, size: tuple[int, int], *, antialias: bool) -> Tensor:
    """Return bilinearly resized frames (B, C, *size); without `antialias` as OpenCV and Keras do."""
    if tuple(frames.shape[-2:]) == size:
        return frames
    return F.interpolate(frames, size, mode="bilinear", align_corners=False, antialias=antialias)


def median_centre(frames: Tensor) -> Tensor:
    """Return clip(x - median + 127, 0, 255) / 255 with the median over all pixels and channels of each frame."""
    flat = frames.flatten(1)
    n = flat.shape[1]
    low = flat.kthvalue((n + 1) // 2, 1).values
    median = low if n % 2 else (low + flat.kthvalue(n // 2 + 1, 1).values) / 2
    return (frames - median.view(-1, 1, 1, 1) + CENTRE).clamp(0, 255) / 255


def standardise(frames: Tensor, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Return (x / 255 - mean) / sd per channel."""
    shape = (1, -1, 1, 1)
    centre, width = (torch.tensor(values, device=frames.device).view(shape) for values in (mean, sd))
    return (frames / 255 - centre) / width
