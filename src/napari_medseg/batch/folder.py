"""Predict many files one after the other in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.batch.case import measure_case, predict_case
from napari_medseg.batch.inputs import read_input
from napari_medseg.batch.record import BatchRecord
from napari_medseg.batch.resume import open_record
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import MedSegError
from napari_medseg.io import read_labels
from napari_medseg.io.locks import held_folder
from napari_medseg.io.places import expanded
from napari_medseg.jobs import Job, relabel
from napari_medseg.method import Model
from napari_medseg.settings import PredictSettings


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
    out, options = expanded(out), (options or BatchSettings()).of(model)
    with held_folder(out, "batch"):
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
