"""Movies as lazy images: avi/mp4/mov/mkv, time-series TIFF, and folders of numbered frames."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from napari_medseg.errors import MedSegError, ReadError, one_line
from napari_medseg.image import PIXEL, Image, Kind
from napari_medseg.io.movies.movie import Movie

MOVIES = (".avi", ".mp4", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".wmv")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
PATTERNS = tuple(f"*{suffix}" for suffix in MOVIES)
SOURCES: WeakValueDictionary[str, _Frames] = WeakValueDictionary()  # lives as long as the dask array
NUMBERED = re.compile(r"(?:^|[_\- ]|frame|img|image)(\d+)$", re.IGNORECASE)


def matches(path: Path) -> bool:
    """Whether `path` is a movie, a TIFF with a time axis, or a folder holding only numbered frames."""
    if path.is_dir():
        return (path / "order").is_dir() or _is_frame_folder(path)
    suffix = path.suffix.lower()
    return suffix in MOVIES or (suffix in {".tif", ".tiff"} and _has_time_axis(path))


def read(path: Path) -> list[Image]:
    """Read a movie as ``TYXC`` or ``TYX``, one dask chunk per frame, the time axis in seconds.

    A folder in the published layout (``order``, ``input/<class>``, ``annotation/<class>``) also gives its masks.
    """
    if path.is_dir():
        return _read_set(path) if (path / "order").is_dir() else [_folder_image(frame_files(path), path)]
    if path.suffix.lower() in {".tif", ".tiff"}:
        return [_read_tiff(path)]
    return [_movie_image(Movie(path))]


def read_movie(path: str | Path) -> Image:
    """Read `path` as a movie whatever it is: as `read`, and any multi-page TIFF counts its pages as frames.

    Raises
    ------
    ReadError
        If there is no such file, or it holds no frames.
    """
    path = Path(path)
    if not path.exists():
        raise ReadError(f"{path} does not exist. Check the name.")
    if path.is_file() and path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes). Copy or export the file again.")
    if path.is_file() and path.suffix.lower() not in (*MOVIES, ".tif", ".tiff"):
        raise ReadError(f"{path.name} is no movie. Give {', '.join(MOVIES)}, a multi-page TIFF or a folder of frames.")
    return read(path)[0]


def frame_number(path: Path) -> tuple[int, str]:
    """Return the sort key of a frame file: the number after the last underscore, then the name."""
    tail = path.stem.rpartition("_")[2]
    digits = re.findall(r"\d+", tail)
    return (int(digits[-1]) if digits else 0, path.name)


def frame_files(folder: Path) -> list[Path]:
    """List the frames of `folder` in playback order (`frame_number`).

    Raises
    ------
    ReadError
        If there are none.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    if not files:
        raise ReadError(f"{folder} holds no frames. Expected {', '.join(PICTURES)} files named <name>_<number>.")
    return sorted(files, key=frame_number)


def lazy(frame: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: Any) -> Any:
    """Return a dask array (T, ...) of `shape` with one chunk per frame, read by ``frame(k)``."""
    import dask.array as da

    source = _Frames(frame, shape, np.dtype(dtype))
    chunks = ((1,) * shape[0], *((n,) for n in shape[1:]))
    meta = np.empty((0,) * len(shape), dtype)
    name = f"frames-{uuid.uuid4().hex}"
    SOURCES[name] = source
    return da.from_array(source, chunks, name=name, asarray=False, fancy=False, meta=meta)


def frame_reader(image: Image) -> Callable[[int], np.ndarray]:
    """Return a function from frame number to frame; for movies read here it goes round dask (milliseconds a frame)."""
    source = SOURCES.get(getattr(image.data, "name", ""))
    return source.read if source is not None else lambda k: np.asarray(image.data[k])


