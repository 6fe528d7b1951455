"""One case of a FullNet training folder: read, normalise, write its pictures and a record of them."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, MedSegError, ReadError, WriteError
from napari_medseg.io import as_labels, read_one
from napari_medseg.io.atomic import write_bytes
from napari_medseg.io.grids import on_grid
from napari_medseg.io.histology import read_annotation
from napari_medseg.io.json_file import read_json
from napari_medseg.io.pairs import ANNOTATIONS
from napari_medseg.io.places import inside
from napari_medseg.measure.labels import consecutive, instances
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.patches import PATCH, windows
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.methods.fullnet.sources import Source
from napari_medseg.methods.fullnet.tissue import TISSUES
from napari_medseg.preprocessing import stains

DONE = ".prepare"


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
        except ReadError:
            return None
        same = isinstance(result, dict) and result.get("fingerprint") == self.fingerprint
        return result if same and all(inside(self.folder, name).is_file() for name in result["written"]) else None


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
    white = stains.white_level(np.asarray(image.data))
    rgb = stains.rgb8(np.asarray(image.data), white)
    notes = [*image.metadata.get("notes", [])]
    notes += [] if white == 255 else [f"{source.image.name}: white is taken to be {white:g}."]
    if source.label.suffix.lower() in ANNOTATIONS:
        drawn = read_annotation(source.label, (rgb.shape[0], rgb.shape[1]), settings.overlap)
        objects = consecutive(drawn.data)
        notes += drawn.metadata.get("notes", [])
    else:
        objects = instances(np.asarray(on_grid(as_labels(read_one(source.label)), image).data))
    if objects.max(initial=0) >= 2**16:
        raise DataError(f"{source.label.name} has more than 65,535 objects, too many for 16 bits. Cut it into tiles.")
    return _normalise(rgb, settings), objects, notes


def _normalise(rgb: np.ndarray, settings: PrepareSettings) -> np.ndarray:
    stain = settings.stain
    if stain == "auto":
        stain = "macenko" if settings.tissue == "nuclei" else "none"
    if stain == "none":
        return rgb
    target = stains.rgb8(np.asarray(read_one(settings.target).data)) if settings.target else None
    if stain == "reinhard":
        return stains.reinhard(rgb, stains.LAB_TARGET if target is None else stains.fit_reinhard(target))
    fitted = None if target is None else stains.fit_macenko(target)
    if target is not None and fitted is None:
        raise DataError(f"The target image {settings.target} has too little stained tissue. Choose another.")
    return stains.macenko(rgb, fitted or stains.TARGET)


def patch_size(settings: PrepareSettings) -> int:
    """Return the edge of training patches, 0 for whole images."""
    if settings.patch >= 0:
        return settings.patch
    return PATCH if settings.tissue == "nuclei" else 0


def _write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())
