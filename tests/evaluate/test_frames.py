from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from napari_medseg.cli.main import main
from napari_medseg.errors import CheckpointError, DataError
from napari_medseg.evaluate.frames import FrameScores, evaluate_frames
from napari_medseg.evaluate.metrics.video import classification_scores
from napari_medseg.jobs import run
from napari_medseg.models.checkpoint import bundled
from napari_medseg.samples.video import video_folders

TRUE = ["Nerve", "Nerve", "Nerve", "Opening Wound", "Tendon", "Tendon"]
FOUND = ["Nerve", "Nerve", "General Field", "General Field", "Nerve", "Tendon"]


def table(folder: Path, labels: list[str] = FOUND, **columns: object) -> Path:
    """Write the frames.csv of a run whose probabilities follow its labels."""
    folder.mkdir(parents=True, exist_ok=True)
    p = {"nerve": "Nerve", "general": "General Field", "tendon": "Tendon"}
    values = {f"p_{short}": [0.8 if name == label else 0.1 for label in labels] for short, name in p.items()}
    frame = pd.DataFrame({"frame": range(len(labels)), "label": labels, **values, **columns})
    frame.to_csv(folder / "frames.csv", index=False)
    return folder


def classes(folder: Path, labels: list[str] = TRUE, movie: str = "film") -> Path:
    for k, name in enumerate(labels):
        (folder / name).mkdir(parents=True, exist_ok=True)
        iio.imwrite(folder / name / f"{movie}_{k:04d}.png", np.full((8, 8), 40 * k, np.uint8))
    return folder


def value(scores: FrameScores, name: str, metric: str) -> float:
    row = scores.scores[(scores.scores["class"] == name) & (scores.scores["metric"] == metric)]
    return float(row["value"].iloc[0])


def test_a_run_against_class_folders(tmp_path: Path) -> None:
    scores = run(evaluate_frames(table(tmp_path / "out"), classes(tmp_path / "truth")))
    assert (scores.frames, scores.unpaired) == (6, 0)
    assert scores.accuracy == pytest.approx(4 / 6)
    assert value(scores, "nerve", "TPR") == pytest.approx(2 / 3)
    assert value(scores, "nerve", "TNR") == pytest.approx(2 / 3)
    assert value(scores, "general", "PPV") == pytest.approx(1 / 2)
    assert scores.confusion.loc["general", "general"] == 1
    true = np.array([name == "Nerve" for name in TRUE])
    p = np.array([0.8 if name == "Nerve" else 0.1 for name in FOUND])
    expected = classification_scores(true, p).set_index("metric")
    nerve = scores.scores[scores.scores["class"] == "nerve"].set_index("metric")
    assert list(nerve.index) == ["TPR", "TNR", "PPV", "NPV", "ACC", "MCC", "AUC"]
    pd.testing.assert_frame_equal(nerve[["value", "low", "high"]], expected[["value", "low", "high"]])


def test_a_table_of_true_classes_and_frames_of_several_movies(tmp_path: Path) -> None:
    truth = pd.DataFrame({"frame": range(1, 7), "label": TRUE})
    truth.to_csv(tmp_path / "truth.csv", index=False)
    scores = run(evaluate_frames(table(tmp_path / "out") / "frames.csv", tmp_path / "truth.csv"))
    assert (scores.frames, scores.unpaired) == (5, 2)
    for movie in ("a", "b"):
        table(tmp_path / "runs" / movie, TRUE if movie == "a" else FOUND)
        classes(tmp_path / "both", movie=movie)
    scores = run(evaluate_frames(tmp_path / "runs", tmp_path / "both"))
    assert (scores.frames, scores.accuracy) == (12, pytest.approx(10 / 12))


@pytest.mark.parametrize("name", ["None", "NA", "null"])
def test_classes_may_be_called_as_what_is_missing(tmp_path: Path, name: str) -> None:
    true = pd.DataFrame({"frame": range(4), "label": [name, "Nerve", name, "Nerve"]})
    found = true.assign(label=[name, "Nerve", "Nerve", "Nerve"])
    for path, rows in (("truth.csv", true), ("found.csv", found)):
        rows.to_csv(tmp_path / path, index=False)
    scores = run(evaluate_frames(tmp_path / "found.csv", tmp_path / "truth.csv"))
    assert (scores.frames, scores.accuracy) == (4, pytest.approx(3 / 4))
    assert scores.confusion.loc[name.lower()].tolist() == [1, 1]


