"""Predict whole slides: tiles over tissue only, labels streamed to disk, objects merged across tile borders.

A tile is a core and a margin around it. An object belongs to the core that its centre lies in, so it is kept exactly
once and whole, whatever border it crosses. Memory is bounded by one tile and by a thumbnail of the slide.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from napari_medseg.batch.case import provenance
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.inference import predict
from napari_medseg.io import write_table
from napari_medseg.io._sidecar import describe, sidecar_path
from napari_medseg.io.slide import read_slide
from napari_medseg.io.write import write_json
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.method import Method, Model
from napari_medseg.settings import PredictSettings, Settings
from napari_medseg.slides.results import objects_table, write_labels, write_overlay
from napari_medseg.slides.tiles import Box, boxes, centred, thumbnail_of, tissue_mask, widen, within

ELSEWHERE = {"device", "tile", "batch"}


class SlideSettings(Settings):
    """How a slide is cut."""

    core: int = Field(1024, ge=64, le=16384, title="Core", description="Edge of the part of a tile that it decides on")
    reach: int = Field(64, ge=0, le=2048, title="Reach", description="Radius of the largest object, in pixels")
    tissue_only: bool = Field(True, title="Tissue only", description="Leave out tiles without tissue")


def predict_slide(
    model: Model,
    slide: Path,
    out: Path,
    settings: PredictSettings,
    options: SlideSettings | None = None,
    *,
    name: str = "",
    resume: bool = True,
    overlay: bool = False,
) -> Job[dict[str, Any]]:
    """Segment a whole slide and return its row of a record.

    Written are ``<name>_labels.tif`` (tiled, compressed BigTIFF), ``<name>_measurements.csv`` (label, centre and area
    of every object), with `overlay` ``<name>_overlay.png`` and, while it is under way, ``<name>_tiles.json`` and
    ``<name>_labels.part.npy``, from which a stopped prediction goes on.

    Raises
    ------
    DataError
        If the method takes no colour images or works on whole pictures only.
    """
    start = time.perf_counter()
    image, options = read_slide(Path(slide)), options or SlideSettings()
    model.method.check(image)
    if not model.method.tiled:
        raise DataError(f"{model.method.title} works on whole pictures, not on slides. Cut out the region of interest.")
    yield Progress(0, 1, "looking for tissue")
    thumbnail = thumbnail_of(image)
    image = image.replace(metadata={**image.metadata, "levels": [thumbnail]})
    work = _Work(model, image, Path(out) / (name or image.name), settings, options, resume)
    todo = [box for box in boxes(image.spatial_shape, options.core) if not options.tissue_only or work.tissue(box)]
    position = 0
    for box in todo:
        if _key(box) not in work.done:
            said = f"{work.objects} objects, tile {position + 1} of {len(todo)}"
            at = Progress(position, len(todo), said)
            yield at
            yield from relabel(work.predict(box), lambda p, at=at: at)  # type: ignore[misc]
        position += 1
    yield Progress(position, len(todo), "writing labels")
    row = work.finish(name or image.name, len(todo), overlay)
    return {**row, "seconds": round(time.perf_counter() - start, 3)}


class _Work:
    """The labels of one slide on disk and which tiles they hold."""

    def __init__(
        self, model: Model, image: Image, stem: Path, settings: PredictSettings, options: SlideSettings, resume: bool
    ) -> None:
        self.model, self.image, self.stem, self.settings, self.options = model, image, stem, settings, options
        self.mask = tissue_mask(image.metadata["levels"][0])
        self.device, self.cut = "", 0
        self.part, self.notes = _named(stem, "_labels.part.npy"), _named(stem, "_tiles.json")
        self.head = {
            "model": model.card.get("sha256", ""),
            "settings": settings.model_dump(mode="json", exclude=ELSEWHERE),
            "slide": options.model_dump(mode="json"),
            "shape": list(image.spatial_shape),
        }
        self.done: dict[str, int] = self._previous() if resume else {}
        if not self.done:
            stem.parent.mkdir(parents=True, exist_ok=True)
            np.lib.format.open_memmap(self.part, "w+", np.uint32, image.spatial_shape)

    @property
    def objects(self) -> int:
        """Objects found so far."""
        return sum(self.done.values())

    def tissue(self, box: Box) -> bool:
        """Whether there is tissue in a core."""
        factors = [m / n for m, n in zip(self.mask.shape, self.image.spatial_shape, strict=True)]
        part = tuple(slice(int(s.start * f), int(np.ceil(s.stop * f))) for s, f in zip(box, factors, strict=True))
        return bool(self.mask[part].any())

    def predict(self, core: Box) -> Job[None]:
        """Predict one tile and put what belongs to its core onto the disk."""
        method = self.model.method
        block = widen(core, margin(method, self.settings, self.options), self.image.spatial_shape)
        data = np.asarray(self.image.data[block])
        prediction = yield from predict(self.model, self.image.replace(data=data), self.settings)
        self.device = prediction.device
        inner = within(core, block)
        labels = np.asarray(prediction.labels.data)
        if method.label_kind == "instances":
            kept, n, cut = centred(labels, inner, self._open_sides(block))
            self.cut += cut
            kept[kept > 0] += self.objects
        else:
            kept, n = np.zeros(labels.shape, np.uint32), 0
            kept[inner] = labels[inner]
        store = np.load(self.part, mmap_mode="r+")
        store[block] = np.where(store[block] == 0, kept, store[block])
        store.flush()
        self.done[_key(core)] = n
        write_json(self.notes, {**self.head, "tiles": self.done})

    def finish(self, name: str, tiles: int, overlay: bool) -> dict[str, Any]:
        """Write labels and table, remove the working files and return the row."""
        store = np.load(self.part, mmap_mode="r")
        path, table = _named(self.stem, "_labels.tif"), _named(self.stem, "_measurements.csv")
        write_labels(path, store, self.image)
        kept = {**self.image.metadata, "medseg": provenance(self.model, self.settings, self.device, self.image)}
        kept = {key: value for key, value in kept.items() if key not in ("levels", "downsamples")}
        labels = Image(store, "YX", self.image.scale, self.image.units, kind="labels", name=path.stem, metadata=kept)
        write_json(sidecar_path(path), describe(path, labels, "YX"))
        frame = objects_table(store, self.image, int(self.objects))
        write_table(table, frame)
        row: dict[str, Any] = {"status": "done", "name": name, "labels": f"{name}_labels.tif"}
        row["measurements"] = f"{name}_measurements.csv"
        if overlay:
            row["overlay"] = f"{name}_overlay.png"
            write_overlay(_named(self.stem, "_overlay.png"), store, self.image.metadata["levels"][0])
        del store, labels
        self.part.unlink()
        self.notes.unlink(missing_ok=True)
        summary = {"objects": self.objects, "tiles with tissue": tiles, "objects cut by their tile": self.cut}
        return {**row, "summary": summary}

    def _previous(self) -> dict[str, int]:
        try:
            notes = json.loads(self.notes.read_text(encoding="utf-8"))
            same = all(notes[key] == value for key, value in self.head.items()) and self.part.is_file()
            return {str(key): int(n) for key, n in notes["tiles"].items()} if same else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _open_sides(self, block: Box) -> list[tuple[bool, bool]]:
        return [(s.start > 0, s.stop < n) for s, n in zip(block, self.image.spatial_shape, strict=True)]


def margin(method: Method, settings: PredictSettings, options: SlideSettings) -> int:
    """Return the pixels around a core that its answer depends on: the network's reach and an object's radius."""
    context = method.halo if settings.overlap < 0 else min(method.halo, settings.overlap // 2)
    return context + options.reach


def _key(box: Box) -> str:
    return f"{box[0].start},{box[1].start}"


def _named(stem: Path, end: str) -> Path:
    return stem.with_name(stem.name + end)
