"""One training run: its network, optimiser, state and folder; `training.fit` drives it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from napari_medseg.device import autocast, choose_device, fast_precision, memory_format
from napari_medseg.errors import CheckpointError, DataError, one_line
from napari_medseg.image import Image
from napari_medseg.inference.network import infer
from napari_medseg.io.files import write_json
from napari_medseg.io.pairs import Pair
from napari_medseg.io.write import write_table
from napari_medseg.jobs import Job, Progress, relabel
from napari_medseg.method import Method, Model
from napari_medseg.models.checkpoint import card, check_weights, pack, read_checkpoint, write_checkpoint
from napari_medseg.models.purpose import on_card
from napari_medseg.nn.batch_norm import calibrate
from napari_medseg.settings import PredictSettings, Settings, TrainSettings
from napari_medseg.training import distributed as parallel
from napari_medseg.training.data import Batches, Cases, Store
from napari_medseg.training.schedule import WeightAverage, rate_factor


@dataclass
class State:
    """Everything of a run that is not the network or the optimiser."""

    epoch: int = 0
    steps: int = 0
    drops: int = 0
    waited: int = 0
    best_loss: float = math.inf
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Run:
    """One training run: network, optimiser, state and folder."""

    def __init__(
        self,
        method: Method,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        settings: TrainSettings,
        folder: Path,
        store: Store | None = None,
    ) -> None:
        if not pairs:
            raise DataError("There are no training cases.")
        torch.manual_seed(settings.seed)
        self.method, self.settings, self.folder = method, settings, folder
        self.device, self.reason = choose_device(settings.device)
        self.precision = fast_precision(settings.precision, self.device, method.halves)
        self.network = method.build_network().to(self.device)
        self.layout = training_format(self.network, self.device, method.ndim)
        self.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.parallel = parallel.wrap(self.network)
        store = store or Store(method)
        self.batches = Batches(Cases(method, pairs, store), settings)
        self.held_out = Cases(method, held_out, store)
        self.state, self.phase, self.started = State(), -1, time.perf_counter()
        self.about: dict[str, Any] = {}  # what the checkpoints' cards say besides
        self.optimizer: torch.optim.Optimizer
        self._enter_phase(method.phase(0, settings))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=settings.precision == "float16")
        if parallel.rank() == 0:
            described = {"method": method.name, "settings": method.settings.model_dump(mode="json")}
            write_json(folder / "settings.json", {**described, "training": settings.model_dump(mode="json")})

    @property
    def total(self) -> int:
        """Steps of the whole schedule."""
        return self.settings.epochs * self.batches.steps

    @cached_property
    def average(self) -> WeightAverage | None:
        """The average of the weights, which begins with those that the network has when it is first asked for."""
        return WeightAverage(self.network, self.settings.ema) if self.settings.ema else None

    @property
    def kept(self) -> nn.Module:
        """The network that is validated and kept: the average of the weights where there is one."""
        return self.average.network if self.average else self.network

    @property
    def finished(self) -> bool:
        """Whether the schedule is done or patience is spent."""
        patience = self.settings.stop_patience
        return self.state.epoch >= self.settings.epochs or bool(patience and self.state.waited >= patience)

    def train_epoch(self) -> Job[None]:
        """Train one epoch, yielding after each step."""
        epoch = self.state.epoch
        torch.manual_seed(int(np.random.SeedSequence([self.settings.seed, epoch]).generate_state(1)[0]))
        self._enter_phase(self.method.phase(epoch, self.settings))
        average = self.average
        self.parallel.train()
        sums: dict[str, float] = {}
        for step, (x, y) in enumerate(self.batches.epoch(epoch, parallel.rank(), parallel.size()), 1):
            self._set_rate()
            for name, value in self._step(x.to(self.device), y.to(self.device)).items():
                sums[name] = sums.get(name, 0.0) + value
            self.state.steps += 1
            if average:
                average.update(self.network, self.state.steps)
            yield Progress(
                epoch * self.batches.steps + step,
                self.total,
                f"epoch {epoch + 1} of {self.settings.epochs}, step {step} of {self.batches.steps}",
                {"loss": sums["loss"] / step},
            )
        self.means = {name: value / self.batches.steps for name, value in sums.items()}

    def validate(self, calibrated: bool = True) -> Job[dict[str, Any]]:
        """Return mean validation loss and scores over the held-out cases, and a preview of the first.

        Batch-norm statistics are taken anew before, unless `calibrated` is off.
        """
        batches = self._calibration_batches() if calibrated else ()
        calibrate(self.kept, (x.to(self.device) for x, _ in batches))
        scores, preview = (yield from self._held_out_scores()) if parallel.rank() == 0 else ({}, None)
        return {"scores": parallel.broadcast(scores), "preview": preview}

    def _held_out_scores(self) -> Job[tuple[dict[str, float], Image | None]]:
        """Return the mean scores over the held-out cases, their names with ``val_``, and a preview of the first."""
        sums: dict[str, float] = {}
        preview = None
        model = Model(self.method, self.kept.eval(), {})
        for index in range(len(self.held_out)):
            x, y = self.method.validation_sample(*self.held_out[index], np.random.default_rng([1, index]))
            job = infer(model, x, self._prediction, logits=True)
            note = partial(self._validating, index)
            output = torch.from_numpy((yield from relabel(job, note)))
            scores = self._scores(output[None], x, y)
            for name, value in scores.items():
                sums[name] = sums.get(name, 0.0) + value
            if preview is None and output.ndim > 2:
                preview = _preview(
                    x, self.method.activate(output[None].float())[0].numpy(), self.held_out.pairs[0].stem
                )
        self.kept.to(self.device)
        return {f"val_{name}": value / len(self.held_out) for name, value in sums.items()}, preview

    def score_start(self) -> Job[dict[str, float]]:
        """Score the network as it is before its first epoch on the held-out cases; it is row 0 of the history."""
        scores: dict[str, float] = (yield from self.validate(calibrated=False))["scores"]
        row = {"epoch": 0.0, **scores}
        self.state.history.append(row)
        told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        yield Progress(0, self.total, f"before training: {told}", row)
        return scores

    def end_epoch(self, validation: dict[str, Any]) -> Progress:
        """Update schedule and best model, write the checkpoints and the history, return the epoch's `Progress`."""
        state, scores = self.state, validation["scores"]
        state.epoch += 1
        row = {"epoch": float(state.epoch), "learning_rate": self._rate(), **self.means, **scores}
        row["seconds"] = round(time.perf_counter() - self.started, 1)
        state.history.append(row)
        self._update_patience(scores.get("val_loss", self.means["loss"]))
        smooth = smoothed([self._score(row) for row in state.history if row["epoch"]], self.settings.smooth_score)
        improved = len(smooth) == 1 or smooth[-1] > max(smooth[:-1])
        if improved:
            state.best = {"score": smooth[-1], **row}
        if parallel.rank() == 0:
            self._save(improved)
        text = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if k in {"loss", "val_loss", "val_score", "val_dice"})
        best = f"best score {state.best['score']:.4g} in epoch {state.best['epoch']:.0f}"
        message = f"epoch {state.epoch} of {self.settings.epochs}: {text}; {best}"
        return Progress(state.epoch * self.batches.steps, self.total, message, row, validation["preview"])

    def load(self) -> bool:
        """Continue from ``last.pt``; return whether there was one."""
        path = self.folder / "last.pt"
        if not path.exists():
            return False
        content = read_checkpoint(path)
        if content["method"] != self.method.name or self._parsed(content) != self.method.settings:
            raise CheckpointError(
                f"{path} was trained with {content['method']} {content['settings']}; to resume give the same method "
                "and settings, or choose a new run folder."
            )
        check_weights(content["state_dict"], path)
        try:
            self._restore(content)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} does not hold the state of a training ({one_line(error)}): it is damaged, or another file of "
                "the name. Start anew in another run folder, or from its weights (--from)."
            ) from error
        if parallel.rank() == 0 and self.state.history:  # a kill between the two files leaves the table one row short
            write_table(self.folder / "history.csv", pd.DataFrame(self.state.history))
        return True

    def _restore(self, content: dict[str, Any]) -> None:
        """Take network, optimiser and state from a checkpoint."""
        self.network.load_state_dict(content.get("training_weights", content["state_dict"]))
        if self.average:
            self.average.network.load_state_dict(content["state_dict"])
        self.state = TypeAdapter(State).validate_python(vars(State(**content["state"])))
        self._enter_phase(self.method.phase(max(self.state.epoch - 1, 0), self.settings))
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])

    def choose(self) -> Job[None]:
        """Let the method choose its thresholds on training cases with the best weights, and keep them in ``best.pt``.

        They are the model's settings from then on, and its scores on the held-out cases are those with them.
        """
        path, cases = self.folder / "best.pt", self.batches.cases
        content = read_checkpoint(path)
        if not self.settings.choose_on or content.get("chosen_on") or parallel.rank() > 0:
            return
        self.kept.load_state_dict(content["state_dict"])
        indices = np.unique(
            np.linspace(0, len(cases) - 1, min(self.settings.choose_on, len(cases))).round().astype(int)
        )
        found: list[tuple[np.ndarray, np.ndarray]] = []
        for index in indices.tolist():
            x, y = cases[index]
            note = partial(self._choosing, len(found), len(indices))
            job = infer(Model(self.method, self.kept.eval(), {}), x, self._prediction)
            found.append(((yield from relabel(job, note)), y))
        changes = self.method.choose(found)
        if not changes:
            return
        self.method = type(self.method)(self.method.settings.updated(**changes))
        scores, _ = yield from self._held_out_scores()
        names = [cases.pairs[index].stem for index in indices.tolist()]
        content |= {"settings": self.method.settings.model_dump(), "chosen_on": names}
        write_checkpoint(path, {**content, "best": {**content["best"], **scores}})

    def best_model(self) -> Model:
        """Return the best model so far."""
        path = self.folder / "best.pt"
        content = read_checkpoint(path)
        self.network.load_state_dict(content["state_dict"])
        return Model(type(self.method)(self._parsed(content)), self.network.cpu().eval(), card(content, path))

    def _parsed(self, content: Mapping[str, Any]) -> Settings:
        """Return the settings of a checkpoint; those that it does not know have their defaults."""
        return self.method.Settings.parse(content["settings"])

    def _calibration_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        with closing(self.batches.epoch(self.state.epoch)) as batches:  # left to be collected it would swallow Ctrl+C
            yield from islice(batches, min(self.settings.calibrate_batches, self.batches.steps))

    @property
    def _prediction(self) -> PredictSettings:
        return PredictSettings.parse({"device": self.settings.device, "precision": self.precision})

    def _choosing(self, index: int, count: int, inner: Progress) -> Progress:
        return Progress(self.total, self.total, f"choosing thresholds: case {index + 1} of {count}")

    def _validating(self, index: int, inner: Progress) -> Progress:
        step = (self.state.epoch + 1) * self.batches.steps
        return Progress(step, self.total, f"validating case {index + 1} of {len(self.held_out)}")

    def _enter_phase(self, phase: int) -> None:
        if phase != self.phase:
            self.phase = phase
            self.optimizer = self.method.optimizer(self.network, self.settings, phase)
            for group in self.optimizer.param_groups:
                group["initial_lr"] = group["lr"]

    def _step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """Take one step of the optimiser on a batch (B, C, *spatial) and its target; return the loss terms."""
        self.optimizer.zero_grad(set_to_none=True)
        x = x.contiguous(memory_format=self.layout)
        with autocast(self.device, self.precision):
            output = self.parallel(x)
        terms = self.method.loss(output.float(), y, x)
        if not torch.isfinite(terms["loss"]):
            raise DataError(
                "The loss is not a number any more. Lower the learning rate; the last whole epoch is saved."
            )
        self.scaler.scale(terms["loss"]).backward()  # type: ignore[no-untyped-call]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {name: float(value.detach()) for name, value in terms.items()}

    def _scores(self, output: Tensor, x: np.ndarray, y: np.ndarray) -> dict[str, float]:
        target, image = torch.from_numpy(y)[None], torch.from_numpy(x)[None]
        with torch.no_grad():
            loss = float(self.method.loss(output, target, image)["loss"])
            return {"loss": loss, **self.method.score(self.method.activate(output), target)}

    def _factor(self) -> float:
        return rate_factor(self.settings, self.state.steps, self.total, self.state.drops)

    def _rate(self) -> float:
        return float(self.optimizer.param_groups[0]["initial_lr"] * self._factor())

    def _set_rate(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self._factor()

    def _score(self, row: dict[str, float]) -> float:
        """Return what chooses the best epoch: the method's score or minus the loss, on held-out cases if any."""
        score = -row.get("val_loss", row["loss"])
        return score if self.method.selects_by_loss else row.get("val_score", score)

    def _update_patience(self, loss: float) -> None:
        state, patience = self.state, self.settings.plateau_patience
        if loss < state.best_loss - 1e-4 * abs(state.best_loss if math.isfinite(state.best_loss) else 0):
            state.best_loss, state.waited = loss, 0
            return
        state.waited += 1
        if patience and state.waited % patience == 0:
            state.drops += 1

    def _save(self, improved: bool) -> None:
        """Write ``last.pt``, the history and, if the epoch is the best so far, ``best.pt``."""
        state = self.state
        weights = _on_cpu(self.kept)
        content = pack(
            self.method,
            weights,
            train_settings=self.settings.model_dump(),
            epoch=state.epoch,
            best=state.best,
            history=state.history,
            **self.about,
            **on_card(self.batches.cases.traits()),
        )
        if improved:
            write_checkpoint(self.folder / "best.pt", content)
        if self.average:
            content["training_weights"] = _on_cpu(self.network)
        extra = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "state": vars(state)}
        write_checkpoint(self.folder / "last.pt", {**content, **extra})
        write_table(self.folder / "history.csv", pd.DataFrame(state.history))
        _tensorboard(self.folder, state.history[-1])


