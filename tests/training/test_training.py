"""The training loop: learns, stops, resumes bit-identically, survives faults."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from toy import ToyMethod, write_cases

from napari_medseg import methods
from napari_medseg.errors import CheckpointError, DataError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.pairs import Pair, find_pairs
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.method import Model, quiet
from napari_medseg.methods.deepigeos.network import PRNet
from napari_medseg.models.checkpoint import read_checkpoint
from napari_medseg.settings import Settings, TrainSettings
from napari_medseg.training.data import Batches, Cases, inspect, split
from napari_medseg.training.loop import Pace, fit, time_steps, train
from napari_medseg.training.run import Run, smoothed, training_format
from napari_medseg.training.schedule import WeightAverage, rate_factor


class ThresholdSettings(Settings):
    threshold: float = Field(0.5, ge=0, le=1)


SETTINGS = TrainSettings(epochs=4, batch_size=2, learning_rate=0.05, device="cpu")


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "cases")


def fitted(cases: Path, folder: Path, settings: TrainSettings = SETTINGS, resume: bool = False) -> Model:
    pairs = find_pairs(cases).pairs
    return run(fit(ToyMethod(), pairs[:4], pairs[4:], settings, folder, resume=resume))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def test_it_learns_and_writes_the_run_folder(cases: Path, tmp_path: Path) -> None:
    model = fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=15))
    history = read_checkpoint(tmp_path / "run" / "last.pt")["history"]
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert max(row["val_score"] for row in history) == model.card["best"]["val_score"]
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"best.pt", "last.pt", "history.csv", "settings.json"}
    with (tmp_path / "run" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 15


@pytest.mark.parametrize("stop_after", [1, 5, 9])
def test_stop_and_resume_equals_uninterrupted(cases: Path, tmp_path: Path, stop_after: int) -> None:
    """Closing the generator anywhere, also in mid-epoch, and resuming gives bit-identical weights."""
    fitted(cases, tmp_path / "whole")
    pairs = find_pairs(cases).pairs
    job = fit(ToyMethod(), pairs[:4], pairs[4:], SETTINGS, tmp_path / "parts")
    for _ in range(stop_after):
        next(job)
    job.close()
    fitted(cases, tmp_path / "parts", resume=True)
    whole, parts = weights(tmp_path / "whole" / "last.pt"), weights(tmp_path / "parts" / "last.pt")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_longer_schedule_goes_on_from_a_finished_run(cases: Path, tmp_path: Path) -> None:
    fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=2))
    fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=3), resume=True)
    assert read_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == 3


def test_resuming_completes_a_table_that_a_kill_left_short(cases: Path, tmp_path: Path) -> None:
    settings, table = SETTINGS.updated(epochs=2), tmp_path / "run" / "history.csv"
    fitted(cases, tmp_path / "run", settings)
    whole = table.read_text()
    table.write_text("\n".join(whole.splitlines()[:-1]) + "\n")  # killed after last.pt, before the table
    fitted(cases, tmp_path / "run", settings, resume=True)
    assert table.read_text() == whole


@pytest.mark.parametrize(
    "change",
    [
        {"state": None}, {"state": {"epoch": "", "history": 3}}, {"state": {"epoch": 1, "later": 2}}, {"optimizer": 7},
        {"optimizer": {"state": {}, "param_groups": []}}, {"training_weights": {}}, "optimizer", "scaler", "state",
    ],
)  # fmt: skip
def test_a_last_checkpoint_that_holds_no_training_is_refused(
    cases: Path, tmp_path: Path, change: str | dict[str, Any]
) -> None:
    fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=1))
    path = tmp_path / "run" / "last.pt"
    content = torch.load(path, weights_only=True)
    changed = content | change if isinstance(change, dict) else {k: content[k] for k in content.keys() - {change}}
    torch.save(changed, path)
    with pytest.raises(CheckpointError, match="does not hold the state of a training"):
        fitted(cases, tmp_path / "run", resume=True)


def test_a_last_checkpoint_of_values_that_are_not_finite_is_refused(cases: Path, tmp_path: Path) -> None:
    fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=1))
    path = tmp_path / "run" / "last.pt"
    content = torch.load(path, weights_only=True)
    next(iter(content["state_dict"].values())).view(-1)[0] = float("nan")
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="not finite"):
        fitted(cases, tmp_path / "run", resume=True)


def test_resume_of_another_method_is_refused(cases: Path, tmp_path: Path) -> None:
    fitted(cases, tmp_path / "run", SETTINGS.updated(epochs=1))

    class Other(ToyMethod):
        name = "other"

    pairs = find_pairs(cases).pairs
    with pytest.raises(CheckpointError, match="same method"):
        run(fit(Other(), pairs, (), SETTINGS, tmp_path / "run", resume=True))


def test_plateau_drops_the_rate_and_patience_stops(cases: Path, tmp_path: Path) -> None:
    settings = SETTINGS.updated(epochs=50, learning_rate=1e-9, plateau_patience=1, stop_patience=3)
    fitted(cases, tmp_path / "run", settings)
    history = read_checkpoint(tmp_path / "run" / "last.pt")["history"]
    assert len(history) < 10
    rates = [row["learning_rate"] for row in history]
    assert rates[-1] < rates[0]


def test_halving_schedule(cases: Path, tmp_path: Path) -> None:
    fitted(cases, tmp_path / "run", SETTINGS.updated(halve_steps=4))  # two steps per epoch
    rates = [row["learning_rate"] for row in read_checkpoint(tmp_path / "run" / "last.pt")["history"]]
    np.testing.assert_allclose(rates, [0.05, 0.025, 0.025, 0.0125])


RECIPE = SETTINGS.updated(schedule="one-cycle", rise=0.25, ema=0.9, smooth_score=2, choose_on=3)


class Choosing(ToyMethod):
    """The toy with a threshold that is chosen on training cases."""

    Settings = ThresholdSettings

    def choose(self, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        return {"threshold": float(np.mean([p.mean() for p, _ in found]))}


def chosen_fit(cases: Path, folder: Path, resume: bool = False, **changes: Any) -> Job[Model]:
    pairs = find_pairs(cases).pairs
    return fit(Choosing(), pairs[:4], pairs[4:], RECIPE.updated(**changes), folder, resume=resume)


def test_a_rate_that_rises_and_falls(cases: Path, tmp_path: Path) -> None:
    total = 1000
    factors = [rate_factor(RECIPE, step, total, 0) for step in range(total + 1)]
    assert factors[0] == pytest.approx(0.04)
    assert factors[250] == pytest.approx(1)
    assert factors[625] == pytest.approx(0.5)
    assert factors[-1] == pytest.approx(0, abs=1e-12)
    assert np.argmax(factors) == 250
    falling = [rate_factor(RECIPE.updated(schedule="cosine"), step, total, 0) for step in (0, 500, 1000)]
    np.testing.assert_allclose(falling, [1, 0.5, 0], atol=1e-12)
    assert rate_factor(SETTINGS, 900, total, 0) == 1


def test_weights_are_averaged_as_by_hand() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), torch.nn.BatchNorm1d(1))
    average, values = WeightAverage(network, 0.5), [3.0, 5.0, 11.0]
    mean = network[0].weight.item()
    for step, value in enumerate(values, 1):
        with torch.no_grad():
            network[0].weight.fill_(value)
            network[1].running_mean.fill_(value)
        average.update(network, step)
        decay = min(0.5, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
    assert average.network[0].weight.item() == pytest.approx(mean)
    assert average.network[1].running_mean.item() == 11


def test_the_average_is_what_is_kept_and_the_weights_go_on(cases: Path, tmp_path: Path) -> None:
    run(chosen_fit(cases, tmp_path / "run"))
    last = read_checkpoint(tmp_path / "run" / "last.pt")
    assert any(not torch.equal(value, last["training_weights"][name]) for name, value in last["state_dict"].items())
    assert "training_weights" not in read_checkpoint(tmp_path / "run" / "best.pt")


@pytest.mark.parametrize(
    ("scores", "span", "best"),
    [([9, 1, 3, 5, 4], 1, 0), ([9, 1, 3, 5, 4], 3, 4), ([9, 1], 3, 0), ([9, 1, 1, 8], 3, 2), ([1, 1, 1], 1, 0)],
)
def test_a_lucky_first_epoch_is_not_the_best(scores: list[float], span: int, best: int) -> None:
    """The epoch whose ``best.pt`` stays: medians of whole spans win, the earlier of equals."""
    kept = -1
    for epoch in range(len(scores)):
        smooth = smoothed(scores[: epoch + 1], span)
        if len(smooth) == 1 or smooth[-1] > max(smooth[:-1]):
            kept = epoch
    assert kept == best


@pytest.mark.parametrize("stop_at", ["step 1 of 2", "validating", "choosing", "epoch 3 of 4: ", "epoch 4 of 4: "])
def test_the_whole_recipe_stops_and_resumes_to_the_same_model(cases: Path, tmp_path: Path, stop_at: str) -> None:
    """Interrupted in a step, in validation or in the choice of thresholds: weights and threshold come out equal."""
    run(chosen_fit(cases, tmp_path / "whole"))
    job = chosen_fit(cases, tmp_path / "parts")
    seen = next(text for text in (p.message for p in job) if stop_at in text)
    job.close()
    assert stop_at in seen
    run(chosen_fit(cases, tmp_path / "parts", resume=True))
    for name in ("best.pt", "last.pt"):
        one, other = (read_checkpoint(tmp_path / folder / name) for folder in ("whole", "parts"))
        assert one["settings"] == other["settings"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())


def test_the_average_begins_with_the_weights_that_training_starts_from(cases: Path, tmp_path: Path) -> None:
    """Scores before the first epoch are those of the model that was given, averaged weights or not."""
    first, pairs = tmp_path / "first", find_pairs(cases).pairs
    run(chosen_fit(cases, first))
    found = [
        run(fit(Choosing(), pairs[:4], pairs[4:], RECIPE.updated(epochs=1, ema=ema), tmp_path / str(ema),
                start=first / "last.pt")).card["before"]
        for ema in (0.0, 0.9)
    ]  # fmt: skip
    assert found[0] == found[1]


def test_chosen_thresholds_are_stored_and_used(cases: Path, tmp_path: Path) -> None:
    model = run(chosen_fit(cases, tmp_path / "run"))
    content = read_checkpoint(tmp_path / "run" / "best.pt")
    assert content["chosen_on"] == ["case0", "case2", "case3"]
    assert 0 < content["settings"]["threshold"] < 1
    assert model.method.settings.threshold == content["settings"]["threshold"]
    assert read_checkpoint(tmp_path / "run" / "last.pt")["settings"]["threshold"] == 0.5  # resuming compares these
    before = (tmp_path / "run" / "best.pt").read_bytes()
    run(chosen_fit(cases, tmp_path / "run", resume=True))
    assert (tmp_path / "run" / "best.pt").read_bytes() == before


def test_nothing_is_chosen_unless_asked_for(cases: Path, tmp_path: Path) -> None:
    run(chosen_fit(cases, tmp_path / "run", choose_on=0))
    assert "chosen_on" not in read_checkpoint(tmp_path / "run" / "best.pt")


def test_progress_counts_steps(cases: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    pairs = find_pairs(cases).pairs
    run(fit(ToyMethod(), pairs[:4], pairs[4:], SETTINGS, tmp_path / "run"), seen.append)
    epochs = [p for p in seen if "epoch" in p.metrics]
    assert [p.step for p in epochs] == [2, 4, 6, 8]
    assert {p.total for p in epochs} == {8}
    assert epochs[0].preview is not None
    assert epochs[0].preview.data.shape == (2, 16, 16)


def test_an_unwritable_folder_is_named(cases: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match="file"):
        fitted(cases, tmp_path / "file")


def test_folds_are_grouped_and_complete() -> None:
    pairs = [Pair(Path(f"{s}_{i}.png"), None, subject=s) for s in "abcdefg" for i in range(3)]
    splits = split(pairs, TrainSettings(folds=5))
    assert len(splits) == 5
    for part in splits:
        assert not {p.subject for p in part.train} & {p.subject for p in part.held_out}
        assert len(part.train) + len(part.held_out) == len(pairs)
    assert sorted(p.stem for part in splits for p in part.held_out) == sorted(p.stem for p in pairs)
    with pytest.raises(DataError, match="7"):
        split(pairs, TrainSettings(folds=8))


def test_batches_depend_on_seed_epoch_and_position_alone(cases: Path) -> None:
    batches = Batches(Cases(ToyMethod(), find_pairs(cases).pairs), SETTINGS)
    first, again, other = (list(batches.epoch(e)) for e in (0, 0, 1))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


def test_ranks_share_a_batch(cases: Path) -> None:
    batches = Batches(Cases(ToyMethod(), find_pairs(cases).pairs), SETTINGS)
    whole = next(iter(batches.epoch(0)))[0]
    parts = [next(iter(batches.epoch(0, rank, 2)))[0] for rank in (0, 1)]
    assert torch.equal(torch.cat(parts), whole)


def test_inspect_lists_every_problem(cases: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(cases / "labels" / "case0_label.png")  # other size
    Pillow.fromarray(np.zeros((16, 16), np.uint8)).save(cases / "labels" / "case1_label.png")  # nothing in it
    (cases / "labels" / "case2_label.png").unlink()
    (cases / "images" / "case3.png").write_bytes(b"no picture")
    report = inspect(ToyMethod(), find_pairs(cases))
    text = " ".join(report.problems)
    assert len(report.pairs) == 3
    for part in (
        "'case0_label' (8 x 8 pixels of unknown size) and 'case0' (16 x 16",
        "without foreground: case1",
        "case2.png",
        "case3.png cannot be read",
    ):
        assert part in text


def test_images_that_are_there_twice_are_named(cases: Path) -> None:
    (cases / "images" / "case4.png").write_bytes((cases / "images" / "case1.png").read_bytes())
    problems = inspect(ToyMethod(), find_pairs(cases)).problems
    assert len(problems) == 1
    assert "1 image there more than once: case1 = case4. Keep one of each" in problems[0]


def test_a_pace_is_measured_and_nothing_is_left(cases: Path) -> None:
    before = sorted(cases.rglob("*"))
    job, steps = time_steps(ToyMethod(), cases, SETTINGS), []
    try:
        while True:
            steps.append(next(job).message)
    except StopIteration as end:
        pace: Pace = end.value
    assert [m for m in steps if m.startswith("timing step")] == [f"timing step {k} of 4" for k in range(1, 5)]
    assert pace.step > 0
    assert (pace.batch_size, pace.cases, pace.held_out) == (2, 5, 1)
    assert sorted(cases.rglob("*")) == before


def test_a_schedule_is_shortened_to_the_time() -> None:
    pace = Pace(step=2.0, calibration=0.5, case=1.0, batch_size=4, cases=40, held_out=3)
    settings = TrainSettings(epochs=100, batch_size=4, stop_patience=50, halve_steps=200, calibrate_batches=4, folds=0)
    assert pace.seconds(settings) == 100 * (10 * 2 + 4 * 0.5 + 3)
    assert pace.seconds(settings.updated(batch_size=8)) == 100 * (5 * 4 + 4 * 1.0 + 3)
    assert pace.seconds(settings.updated(folds=5)) == 5 * pace.seconds(settings)
    assert pace.seconds(settings.updated(folds=5, fold=0)) == pace.seconds(settings)
    assert pace.fitting(settings, 2500) == settings
    half = pace.fitting(settings, 1250)
    assert (half.epochs, half.stop_patience, half.halve_steps, half.steps_per_epoch) == (50, 25, 100, 0)
    little = pace.fitting(settings, 150)  # ten epochs of 15 s: 10 s for steps
    assert (little.epochs, little.steps_per_epoch, little.halve_steps) == (10, 5, 10)
    assert pace.seconds(little) == 150
    least = pace.fitting(settings, 1)
    assert (least.epochs, least.steps_per_epoch) == (10, 1)


def test_labels_that_are_all_empty_are_refused(cases: Path, tmp_path: Path) -> None:
    from PIL import Image as Pillow

    for path in (cases / "labels").iterdir():
        Pillow.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    with pytest.raises(DataError, match=r"All 6 labels .* nothing to learn"):
        run(train(ToyMethod(), cases, tmp_path / "run", SETTINGS))
    assert not (tmp_path / "run" / "last.pt").exists()


def test_images_of_different_size_cannot_share_a_batch(cases: Path, tmp_path: Path) -> None:
    from PIL import Image as Pillow

    for folder, name in (("images", "big.png"), ("labels", "big_label.png")):
        Pillow.fromarray(np.ones((24, 24), np.uint8)).save(cases / folder / name)
    pairs = find_pairs(cases).pairs
    with pytest.raises(DataError, match="crop size"):
        run(fit(ToyMethod(), pairs, (), SETTINGS.updated(batch_size=7), tmp_path / "run"))


def test_train_writes_split_and_folds(cases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(train(ToyMethod(), cases, tmp_path / "run", SETTINGS.updated(epochs=1, folds=3)))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["fold0", "fold1", "fold2"]
    stems = json.loads((tmp_path / "run" / "fold1" / "split.json").read_text())
    assert len(stems["held_out"]) == 2
    assert methods.METHODS  # the toy is not one of them
    assert "toy" not in methods.METHODS


def test_an_empty_folder_says_which_layouts_are_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images and"):
        run(train(ToyMethod(), tmp_path, tmp_path / "run", SETTINGS))


def test_without_calibration_the_running_averages_stay(cases: Path, tmp_path: Path) -> None:
    for batches in (0, 4):
        fitted(cases, tmp_path / str(batches), SETTINGS.updated(calibrate_batches=batches, epochs=1))
    running, calibrated = (weights(tmp_path / str(b) / "last.pt") for b in (0, 4))
    assert torch.equal(running["0.weight"], calibrated["0.weight"])
    assert not torch.equal(running["1.running_var"], calibrated["1.running_var"])


@pytest.mark.parametrize(("width", "expected"), [(20, torch.contiguous_format), (16, torch.channels_last)])
def test_dilated_networks_train_in_the_layout_with_right_gradients(width: int, expected: torch.memory_format) -> None:
    network = PRNet(width=width)
    layout = training_format(network, torch.device("cpu"), 2)
    assert layout == expected
    x = torch.randn(1, 1, 24, 24)

    def gradient(halves: bool) -> torch.Tensor:
        network.zero_grad()
        network.eval().to(memory_format=layout)  # type: ignore[call-overload]
        with torch.autocast("cpu", torch.bfloat16, enabled=halves):
            output = network(x.contiguous(memory_format=layout))
        output.float().square().sum().backward()
        return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])

    torch.manual_seed(0)
    assert float(torch.cosine_similarity(gradient(False), gradient(True), 0)) > 0.99


def test_training_reads_every_case_once(cases: Path, tmp_path: Path) -> None:
    class Counting(ToyMethod):
        reads: ClassVar[list[str]] = []

        def read_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[Image, Image | None]:
            self.reads.append(pair.stem)
            return super().read_pair(pair, say)

    method = Counting()
    run(train(method, cases, tmp_path / "run", SETTINGS.updated(folds=2, epochs=2)))
    assert sorted(method.reads) == sorted(pair.stem for pair in method.find_pairs(cases).pairs)


def test_calibration_closes_its_batches_itself() -> None:
    """Left to the garbage collector, a generator that waits for its threads would swallow Ctrl+C."""

    def endless() -> Iterator[int]:
        while True:
            yield 1

    source = endless()
    made = Run.__new__(Run)
    made.batches = SimpleNamespace(epoch=lambda epoch: source, steps=3)  # type: ignore[assignment]
    made.settings = SimpleNamespace(calibrate_batches=2)  # type: ignore[assignment]
    made.state = SimpleNamespace(epoch=0)  # type: ignore[assignment]
    assert list(made._calibration_batches()) == [1, 1]
    assert source.gi_frame is None  # type: ignore[attr-defined]
