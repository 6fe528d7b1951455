"""The command line: the contracts that scripts rely on, and exit codes without tracebacks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from shorthand import call
from toy import write_cases

from napari_medseg.cli.flags import given
from napari_medseg.cli.main import build_parser, main
from napari_medseg.cli.output import show
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.write import write
from napari_medseg.methods import METHODS, get_method
from napari_medseg.samples.ccm import ccm_folder
from napari_medseg.settings import PredictSettings, TrainSettings, as_flags

TINY = ["--architecture", "unet2", "--epochs", "2", "--batch-size", "2", "--steps-per-epoch", "2", "--device", "cpu"]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    return write_cases(tmp_path / "cases", n=5, size=32)


def test_json_of_values_that_are_not_finite_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    show({"hd95": float("nan"), "mean": np.float32(np.inf), "folder": Path("out")}, True, "")
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found == {"hd95": None, "mean": None, "folder": "out"}


def test_train_predict_evaluate_measure(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    code, text, _ = call(capsys, "train", "afm-unet", cases, "-o", run, "--json", *TINY)
    assert code == 0
    assert json.loads(text)["method"] == "afm-unet"
    assert {p.name for p in run.iterdir()} >= {"best.pt", "last.pt", "history.csv", "settings.json", "split.json"}

    code, text, _ = call(capsys, "predict", run / "best.pt", cases / "images", "-o", out, "--json", "--device", "cpu")
    assert code == 0
    assert len(json.loads(text)["files"]) == 5
    names = {p.name for p in out.iterdir()}
    assert {"case0_labels.tif", "case0_probabilities.tif", "measurements.csv", "run.json"} <= names

    code, text, _ = call(capsys, "evaluate", "afm-unet", out, cases / "labels", "--json")
    value = json.loads(text)
    assert code == 0
    assert set(value) == {"mean", "images"}
    assert set(value["images"]) == {f"case{i}" for i in range(5)}
    assert {"dice", "mcc", "accuracy"} <= set(value["mean"])

    table = tmp_path / "table.csv"
    labels, image = out / "case0_labels.tif", cases / "images" / "case0.png"
    code, text, _ = call(capsys, "measure", "afm", labels, image, "-o", table, "--pixel-size", 0.02, "--json")
    assert code == 0
    assert "(um^2)" in table.read_text()
    assert json.loads(text)


def test_the_start_wins_over_the_recommended_recipe_and_flags_over_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ccm_folder(tmp_path / "data", 3, 48)
    tiny = ["--width", 2, "--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 2, "--device", "cpu", "--choose-on", 2]
    first, second = tmp_path / "first", tmp_path / "second"
    assert call(capsys, "train", "sc-dcnn", data, "-o", first, *tiny, "--surroundings", 5)[0] == 0
    words = ("train", "sc-dcnn", data, "-o", second, "--from", first / "best.pt", "--recipe", "recommended")
    assert call(capsys, *words, *tiny, "--crop", 32)[0] == 0
    content = json.loads((second / "settings.json").read_text())
    recipe = get_method("sc-dcnn").recipe
    assert content["settings"]["surroundings"] == 5 != recipe.settings["surroundings"]
    assert content["settings"]["dilate_labels"] == 0
    assert content["settings"]["crop"] == 32
    assert content["training"]["schedule"] == recipe.training.schedule == "one-cycle"
    assert content["training"]["choose_on"] == 2
    code, _, said = call(capsys, "train", "frame-classifier", data, "-o", tmp_path / "x", "--recipe", "recommended")
    assert code == 2
    assert "no recommended recipe" in said


def test_notes_are_printed_once_for_their_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(5):
        data = np.random.default_rng(index).integers(0, 90, (64, 64), np.uint8)
        write(tmp_path / "scans" / f"s{index}.tif", Image(data, "YX", (0.3 + 0.1 * index,) * 2, ("micrometer",) * 2))
    Pillow.fromarray(data).save(tmp_path / "scans" / "plain.png")
    words = ("predict", "nerve-ridges", tmp_path / "scans", "-o", tmp_path / "out")
    code, text, _ = call(capsys, *words)
    assert code == 0
    lines = [line for line in text.splitlines() if "trained at" in line]
    assert lines == [
        "plain: It states no pixel size; the model was trained at 1.04 um.",
        "s0, s1, s2 and 2 more: Its pixels are 0.3 um, the model was trained at 1.04 um: turn on resampling "
        "(--resample), or look closely at what was found.",
    ]
    _, text, _ = call(capsys, *words, "--resample")
    assert "s0, s1, s2 and 2 more: It was segmented at 1.04 um" in text
    side_car = json.loads((tmp_path / "out" / "s4_labels.json").read_text("utf-8"))
    assert side_car["metadata"]["medseg"]["settings"]["resample"] is True
    assert side_car["scale"] == pytest.approx([0.7, 0.7])


def test_a_method_without_training_takes_its_settings_and_knows_them_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heights = np.zeros((64, 64), np.float32) + np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32)
    heights[20:40, 20:40] += 8
    write(tmp_path / "scan.tif", Image(heights, "YX", (0.1, 0.1), ("micrometer",) * 2, value_unit="nm"))
    words = ("predict", "afm-threshold", tmp_path / "scan.tif", "-o", tmp_path / "out")
    labels = tmp_path / "out" / "scan_labels.tif"
    assert call(capsys, *words)[0] == 0
    assert 380 <= (read_one(labels).data > 0).sum() <= 420
    assert call(capsys, *words, "--threshold", 50)[0] == 0
    assert (read_one(labels).data > 0).sum() == 0
    settings = json.loads((tmp_path / "out" / "run.json").read_text())["model"]["settings"]
    assert (settings["threshold"], settings["min_area"]) == (50, 60)
    code, _, said = call(capsys, *words, "--threshold", 0)
    assert code == 2
    assert "threshold" in said


def test_predicting_again_does_not_redo_finished_files(
    cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, "train", "afm-unet", cases, "-o", tmp_path / "run", *TINY)
    words = ("predict", tmp_path / "run" / "best.pt", cases / "images", "-o", tmp_path / "out")
    call(capsys, *words)
    first = (tmp_path / "out" / "case0_labels.tif").stat().st_mtime_ns
    (cases / "images" / "bad.png").write_bytes(b"no picture")
    (cases / "images" / "notes.txt").write_text("no image")
    code, text, _ = call(capsys, *words, "--json")
    record = json.loads(text)
    assert code == 0
    assert (tmp_path / "out" / "case0_labels.tif").stat().st_mtime_ns == first
    assert [v["status"] for k, v in record["files"].items() if k.endswith("bad.png")] == ["failed"]
    assert [Path(p).name for p in record["skipped"]] == ["notes.txt"]


def test_resume_and_config(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert call(capsys, "train", "afm-unet", cases, "-o", run, *TINY)[0] == 0
    config = run / "settings.json"
    words = ("train", "afm-unet", cases, "-o", run, "--config", config, "--epochs", 3, "--resume", "--json")
    code, text, _ = call(capsys, *words)
    assert code == 0
    assert json.loads(text)["settings"]["architecture"] == "unet2"
    assert len((run / "history.csv").read_text().splitlines()) == 4


def test_earlier_names_in_a_config_win_over_the_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, first, second = ccm_folder(tmp_path / "data", 3, 48), tmp_path / "first", tmp_path / "second"
    tiny = ["--width", 2, "--epochs", 1, "--steps-per-epoch", 1, "--batch-size", 2, "--device", "cpu", "--crop", 32]
    assert call(capsys, "train", "sc-dcnn", data, "-o", first, *tiny, "--threshold", 0.3)[0] == 0
    config = tmp_path / "older.json"
    config.write_text(json.dumps({"method": "sc-dcnn", "settings": {"cut": 0.7, "patch": 48}}))
    words = ("train", "sc-dcnn", data, "-o", second, "--from", first / "best.pt", "--config", config)
    assert call(capsys, *words, *tiny)[0] == 0
    settings = json.loads((second / "settings.json").read_text())["settings"]
    assert (settings["threshold"], settings["crop"]) == (0.7, 32)  # the flag wins over both


def test_methods_and_describe(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "describe", "afm-unet", "--architecture", "unet5", "--json")
    value = json.loads(text)
    assert code == 0
    assert set(value) == {"name", "parameters", "trainable_parameters", "settings"}
    assert (value["parameters"], value["trainable_parameters"]) == (1_947_153, 1_943_985)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["train", "no-such", "DATA", "-o", "RUN"], "no method 'no-such'"),
        (["train", "afm-unet", "missing-folder", "-o", "RUN"], "missing-folder"),
        (["predict", "missing.pt", "x.png", "-o", "OUT"], "missing.pt"),
        (["evaluate", "afm-unet", "missing", "missing"], "missing"),
        (["measure", "afm", "missing.tif", "-o", "t.csv"], "does not exist"),
        (["train", "afm-unet", ".", "-o", "RUN", "--config", "missing.json"], "missing.json"),
        (["train", "afm-unet", ".", "-o", "RUN", "--learning-rate", "-1"], "learning_rate"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, *words)
    assert code == 2
    assert out == ""
    assert part in err
    assert "Traceback" not in err


def test_unknown_flags_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["predict", "m.pt", "x.png", "-o", "o", "--nonsense"])
    assert stop.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize("name", METHODS)
def test_defaults_to_flags_and_back(name: str) -> None:
    """Changed settings -> flags -> parser give equal settings, for every Settings class of a method."""
    cls = get_method(name)
    for settings_class in (cls.Settings, TrainSettings, PredictSettings):
        defaults = settings_class()
        changed = defaults.updated(**_other_values(defaults))
        predicting = settings_class is PredictSettings
        base = ["predict", "M", "I", "-o", "O"] if predicting else ["train", name, "D", "-o", "R"]
        words = base + as_flags(changed)
        arguments = build_parser(words).parse_args(words)
        assert settings_class.parse({**defaults.model_dump(), **given(arguments, settings_class)}) == changed
        assert settings_class.model_validate_json(changed.model_dump_json()) == changed


def _other_values(defaults: object) -> dict[str, object]:
    """Another allowed value for each boolean and number, where halving is allowed."""
    changes: dict[str, object] = {}
    for name, value in defaults.model_dump().items():  # type: ignore[attr-defined]
        if isinstance(value, bool):
            changes[name] = not value
        elif isinstance(value, int | float) and value:
            try:
                defaults.updated(**{name: type(value)(value / 2)})  # type: ignore[attr-defined]
                changes[name] = type(value)(value / 2)
            except Exception:
                continue
    try:
        defaults.updated(**changes)  # type: ignore[attr-defined]
    except Exception:  # some settings exclude each other
        return {}
    return changes


def test_interrupt_and_kill_leave_a_run_that_resumes(cases: Path, tmp_path: Path) -> None:
    """Ctrl+C exits with 130; kill -9 in mid-run loses at most one epoch; --resume finishes both."""
    run = tmp_path / "run"
    long = [*TINY[:2], "--epochs", "4000", *TINY[4:]]
    words = [sys.executable, "-m", "napari_medseg", "train", "afm-unet", str(cases), "-o", str(run), *long]
    for sign in (signal.SIGINT, signal.SIGKILL):
        process = subprocess.Popen([*words, "--resume"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        before = _epochs(run)
        deadline = time.monotonic() + 120
        while _epochs(run) < before + 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, sign)
        _, err = process.communicate(timeout=60)
        assert process.returncode == (130 if sign == signal.SIGINT else -9), err
        assert "Traceback" not in err
        assert _epochs(run) >= before + 2
    done = _epochs(run)
    finish = [*words, "--resume"]
    finish[finish.index("4000")] = str(done + 1)
    assert subprocess.run(finish, capture_output=True, check=False).returncode == 0
    assert _epochs(run) == done + 1


def _epochs(run: Path) -> int:
    try:
        return max(len((run / "history.csv").read_text().splitlines()) - 1, 0)
    except OSError:
        return 0


def test_json_is_alone_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "doctor", "--json")
    value = json.loads(text)
    assert {"versions", "device", "optional", "problems"} == set(value)
    assert code == (1 if value["problems"] else 0)


def test_doctor_names_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_medseg.cli.commands import doctor

    monkeypatch.setattr(
        doctor.metadata, "requires", lambda name: ["numba>=0.61", 'napari>=9; extra == "gui"', "SimpleITK>=1"]
    )
    monkeypatch.setattr(doctor.metadata, "version", lambda name: "0.60.0" if name == "numba" else "3.0")
    monkeypatch.setattr(doctor, "OPTIONAL", {})
    (problem,) = doctor.examine()["problems"]
    assert problem.startswith("numba 0.60.0 is installed, >=0.61 is needed.")
    assert 'pip install "numba>=0.61"' in problem


def test_unwritable_output(cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, err = call(capsys, "train", "afm-unet", cases, "-o", tmp_path / "file" / "run", *TINY)
    assert code == 2
    assert "cannot be written" in err


def test_measuring_without_pixel_size_says_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image as Pillow

    mask = np.zeros((20, 20), np.uint8)
    mask[5:10, 5:10] = 255
    Pillow.fromarray(mask).save(tmp_path / "m.png")
    code, _, _ = call(capsys, "measure", "afm", tmp_path / "m.png", "-o", tmp_path / "t.csv")
    assert code == 0
    assert "(px" in (tmp_path / "t.csv").read_text().splitlines()[0]


def test_a_column_of_a_table_has_one_number_of_digits() -> None:
    from napari_medseg.cli.output import table

    rows = [{"dice": 0.5, "assd": 17.4444, "n": 300.0}, {"dice": 0.25, "assd": 4.4534, "n": float("nan")}]
    assert [line.split() for line in table(rows).splitlines()] == [
        ["dice", "assd", "n"], ["0.5000", "17.44", "300"], ["0.2500", "4.45", "NaN"],
    ]  # fmt: skip