def training_format(network: nn.Module, device: torch.device, ndim: int) -> torch.memory_format:
    """Return the layout to train in: the fastest, unless oneDNN's gradients would be wrong in it.

    Those of a dilated 2D convolution's weights in bfloat16, channels last, are right only for multiples of 16 maps.
    """
    dilated = (m for m in network.modules() if type(m) is nn.Conv2d and m.dilation != (1, 1))
    if device.type == "cpu" and any(m.in_channels % 16 for m in dilated):
        return torch.contiguous_format
    return memory_format(device, ndim)


def smoothed(scores: Sequence[float], span: int) -> list[float]:
    """Return the medians of each score with those before it, `span` in all; once there are whole ones, only these.

    >>> smoothed([9, 1, 3, 5], 3)
    [3, 3]
    """
    if len(scores) < span:
        return [median(scores[: n + 1]) for n in range(len(scores))]
    return [median(scores[n - span : n]) for n in range(span, len(scores) + 1)]


def _on_cpu(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu() for name, value in network.state_dict().items()}


def _preview(x: np.ndarray, probabilities: np.ndarray, name: str) -> Image:
    """Middle slice of the first input channel beside the last class's probability, as ``CYX``."""
    picture, answer = x[0], probabilities[-1]
    while picture.ndim > 2:
        picture, answer = picture[len(picture) // 2], answer[len(answer) // 2]
    return Image(np.stack([picture, answer]), "CYX", name=name, channels=("image", "probability"))


def _tensorboard(folder: Path, row: dict[str, float]) -> None:
    """Log one epoch for TensorBoard when it is installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return
    with SummaryWriter(str(folder / "tensorboard")) as writer:  # type: ignore[no-untyped-call]
        for name, value in row.items():
            writer.add_scalar(name, value, int(row["epoch"]))  # type: ignore[no-untyped-call]
