"""The training loop: `fit` trains one network, `train` a folder (split or folds), `fine_tune` on reviewed results.

``last.pt`` and ``best.pt`` are written before an epoch's `Progress` is yielded, and all randomness follows from
(seed, epoch): stopping, crashing and resuming are one case, and a resumed run equals an uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from napari_medseg.batch import predict_files
from napari_medseg.batch.review import ReviewSheet, is_reviewed
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.device import is_out_of_memory
from napari_medseg.errors import DataError, DeviceError, SettingsError
from napari_medseg.io.files import write_json
from napari_medseg.io.locks import held_folder
from napari_medseg.io.pairs import Pair, PairList
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.method import Method, Model, TrainingFreeMethod
from napari_medseg.methods import create, get_method
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import ABOUT, card, find_model, load_weights, read_checkpoint
from napari_medseg.models.settings import CardSettings
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training import distributed as parallel
from napari_medseg.training.data import Store, inspect, split
from napari_medseg.training.run import Run


def train(
    method: Method,
    folder: Path,
    run: Path,
    settings: TrainSettings,
    *,
    resume: bool = False,
    start: Path | None = None,
    about: CardSettings | None = None,
) -> Job[Model]:
    """Train on the cases of `folder` into `run`; with folds each fold gets ``run/fold0`` ... and the last is returned.

    The results of a batch that was reviewed are a training folder too: its accepted and corrected cases count.

    Raises
    ------
    SettingsError
        If the method needs no training.
    DataError
        If no case is usable, or no label holds anything. Unusable files are listed in the first `Progress`.
    """
    folder, run = Path(folder), Path(run)
    if isinstance(method, TrainingFreeMethod):
        raise SettingsError(f"{method.name} needs no training. Run it: medseg predict {method.name} IMAGES -o OUT.")
    method = method.adapted_to(folder)
    store = Store(method)
    report = inspect(method, cases_of(method, folder), store)
    if not report.pairs:
        raise DataError(
            f"No usable case in {folder}. The first of {len(report.problems)} problems: {report.problems[0]}"
        )
    if report.all_empty:
        raise DataError(f"All {len(report.pairs)} labels in {folder} are empty: there is nothing to learn. Check them.")
    yield Progress(0, 1, "; ".join([*report.lines, *report.problems]))
    splits = list(enumerate(split(report.pairs, settings)))
    if settings.folds > 1 and settings.fold >= 0:
        splits = splits[settings.fold : settings.fold + 1]
    model = None
    for fold, part in splits:
        target = run / f"fold{fold}" if settings.folds > 1 else run
        with held_folder(target, "training") if parallel.rank() == 0 else nullcontext():
            if parallel.rank() == 0:
                write_json(target / "split.json", part.stems())
            job = fit(
                method, part.train, part.held_out, settings, target, resume=resume, start=start, about=about,
                store=store,
            )  # fmt: skip
            model = yield from job
    if model is None:
        raise DataError(f"There is no fold {settings.fold} of {settings.folds}; folds count from 0.")
    return model


def cases_of(method: Method, folder: Path) -> PairList:
    """Return the training cases of a folder: of a reviewed batch, or images with labels as `method` finds them.

    Raises
    ------
    DataError
        If there are none.
    """
    if is_reviewed(folder):
        pairs = ReviewSheet(folder).pairs()
        if not pairs:
            raise DataError(f"Nothing in {folder} is accepted or corrected yet. Review some cases first.")
        return PairList(pairs)
    return method.find_pairs(folder).require(folder)


def fit(
    method: Method,
    pairs: Sequence[Pair],
    held_out: Sequence[Pair],
    settings: TrainSettings,
    folder: Path,
    *,
    resume: bool = False,
    start: Path | None = None,
    about: CardSettings | None = None,
    store: Store | None = None,
) -> Job[Model]:
    """Train `method` on `pairs`, select on `held_out`, write ``best.pt last.pt history.csv settings.json`` to `folder`.

    Closing the generator stops training; the files then hold the last whole epoch. After the last one thresholds are
    chosen on training images, where the settings ask for it. A new run begins with the weights of
    the checkpoint `start`, if given: its scores on `held_out` are row 0 of the history, and ``card["before"]`` of the
    model that is returned. `about` goes onto the model's card. Cases in `store` are not read again.

    Raises
    ------
    DataError, CheckpointError, WriteError, DeviceError
        If the data do not fit, `resume` finds another method's run, `start` is another network, the folder is not
        writable, memory runs out.
    """
    run = Run(method, pairs, held_out, settings, Path(folder), store)
    yield Progress(0, 1, run.reason)
    begun = resume and run.load()
    run.about = (about or CardSettings()).model_dump()
    if start is not None:
        known = card(read_checkpoint(start), start) if begun else load_weights(method, run.network, start)
        run.about |= {key: run.about[key] or known.get(key, "") for key in ABOUT}
        run.about["started_from"] = known["sha256"]
    note = "" if begun else f"starting from {start}" if start else method.initialise(run.network)
    if note:
        yield Progress(0, 1, note)
    before = (yield from run.score_start()) if start and not begun and held_out else {}
    try:
        while not run.finished:
            yield from run.train_epoch()
            yield run.end_epoch((yield from run.validate()))
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise DeviceError(
                "Memory ran out in training. Choose a smaller batch or crop; the last whole epoch is saved."
            ) from error
        raise DeviceError(f"Training failed: {error}") from error
    yield from run.choose()
    model = run.best_model()
    return replace(model, card={**model.card, "before": before}) if before else model


@dataclass(frozen=True)
class Pace:
    """How fast this computer trains, in seconds.

    Parameters
    ----------
    step
        One step of `batch_size` samples.
    calibration
        Taking batch-norm statistics anew over one batch.
    case
        Validating one case.
    batch_size, cases, held_out
        Of the training that was timed.
    """

    step: float
    calibration: float
    case: float
    batch_size: int
    cases: int
    held_out: int

    def seconds(self, settings: TrainSettings) -> float:
        """Return the seconds of a whole schedule, all its folds."""
        return self._rounds(settings) * (self._steps(settings) * self._step(settings) + self._check(settings))

    def fitting(self, settings: TrainSettings, seconds: float) -> TrainSettings:
        """Return a schedule of at most so many seconds: fewer epochs, below ten of them also fewer steps in each.

        Steps and epochs after which a rate drops or training stops shrink in proportion.
        """
        whole, steps = self.seconds(settings), self._steps(settings)
        if whole <= seconds:
            return settings
        epochs = max(min(FEWEST, settings.epochs), int(settings.epochs * seconds / whole))
        spare = seconds / self._rounds(settings) * settings.epochs / epochs - self._check(settings)
        fewer = min(steps, max(1, int(spare / self._step(settings))))
        shares = dict.fromkeys(("plateau_patience", "stop_patience"), epochs / settings.epochs)
        shares["halve_steps"] = epochs * fewer / (settings.epochs * steps)
        scaled = {
            name: max(1, round(old * share)) for name, share in shares.items() if (old := getattr(settings, name))
        }
        kept = settings.steps_per_epoch if fewer == steps else fewer
        return settings.updated(epochs=epochs, steps_per_epoch=kept, **scaled)

    def _steps(self, settings: TrainSettings) -> int:
        return settings.steps_per_epoch or max(1, -(-self.cases // settings.batch_size))

    def _step(self, settings: TrainSettings) -> float:
        return self.step * settings.batch_size / self.batch_size

    def _check(self, settings: TrainSettings) -> float:
        """Return the seconds of what follows the steps of an epoch."""
        share = settings.batch_size / self.batch_size
        return settings.calibrate_batches * self.calibration * share + self.held_out * self.case

    @staticmethod
    def _rounds(settings: TrainSettings) -> int:
        """Return how many epochs are trained in all folds together."""
        return settings.epochs * (settings.folds if settings.folds > 1 and settings.fold < 0 else 1)


def time_steps(method: Method, folder: Path, settings: TrainSettings) -> Job[Pace]:
    """Time three steps after a first one, and the validation of a case, as `train` would do them; keep nothing.

    Raises
    ------
    DataError, DeviceError
        As `train`.
    """
    method = method.adapted_to(Path(folder))
    part = split(cases_of(method, Path(folder)).pairs, settings)[0]
    yield Progress(0, TIMED + 3, "reading the first cases")
    with TemporaryDirectory() as place:
        few = settings.updated(steps_per_epoch=TIMED + 1, calibrate_batches=1, epochs=1)
        run = Run(method, part.train, part.held_out[:1] or part.train[:1], few, Path(place))
        marks = []
        for _ in run.train_epoch():
            marks.append(time.perf_counter())
            yield Progress(len(marks), TIMED + 3, f"timing step {len(marks)} of {TIMED + 1}")
        case = yield from _timed(run.validate(calibrated=False))
        both = yield from _timed(run.validate())
    step = float(np.median(np.diff(marks)))
    return Pace(step, max(0.0, both - case), case, settings.batch_size, len(part.train), len(part.held_out))


def _timed(job: Job[Any]) -> Job[float]:
    begun = time.perf_counter()
    yield from relabel(job, lambda p: Progress(TIMED + 2, TIMED + 3, "timing the validation of a case"))
    return time.perf_counter() - begun


EPOCHS, STEPS, HELD_OUT = 10, 10, 5
TIMED, FEWEST = 3, 10  # steps that are timed; epochs below which steps are left out instead


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
    known: dict[str, Any] = next((row["calibration"] for row in rows.values() if row.get("calibration")), {})
    options = BatchSettings(overlays=any("overlay" in row for row in rows.values()), **known)
    inputs = [Path(key) for key in rows]
    return (yield from predict_files(load_model(checkpoint), inputs, sheet.folder, settings, options=options))


def next_run(results: Path) -> Path:
    """Return the first free folder for a fine-tuned model below a result folder."""
    return next(path for n in range(1, 10**6) if not (path := Path(results) / f"finetune-{n}").exists())
