"""Prepare one case for FullNet: read it, bring its colours to a norm, cut patches, write its pictures and a record."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_medseg.errors import DataError, MedSegError, WriteError
from napari_medseg.image import WHITE, Image
from napari_medseg.io import read_labels, read_one
from napari_medseg.io.files import inside, read_json, write_bytes
from napari_medseg.io.grids import on_grid
from napari_medseg.io.histology import read_annotation
from napari_medseg.io.pairs import ANNOTATIONS
from napari_medseg.io.pictures import PICTURES
from napari_medseg.measure.labels import consecutive, foreground, ids_of, instances
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.methods.fullnet.sources import Source, files_of
from napari_medseg.methods.fullnet.tissue import TISSUES
from napari_medseg.preprocessing import stains

T = TypeVar("T")
DONE = ".prepare"  # hidden folder of the records of finished cases
PATCH, FULL = 250, 1000  # edges of the authors' patches and tiles in pixels


@dataclass(frozen=True)
class Task:
    """What to make of one source."""

    source: Source
    folder: Path
    settings: PrepareSettings

    @property
    def marker(self) -> Path:
        """File that says the case is finished."""
        return self.folder / DONE / f"{self.source.key.replace('/', '_')}.json"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything the result depends on."""
        paths = (self.source.image, self.source.label)
        files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
        return {"settings": self.settings.model_dump(exclude={"workers"}), "files": files}

    def finished(self) -> dict[str, Any] | None:
        """Return the result of an earlier run with the same settings and files, if all it wrote is still there."""
        try:
            result: dict[str, Any] = read_json(self.marker)
            count, sums, squares = result["moments"]
            known = np.isfinite(np.array([count, *sums, *squares], float))
            whole = known.size == 7 and known.all() and count > 0 and isinstance(result["split"], str)
            whole = whole and isinstance(result["notes"], list)
            whole = whole and all(inside(self.folder, name).stat().st_size for name in result["written"])
            return result if whole and result["fingerprint"] == self.fingerprint else None
        except (MedSegError, OSError, KeyError, TypeError, ValueError):
            return None


def prepare_case(task: Task) -> dict[str, Any] | str:
    """Write one case; return its record, or what is wrong with its files."""
    try:
        rgb, objects, notes = _load(task.source, task.settings)
    except WriteError:
        raise
    except MedSegError as error:
        return str(error)
    tissue = TISSUES[task.settings.tissue]
    pictures = {
        "images": (rgb, ""),
        "labels": (ternary.to_rgb(ternary.ternary(objects, tissue.disk)), "_label"),
        "weight_maps": (ternary.weights_to_grey(ternary.weight_map(objects, tissue.sigma)), "_weight"),
    }
    split, stem = task.source.split, task.source.stem
    patch = patch_size(task.settings) if split in ("", "train") else 0
    written = []
    for folder, (picture, suffix) in pictures.items():
        if not patch:
            written.append((f"{folder}/{split}/{stem}{suffix}.png", picture))
            continue
        for k, window in enumerate(windows((rgb.shape[0], rgb.shape[1]), patch)):
            written.append((f"{folder}/{split}/{stem}_{k}{suffix}.png", picture[window]))
    written.append((f"labels_instance/{split}/{stem}_label.png", objects.astype(np.uint16)))
    for name, picture in written:
        _write_png(task.folder / name, picture)
    values = rgb.reshape(-1, 3).astype(np.float64) / 255
    record = {
        "fingerprint": task.fingerprint,
        "split": split,
        "written": [name for name, _ in written],
        "objects": int(objects.max(initial=0)),
        "notes": notes,
        "moments": [len(values), values.sum(0).tolist(), (values**2).sum(0).tolist()],
    }
    write_bytes(task.marker, json.dumps(record).encode())
    return record