def test_frames_with_names_of_their_own_are_paired_by_them(tmp_path: Path) -> None:
    names = [f"film_{k:04d}" for k in (3, 4, 5)]
    out = table(tmp_path / "out", ["Opening Wound", "Tendon", "Tendon"], name=names)
    scores = run(evaluate_frames(out, classes(tmp_path / "truth")))
    assert (scores.frames, scores.accuracy, scores.unpaired) == (3, 1.0, 3)


def test_a_model_classifies_the_frames_of_class_folders(tmp_path: Path) -> None:
    folder = video_folders(tmp_path, videos=1, frames=10, size=(64, 64), seed=900) / "classification"
    scores = run(evaluate_frames(Path("demo_frame_classifier"), folder))
    assert scores.frames == 10
    assert scores.accuracy >= 0.9
    assert set(scores.scores["class"]) == {"nerve", "general_field", "tendon"}
    with pytest.raises(CheckpointError, match="made to segment"):
        run(evaluate_frames(bundled("demo_double_unet"), folder))


def test_other_class_names_and_other_files_are_refused(tmp_path: Path) -> None:
    out = table(tmp_path / "out")
    other = classes(tmp_path / "other", ["Nerve", "Nerve", "Bone"])
    with pytest.raises(DataError, match=r"knows the classes nerve, general, tendon; .*bone.*--class"):
        run(evaluate_frames(out, other))
    assert run(evaluate_frames(out, other, "Nerve")).frames == 3
    with pytest.raises(DataError, match="knows the classes"):
        run(evaluate_frames(out, other, "Bone"))
    with pytest.raises(DataError, match="No frame is in both"):
        run(evaluate_frames(table(tmp_path / "late", frame=range(50, 56)), other))
    with pytest.raises(DataError, match="one folder of frames per class"):
        run(evaluate_frames(out, tmp_path / "nothing"))
    with pytest.raises(DataError, match="no result folder"):
        run(evaluate_frames(tmp_path / "nothing", other))
    (tmp_path / "bad.csv").write_text("frame,class\n0,Nerve\n")
    with pytest.raises(DataError, match="needed are label"):
        run(evaluate_frames(out, tmp_path / "bad.csv"))
    with pytest.raises(DataError, match="paired by frame"):
        run(evaluate_frames(table(tmp_path / "twice", frame=0), other))


def test_command_prints_intervals_and_confusions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "frame-classifier", str(table(tmp_path / "out")), str(classes(tmp_path / "truth"))]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "6 frames, 66.7% right" in text
    assert {"AUC", "MCC", "nerve", "tendon"} <= set(text.split())
    assert main([*words, "--class", "Nerve", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["class"] for row in found["scores"]] == ["nerve"] * 7
    assert found["confusion"]["nerve"]["nerve"] == 2
    assert main([*words[:3], str(tmp_path / "none")]) == 2


def test_missed_nerve_frames_count_as_zero_in_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nerve, nothing = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    nerve[2:6, 2:6] = 255
    pairs = {
        "frame_0": (nerve, nerve),
        "frame_1": (nothing, nerve),
        "frame_2": (nothing, nothing),
        "frame_3": (nerve, nothing),
    }
    for side in (0, 1):
        (tmp_path / str(side)).mkdir()
        for name, pair in pairs.items():
            iio.imwrite(tmp_path / str(side) / f"{name}.png", pair[side])
    words = ["evaluate", "double-unet", str(tmp_path / "0"), str(tmp_path / "1")]
    assert main([*words, "--json"]) == 0
    movie = json.loads(capsys.readouterr().out)["movie"]
    assert {name: row["dice"] for name, row in movie.items()} == {
        "all frames": 0.5, "nerve frames": 0.5, "found frames": 1.0, "all frames, empty 0": 0.25,
    }  # fmt: skip
    assert movie["nerve frames"]["frames"] == 2
    assert main(words) == 0
    assert "found frames" in capsys.readouterr().out
