"""Predict many files into a folder: labels, probabilities, one table, one record of how it was done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg import __version__
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.inference import Prediction, predict
from napari_medseg.io import read_one, reader_for, write, write_table
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.measure import measure
from napari_medseg.method import Model
from napari_medseg.methods import load_model
from napari_medseg.pairs import case_stem
from napari_medseg.settings import PredictSettings


def predict_files(
    model: Model, inputs: Sequence[Path], out: Path, settings: PredictSettings, *, resume: bool = True
) -> Job[dict[str, Any]]:
    """Predict every file of `inputs` (files and folders) into `out` and return the content of ``run.json``.

    A file that cannot be read or predicted is recorded with its reason and the others go on; a finished file is not
    redone when `resume` is on and the model is the same.

    Raises
    ------
    DataError
        If no input is an image, or every file failed.
    """
    out = Path(out)
    files, skipped = list_inputs(inputs)
    record: dict[str, Any] = _previous(out, model) if resume else {}
    done: dict[str, dict[str, Any]] = {k: v for k, v in record.get("files", {}).items() if v["status"] == "done"}
    for index, path in enumerate(files):
        key = str(path)
        if key in done and (out / done[key]["labels"]).exists():
            yield Progress(index + 1, len(files), f"{path.name}: done before")
            continue
        try:
            done[key] = yield from _predict_file(model, path, out, settings, index, len(files))
        except MedSegError as error:
            done[key] = {"status": "failed", "reason": str(error)}
        record = _record(model, settings, done, skipped)
        _write_record(out, record)
        yield Progress(index + 1, len(files), f"{path.name}: {done[key]['status']}")
    _write_measurements(out, done)
    failed = [row for row in done.values() if row["status"] == "failed"]
    if len(failed) == len(files):
        raise DataError(f"None of {len(files)} files could be predicted. First reason: {failed[0]['reason']}")
    return record or _record(model, settings, done, skipped)


def predict_images(path: Path, images: Sequence[Image], settings: PredictSettings) -> Job[list[Prediction]]:
    """Load the model `path` and segment `images` held in memory; labels carry their provenance.

    An image with one axis more than the method (a stack or a film) is segmented plane by plane.
    """
    model = load_model(path)
    results = []
    for index, image in enumerate(images):
        prediction = yield from _stacked(model, image, settings)
        kept = provenance(model, settings, prediction.device, image)
        labels = prediction.labels.replace(metadata={**prediction.labels.metadata, "medseg": kept})
        results.append(replace(prediction, labels=labels))
        yield Progress(index + 1, len(images), f"{image.name}: {prediction.seconds:.1f} s")
    return results


def _stacked(model: Model, image: Image, settings: PredictSettings) -> Job[Prediction]:
    if len(image.spatial_shape) != model.method.ndim + 1:
        return (yield from predict(model, image, settings))
    planes = []
    n = image.spatial_shape[0]
    for index, plane in enumerate(planes_of(image)):
        planes.append((yield from predict(model, plane, settings)))
        yield Progress(index + 1, n, f"plane {index + 1} of {n}")
    labels = image.labels_like(np.stack([p.labels.data for p in planes]))
    probabilities = np.stack([p.probabilities for p in planes], 1)
    return Prediction(labels, probabilities, planes[0].device, sum(p.seconds for p in planes))


def planes_of(image: Image) -> Iterator[Image]:
    """Yield the planes of a stack along its first spatial axis."""
    axis = image.axes.index(image.spatial_axes[0])
    for index in range(image.spatial_shape[0]):
        data = np.asarray(image.data[(slice(None),) * axis + (index,)])
        axes = image.axes.replace(image.spatial_axes[0], "")
        yield image.replace(data=data, axes=axes, scale=image.scale[1:], units=image.units[1:], affine=None)


def list_inputs(inputs: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the image files among `inputs` (folders are searched) and the names of everything else."""
    files: list[Path] = []
    skipped: list[str] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise DataError(f"{path} does not exist. Give image files or folders of them.")
        for candidate in _expand(path):
            (files if reader_for(candidate) is not None else skipped).append(candidate)  # type: ignore[arg-type]
    if not files:
        raise DataError(f"No image found in {', '.join(map(str, inputs))}. Give image files or folders of them.")
    return files, [str(path) for path in skipped]


def probability_image(prediction: Prediction, image: Image) -> Image:
    """Return the foreground probability (or all classes as channels) as an image on the source grid."""
    p = prediction.probabilities
    data, axes = (p[-1], image.spatial_axes) if len(p) <= 2 else (p, "C" + image.spatial_axes)
    return Image(np.asarray(data), axes, image.scale, image.units, image.affine, name=image.name)


def provenance(model: Model, settings: PredictSettings, device: str, source: Image) -> dict[str, Any]:
    """Return what is kept with every result: method, checkpoint, settings, version, device and source."""
    return {
        "method": model.method.name,
        "checkpoint_sha256": model.card.get("sha256", ""),
        "checkpoint": model.card.get("file", ""),
        "settings": {**model.method.settings.model_dump(mode="json"), **settings.model_dump(mode="json")},
        "version": __version__,
        "device": device,
        "source_layer": source.name,
        "source_file": str(source.metadata.get("source_file", "")),
    }


def _predict_file(
    model: Model, path: Path, out: Path, settings: PredictSettings, index: int, total: int
) -> Job[dict[str, Any]]:
    image = read_one(path)
    job = predict(model, image, settings)
    prediction = yield from relabel(job, lambda p: Progress(index, total, f"{path.name}: {p.message}"))
    labels = prediction.labels
    labels = labels.replace(
        metadata={**labels.metadata, "medseg": provenance(model, settings, prediction.device, image)}
    )
    suffix = ".nii.gz" if image.axes.endswith("ZYX") and image.affine is not None else ".tif"
    stem = case_stem(path)
    write(out / f"{stem}_labels{suffix}", labels)
    write(out / f"{stem}_probabilities{suffix}", probability_image(prediction, image))
    rows = _measured(model, labels, image)
    return {
        "status": "done",
        "labels": f"{stem}_labels{suffix}",
        "seconds": round(prediction.seconds, 3),
        "measurements": rows,
    }


def _measured(model: Model, labels: Image, image: Image) -> list[dict[str, Any]]:
    if not model.method.measure:
        return []
    rows: list[dict[str, Any]] = measure(model.method.measure, labels, image).to_dict("records")  # type: ignore[assignment]
    return rows


def _write_measurements(out: Path, done: dict[str, dict[str, Any]]) -> None:
    rows = [{"image": Path(key).name, **row} for key, value in done.items() for row in value.get("measurements", [])]
    write_table(out / "measurements.csv", pd.DataFrame(rows))


def _record(
    model: Model, settings: PredictSettings, done: dict[str, dict[str, Any]], skipped: list[str]
) -> dict[str, Any]:
    return {
        "model": model.card,
        "settings": settings.model_dump(mode="json"),
        "version": __version__,
        "files": done,
        "skipped": skipped,
    }


def _write_record(out: Path, record: dict[str, Any]) -> None:
    from napari_medseg.io.write import write_text

    write_text(out / "run.json", json.dumps(record, indent=1, default=str))


def _previous(out: Path, model: Model) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
        return record if record["model"].get("sha256") == model.card.get("sha256") else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _expand(path: Path) -> Iterator[Path]:
    if path.is_file() or reader_for(path) is not None:
        yield path
        return
    yield from sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
