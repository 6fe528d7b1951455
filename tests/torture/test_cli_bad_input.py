"""Every command with wrong input: exit code 2 and one message, or a result that says what was wrong; no traceback."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import write_cases

from napari_medseg.cli.main import main
from napari_medseg.measure import KINDS
from napari_medseg.methods import METHODS

MODELS = Path(__file__).parents[2] / "src/napari_medseg/models"
PNET, RNET = MODELS / "demo_pnet_3d.pt", MODELS / "demo_rnet_3d.pt"
TINY = ("--epochs", "1", "--batch-size", "2", "--steps-per-epoch", "1", "--device", "cpu")
UNET = ("--architecture", "unet2", *TINY)
FULL = bool(os.environ.get("MEDSEG_TORTURE"))
Call = Callable[..., tuple[int, str, str]]


def save(path: Path, array: np.ndarray) -> Path:
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path)
    return path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make good and bad files: grey picture, masks, photograph, text, cut, tiny, black, NaN, volumes, strokes."""
    import SimpleITK as sitk  # noqa: N813

    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    square = np.zeros((32, 32), np.uint8)
    square[8:20, 8:20] = 1
    save(folder / "gray.png", (square * 120 + rng.integers(0, 40, square.shape)).astype(np.uint8))
    save(folder / "photo.png", rng.integers(0, 255, (32, 32, 3)).astype(np.uint8))
    for name, array in {"mask1": square, "mask255": square * 255, "empty": square * 0, "other": square[:20]}.items():
        save(folder / f"{name}.png", array)
    save(folder / "one.png", square[:1, :1] + 7)
    save(folder / "black.png", square * 0)
    (folder / "text.png").write_text("this is no picture")
    (folder / "cut.png").write_bytes((folder / "gray.png").read_bytes()[:90])
    (folder / "nothing.png").touch()
    np.save(folder / "nan.npy", np.full((32, 32), np.nan, np.float32))
    np.save(folder / "halves.npy", square * 0.5)
    np.save(folder / "negative.npy", square.astype(np.int16) * -3)
    cube = np.zeros((8, 16, 16), np.uint8)
    cube[2:6, 4:12, 4:12] = 1
    for name, array in {"volume": cube * 90 + 5, "labels3d": cube, "empty3d": cube * 0}.items():
        sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / f"{name}.nii.gz"))
    strokes = {"none": square * 0, "fore": square * 2, "wild": square * 77, "both": np.where(square > 0, 2, 1)}
    for name, array in strokes.items():
        save(folder / f"strokes_{name}.png", array.astype(np.uint8))
    (folder / "text.pt").write_text("no checkpoint")
    (folder / "text.json").write_text("{")
    (folder / "folder").mkdir()
    write_cases(folder / "cases", n=4, size=32)
    return folder