class _Frames:
    """What dask needs to know of an array: shape, dtype, and reading by slices."""

    def __init__(self, frame: Callable[[int], np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.frame, self.shape, self.dtype, self.ndim = frame, shape, dtype, len(shape)

    def read(self, k: int) -> np.ndarray:
        """Return frame `k`, or raise `ReadError`: damage in the middle of a file shows only now."""
        try:
            frame = self.frame(k)
        except MedSegError:
            raise
        except Exception as error:  # each library has its own errors for damaged files
            raise ReadError(f"Frame {k} is damaged: {one_line(error)}. Copy the file again.") from error
        if frame.shape != self.shape[1:]:
            raise ReadError(f"Frame {k} is {frame.shape}, not {self.shape[1:]}: the file is damaged. Copy it again.")
        return frame

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        frames = range(self.shape[0])[key[0]]
        block = self.read(frames[0])[None] if len(frames) == 1 else np.stack([self.read(k) for k in frames])
        return block[(slice(None), *key[1:])]


def _movie_image(movie: Movie) -> Image:
    fps = movie.fps
    video: dict[str, Any] = {
        "fps": str(fps) if fps else "",
        "frames": len(movie),
        "codec": movie.codec,
        "variable_rate": movie.index.variable,
        "seekable": not movie.index.counted,
        "missing_frames": movie.missing,
    }
    if movie.index.variable:
        video["times"] = [round(float(t), 6) for t in movie.times()]
    data = lazy(movie.frame, movie.shape, movie.dtype)
    return _image(data, movie.path, float(1 / fps) if fps else None, video)


def _image(data: Any, path: Path, step: float | None, video: dict[str, Any], kind: Kind = "image") -> Image:
    colour = data.ndim == 4
    units = ("second" if step else PIXEL, PIXEL, PIXEL)
    return Image(
        data,
        "TYXC" if colour else "TYX",
        (step or 1.0, 1.0, 1.0),
        units,
        kind=kind,
        name=path.stem,
        channels=("red", "green", "blue")[: data.shape[-1]] if colour else (),
        metadata={"source_file": str(path), "video": video},
    )


def _is_frame_folder(folder: Path) -> bool:
    files = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return len(files) > 1 and all(p.suffix.lower() in PICTURES and NUMBERED.search(p.stem) for p in files)


def _read_picture(path: Path) -> np.ndarray:
    from PIL import Image as Pillow

    with Pillow.open(path) as picture:
        plain = picture if picture.mode in {"L", "RGB", "I;16"} else picture.convert("RGB")
        return np.asarray(plain)


def _folder_image(files: list[Path], folder: Path, kind: Kind = "image") -> Image:
    """Make a lazy movie of picture files; their sizes are compared from the headers alone."""
    from PIL import Image as Pillow

    first = _read_picture(files[0])
    first = first[..., 0] if kind == "labels" and first.ndim == 3 else first
    for path in files:
        with Pillow.open(path) as picture:
            if picture.size != first.shape[1::-1]:
                raise ReadError(
                    f"{path.name} is {picture.size[0]}x{picture.size[1]} pixels but {files[0].name} is "
                    f"{first.shape[1]}x{first.shape[0]}. All frames of a movie must have one size."
                )

    def frame(k: int) -> np.ndarray:
        array = _read_picture(files[k])
        if kind == "labels":
            return (array if array.ndim == 2 else array[..., 0]) > 127
        if array.ndim < first.ndim:
            return np.repeat(array[..., None], 3, 2)
        return array if array.ndim == first.ndim else array[..., 0]

    dtype = np.bool_ if kind == "labels" else first.dtype
    data = lazy(frame, (len(files), *first.shape), dtype)
    names = [p.name for p in files]
    image = _image(data, folder, None, {"fps": "", "frames": len(files), "files": names}, kind)
    return image.replace(data=data.astype(np.uint8)) if kind == "labels" else image


def _read_set(folder: Path) -> list[Image]:
    """Read the published layout: ``order`` gives the playback, ``annotation/<class>`` the masks of all frames."""
    files = frame_files(folder / "order")
    images = [_folder_image(files, folder)]
    masks = {p.stem: p for p in (folder / "annotation").rglob("*") if p.suffix.lower() in PICTURES}
    if masks and all(p.stem in masks for p in files):
        labels = _folder_image([masks[p.stem] for p in files], folder, "labels")
        images.append(labels.replace(name=f"{folder.name}_labels"))
    return images


def _has_time_axis(path: Path) -> bool:
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            axes, shape = tiff.series[0].axes, tiff.series[0].shape
    except Exception:  # tifffile raises anything on a damaged file; it is no movie then
        return False
    return "T" in axes and "Z" not in axes and shape[axes.index("T")] > 1


def _read_tiff(path: Path) -> Image:
    """Read a TIFF page by page; ImageJ's ``finterval`` or ``fps`` gives the time step."""
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        pages, imagej = len(tiff.pages), tiff.imagej_metadata or {}
        sizes = {page.shape for page in tiff.pages}
        dtype = tiff.pages[0].dtype
        virtual = pages == 1 and tiff.series[0].ndim > 2 and tiff.series[0].shape[-1] > 4
        stack = tiff.asarray() if virtual else None  # ImageJ hyperstacks above 4 GB hold one page record
    if len(sizes) > 1:
        raise ReadError(f"{path.name} holds pages of different sizes {sorted(sizes)}; a movie needs one frame size.")
    shape = sizes.pop() if stack is None else stack.shape[1:]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in (3, 4)):
        raise ReadError(f"{path.name} holds pages of shape {shape}; expected gray (Y, X) or colour (Y, X, 3) frames.")
    frames = pages if stack is None else stack.shape[0]

    def frame(k: int) -> np.ndarray:
        return np.asarray(tifffile.imread(path, key=k) if stack is None else stack[k])[..., :3]

    def gray(k: int) -> np.ndarray:
        return np.asarray(tifffile.imread(path, key=k) if stack is None else stack[k])

    colour = len(shape) == 3
    data = lazy(frame if colour else gray, (frames, *shape[:2], *((3,) if colour else ())), dtype)
    step = float(imagej.get("finterval") or 0) or (1 / float(imagej["fps"]) if imagej.get("fps") else 0.0)
    rate = str(Fraction(1 / step).limit_denominator(1001)) if step else ""
    return _image(data, path, step or None, {"fps": rate, "frames": frames})
