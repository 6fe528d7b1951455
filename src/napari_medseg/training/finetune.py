"""A human in the loop: go on training with what a reviewer corrected, then predict what nobody reviewed yet.

Correct and accept cases of a batch, `fine_tune`, `predict_rest`, look at the most uncertain case, and so on. On the
command line::

    medseg train METHOD RESULTS -o RUN --from MODEL.pt --epochs 10
    medseg predict RUN/best.pt FOLDER -o RESULTS
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_medseg.batch import ReviewSheet, predict_files
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import DataError, SettingsError
from napari_medseg.jobs import Job
from napari_medseg.method import Model
from napari_medseg.methods import create, get_method
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import find_model, read_checkpoint
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.loop import train

EPOCHS, STEPS, HELD_OUT = 10, 10, 5


def fine_tune_settings(card: Mapping[str, Any], n_cases: int) -> TrainSettings:
    """Return a short schedule for `n_cases`: that of the model's card, with 10 epochs of at least 10 iterations.

    Below 5 cases all are for training, and the lowest training loss selects the best epoch.
    """
    paper = get_method(str(card["method"])).training
    try:
        base = TrainSettings.parse(card.get("train_settings") or paper.model_dump())
    except SettingsError:  # a schedule of another version
        base = paper
    batch = max(1, min(base.batch_size, n_cases))
    return base.updated(
        epochs=EPOCHS,
        batch_size=batch,
        steps_per_epoch=max(STEPS, -(-n_cases // batch)),
        validation_fraction=0.2 if n_cases >= HELD_OUT else 0.0,
        folds=0,
        fold=-1,
        device="auto",
    )


def fine_tune(checkpoint: str | Path, results: Path, run: Path, settings: TrainSettings | None = None) -> Job[Model]:
    """Train a model further on the accepted and corrected cases of the folder `results` into the new folder `run`.

    Raises
    ------
    DataError
        If nothing is accepted or corrected, or `run` holds a run already.
    CheckpointError
        If the checkpoint cannot be read.
    """
    path, run = find_model(checkpoint), Path(run)
    if (run / "last.pt").exists():
        raise DataError(f"{run} already holds a run. Choose another folder for this one.")
    content = read_checkpoint(path)
    settings = settings or fine_tune_settings(content, len(ReviewSheet(results).pairs()))
    method = create(str(content["method"]), content["settings"])
    return (yield from train(method, results, run, settings, start=path))


def predict_rest(checkpoint: str | Path, results: Path) -> Job[dict[str, Any]]:
    """Predict the cases of the folder `results` that nobody reviewed with another model; return the record.

    The others stay as they are. Settings are those of the batch before.

    Raises
    ------
    DataError
        If the folder holds no batch.
    """
    sheet = ReviewSheet(results)
    settings = PredictSettings.parse(sheet.content["settings"])
    rows = sheet.content["files"]
    options = BatchSettings(overlays=any("overlay" in row for row in rows.values()))
    inputs = [Path(key) for key in rows]
    return (yield from predict_files(load_model(checkpoint), inputs, sheet.folder, settings, options=options))


def next_run(results: Path) -> Path:
    """Return the first free folder for a fine-tuned model below a result folder."""
    return next(path for n in range(1, 10**6) if not (path := Path(results) / f"finetune-{n}").exists())