@pytest.fixture(scope="module")
def model(world: Path) -> Path:
    run = world / "run"
    assert main([str(w) for w in ("train", "afm-unet", world / "cases", "-o", run, "--json", *UNET)]) == 0
    return run / "best.pt"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        try:
            code = main([str(w) for w in words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return code, out, err

    return run


@pytest.fixture
def refuse(call: Call) -> Callable[..., str]:
    def run(*words: object) -> str:
        code, out, err = call(*words)
        lines = [line for line in err.replace("\r", "\n").splitlines() if line.startswith("medseg: ")]
        assert code == 2, f"exit {code}: {out}{err}"
        assert len(lines) == 1, err
        return lines[0]

    return run


BAD_IMAGES = ("text.png", "cut.png", "nothing.png", "missing.png", "folder", "text.json")
BAD_LABELS = ("photo.png", "halves.npy", "negative.npy", "nan.npy", "text.png")


@pytest.mark.parametrize("words", [
    ["train"], ["train", "afm-unet"], ["predict"], ["predict", "a.pt", "b.png"], ["refine"], ["evaluate", "afm-unet"],
    ["measure", "weight", "a.png", "-o", "t.csv"], ["measure", "afm"], ["prepare"], ["video"], ["export"], ["nonsense"],
    ["describe"], ["methods", "--nonsense"], ["doctor", "--nonsense"], ["demo", "--nonsense"],
    ["train", "afm-unet", ".", "-o", "r", "--epochs", "many"], ["export", "a.pt", "-o", "b", "--format", "gif"],
])  # fmt: skip
def test_wrong_words_exit_2_with_the_usage(call: Call, words: list[str]) -> None:
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert "usage: medseg" in err


@pytest.mark.parametrize("words", [
    ["describe", "no-such"], ["train", "no-such", ".", "-o", "r"], ["evaluate", "no-such", ".", "."],
    ["prepare", "no-such", ".", "d"], ["train", "afm-unet", ".", "-o", "r", "--epochs", "-3"],
    ["train", "afm-unet", ".", "-o", "r", "--config", "nowhere.json"], ["predict", "a.pt", "b.png", "-o", "o"],
    ["export", "a.pt", "-o", "x.onnx", "--format", "onnx"], ["export", "a.pt", "-o", "x.onnx"],
    ["video", "m.avi", "-o", "o", "--segmenter", "s.pt"], ["refine", "a.png", "-o", "m.png"],
    ["refine", "a.png", "s.png", "-o", "m.png"], ["refine", "a.png", "-o", "m.png", "--replay", "nowhere"],
])  # fmt: skip
def test_wrong_values_are_one_message(
    refuse: Callable[..., str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(refuse(*words)) > 20
    assert not list(tmp_path.glob("[mrx]*"))


# ---- measure, export, evaluate
@pytest.mark.parametrize("name", [*BAD_IMAGES, *BAD_LABELS])
def test_labels_that_are_none(refuse: Callable[..., str], world: Path, tmp_path: Path, name: str) -> None:
    assert Path(name).name in refuse("measure", "afm", world / name, "-o", tmp_path / "t.csv").replace("'", "") or name
    refuse("export", world / name, "-o", tmp_path / "x.tif")
    refuse("evaluate", "afm-unet", world / name, world / "mask1.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["empty.png", "one.png", "empty3d.nii.gz", "labels3d.nii.gz", "mask255.png"])
def test_measuring_little_or_nothing(call: Call, world: Path, tmp_path: Path, kind: str, name: str) -> None:
    code, _, err = call("measure", kind, world / name, "-o", tmp_path / "t.csv", "--json")
    assert code in (0, 2)
    assert (tmp_path / "t.csv").is_file() == (code == 0)
    assert code == 0 or err.startswith("medseg: ")
    if name == "empty.png" and kind != "volume":
        assert code == 0, err


def test_measure_with_wrong_partners(refuse: Callable[..., str], world: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    assert "20 x 32" in refuse("measure", "afm", world / "mask1.png", world / "other.png", "-o", table)
    refuse("measure", "afm", world / "mask1.png", world / "text.png", "-o", table)
    for size in ("0", "-1", "nan", "inf"):
        assert "--pixel-size" in refuse("measure", "afm", world / "mask1.png", "-o", table, "--pixel-size", size)


def test_0_1_and_0_255_measure_alike(call: Call, world: Path, tmp_path: Path) -> None:
    for name in ("mask1", "mask255"):
        assert call("measure", "afm", world / f"{name}.png", "-o", tmp_path / f"{name}.csv")[0] == 0
    assert (tmp_path / "mask1.csv").read_text() == (tmp_path / "mask255.csv").read_text()


@pytest.mark.parametrize("method", METHODS)
def test_evaluate_unlike_pairs(call: Call, refuse: Callable[..., str], world: Path, method: str) -> None:
    refuse("evaluate", method, world / "mask1.png", world / "other.png")
    refuse("evaluate", method, world / "mask1.png", world / "labels3d.nii.gz")
    code, _, err = call("evaluate", method, world / "empty.png", world / "empty.png", "--json")
    assert code == 0 or err.startswith("medseg: ")


def test_evaluate_unpaired_folders(call: Call, refuse: Callable[..., str], world: Path, tmp_path: Path) -> None:
    for side, names in {"a": ("x", "y"), "b": ("x", "z"), "c": ("q",)}.items():
        for name in names:
            (tmp_path / side).mkdir(exist_ok=True)
            shutil.copy(world / "mask1.png", tmp_path / side / f"{name}.png")
    refuse("evaluate", "afm-unet", tmp_path / "a", tmp_path / "c")
    code, _, err = call("evaluate", "afm-unet", tmp_path / "a", tmp_path / "b")
    assert code == 0
    assert "without partner: y.png, z.png" in err


# ---- predict
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_predict_what_is_no_image(
    refuse: Callable[..., str], world: Path, model: Path, tmp_path: Path, name: str
) -> None:
    assert len(refuse("predict", model, world / name, "-o", tmp_path / "out", "--device", "cpu")) > 20


@pytest.mark.parametrize("name", ["one.png", "black.png", "nan.npy", "photo.png", "volume.nii.gz"])
@pytest.mark.parametrize("other", [False, True], ids=["afm", "p-net"])
def test_predict_odd_images(call: Call, world: Path, model: Path, tmp_path: Path, name: str, other: bool) -> None:
    """Each is segmented, or refused in one message."""
    code, _, err = call("predict", PNET if other else model, world / name, "-o", tmp_path / "out", "--device", "cpu")
    assert code in (0, 2)
    assert (code == 2 and "medseg: None of 1 files" in err) or list((tmp_path / "out").glob("*_labels.*"))


@pytest.mark.parametrize("name", ["text.pt", "gray.png", "nothing.png"])
def test_models_that_are_none(refuse: Callable[..., str], world: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    refuse("predict", world / name, world / "gray.png", "-o", out)
    refuse("video", world / "cases" / "images", "-o", out, "--segmenter", world / name)
    refuse("refine", world / "gray.png", world / "strokes_both.png", "-o", out, "--model", world / name)
    assert not out.exists()


@pytest.mark.parametrize("stem", ["with space", "ünïcödé 角膜", "x" * 200], ids=["space", "unicode", "long"])
def test_file_names(call: Call, world: Path, model: Path, tmp_path: Path, stem: str) -> None:
    source = tmp_path / f"{stem}.png"
    shutil.copy(world / "gray.png", source)
    code, _, err = call("predict", model, source, "-o", tmp_path / "out", "--device", "cpu")
    assert code == 0, err
    assert (tmp_path / "out" / f"{stem}_labels.tif").is_file()
    assert call("measure", "afm", tmp_path / "out" / f"{stem}_labels.tif", "-o", tmp_path / f"{stem}.csv")[0] == 0


# ---- refine
@pytest.mark.parametrize("name", ["text.png", "photo.png", "missing.png", "strokes_none.png", "other.png",
                                  "strokes_wild.png", "labels3d.nii.gz", "halves.npy"])  # fmt: skip
def test_strokes_that_do_not_fit(refuse: Callable[..., str], world: Path, tmp_path: Path, name: str) -> None:
    refuse("refine", world / "gray.png", world / name, "-o", tmp_path / "mask.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("image", ["one.png", "black.png", "nan.npy", "gray.png"])
def test_strokes_of_one_class_on_odd_images(call: Call, world: Path, tmp_path: Path, image: str) -> None:
    strokes = save(tmp_path / "s.png", np.full((1, 1) if image == "one.png" else (32, 32), 2, np.uint8))
    code, _, err = call("refine", world / image, strokes, "-o", tmp_path / "mask.tif")
    assert code == 0, err
    assert (tmp_path / "mask.tif").is_file()
    code, _, err = call("refine", world / "gray.png", world / "strokes_fore.png", "-o", tmp_path / "fore.tif")
    assert code == 0, err


def test_refine_with_wrong_starts_and_models(refuse: Callable[..., str], world: Path, tmp_path: Path) -> None:
    words = ("refine", world / "gray.png", world / "strokes_both.png", "-o", tmp_path / "mask.png")
    for name in ("photo.png", "other.png", "labels3d.nii.gz", "text.png"):
        refuse(*words, "--initial", world / name)
    refuse(*words, "--model", PNET)
    refuse(*words, "--proposal", RNET)
    refuse(*words, "--model", RNET)
    assert not list(tmp_path.iterdir())


# ---- train
@pytest.mark.parametrize("method", METHODS)
def test_train_on_nothing(refuse: Callable[..., str], world: Path, tmp_path: Path, method: str) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "labels").mkdir()
    for data in (world / "folder", tmp_path / "data", world / "gray.png", world / "missing"):
        refuse("train", method, data, "-o", tmp_path / "run", *TINY)
    shutil.copy(world / "gray.png", tmp_path / "data" / "images" / "a.png")
    shutil.copy(world / "mask1.png", tmp_path / "data" / "labels" / "b.png")
    refuse("train", method, tmp_path / "data", "-o", tmp_path / "run", *TINY)
    assert not (tmp_path / "run" / "best.pt").exists()


@pytest.mark.parametrize("label", ["photo.png", "other.png", "text.png", "halves.npy"])
def test_train_on_labels_that_do_not_fit(refuse: Callable[..., str], world: Path, tmp_path: Path, label: str) -> None:
    suffix = Path(label).suffix
    for name in "abc":
        for folder, source in (("images", "gray.png"), ("labels", label)):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(world / source, tmp_path / folder / f"{name}{'.png' if folder == 'images' else suffix}")
    refuse("train", "afm-unet", tmp_path, "-o", tmp_path / "run", *UNET)


@pytest.mark.filterwarnings("ignore:ImageNet weights")
@pytest.mark.parametrize("method", ["afm-unet", *(["sc-dcnn", "double-unet", "fullnet", "p-net"] if FULL else [])])
def test_train_on_empty_labels(call: Call, world: Path, tmp_path: Path, method: str) -> None:
    """Trains (a network may learn that there is nothing) or says that there is nothing; never a traceback."""
    for name in "abc":
        for folder, source in (("images", "gray.png"), ("labels", "empty.png")):
            (tmp_path / folder).mkdir(exist_ok=True)
            shutil.copy(world / source, tmp_path / folder / f"{name}.png")
    code, _, err = call("train", method, tmp_path, "-o", tmp_path / "run", *(UNET if method == "afm-unet" else TINY))
    assert (code == 0) == (tmp_path / "run" / "best.pt").is_file()
    assert code == 0 or (code == 2 and "medseg: " in err)


# ---- where results go
@pytest.mark.parametrize("command", ["train", "predict", "measure", "export", "refine", "prepare", "onnx"])
def test_a_file_in_the_way(refuse: Callable[..., str], world: Path, model: Path, tmp_path: Path, command: str) -> None:
    """A read-only folder, for whoever runs this (root may write anywhere)."""
    (tmp_path / "file").write_text("in the way")
    refuse(*_writing(command, world, model, tmp_path / "file" / "below"))
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("command", ["train", "predict", "measure", "export", "refine"])
def test_disk_full(
    refuse: Callable[..., str], world: Path, model: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    words = _writing(command, world, model, tmp_path / "below")
    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(Path, "replace", full)
    assert "No space left on device" in refuse(*words)


def _writing(command: str, world: Path, model: Path, below: Path) -> tuple[object, ...]:
    return {
        "train": ("train", "afm-unet", world / "cases", "-o", below, *UNET),
        "predict": ("predict", model, world / "gray.png", "-o", below, "--device", "cpu"),
        "measure": ("measure", "afm", world / "mask1.png", "-o", below / "t.csv"),
        "export": ("export", world / "mask1.png", "-o", below / "x.tif"),
        "refine": ("refine", world / "gray.png", world / "strokes_both.png", "-o", below / "mask.tif"),
        "prepare": ("prepare", "afm-unet", world / "cases", below),
        "onnx": ("export", model, "-o", below / "x.onnx", "--format", "onnx"),
    }[command]
