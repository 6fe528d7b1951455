"""Predict files: one (read, predict, measure, write), or many one after the other in this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from napari_medseg.batch.inputs import Case, read_input
from napari_medseg.batch.record import BatchRecord, open_record
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import DataError, MedSegError, is_low_memory, one_line
from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction, predict, provenance
from napari_medseg.io import read_labels, write, write_table
from napari_medseg.io.locks import held_folder
from napari_medseg.io.slide import is_slide
from napari_medseg.io.volumes.reader import is_volume
from napari_medseg.jobs import Job, relabel
from napari_medseg.measure import measure, summarise
from napari_medseg.method import Model
from napari_medseg.report.overlay import write_overlay
from napari_medseg.settings import PredictSettings

SMALLEST = 1e-7
BLOCK = 2**22  # values taken at once


def predict_files(
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    settings: PredictSettings,
    *,
    resume: bool = True,
    options: BatchSettings | None = None,
) -> Job[dict[str, Any]]:
    """Predict every file of `inputs` (files and folders) into `out` and return the content of ``run.json``.

    A file that cannot be read or predicted is recorded with its reason and the others go on; a finished file is not
    redone when `resume` is on and its content, the model and the settings that change results are the same.

    Raises
    ------
    DataError
        If no input is an image, or every file failed.
    WriteError
        If the folder cannot be written, or another batch writes into it.
    """
    options = (options or BatchSettings()).of(model)
    with held_folder(out, "batch") as out:
        record = open_record(model.card, inputs, out, settings, options, resume=resume)
        try:
            if record.position:
                yield record.step(record.greeting())
            yield from measure_again(record, model.method.measure)
            for case in list(record.todo):
                record.begin(case)
                job = predict_case(model, case, out, settings, options)
                row = yield from relabel(job, lambda p: record.step(p.message, p.item))
                yield record.finish(case, row)
        finally:
            record.save()
        return record.conclude()


def measure_again(record: BatchRecord, kind: str) -> Job[None]:
    """Make the lost tables of reviewed cases anew, from their labels."""
    for case in record.unmeasured:
        row = record.rows[str(case.path)]
        yield record.step(f"{case.path.name}: measuring again", str(case.path))
        try:
            image = read_input(case.path, record.words, row.get("calibration"))
            labels = read_labels(record.out / row["labels"], like=image)
            record.rows[str(case.path)] = row | measure_case(record.out, row["name"], kind, labels, image)
        except MedSegError as error:
            record.note(f"{row['labels']} could not be measured again: {error}")


def predict_case(
    model: Model, case: Case, out: Path, settings: PredictSettings, options: BatchSettings | None = None
) -> Job[dict[str, Any]]:
    """Predict one file into `out` and return its row of the record.

    Written are ``<name>_labels``, ``<name>_probabilities``, ``<name>_measurements.csv`` where the method measures, and
    with overlays ``<name>_overlay.png``. A file that cannot be read or predicted gives
    ``{"status": "failed", "reason": ...}``.
    """
    try:
        job = _predict_case(model, case, Path(out), settings, options or BatchSettings())
        name, item = case.path.name, str(case.path)
        return (yield from relabel(job, lambda p: replace(p, message=f"{name}: {p.message}", item=item)))
    except (MedSegError, OSError, UnicodeError, MemoryError) as error:
        said = "memory ran out; close other programs" if is_low_memory(error) else one_line(error, 2000)
        error = error if isinstance(error, MedSegError) else DataError(f"{case.path.name}: {said}")
        reason = str(error) if case.copy is None else str(error).replace(str(case.copy), str(case.path))
        return {"status": "failed", "name": case.name, "reason": reason}


def _predict_case(
    model: Model, case: Case, out: Path, settings: PredictSettings, options: BatchSettings
) -> Job[dict[str, Any]]:
    """Predict one case, write its labels, probabilities and measurements, and return its row."""
    if is_slide(case.copy or case.path) and model.method.tiled:
        from napari_medseg.slides import predict_slide

        path, overlays, size = case.copy or case.path, options.overlays, options.pixel_size
        made = yield from predict_slide(
            model, path, out, settings, options, name=case.name, overlay=overlays, pixel_size=size
        )
        return made | ({"calibration": options.calibration} if options.calibration else {})
    image = read_input(case.copy or case.path, options.modality_files, options.calibration)
    if case.copy is not None:
        image = image.replace(metadata={**image.metadata, "source_file": str(case.path)})
    prediction = yield from predict(model, image, settings)
    kept = provenance(model, settings, prediction.device, image)
    labels = prediction.labels.replace(metadata={**prediction.labels.metadata, "medseg": kept})
    suffix = ".nii.gz" if is_volume(image) else ".tif"
    files = {"labels": f"{case.name}_labels{suffix}", "probabilities": f"{case.name}_probabilities{suffix}"}
    write(out / files["labels"], labels)
    write(out / files["probabilities"], probability_image(prediction, image))
    row: dict[str, Any] = {"status": "done", "name": case.name, **files, "seconds": round(prediction.seconds, 3)}
    row |= {"modality_files": options.modality_files} if case.path.is_dir() and options.modality_files else {}
    row |= {"calibration": options.calibration} if options.calibration else {}
    row["uncertainty"] = round(mean_entropy(prediction.probabilities), 6)
    row |= measure_case(out, case.name, model.method.measure, labels, image, overlays=options.overlays)
    notes = [*labels.metadata.get("notes", ()), *row.get("notes", ())]
    return row | ({"notes": notes} if notes else {})


def measure_case(
    out: Path, name: str, kind: str, labels: Image, image: Image, *, overlays: bool = False
) -> dict[str, Any]:
    """Write what follows from a case's labels, its table and its overlay picture, and return it for the record."""
    row: dict[str, Any] = {}
    if overlays:
        row["overlay"] = f"{name}_overlay.png"
        write_overlay(out / row["overlay"], image, labels)
    if kind:
        row["measurements"] = f"{name}_measurements.csv"
        table, whole, note = _measured(kind, labels, image)
        write_table(out / row["measurements"], table)
        row |= {"summary": _first_row(whole)} | ({"notes": [note]} if note else {})
    return row


