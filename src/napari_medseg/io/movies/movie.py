"""Frame-exact random access to compressed movies through PyAV."""

from __future__ import annotations

import struct
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.io.movies.index import FrameIndex, Packets, frame_rate, full_scale, pixel_format, pyav, read_packets

CACHE_BYTES = 2**27
DEFAULT, COVER = 0x0001, 0x0400  # FFmpeg's dispositions of streams


class Movie:
    """The frames of a movie file as an array (T, Y, X, 3) uint8, or (T, Y, X) for gray streams, decoded on demand.

    Frames are turned and mirrored as the file says that they are to be shown. Reading in order decodes each frame
    once. A jump seeks to the key frame before the target and decodes forward. Recent frames are kept, up to
    `cache_bytes`. Safe to use from several threads.

    Raises
    ------
    ReadError
        If the file holds no movie or no frame, or the size of the frames changes.
    MissingDependencyError
        If PyAV is not installed.
    """

    def __init__(self, path: str | Path, cache_bytes: int = CACHE_BYTES) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._cache: OrderedDict[int, np.ndarray] = OrderedDict()
        self._open()
        context = self._stream.codec_context
        self.codec = str(context.name)
        self._pixel_format, dtype, colour = pixel_format(str(context.pix_fmt))
        self.dtype = np.dtype(dtype)
        self.full_scale = full_scale(str(context.pix_fmt))
        self.index = self._build_index()
        height, width = self._size[::-1] if self._turn[0] else self._size
        self.shape: tuple[int, ...] = (len(self.index.pts), height, width, *((3,) if colour else ()))
        self.ndim = len(self.shape)
        frame_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self.capacity = max(4, cache_bytes // frame_bytes)
        self.fps = frame_rate(self._stream, self.index)
        self.missing = self._count_missing()
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self.pixel_aspect = 1 / Fraction(aspect) if self._turn[0] and aspect else Fraction(aspect) or Fraction(1)

    def __reduce__(self) -> tuple[type[Movie], tuple[Path]]:
        return Movie, (self.path,)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, *rest = key if isinstance(key, tuple) else (key,)
        frames = np.arange(len(self))[first]
        if frames.ndim == 0:
            return np.asarray(self.frame(int(frames))[tuple(rest)])
        block = np.stack([self.frame(int(k)) for k in frames]) if len(frames) else np.empty((0, *self.shape[1:]))
        return np.asarray(block[(slice(None), *rest)])

    def _count_missing(self) -> int:
        """Return how many frames the header promises beyond the last one, 0 if it does not say.

        Slots that hold no frame (AVI), hidden frames (edit lists) and a clock that does not start at 0 are no loss; a
        rounding of one frame is allowed where the header states a length.
        """
        name, announced = self._container.format.name, int(self._stream.frames)
        slots = self._slots()
        if announced and "avi" in name:
            ticks = self.index.ticks  # of which each is a slot
            return max(announced - max(int(np.ptp(ticks)) + 1 if len(ticks) else 0, len(self)), 0)
        if announced:
            shown = round(float((self._stream.duration or 0) * self._stream.time_base) * float(self.fps or 0))
            beyond = announced - self._hidden - len(self)
            return max(min(beyond, shown - slots) if shown else beyond, 0)
        length, start = (self._container.duration or 0) / 1e6, (self._container.start_time or 0) / 1e6
        if "matroska" in name:  # states the end of its clock
            length -= max(start, 0)
        beyond = max(round(length * float(self.fps or 0)) - 1 - slots, 0)
        halfway = start + length - beyond / 2 / float(self.fps or 1)  # which sound of a file that is cut does not reach
        return 0 if beyond and self._lasts_longer(halfway) else beyond

    def _lasts_longer(self, end: float) -> bool:
        """Whether sound, or what else the file holds beside the film, goes on to a time in seconds."""
        with pyav().open(str(self.path)) as container:
            others = [stream for stream in container.streams if stream.index != self._stream.index]
            for packet in container.demux(others) if others else ():
                if packet.pts is not None and float((packet.pts + (packet.duration or 0)) * packet.time_base) >= end:
                    return True
        return False

    def _slots(self) -> int:
        """Return how many frames would lie between the first and the last one at the movie's rate."""
        times = self.times()
        even = round(float(times[-1]) * float(self.fps)) + 1 if len(times) and self.fps else len(self)
        return max(even, len(self))

    def close(self) -> None:
        """Close the file; a later access opens it again."""
        with self._lock:
            self._container.close()
            self._at = len(self)

    def frame(self, k: int) -> np.ndarray:
        """Return frame `k` (from 0), read-only.

        Raises
        ------
        ReadError
            If the frame is damaged or differs in size from the first.
        """
        with self._lock:
            if k not in self._cache:
                self._fetch(k)
            self._cache.move_to_end(k)
            return self._cache[k]

    def times(self) -> np.ndarray:
        """Return the time of every frame in seconds (T,), the first at 0."""
        ticks = self.index.ticks
        if not len(ticks):
            return np.arange(len(self)) / float(self.fps or 1)
        return np.asarray((ticks - ticks[0]) * self.index.seconds)

    def _open(self) -> None:
        """Open the file anew, at its beginning."""
        av = pyav()
        try:
            self._container = av.open(str(self.path))
            self._stream, *self.others = films_of(self._container)
        except (av.error.FFmpegError, ValueError) as error:
            raise ReadError(
                f"{self.path.name} cannot be opened as a movie ({error}). The file is damaged, cut short or holds no "
                "video; copy it again, or repair it with: ffmpeg -i broken -c copy repaired.mkv"
            ) from error
        if self._stream.codec_context is None:
            raise ReadError(
                f"{self.path.name} uses a codec that this PyAV cannot decode. Install one that can (conda install -c "
                "conda-forge av), or convert the movie: ffmpeg -i movie -c:v libx264 -crf 0 movie.mp4"
            )
        self._stream.thread_type = "AUTO"
        self._pictures = self._decode()
        self._at = self._started = -1

    def _decode(self) -> Iterator[Any]:
        """Yield the pictures of the stream from where it stands; damaged packets are passed over."""
        error_type = pyav().error.FFmpegError
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except EOFError:
                return
            except error_type:  # a damaged packet: the frames that need it are reported as missing
                continue
            yield from frames

    def _build_index(self) -> FrameIndex:
        """Find the time of every frame: by the packets where these can be trusted, else by decoding once."""
        seconds = float(self._stream.time_base or Fraction(1, 1000))
        packets = read_packets(self._container, self._stream)
        self._hidden = packets.hidden
        self._open()
        times = packets.times
        reordered, backwards = self._stream.codec_context.has_b_frames, bool(np.any(np.diff(times) < 0))
        if packets.trusted and len(times) and (reordered or not backwards):
            index = self._check_tail(FrameIndex(np.sort(times), packets.keys, packets.keys, seconds))
            doubtful = reordered and not backwards
            if index is not None and not (doubtful and not self._ascends()):
                self._look_at_first()
                return index
        return self._count(seconds, packets)

    def _check_tail(self, index: FrameIndex) -> FrameIndex | None:
        """Decode the last group of pictures and drop what it lacks; ``None`` if the times cannot be trusted."""
        for key in index.keys[::-1][:3]:
            self._seek(int(np.searchsorted(index.keys, key)), index)
            got = [picture.pts for picture in self._pictures]
            if any(index.number(pts) < 0 for pts in got) or got != sorted(got):
                return None
            decoded = np.array([pts for pts in got if pts >= key], np.int64)
            if len(decoded):  # some containers jump behind the key frame: what lies between is not missing
                start = max(decoded[0], key)
                keep = index.pts[(index.pts < start) | np.isin(index.pts, decoded)]
                keys = index.keys[(index.keys < start) | np.isin(index.keys, decoded)]
                return FrameIndex(keep, keys, keys, index.seconds)
        return None

    def _ascends(self) -> bool:
        """Decode everything to see whether the times ascend in display order (AVI stores none and they are made up)."""
        self._open()
        times = [picture.pts for picture in self._pictures]
        return None not in times and bool(np.all(np.diff(times) > 0))

    def _look_at_first(self) -> None:
        """Keep the size of the first picture and how it is to be turned."""
        self._open()
        picture = next(self._pictures)
        self._size, self._turn = (picture.height, picture.width), turn_of(picture)
        self.interlaced = bool(getattr(picture, "interlaced_frame", False))  # not in old PyAV
        self._open()

    def _count(self, seconds: float, packets: Packets) -> FrameIndex:
        """Count the frames by decoding all of them, for files whose times cannot be trusted."""
        self._open()
        seen = [(picture.pts, bool(picture.key_frame)) for picture in self._pictures]
        if not seen:
            raise ReadError(f"{self.path.name} holds no frame that can be decoded. Record or export the movie again.")
        self._look_at_first()
        often = Counter(pts for pts, _ in seen)
        keys = [k for k, (pts, key) in enumerate(seen) if k == 0 or (key and pts is not None and often[pts] == 1)]
        labels = [seen[k][0] or 0 for k in keys]
        ticks = packets.clock
        ascending = len(ticks) == len(seen) and bool(np.all(np.diff(ticks) > 0))
        clock = ticks if ascending else np.empty(0, np.int64)
        return FrameIndex(np.arange(len(seen)), np.array(keys), np.array(labels), seconds, True, clock)

    def _seek(self, key: int, index: FrameIndex) -> None:
        """Go to key frame number `key`; the first one is reached by opening the file anew."""
        if key == 0:
            self._container.close()
            self._open()
        else:
            self._container.seek(int(index.labels[key]), stream=self._stream, backward=True)
            self._pictures, self._at = self._decode(), -1
        self._started = key

    def _fetch(self, k: int) -> None:
        """Decode up to frame `k`, keeping the frames before it that fit in half of the cache."""
        key = self.index.key_of(k)
        start = self.index.number(int(self.index.keys[key]))
        if not start - 1 <= self._at < k:
            self._seek(key, self.index)
        while not self._walk(k):
            if key == 0:
                raise ReadError(
                    f"{self.path.name}: frame {k} cannot be decoded; the file is damaged there. Copy it again or "
                    "re-encode it with: ffmpeg -err_detect ignore_err -i movie repaired.mkv"
                )
            key -= 1
            self._seek(key, self.index)

    def _walk(self, k: int) -> bool:
        """Decode on until frame `k` is kept; ``False`` if it does not come."""
        for picture in self._pictures:
            number = self._number(picture)
            self._at = max(self._at, number)
            if k - self.capacity // 2 < number <= k:
                self._keep(number, picture)
            if number >= k:
                return k in self._cache
        return False

    def _number(self, picture: Any) -> int:
        index = self.index
        if not index.counted:
            return index.number(picture.pts)
        if self._at >= 0:
            return self._at + 1
        key = max(self._started, 0)
        return int(index.keys[key]) if key == 0 or picture.pts == index.labels[key] else -1

    def _keep(self, number: int, picture: Any) -> None:
        """Keep a decoded frame among the last ones; refuse one of another size than the first."""
        if (picture.height, picture.width) != self._size:
            was = "x".join(map(str, self._size[::-1]))
            raise ReadError(
                f"{self.path.name}: frame {number} is {picture.width}x{picture.height} pixels, the first {was}. "
                f"Movies whose frame size changes are not supported; re-encode with: ffmpeg -i movie -vf scale={was}"
                " movie.mkv"
            )
        array = turned(picture.to_ndarray(format=self._pixel_format), self._turn)
        array.setflags(write=False)
        self._cache[number] = array
        while len(self._cache) > self.capacity:
            self._cache.popitem(last=False)


def films_of(container: Any) -> list[Any]:
    """Return the films of a file, that which players show first; pictures of its cover are none.

    Raises
    ------
    ValueError
        If there is none.
    """
    known = [int(getattr(stream, "disposition", DEFAULT)) for stream in container.streams.video]  # not in old PyAV
    films = [(not kind & DEFAULT, stream) for kind, stream in zip(known, container.streams.video, strict=True)
             if not kind & COVER]  # fmt: skip
    if not films:
        raise ValueError("it holds no film")
    return [stream for _, stream in sorted(films, key=lambda film: film[0])]


def turn_of(picture: Any) -> tuple[bool, bool, bool]:
    """Return whether a picture is shown with rows and columns exchanged, then upside down, then mirrored.

    The display matrix (ISO 14496-12, track header) takes a place (x, y) to (a x + c y, b x + d y).
    """
    for data in picture.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("<9i", bytes(data)[:36])
            exchanged = abs(a) + abs(d) < abs(b) + abs(c)
            return (True, b < 0, c < 0) if exchanged else (False, d < 0, a < 0)
    return False, False, False


def turned(frame: np.ndarray, turn: tuple[bool, bool, bool]) -> np.ndarray:
    """Return a frame (Y, X, ...) as it is to be shown; see `turn_of`."""
    exchanged, upside_down, mirrored = turn
    frame = frame.swapaxes(0, 1) if exchanged else frame
    frame = frame[::-1] if upside_down else frame
    return np.ascontiguousarray(frame[:, ::-1] if mirrored else frame)
