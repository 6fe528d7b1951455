"""Figures and tables of an evaluation, and what each round of a recorded refinement was worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Pillow

from napari_medseg.cli.main import main
from napari_medseg.errors import DataError, WriteError
from napari_medseg.evaluate.masks import compare_pair
from napari_medseg.evaluate.rounds import is_session, replay_scores
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.jobs import Progress, run
from napari_medseg.refinement import RefinementSession

pytest.importorskip("matplotlib", reason="the extra figure is not installed")
from napari_medseg.evaluate.figures import COLOURS, error_figure, metric_figure, rounds_figure, save_figure


def by_hand(p: np.ndarray, t: np.ndarray) -> float:
    return 2 * np.sum((p > 0) & (t > 0)) / (np.sum(p > 0) + np.sum(t > 0))


def scan() -> tuple[Image, Image]:
    """Two bright squares in noise, and their labels."""
    truth = np.zeros((64, 64), np.uint8)
    truth[10:26, 10:26], truth[40:56, 36:56] = 1, 2
    data = (np.random.default_rng(0).normal(60, 6, truth.shape) + 100 * (truth > 0)).astype(np.float32)
    image = Image(data, "YX", (0.5, 0.5), ("micrometer",) * 2, name="squares")
    return image, image.labels_like(truth)


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Path, Path, list[tuple[str, int, int, float]]]:
    """A saved session with its image, its reference, and per step event, round, strokes and Dice by hand."""
    image, truth = scan()
    write(tmp_path / "squares.tif", image)
    write(tmp_path / "truth.tif", truth)
    source = image.replace(metadata={"source_file": str(tmp_path / "squares.tif")})
    session, t = RefinementSession(source), np.asarray(truth.data)
    rows = [("start", 0, 0, 0.0)]
    marks = np.zeros(t.shape, np.uint8)

    def note(event: str, strokes: int) -> None:
        held = (session.mask > 0) | (session.result > 0)
        rows.append((event, session.state.index, strokes, by_hand(held, t)))

    marks[16:19, 12:24], marks[2:4, 2:60] = 2, 1
    run(session.refine(marks))
    note("refine", 2)
    session.accept_object()
    note("accept", 2)
    marks = np.zeros_like(marks)
    marks[47:50, 38:54] = 2
    run(session.refine(marks))
    note("refine", 3)
    session.undo()
    note("go to", 3)
    session.redo()
    note("go to", 3)
    session.save(tmp_path / "session")
    return tmp_path / "session", tmp_path / "squares.tif", tmp_path / "truth.tif", rows


def test_replay_gives_the_dice_of_every_step(
    recorded: tuple[Path, Path, Path, list[tuple[str, int, int, float]]],
) -> None:
    session, _, _, expected = recorded
    said: list[Progress] = []
    frame = run(replay_scores(session, scan()[1]), said.append)
    assert frame[["event", "round", "strokes"]].to_records(index=False).tolist() == [row[:3] for row in expected]
    assert frame["dice"].tolist() == pytest.approx([row[3] for row in expected])
    assert frame["dice"].max() > 0.9
    assert [p.metrics["dice"] for p in said] == frame["dice"].tolist()
    assert (frame.loc[frame["event"] == "refine", "seconds"] > 0).all()
    assert is_session(session)
    assert is_session(session / "log.jsonl")
    assert not is_session(session.parent / "truth.tif")


def test_replay_says_what_is_missing(recorded: tuple[Path, Path, Path, object], tmp_path: Path) -> None:
    session, _, _, _ = recorded
    image, truth = scan()
    (tmp_path / "alone.jsonl").write_bytes((session / "log.jsonl").read_bytes())
    with pytest.raises(DataError, match="which image"):
        run(replay_scores(tmp_path / "alone.jsonl", truth))
    with pytest.raises(DataError, match="no place says where"):
        run(replay_scores(session, truth.replace(data=truth.data[:4])))
    with pytest.raises(DataError, match="was made on"):
        run(replay_scores(session, truth, image.replace(data=np.asarray(image.data) + 1)))


def test_command_replays_and_draws(
    recorded: tuple[Path, Path, Path, list[tuple[str, int, int, float]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    session, image, truth, expected = recorded
    words = ["evaluate", "r-net", str(session), str(truth), "--json", "-o", str(tmp_path / "r.csv")]
    assert main([*words, "--figure", str(tmp_path / "r.svg")]) == 0
    found = json.loads(capsys.readouterr().out)["rounds"]
    assert [row["dice"] for row in found] == pytest.approx([row[3] for row in expected])
    assert pd.read_csv(tmp_path / "r.csv")["dice"].tolist() == pytest.approx([row[3] for row in expected])
    assert "<svg" in (tmp_path / "r.svg").read_text("utf-8")
    assert main(["evaluate", "r-net", str(session / "log.jsonl"), str(truth), "--image", str(image)]) == 0
    assert "strokes" in capsys.readouterr().out


def has(path: Path, colour: str) -> bool:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    pixels = np.asarray(Pillow.open(path).convert("RGB")).reshape(-1, 3).astype(int)
    return bool((np.abs(pixels - rgb).max(1) <= 1).sum() > 50)


@pytest.mark.parametrize("volume", [False, True])
def test_error_figure_shows_the_three_kinds_in_their_colours(volume: bool, tmp_path: Path) -> None:
    """The errors lie in plane 2 only: it must be the one that is drawn."""
    plane = np.zeros((30, 40), np.uint8)
    truth, result = plane.copy(), plane.copy()
    truth[5:15, 5:15], truth[20:28, 20:28] = 1, 2
    result[5:15, 10:20] = 1
    data = [np.stack([plane, plane, a, plane]) if volume else a for a in (result, truth)]
    p, t = (Image(a, "ZYX"[-a.ndim :], (2.0, 0.5, 0.5)[-a.ndim :], kind="labels") for a in data)
    path = save_figure(
        tmp_path / "e.png", error_figure(run(compare_pair("p-net" if volume else "fullnet", p, t)), p, t)
    )
    assert all(has(path, colour) for colour in COLOURS.values())


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"image": ["a", "b", "MEAN"], "dice": [0.5, np.nan, 0.5]})
    for name in ("m.png", "m.svg", "m.pdf"):
        assert save_figure(tmp_path / name, metric_figure(frame)).stat().st_size > 1000
    with pytest.raises(WriteError, match=r"\.png, \.svg"):
        save_figure(tmp_path / "m.gif", metric_figure(frame))
    with pytest.raises(DataError, match="nothing to draw"):
        metric_figure(frame[2:])
    assert len(list(tmp_path.iterdir())) == 3


def test_rounds_figure_says_first_and_last() -> None:
    row = {"step": 0, "event": "start", "round": 0, "strokes": 0, "dice": 0.25, "foreground": 1, "seconds": 0.0}
    figure = rounds_figure(pd.DataFrame([row, {**row, "step": 1, "event": "refine", "dice": 0.75, "strokes": 2}]))
    axis = figure.axes[0]
    assert axis.lines[0].get_ydata().tolist() == [0.25, 0.75]
    assert axis.get_title() == "Dice 0.250 to 0.750 with 2 strokes"


def test_command_of_two_files_writes_objects_and_figure(tmp_path: Path) -> None:
    _, truth = scan()
    write(tmp_path / "a_label.tif", truth)
    write(tmp_path / "a_labels.tif", truth.replace(data=np.asarray(truth.data) * (np.asarray(truth.data) == 1)))
    words = ["evaluate", "fullnet", str(tmp_path / "a_labels.tif"), str(tmp_path / "a_label.tif"), "--json"]
    assert main([*words, "-o", str(tmp_path / "t.xlsx"), "--figure", str(tmp_path / "f.png")]) == 0
    assert pd.read_excel(tmp_path / "t.xlsx", sheet_name="objects")["verdict"].tolist() == ["found", "missed"]
    assert has(tmp_path / "f.png", COLOURS["false negative"])
    assert main([*words, "--figure", str(tmp_path / "f.gif")]) == 2