def _measured(kind: str, labels: Image, image: Image) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Measure with the image, or the outlines alone where its values mean nothing (a photograph has no heights)."""
    try:
        return measure(kind, labels, image), summarise(kind, labels, image), ""
    except DataError as error:
        note = f"only outlines were measured: {error}"
        return measure(kind, labels), summarise(kind, labels), note


def probability_image(prediction: Prediction, image: Image) -> Image:
    """Return the foreground probability (or all classes as channels) as an image on the source grid."""
    p = prediction.probabilities
    data, axes = (p[-1], image.spatial_axes) if len(p) <= 2 else (p, "C" + image.spatial_axes)
    return Image(np.asarray(data), axes, image.scale, image.units, image.affine, name=image.name)


def _first_row(frame: pd.DataFrame) -> dict[str, Any]:
    row = frame.to_dict("records")[0] if len(frame) else {}
    return {str(key): value for key, value in row.items() if key != "image"}


def mean_entropy(probabilities: np.ndarray) -> float:
    """Return the mean predictive entropy of probabilities (K, *spatial), from 0 (sure) to 1 (guessing everywhere).

    Up to two channels the last one is the foreground's probability p and the entropy that of p and 1 - p; more channels
    are classes. It is divided by that of a guess, ln 2 or ln K.
    """
    k = len(probabilities)
    flat = probabilities[-1:].reshape(1, -1) if k <= 2 else probabilities.reshape(k, -1)
    total, n = 0.0, max(flat.shape[1], 1)
    for start in range(0, flat.shape[1], BLOCK):
        p = np.clip(flat[:, start : start + BLOCK].astype(np.float32), SMALLEST, 1 - SMALLEST)
        p = np.stack([p[0], 1 - p[0]]) if k <= 2 else p / p.sum(0)
        total += float(-(p * np.log(p)).sum(dtype=np.float64))
    return total / n / math.log(max(k, 2))
