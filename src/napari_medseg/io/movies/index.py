"""What a movie file says about its frames: times, key frames, rate and pixel format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np

from napari_medseg.errors import require

FPS_RANGE = (1e-5, 1000.0)  # of a header alone
FASTEST = 1e6  # of frame times
UNEVEN = 2e-3  # seconds between the longest and the shortest step of a movie of variable rate


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
    clock
        Where frames are counted, the ticks of the file's clock at each of them, if it has one (N,); else empty.
    """

    pts: np.ndarray
    keys: np.ndarray
    labels: np.ndarray
    seconds: float
    counted: bool = False
    clock: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

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
    def ticks(self) -> np.ndarray:
        """Times of the frames in ticks (N,), empty where the file has no clock."""
        return self.clock if self.counted else self.pts

    @property
    def variable(self) -> bool:
        """Whether the frames are unevenly spaced in time, beyond rounding to ticks."""
        steps = np.diff(self.ticks)
        return bool(len(steps)) and int(steps.max() - steps.min()) * self.seconds > UNEVEN


@dataclass(frozen=True)
class Packets:
    """What the packets of a stream say without being decoded.

    Parameters
    ----------
    times
        Display times in file order, without frames that an edit list hides.
    keys
        Display times of the key frames, hidden ones too: those after them can be decoded from there.
    clock
        Decoding times of the packets, ascending; empty where some have none.
    trusted
        Whether the display times are complete and unique.
    hidden
        How many packets an edit list hides.
    """

    times: np.ndarray
    keys: np.ndarray
    clock: np.ndarray
    trusted: bool
    hidden: int


def read_packets(container: Any, stream: Any) -> Packets:
    """Read the times of all packets that follow a key frame."""
    times: list[int | None] = []
    keys: list[int] = []
    clock: list[int | None] = []
    hidden, started = 0, False
    error_type = pyav().error.FFmpegError
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or not (started or packet.is_keyframe):
                continue
            started = True
            if packet.is_keyframe and packet.pts is not None:
                keys.append(packet.pts)
            if packet.is_discard:
                hidden += 1
                continue
            times.append(packet.pts)
            clock.append(packet.dts)
    except (error_type, EOFError):  # a file that is cut short ends here
        pass
    known = [pts for pts in times if pts is not None and keys and pts >= keys[0]]
    shown = np.array(known, np.int64)
    complete = None not in times and len(np.unique(shown)) == len(shown)
    ticks = np.array(sorted(dts for dts in clock if dts is not None), np.int64)
    return Packets(shown, np.array(sorted(keys), np.int64), ticks, complete, hidden)


def pixel_format(name: str) -> tuple[str, str, bool]:
    """Return (format to decode to, dtype, whether colour) for a stream's pixel format."""
    if name.startswith(("gray", "mono", "ya")):
        return ("gray", "uint8", False) if name in {"gray", "ya8"} or "mono" in name else ("gray16le", "uint16", False)
    return "rgb24", "uint8", True


def full_scale(name: str) -> float | None:
    """Return the value of white in frames of a pixel format of 9 to 15 bits, which are decoded to the range of 16."""
    bits = re.fullmatch(r"gray(\d+)[lb]e", name)
    return 65_535.0 if bits and 8 < int(bits[1]) < 16 else None


def frame_rate(stream: Any, index: FrameIndex) -> Fraction | None:
    """Return the first believable frame rate: the header's, or the one the frame times give; ``None`` if neither."""
    measured, ticks = None, index.ticks
    if len(ticks) > 1 and ticks[-1] > ticks[0]:
        measured = (len(ticks) - 1) / float((ticks[-1] - ticks[0]) * index.seconds)
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if not rate:
            continue
        believable = FPS_RANGE[0] <= float(rate) <= FPS_RANGE[1] if measured is None else rate <= FASTEST
        if believable and (measured is None or abs(float(rate) / measured - 1) < 0.05):
            return Fraction(rate)
    if measured is not None and FPS_RANGE[0] <= measured <= FASTEST:
        return as_rate(measured)
    return None


def as_rate(per_second: float) -> Fraction:
    """Return frames per second as the simple fraction that it is near: 30000/1001, and 1/3600 of a frame an hour."""
    return Fraction(per_second).limit_denominator(1001 if per_second > 1 else 10**6)
