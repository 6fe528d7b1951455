"""Predict many files one after the other in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.batch.case import predict_case
from napari_medseg.batch.record import open_record
from napari_medseg.batch.settings import BatchSettings
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
    redone when `resume` is on, the model is the same, and so are the settings that change results.

    Raises
    ------
    DataError
        If no input is an image, or every file failed.
    """
    out, options = Path(out), (options or BatchSettings()).of(model)
    record = open_record(model.card, inputs, out, settings, options, resume=resume)
    try:
        if record.position:
            yield record.step(record.greeting())
        for case in list(record.todo):
            job = predict_case(model, case, out, settings, options)
            row = yield from relabel(job, lambda p: record.step(p.message))
            yield record.finish(case, row)
    finally:
        record.save()
    return record.conclude()
