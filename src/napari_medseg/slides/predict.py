"""Predict whole slides: tiles over tissue only, results streamed to disk, objects merged across tile borders.

A tile is a core and a margin around it. An object belongs to the core that its centre lies in, so it is kept exactly
once and whole, whatever border it crosses. Memory is bounded by one tile, a thumbnail and the objects' centres.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.batch.record import OF_THE_MACHINE
from napari_medseg.batch.settings import SlideSettings
from napari_medseg.errors import DataError, ReadError
from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction, fitted, predict, provenance, trained_steps
from napari_medseg.io.files import read_json, replacing, write_json
from napari_medseg.io.geometry import with_pixel_size
from napari_medseg.io.identity import fingerprint, is_same
from napari_medseg.io.sidecar import describe, sidecar_path
from napari_medseg.io.slide import read_slide
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.method import Model
from napari_medseg.report.overlay import write_overlay
from napari_medseg.settings import PredictSettings
from napari_medseg.slides.objects import ObjectTable
from napari_medseg.slides.pyramid import Pyramid
from napari_medseg.slides.tiles import (
    Box,
    boxes,
    centred,
    sample_of,
    thumbnail_of,
    tissue_mask,
    tissue_sample,
    widen,
    within,
)


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
    pixel_size: float | None = None,
) -> Job[dict[str, Any]]:
    """Segment a whole slide and return its row of a record; its pixels are of `pixel_size` um, or as its file says.

    Written are ``<name>_labels.tif`` (tiled, compressed BigTIFF), the same as a pyramid ``<name>_labels.ome.zarr``, for
    methods of instances ``<name>_measurements.csv`` (see `napari_medseg.measure.nuclei.table`), if asked for
    ``<name>_probabilities.ome.zarr`` (0 .. 255, every class but the background) and ``<name>_overlay.png``. While it is
    under way there are also ``<name>_tiles.json`` and ``*.part``, from which a stopped prediction goes on.

    Raises
    ------
    DataError
        If the method takes no colour images or works on whole pictures only.
    WriteError
        If the disk is full or refuses.
    """
    start = time.perf_counter()
    image, options = read_slide(Path(slide)), options or SlideSettings()
    image = image if pixel_size is None else with_pixel_size(image, pixel_size)
    model.method.check(image)
    if not model.method.tiled:
        raise DataError(f"{model.method.title} works on whole pictures, not on slides. Cut out the region of interest.")
    yield Progress(0, 1, "looking for tissue")
    thumbnail = thumbnail_of(image)
    image = image.replace(metadata={**image.metadata, "levels": [thumbnail]})
    work = _Work(model, image, Path(slide), Path(out) / (name or image.name), settings, options, resume)
    todo = [box for box in boxes(image.spatial_shape, options.core) if not options.tissue_only or work.tissue(box)]
    if todo and settings.adapt and model.method.adapt:
        yield from work.adapt(todo)
    position = 0
    for box in todo:
        if _key(box) not in work.done:
            said = f"{work.objects} objects, tile {position + 1} of {len(todo)}"
            at = Progress(position, len(todo), said)
            yield at
            yield from relabel(work.predict(box), lambda p, at=at: at)  # type: ignore[misc]
        position += 1
    yield Progress(position, len(todo), "writing labels and table")
    row = work.finish(name or image.name, len(todo), overlay)
    return {**row, "seconds": round(time.perf_counter() - start, 3)}


class _Work:
    """The results of one slide on disk and which tiles they hold."""

    def __init__(
        self,
        model: Model,
        image: Image,
        source: Path,
        stem: Path,
        settings: PredictSettings,
        options: SlideSettings,
        resume: bool,
    ) -> None:
        self.model, self.image, self.stem, self.settings, self.options = model, image, stem, settings, options
        self.source = source
        self.mask = tissue_mask(image.metadata["levels"][0])
        self.statistics = model.method.statistics(model.method.preprocess(sample_of(image)))
        self.device, self.cut, self.said = "", 0, dict[str, None]()
        self.notes, self.rows = _named(stem, "_tiles.json"), _named(stem, "_measurements.csv.part")
        self.head = {
            "model": model.card.get("sha256", ""),
            "settings": settings.model_dump(mode="json", exclude=OF_THE_MACHINE),
            "slide": options.model_dump(mode="json", include=set(SlideSettings.model_fields)),
            "shape": list(image.spatial_shape),
            "scale": list(image.scale),
            "source": fingerprint([source]),
        }
        self.done, size = self._previous() if resume else ({}, 0)
        fresh, classes = not self.done, max(model.method.out_channels - 1, 1)
        self.labels = Pyramid(_named(stem, "_labels.ome.zarr"), image.spatial_shape, np.uint32, fresh=fresh)
        self.probabilities = self.table = None
        if options.slide_probabilities:
            path = _named(stem, "_probabilities.ome.zarr")
            self.probabilities = Pyramid(path, (classes, *image.spatial_shape), np.uint8, fresh=fresh)
        if model.method.label_kind == "instances":
            self.table = ObjectTable(self.rows, image, 0 if fresh else size)

    @property
    def objects(self) -> int:
        """Objects found so far."""
        return sum(self.done.values())

    def tissue(self, box: Box) -> bool:
        """Whether there is tissue in a core."""
        factors = [m / n for m, n in zip(self.mask.shape, self.image.spatial_shape, strict=True)]
        part = tuple(slice(int(s.start * f), int(np.ceil(s.stop * f))) for s, f in zip(box, factors, strict=True))
        return bool(self.mask[part].any())

    def adapt(self, cores: Sequence[Box]) -> Job[None]:
        """Adapt the model to the slide, once for all its tiles: to a small one as to the same picture."""
        whole = sample_of(self.image)
        small = whole.spatial_shape == self.image.spatial_shape
        sample = whole if small else tissue_sample(self.image, cores)
        self.model = yield from fitted(self.model, sample, self.settings, self.statistics)

    def predict(self, core: Box) -> Job[None]:
        """Predict one tile and put what belongs to its core onto the disk."""
        block = widen(core, margin(self.model, self.image, self.settings, self.options), self.image.spatial_shape)
        data = np.asarray(self.image.data[block])
        tile = self.image.replace(data=data)
        prediction = yield from predict(self.model, tile, self.settings, statistics=self.statistics)
        self.device = prediction.device
        self.said |= dict.fromkeys(prediction.labels.metadata.get("notes", ()))
        inner = within(core, block)
        if self.probabilities is not None:
            self._add_maps(prediction, core, inner)
        labels, n = np.asarray(prediction.labels.data), 0
        if self.table is not None:
            kept, n, cut = centred(labels, inner, self._open_sides(block))
            self.cut += cut
            before = self.labels[block]
            before[before > self.objects] = 0  # of this tile, from a run that was killed
            kept[before > 0] = 0
            self.table.add(kept, self.objects, block, data)
            self.labels[block] = np.where(kept > 0, kept + np.uint32(self.objects), before)
        else:
            self.labels[core] = labels[inner]
        self.done[_key(core)] = n
        size = self.table.size if self.table is not None else 0
        told = {"device": self.device, "cut": self.cut, "said": list(self.said)}
        write_json(self.notes, {**self.head, "tiles": self.done, "bytes": size, **told})

    def finish(self, name: str, tiles: int, overlay: bool) -> dict[str, Any]:
        """Write what is still missing, name the working files and return the row."""
        path = _named(self.stem, "_labels.tif")
        write_labels(path, self.labels, self.image)
        kept = {**self.image.metadata, "medseg": provenance(self.model, self.settings, self.device, self.image)}
        notes = list(dict.fromkeys([*self.image.metadata.get("notes", ()), *self.said]))
        kept |= {"notes": notes} if notes else {}
        kept = {key: value for key, value in kept.items() if key not in ("levels", "downsamples")}
        nothing = np.broadcast_to(np.uint32(0), self.image.spatial_shape)
        grid = self.image.labels_like(nothing, path.stem).replace(metadata=kept)
        write_json(sidecar_path(path), describe(path, grid, "YX"))
        row: dict[str, Any] = {"status": "done", "name": name, "labels": f"{name}_labels.tif"}
        row |= {"pyramid": f"{name}_labels.ome.zarr"}
        summary = {"tiles with tissue": tiles}
        if self.table is not None:
            row["measurements"] = f"{name}_measurements.csv"
            found = self.table.finish(_named(self.stem, "_measurements.csv"))
            summary = {"objects": found, **summary, "objects cut by their tile": self.cut}
        small = self.labels.coarsen()
        if overlay:
            row["overlay"] = f"{name}_overlay.png"
            picture = Image(self.image.metadata["levels"][0], "YXC")
            write_overlay(_named(self.stem, "_overlay.png"), picture, _over(picture, small))
        self.labels.finish(grid)
        if self.probabilities is not None:
            row["probabilities"] = f"{name}_probabilities.ome.zarr"
            self.probabilities.coarsen()
            self.probabilities.finish(self.image.replace(data=np.zeros((1, 1, 1)), axes="CYX"))
        if self.table is not None:
            self.table.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)
        return {**row, "summary": summary} | ({"notes": notes} if notes else {})

    def _add_maps(self, prediction: Prediction, core: Box, inner: Box) -> None:
        assert self.probabilities is not None
        maps = prediction.probabilities[(slice(None), *inner)]
        maps = maps[1:] if len(maps) > 1 else maps
        self.probabilities[core] = np.rint(maps * 255).astype(np.uint8)

    def _previous(self) -> tuple[dict[str, int], int]:
        """Return the tiles that a stopped run has finished, and the bytes of its table; take over what it told."""
        try:
            notes = read_json(self.notes)
            same = all(notes[key] == value for key, value in self.head.items() if key != "source")
            same = same and is_same(notes["source"], [self.source])
            parts = [self.rows] * (notes["bytes"] > 0) + [_named(self.stem, "_labels.ome.zarr.part")]
            if not same or not all(part.exists() for part in parts):
                return {}, 0
            found = {str(key): int(n) for key, n in notes["tiles"].items()}, int(notes["bytes"])
            told = str(notes["device"]), int(notes["cut"]), dict.fromkeys(map(str, notes["said"]))
            self.device, self.cut, self.said = told
            return found
        except (ReadError, ValueError, KeyError, TypeError, AttributeError):
            return {}, 0

    def _open_sides(self, block: Box) -> list[tuple[bool, bool]]:
        return [(s.start > 0, s.stop < n) for s, n in zip(block, self.image.spatial_shape, strict=True)]


def margin(model: Model, image: Image, settings: PredictSettings, options: SlideSettings) -> int:
    """Return the pixels around a core that its answer depends on: the network's reach and an object's radius.

    It is a multiple of the network's poolings, so that these meet the same pixels as in the whole picture, unless the
    network sees the slide at another pixel size.
    """
    method = model.method
    context = method.halo if settings.overlap < 0 else min(method.halo, settings.overlap // 2)
    step, steps = method.size_multiple, trained_steps(model, image, settings)
    if steps is not None:
        context = math.ceil(context * max(np.divide(steps, image.scale)))
    return -(-(context + options.reach) // step) * step


def _key(box: Box) -> str:
    return f"{box[0].start},{box[1].start}"


def _named(stem: Path, end: str) -> Path:
    return stem.with_name(stem.name + end)


FILE_TILE = 512


def write_labels(path: Path, labels: Pyramid, image: Image) -> None:
    """Write the full resolution (Y, X) tile by tile as compressed BigTIFF with the slide's pixel size."""
    import tifffile

    edge = FILE_TILE
    resolution = (1e4 / image.scale[1], 1e4 / image.scale[0]) if image.calibrated else None
    with replacing(path) as part:
        tifffile.imwrite(
            part,
            (_full(labels[box], edge) for box in boxes(labels.shape, edge)),
            shape=labels.shape,
            dtype=labels.dtype,
            tile=(edge, edge),
            bigtiff=True,
            compression="zlib",
            photometric="minisblack",
            resolution=resolution,
            resolutionunit="CENTIMETER" if resolution else None,
            metadata={"axes": "YX"},
        )


def _over(picture: Image, labels: np.ndarray) -> Image:
    """Return labels (Y, X) of any resolution on the pixels of a picture (y, x, 3)."""
    rows, columns = (np.arange(m) * n // m for n, m in zip(labels.shape, picture.spatial_shape, strict=True))
    return picture.labels_like(np.stack([labels[row][columns] for row in rows]))


def _full(tile: np.ndarray, edge: int) -> np.ndarray:
    return np.pad(tile, [(0, edge - n) for n in tile.shape])
