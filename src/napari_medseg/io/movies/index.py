"""What a movie file says about its frames: times, key frames, rate and pixel format."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from napari_medseg.errors import require

FPS_RANGE = (0.01, 1000.0)


def pyav() -> ModuleType:
    """Return PyAV, or raise `MissingDependencyError` naming the extra that installs it."""
    return require("av", "video", "Reading and writing movies")


@dataclass(frozen=True)
class FrameIndex:
    """Presentation times of the frames of a stream, found once by reading the packets without decoding.

    Parameters
    ----------
    pts
        Presentation times int64 (N,) in display order, in stream ticks; 0, 1, 2, ... if `counted`.
    keys
        Presentation times of the frames that decoding can start at, ascending.
    labels
        What the file calls the time of each key frame: where to seek. Equals `keys` unless `counted`.
    seconds
        Length of a tick in seconds.
    counted
        The file's times are missing, repeat or do not ascend: frames are told apart by counting from a key frame.
    """

    pts: np.ndarray
    keys: np.ndarray
    labels: np.ndarray
    seconds: float
    counted: bool = False

    def key_of(self, k: int) -> int:
        """Return the position in `keys` of the last key frame not after frame `k`."""
        return max(int(np.searchsorted(self.keys, self.pts[k], "right")) - 1, 0)

    def number(self, pts: int | None) -> int:
        """Return the frame number with presentation time `pts`, -1 if there is none."""
        if pts is None:
            return -1
        k = int(np.searchsorted(self.pts, pts))
        return k if k < len(self.pts) and self.pts[k] == pts else -1

    @property
    def variable(self) -> bool:
        """Whether the frames are unevenly spaced in time, beyond rounding to ticks."""
        steps = np.diff(self.pts)
        return bool(len(steps)) and not self.counted and int(steps.max() - steps.min()) * self.seconds > 2e-3


def packet_times(container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return display times in file order, key frame times, and whether the times are complete and unique."""
    times: list[int] = []
    keys: list[int] = []
    error_type = pyav().error.FFmpegError
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard or not (keys or packet.is_keyframe):
                continue
            if packet.pts is None:
                return np.array([]), np.array([]), False
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    except (error_type, EOFError):  # a file that is cut short ends here
        pass
    shown = np.array([pts for pts in times if pts >= keys[0]], np.int64)
    return shown, np.array(sorted(keys), np.int64), len(np.unique(shown)) == len(shown)


def pixel_format(name: str) -> tuple[str, str, bool]:
    """Return (format to decode to, dtype, whether colour) for a stream's pixel format."""
    if name.startswith(("gray", "mono", "ya")):
        return ("gray", "uint8", False) if name in {"gray", "ya8"} or "mono" in name else ("gray16le", "uint16", False)
    return "rgb24", "uint8", True


def frame_rate(stream: Any, index: FrameIndex) -> Fraction | None:
    """Return the first believable frame rate: the header's, or the one the frame times give; ``None`` if neither."""
    measured = None
    if len(index.pts) > 1 and not index.counted:
        measured = (len(index.pts) - 1) / float((index.pts[-1] - index.pts[0]) * index.seconds)
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and FPS_RANGE[0] <= float(rate) <= FPS_RANGE[1]:
            agrees = measured is None or abs(float(rate) / measured - 1) < 0.05
            if agrees:
                return Fraction(rate)
    if measured is not None and FPS_RANGE[0] <= measured <= FPS_RANGE[1]:
        return Fraction(measured).limit_denominator(1001)
    return None
