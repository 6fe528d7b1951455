"""Read and write images of every supported kind; importing this loads neither torch nor napari.

`READERS` are asked in order; a reader module has ``PATTERNS``, ``matches(path)`` and ``read(path) -> list[Image]``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from napari_medseg.errors import MedSegError, ReadError, is_low_memory, one_line
from napari_medseg.image import ORIENTATION, Image, Kind
from napari_medseg.io import plain
from napari_medseg.io.files import expanded, quiet, sweep
from napari_medseg.io.geometry import in_order
from napari_medseg.io.grids import on_grid, stack_channels
from napari_medseg.io.hints import KINDS, hint
from napari_medseg.io.pairs import ANNOTATIONS, REGIONS
from napari_medseg.io.pictures import REDUCED, UPRIGHT, refuse_reduced
from napari_medseg.io.tiff.calibration import as_stored_numbers
from napari_medseg.io.write import write, write_table

__all__ = [
    "READERS",
    "as_labels",
    "read",
    "read_case",
    "read_channels",
    "read_labels",
    "read_one",
    "reader_for",
    "write",
    "write_table",
]

READERS = ("ome_zarr", "volumes.reader", "movies.reader", "afm.reader", "histology", "ccm", "matlab", "plain")
JPEG = (".jpg", ".jpeg")
EVEN, GRAY, AREA = 0.05, 0.12, 9  # share of the brightest by which even areas vary and grays differ; their pixels


@quiet("tifffile")
def reader_for(path: Path) -> ModuleType | None:
    """Return the first reader module that takes `path`, or ``None``; what `write` wrote is taken by its side-car."""
    path = Path(path)
    for name in ("plain",) if plain.is_written(path) else READERS:
        module = importlib.import_module(f"napari_medseg.io.{name}")
        if module.matches(path):
            return module
    return None


@quiet("tifffile")
def read(path: str | Path) -> list[Image]:
    """Read every image of `path` (the default one first).

    Raises
    ------
    ReadError
        If the file does not exist, is empty, damaged or of no known kind.
    """
    path = expanded(path)
    if not path.exists():
        sweep(path.parent)  # a killed process may have moved it aside for a moment
    if not path.exists():
        raise ReadError(f"{path} does not exist. Check the name.")
    if path.is_file() and path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes). Copy or export the file again.")
    module = reader_for(path)
    if module is None:
        raise ReadError(f"{path.name} is of no kind this program reads. {hint(path) or KINDS}")
    try:
        images: list[Image] = module.read(path)
    except MedSegError:
        raise
    except Exception as error:  # format libraries raise anything on damaged files
        if is_low_memory(error):
            raise ReadError(
                f"{path.name} asks for more memory than there is. Close other programs, or take a smaller part; a file "
                "that should be small is damaged."
            ) from error
        raise ReadError(
            f"{path.name} cannot be read as {path.suffix or 'an image'}: {one_line(error)}. "
            "The file is damaged, cut short or has the wrong suffix."
        ) from error
    return images


def read_one(path: str | Path, kind: Kind = "image") -> Image:
    """Read the default image of `path`; ``kind="labels"``: its labels, as integers without channels."""
    images = read(path)
    if kind != "labels":
        return images[0]
    return as_labels(next((image for image in images if image.kind == "labels"), images[0]))


def read_channels(paths: Sequence[str | Path]) -> Image:
    """Read the files of one case, whose channels make up its image.

    Raises
    ------
    ReadError
        If one cannot be read as one image.
    DataError
        If they differ in size or place.
    """
    return stack_channels([read_one(path) for path in paths])


def read_case(files: Sequence[str | Path], labels: str | Path) -> tuple[Image, Image]:
    """Read the image of a case and its labels, brought onto the image's grid; what was done to them is in their notes.

    Raises
    ------
    ReadError
        If a file cannot be read.
    DataError
        If nothing says how the two lie on each other, or they lie elsewhere.
    """
    image = read_channels(files)
    return image, on_grid(read_labels(labels, image), image)


def read_labels(path: str | Path, like: Image | None = None) -> Image:
    """Read `path` as a label map; outlines are drawn on the pixels of `like`.

    Raises
    ------
    ReadError
        If it cannot be read, or one of the two was turned upright by its orientation tag and the other states none.
    """
    path = Path(path)
    if like is None or path.suffix.lower() not in (*ANNOTATIONS, *REGIONS) or len(like.spatial_shape) != 2:
        labels = read_one(path, "labels")
        if like is not None:
            _refuse_turned(labels, like)
        return labels
    from napari_medseg.io.histology import read_annotation

    return read_annotation(path, in_order(like))


def _refuse_turned(labels: Image, image: Image) -> None:
    """Refuse labels and an image of which only one has been turned: nothing says on which pixels they were drawn."""
    turns = [one.metadata.get(ORIENTATION, UPRIGHT) for one in (labels, image)]
    if (turns[0] == UPRIGHT) == (turns[1] == UPRIGHT):
        return
    names = ["/".join(Path(one.metadata.get("source_file") or one.name).parts[-2:]) for one in (labels, image)]
    one, other = names[::-1] if turns[0] == UPRIGHT else names
    raise ReadError(
        f"{one} is shown upright as its orientation tag ({max(turns)}) says, and {other}, which belongs to it, has "
        "none: labels may be drawn on the upright picture or on the pixels as they are stored. Save it upright and "
        "without the tag (with ImageMagick: mogrify -auto-orient), and see that both fit."
    )


def as_labels(image: Image) -> Image:
    """Turn a read image into a label map: equal colour channels collapse, values must be whole numbers >= 0.

    JPEG blurs what it stores, so a JPEG can only be a mask: what is brighter than half of its brightest pixel. Labels
    are the numbers of a file, not the values that a calibration of ImageJ makes of them.
    """
    if n := image.metadata.get("overlapping"):
        raise ReadError(
            f"{image.name} is one of {n} segments that overlap, which is no single label map. Export each segment as a "
            "file of its own."
        )
    if REDUCED in image.metadata.get("notes", ()):
        refuse_reduced(image.name)
    image = as_stored_numbers(image.replace(data=np.asarray(image.data)))
    data = image.channels_first()
    colour = image.axes.endswith("C") and len(data) in (3, 4)
    if any(not np.array_equal(data[0], channel) for channel in (data[1:3] if colour else data[1:])):
        what = "is a colour picture" if colour else f"holds {len(data)} volumes or channels that differ"
        raise ReadError(f"{image.name} {what}, not a label map. Give one whole number per pixel.")
    labels = data[0]
    if Path(image.metadata.get("source_file", "")).suffix.lower() in JPEG:
        _refuse_grays(labels, image.name)
        labels = (labels > labels.max() / 2).astype(np.uint8)
    labels = _whole(labels, image)
    if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and np.array_equal(labels, np.round(labels))):
        slope = image.metadata.get("scl_slope")
        cause = f" (stored with a scaling factor, scl_slope {slope:.3g}: save them without one)" if slope else ""
        raise ReadError(f"{image.name} holds fractions, not labels{cause}. Give whole numbers, 0 for background.")
    if labels.dtype.kind == "f" and np.abs(labels).max(initial=0) >= 2**53:
        raise ReadError(f"{image.name} holds labels above 2^53 as fractions, which are not exact. Give whole numbers.")
    if labels.dtype.kind == "f" or labels.dtype.kind == "b":
        labels = labels.astype(np.int32 if np.abs(labels).max(initial=0) < 2**31 else np.int64)
    if labels.size and labels.min() < 0:
        raise ReadError(f"{image.name} holds negative labels ({labels.min()}). Use 0 for background, 1, 2, ...")
    return image.replace(data=labels, axes=image.spatial_axes, kind="labels", channels=())


def _refuse_grays(mask: np.ndarray, name: str) -> None:
    """Refuse a JPEG with even areas between black and its brightest, as label maps have: its numbers are blurred."""
    top = float(mask.max(initial=0))
    inner = mask[1:-1, 1:-1]
    around = [mask[i : i + inner.shape[0], j : j + inner.shape[1]] for i in range(3) for j in range(3)]
    even = np.max(around, axis=0).astype(float) - np.min(around, axis=0) <= EVEN * top
    if np.count_nonzero(even & (inner > GRAY * top) & (inner < (1 - GRAY) * top)) >= AREA:
        raise ReadError(
            f"{name} is a JPEG with areas of several grays. JPEG changes the numbers of labels, so that it can hold a "
            "mask of black and white only. Save the label map as .png or .tif."
        )


def _whole(labels: np.ndarray, image: Image) -> np.ndarray:
    """Round labels that a program stored as scaled integers: they are whole up to half a step of the scaling."""
    step = abs(float(image.metadata.get("scl_slope", 0.0)))
    if labels.dtype.kind != "f" or not 0 < step < 1 or not np.isfinite(labels).all():
        return labels
    rounded = np.round(labels)
    return rounded if np.abs(labels - rounded).max(initial=0) <= step / 2 * (1 + 1e-3) else labels
