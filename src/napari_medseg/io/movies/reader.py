"""Movies as lazy images: avi/mp4/mov/mkv/mpg, time-series TIFF, and folders of numbered frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line, some_of
from napari_medseg.image import WHITE, Image, Kind
from napari_medseg.io import plain
from napari_medseg.io.movies.film import Frames, film_image
from napari_medseg.io.movies.frames import in_order
from napari_medseg.io.movies.movie import Movie
from napari_medseg.io.movies.stacks import has_time_axis, read_tiff
from napari_medseg.io.pairs import case_stem, is_label
from napari_medseg.io.pictures import (
    PICTURES,
    TRANSPARENT,
    is_empty,
    is_reduced,
    numbers_of,
    on_white,
    open_picture,
    orientation_of,
    picture_size,
    refuse_reduced,
    upright,
)
from napari_medseg.io.tiff.files import TIFF_SUFFIXES
from napari_medseg.io.tiff.pages import main_page

MOVIES = (
    ".avi", ".mp4", ".mov", ".mkv", ".m4v", ".webm", ".mpg", ".mpeg", ".vob", ".mts", ".m2ts", ".3gp", ".wmv",
)  # fmt: skip
ANIMATED = {
    ".gif": "is a GIF, of 256 colours at most, which is not read. Export the film itself, or convert it: ffmpeg -i "
    "film.gif -c:v ffv1 film.mkv; of a single picture: save it as .png.",
    ".webp": "is a WebP, which is not read. Save the picture as .png, or export the film as .mkv or .mp4.",
}
INTERLACED = (
    "The film is interlaced: even and odd rows of a frame were taken one after the other, which shows as combs where "
    "something moves. To part them: ffmpeg -i film -vf bwdif=send_frame -c:v ffv1 film.mkv"
)
PATTERNS = tuple(f"*{suffix}" for suffix in MOVIES)
SAMPLE_FORMAT, SIGNED = 339, 2  # tag of TIFF, and its value of signed numbers
NUMBERED = re.compile(r"(?:^|[_\-. ]|frame|img|image)(\d+)$", re.IGNORECASE)


def matches(path: Path) -> bool:
    """Whether `path` is a movie, a TIFF with a time axis, or a folder holding only numbered frames."""
    if path.is_dir():
        return (path / "order").is_dir() or _is_frame_folder(path)
    suffix = path.suffix.lower()
    return suffix in MOVIES or (suffix in TIFF_SUFFIXES and has_time_axis(path))


def read(path: Path) -> list[Image]:
    """Read a movie as ``TYXC`` or ``TYX``, its frames when they are asked for, the time axis in seconds.

    A folder in the published layout (``order``, ``input/<class>``, ``annotation/<class>``) also gives its masks.
    """
    if path.is_dir():
        return _read_set(path) if (path / "order").is_dir() else [_folder_image(frame_files(path), path)]
    if path.suffix.lower() in TIFF_SUFFIXES:
        return read_tiff(path)
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
    if path.is_file() and path.suffix.lower() not in (*MOVIES, *TIFF_SUFFIXES):
        said = f"is no movie. Give {', '.join(MOVIES)}, a multi-page TIFF or a folder of frames."
        raise ReadError(f"{path.name} {ANIMATED.get(path.suffix.lower(), said)}")
    return read(path)[0]


def frame_files(folder: Path) -> list[Path]:
    """List the frames of `folder` in playback order (`in_order`), without the masks of frames beside them.

    Raises
    ------
    ReadError
        If there are none.
    """
    files = [p for p in folder.iterdir() if p.suffix.lower() in PICTURES and not p.name.startswith(".")]
    if not files:
        raise ReadError(f"{folder} holds no frames. Expected {', '.join(PICTURES)} files named <name>_<number>.")
    frames = {case_stem(path) for path in files if not is_label(path)}
    return in_order([path for path in files if not (is_label(path) and case_stem(path) in frames)])


def frame_reader(image: Image) -> Callable[[int], np.ndarray]:
    """Return a function from frame number to frame."""
    data = image.data
    return data.read if isinstance(data, Frames) else lambda k: np.asarray(data[k])


def _movie_image(movie: Movie) -> Image:
    """Return a movie as an image that decodes its frames when they are asked for."""
    fps = movie.fps
    video: dict[str, Any] = {
        "fps": str(fps) if fps else "",
        "frames": len(movie),
        "codec": movie.codec,
        "variable_rate": movie.index.variable,
        "seekable": not movie.index.counted,
        "missing_frames": movie.missing,
        "pixel_aspect": str(movie.pixel_aspect),
    }
    if movie.index.variable:
        video["times"] = [round(float(t), 6) for t in movie.times()]
    data = Frames(movie.frame, movie.shape, movie.dtype)
    image = film_image(data, movie.path, float(1 / fps) if fps else None, video)
    if movie.full_scale:
        image = image.replace(metadata={**image.metadata, WHITE: movie.full_scale})
    notes = [INTERLACED] if movie.interlaced else []
    if not movie.others:
        return image.replace(metadata={**image.metadata, "notes": notes}) if notes else image
    sizes = some_of([f"{other.width}x{other.height}" for other in movie.others])
    note = (
        f"{movie.path.name} holds {len(movie.others) + 1} films: the one that players show first, of "
        f"{movie.shape[2]}x{movie.shape[1]} pixels, is read ({sizes} left out)."
    )
    return image.replace(metadata={**image.metadata, "notes": [*notes, note]})


def _is_frame_folder(folder: Path) -> bool:
    files = [p for p in folder.iterdir() if not p.name.startswith(".")]
    return len(files) > 1 and all(p.suffix.lower() in PICTURES and NUMBERED.search(p.stem) for p in files)


def _read_mask(path: Path) -> np.ndarray:
    """Return where a mask (Y, X) is above 0, as 0 and 1; of a palette the numbers count, of a JPEG from one half.

    Of what is drawn in one colour on a transparent ground the opaque part counts, of other colours what is not black.

    Raises
    ------
    ReadError
        If it holds negative numbers: they may be 255 in a type that is too small, or what is to be ignored.
    """
    with open_picture(path) as picture:
        if is_reduced(picture):
            refuse_reduced(path.name)
        if picture.mode in TRANSPARENT:
            colours = np.asarray(picture.convert("RGBA"))
            empty = is_empty(colours)
            numbers = None if empty else numbers_of(colours, on_white(colours))
            array = np.where(empty | (colours[..., 3:] > 127), colours[..., :3], 0) if numbers is None else numbers
        else:
            plain = picture.mode in {"1", "L", "P", "F"} or picture.mode[0] == "I"
            array = np.asarray(picture if plain else picture.convert("RGB"))
        if array.dtype == np.uint8 and SIGNED in np.atleast_1d(getattr(picture, "tag_v2", {}).get(SAMPLE_FORMAT, 0)):
            array = array.view(np.int8)
        if not hasattr(picture, "tag_v2"):  # Pillow turns TIFF itself
            array = upright(array, orientation_of(picture))
    if array.dtype.kind in "if" and array.size and array.min() < 0:
        raise ReadError(
            f"{path.name} holds negative numbers ({array.min():g}), which are neither mask nor background. Save it as "
            "unsigned numbers: 0 and 1, or 0 and 255."
        )
    blurred = path.suffix.lower() in (".jpg", ".jpeg")  # what is stored there is no longer 0 and 255
    inside = array > (127 if blurred else 0)
    return np.asarray(inside if inside.ndim == 2 else inside.any(-1), np.uint8)


def _read_frame(path: Path) -> Image:
    """Read a picture (``YX``, ``YXC``) as `plain.read` does.

    Raises
    ------
    ReadError
        If it cannot be read, or holds several pictures.
    """
    image = plain.read(path)[0]
    if image.spatial_axes != "YX":
        raise ReadError(f"{path.name} holds several pictures ({image.describe()}); a frame of a movie is one picture.")
    if image.axes == "CYX":
        return image.replace(data=np.moveaxis(np.asarray(image.data), 0, -1), axes="YXC")
    return image


def _size_of(path: Path) -> tuple[int, int]:
    """Return height and width of a picture by its header, upright."""
    try:
        if path.suffix.lower() not in TIFF_SUFFIXES:
            return picture_size(path)
        import tifffile

        with tifffile.TiffFile(path) as file:
            page = main_page(file)
            return (int(page.imagelength), int(page.imagewidth))
    except Exception as error:  # libraries raise anything on damaged headers
        raise ReadError(f"{path.name} cannot be read as a picture ({one_line(error)}). Copy it again.") from error


def _gaps(files: Sequence[Path]) -> list[str]:
    """Return a sentence on frames that are missing by their numbers, where names differ in one number only."""
    numbers = [[int(digits) for digits in re.findall(r"\d+", path.stem)] for path in files]
    if len({re.sub(r"\d+", "#", path.stem) for path in files}) > 1 or len(numbers) < 3 or not numbers[0]:
        return []
    table = np.array(numbers, dtype=object)
    changing = [column for column in table.T if len(set(column)) > 1]
    if len(changing) != 1:
        return []
    steps = np.diff(changing[0])
    usual, count = Counter(steps).most_common(1)[0]
    gaps = np.flatnonzero(steps > usual)
    if not gaps.size or 2 * count < len(steps):
        return []
    where = some_of([f"{files[k].name} and {files[k + 1].name}" for k in gaps.tolist()])
    return [f"Frames are missing by their numbers, between {where}. Those behind are timed as if none were missing."]


def _folder_image(files: list[Path], folder: Path, kind: Kind = "image") -> Image:
    """Make a lazy movie of picture files; their sizes are compared from the headers alone."""
    masks = kind == "labels"
    known = Image(_read_mask(files[0]), "YX") if masks else _read_frame(files[0])
    first = np.asarray(known.data)
    for path in files[1:]:
        size = _size_of(path)
        if size != first.shape[:2] and (path.suffix.lower() not in TIFF_SUFFIXES or size[::-1] != first.shape[:2]):
            raise ReadError(
                f"{path.name} is {size[1]}x{size[0]} pixels but {files[0].name} is "
                f"{first.shape[1]}x{first.shape[0]}. All frames of a movie must have one size."
            )

    def frame(k: int) -> np.ndarray:
        if masks:
            return _read_mask(files[k])
        found = _read_frame(files[k])
        array = np.asarray(found.data)
        if array.ndim < first.ndim:
            array = np.repeat(array[..., None], first.shape[2], 2)
        elif array.ndim > first.ndim and (array == array[..., :1]).all():
            array = array[..., 0]
        if array.dtype != first.dtype or array.ndim != first.ndim or found.value_unit != known.value_unit:
            raise ReadError(
                f"{files[k].name} is {_said(array, found.value_unit)}, but {files[0].name} is "
                f"{_said(first, known.value_unit)}. All frames of a movie must be of one kind."
            )
        return array

    data = Frames(frame, (len(files), *first.shape), first.dtype)
    names = [p.name for p in files]
    image = film_image(data, folder, None, {"fps": "", "frames": len(files), "files": names}, kind)
    said = [*known.metadata.get("notes", ()), *_gaps(files)]
    if not masks and (left := [p.name for p in sorted(files[0].parent.iterdir()) if is_label(p) and p not in files]):
        said.append(f"Masks beside the frames are left out: {some_of(left)}.")
    notes = {"notes": said} if said else {}
    return image.replace(
        scale=(image.scale[0], *known.scale),
        units=(image.units[0], *known.units),
        value_unit=known.value_unit,
        metadata={**image.metadata, **notes},
    )


def _said(array: np.ndarray, unit: str) -> str:
    return f"{'in colour' if array.ndim == 3 else 'grey'}, {array.dtype}{f' in {unit}' if unit else ''}"


def _read_set(folder: Path) -> list[Image]:
    """Read the published layout: ``order`` gives the playback, ``annotation/<class>`` the masks of all frames."""
    files = frame_files(folder / "order")
    images = [_folder_image(files, folder)]
    masks = {p.stem: p for p in (folder / "annotation").rglob("*") if p.suffix.lower() in PICTURES}
    if masks and all(p.stem in masks for p in files):
        labels = _folder_image([masks[p.stem] for p in files], folder, "labels")
        images.append(labels.replace(name=f"{folder.name}_labels"))
    return images