def _load(source: Source, settings: PrepareSettings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return colours, instances, and what is worth knowing of them."""
    image = read_one(source.image)
    if image.axes != "YXC":
        raise DataError(f"{source.image.name} is no colour picture ({image.describe()}). Give the RGB image.")
    white = stains.known_white(np.asarray(image.data), image.metadata.get(WHITE))
    rgb = stains.rgb8(np.asarray(image.data), white)
    notes = [*image.metadata.get("notes", [])]
    notes += [] if white == 255 else [f"{source.image.name}: white is taken to be {white:g}."]
    if source.label.suffix.lower() in ANNOTATIONS:
        drawn = read_annotation(source.label, image, settings.overlap)
        objects = consecutive(drawn.data)
        notes += drawn.metadata.get("notes", [])
    elif source.label.is_dir():
        objects = _objects_of_masks(source.label, image)
    else:
        objects = instances(np.asarray(on_grid(read_labels(source.label, image), image).data))
    if objects.max(initial=0) >= 2**16:
        raise DataError(f"{source.label.name} has more than 65,535 objects, too many for 16 bits. Cut it into tiles.")
    return _normalise(rgb, settings), objects, notes


def _objects_of_masks(folder: Path, image: Image) -> np.ndarray:
    """Return objects 1 .. N (Y, X) of a folder of one mask an object; of masks that overlap the first counts.

    Raises
    ------
    DataError
        If a file is no mask but holds several numbers.
    """
    objects = np.zeros(image.spatial_shape, np.int32)
    for number, path in enumerate(files_of(folder, PICTURES), 1):
        labels = np.asarray(on_grid(read_labels(path, image), image).data)
        if len(ids_of(labels)) > 1:
            raise DataError(
                f"{path.name} holds several objects; expected one mask an object, or a label map of its picture's name."
            )
        objects[foreground(labels) & (objects == 0)] = number
    return consecutive(objects)


def _normalise(rgb: np.ndarray, settings: PrepareSettings) -> np.ndarray:
    stain = settings.stain
    if stain == "auto":
        stain = "macenko" if settings.tissue == "nuclei" else "none"
    if stain == "none":
        return rgb
    target = stains.rgb8(np.asarray(read_one(settings.target).data)) if settings.target else None
    if stain == "reinhard":
        return stains.reinhard(rgb, _fitted(stains.fit_reinhard, target, settings) or stains.LAB_TARGET)
    return stains.macenko(rgb, _fitted(stains.fit_macenko, target, settings) or stains.TARGET)


def _fitted(fit: Callable[[np.ndarray], T | None], target: np.ndarray | None, settings: PrepareSettings) -> T | None:
    """Return what `fit` finds in the target image, ``None`` without one; refuse one without stained tissue."""
    found = None if target is None else fit(target)
    if target is not None and found is None:
        raise DataError(f"The target image {settings.target} has too little stained tissue. Choose another.")
    return found


def _write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def patch_size(settings: PrepareSettings) -> int:
    """Return the edge of training patches, 0 for whole images."""
    if settings.patch >= 0:
        return settings.patch
    return PATCH if settings.tissue == "nuclei" else 0


def starts(length: int, patch: int = PATCH) -> list[int]:
    """Return where windows of `patch` pixels start on an axis of `length`.

    The authors' overlap is ceil((1000 - length) / 3) for patches of 250; the last window is flush with the border, and
    axes above 1000 pixels are cut without overlap. An axis no longer than the patch has one window.
    """
    if length <= patch:
        return [0]
    overlap = max(math.ceil((FULL / PATCH * patch - length) / (FULL / PATCH - 1)), 0)
    stride = max(patch - overlap, 1)
    n = math.ceil((length - patch) / stride) + 1
    return sorted({min(i * stride, length - patch) for i in range(n)})


def windows(shape: tuple[int, int], patch: int = PATCH) -> Iterator[tuple[slice, slice]]:
    """Yield the windows of an image (H, W) in row-major order."""
    for y in starts(shape[0], patch):
        for x in starts(shape[1], patch):
            yield slice(y, min(y + patch, shape[0])), slice(x, min(x + patch, shape[1]))
