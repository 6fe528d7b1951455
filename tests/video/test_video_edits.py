from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import DataError
from napari_medseg.measure.video import intervals
from napari_medseg.video.edits import discard_edits, inside, read_run, refresh_edits, relabel, save_edits

FRAMES = 10
LABELS = ["Tendon"] * 2 + ["Nerve"] * 4 + ["General Field"] * 2 + ["Nerve"] * 2
STEP = 0.1


def table(n: int = FRAMES) -> pd.DataFrame:
    """Return a run's rows: frames 2 to 5 and 8 to 9 show nerve of 20 pixels, elsewhere tendon is likeliest."""
    nerve = np.array([label == "Nerve" for label in LABELS])
    frame = pd.DataFrame({
        "frame": range(FRAMES), "time_s": np.arange(FRAMES) * STEP, "p_nerve": np.where(nerve, 0.8, 0.1),
        "p_general": np.where(nerve, 0.05, 0.2), "p_tendon": np.where(nerve, 0.15, 0.7), "label": LABELS,
        "mask_area_px": 20 * nerve, "mask_area_frac": 0.2 * nerve, "n_components": 1 * nerve,
        "centroid_y": np.where(nerve, 3.0, np.nan), "centroid_x": np.where(nerve, 4.0, np.nan),
        "nbr": np.where(nerve, 1.5, np.nan), "cnr": np.where(nerve, 2.0, np.nan),
    })  # fmt: skip
    return frame[:n]


def write_run(folder: Path, n: int = FRAMES) -> Path:
    table(n).to_csv(folder / "frames.csv", index=False)
    classifier = {"settings": {"classes": "Nerve,General Field,Tendon"}}
    run = {"settings": {"nerve_class": "Nerve"}, "classifier": classifier}
    (folder / "summary.json").write_text(json.dumps({"run": run, "fps": "10", "finished": n == FRAMES}))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def test_a_frame_counts_where_its_middle_is() -> None:
    times = np.arange(5) * STEP
    assert inside(times, [(0.1, 0.3)], STEP).tolist() == [False, True, True, False, False]
    assert inside(times, [(0.14, 0.36), (0.44, 0.5)], STEP).tolist() == [False, True, True, True, True]
    assert inside(times, [(0.16, 0.24)], STEP).tolist() == [False] * 5
    assert not inside(times, [], STEP).any()


def test_intervals_of_uneven_times() -> None:
    found = intervals([False, True, True, False, True], 0.5, np.array([1.0, 1.2, 1.9, 2.0, 4.0]))
    assert found[["start_s", "stop_s"]].to_numpy().tolist() == [[1.2, 2.0], [4.0, 4.5]]


def test_rows_follow_the_intervals() -> None:
    nerve = np.array([label == "Nerve" for label in LABELS])
    nerve[2:4], nerve[6] = False, True
    edited = relabel(table(), nerve, "Nerve", ["Nerve", "General Field", "Tendon"])
    assert edited["label"].tolist() == ["Tendon"] * 4 + ["Nerve"] * 3 + ["General Field"] + ["Nerve"] * 2
    assert edited["mask_area_px"].tolist() == [0] * 4 + [20] * 2 + [0] * 2 + [20] * 2
    assert edited.loc[2:3, ["centroid_y", "centroid_x", "nbr", "cnr"]].isna().all(axis=None)
    assert np.flatnonzero(edited["edited"]).tolist() == [2, 3, 6]
    unchanged = [0, 1, 4, 5, 7, 8, 9]
    pd.testing.assert_frame_equal(edited.drop(columns="edited").loc[unchanged], table().loc[unchanged])
    plain = table().drop(columns=["p_nerve", "p_general", "p_tendon"])
    assert relabel(plain, nerve, "Nerve")["label"].tolist()[2:4] == ["not nerve"] * 2


def test_saved_edits_give_table_intervals_and_summary(folder: Path) -> None:
    before = (folder / "frames.csv").read_bytes()
    edited = save_edits(folder, [(0.4, 0.72)])["edited"]
    assert (folder / "frames.csv").read_bytes() == before
    assert edited["nerve_frames"] == 3
    assert edited["nerve_frames_without_mask"] == 1
    assert edited["frames_changed"] == 5
    assert edited["nerve_s"] == pytest.approx(0.3)
    assert edited["nerve_intervals"] == [
        {"start": 4, "stop": 6, "frames": 3, "start_s": pytest.approx(0.4), "stop_s": pytest.approx(0.7)}
    ]
    assert edited["mean_area_px"] == 20
    assert edited["classes"] == {"Tendon": 6, "Nerve": 3, "General Field": 1}
    assert json.loads((folder / "summary.json").read_text())["edited"] == edited
    assert pd.read_csv(folder / "intervals.csv")["stop_s"].tolist() == pytest.approx([0.7])
    rows = pd.read_csv(folder / "frames_edited.csv")
    assert np.flatnonzero(rows["label"] == "Nerve").tolist() == [4, 5, 6]
    save_edits(folder, [])
    assert json.loads((folder / "summary.json").read_text())["edited"]["nerve_frames"] == 0


def test_a_class_may_be_called_none(folder: Path) -> None:
    frames = pd.read_csv(folder / "frames.csv").replace({"label": {"Tendon": "None"}})
    frames.to_csv(folder / "frames.csv", index=False)
    assert read_run(folder)[0]["label"].tolist() == [label.replace("Tendon", "None") for label in LABELS]


def test_edits_of_a_stopped_run_stay_when_it_goes_on(tmp_path: Path) -> None:
    write_run(tmp_path, 6)
    save_edits(tmp_path, [(0.0, 0.3)])
    table().to_csv(tmp_path / "frames.csv", index=False)
    edited = refresh_edits(tmp_path)
    assert edited is not None
    assert [(row["start"], row["stop"]) for row in edited["edited"]["nerve_intervals"]] == [(0, 2), (8, 9)]


def test_discarded_edits_leave_the_run_as_it_was(folder: Path) -> None:
    frames, summary = read_run(folder)
    save_edits(folder, [(0.0, 1.0)])
    assert discard_edits(folder) == summary
    assert refresh_edits(folder) is None
    assert sorted(path.name for path in folder.iterdir()) == ["frames.csv", "summary.json"]
    pd.testing.assert_frame_equal(read_run(folder)[0], frames)


@pytest.mark.parametrize("name", ["frames.csv", "frames_edited.csv"])
@pytest.mark.parametrize("column", ["frame", "time_s", "mask_area_px", "centroid_y", "p_nerve"])
def test_tables_with_words_where_numbers_belong_are_refused(folder: Path, name: str, column: str) -> None:
    save_edits(folder, [(0.0, 0.3)])
    rows = pd.read_csv(folder / name).astype({column: object})
    rows.loc[3, column] = "=1"
    rows.to_csv(folder / name, index=False)
    with pytest.raises(DataError, match=rf"cannot be read: {name}: there are words"):
        refresh_edits(folder)


@pytest.mark.parametrize(
    "change",
    [{"fps": "0"}, {"fps": "x"}, {"run": 7}, {"run": {"settings": {}}}, {"run": {"classifier": 7}}, {"fps": 0}],
)
def test_summaries_of_other_kinds_are_refused(folder: Path, change: dict[str, Any]) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    change = {key: {**summary[key], **value} if isinstance(value, dict) else value for key, value in change.items()}
    (folder / "summary.json").write_text(json.dumps({**summary, **change}))
    with pytest.raises(DataError, match=r"cannot be read: summary\.json"):
        save_edits(folder, [(0.0, 0.3)])


def test_folders_without_a_run_are_refused(folder: Path) -> None:
    (folder / "frames.csv").unlink()
    with pytest.raises(DataError, match="holds no result"):
        save_edits(folder, [(0.0, 1.0)])
    with pytest.raises(DataError, match="holds no result"):
        discard_edits(folder)


@pytest.mark.parametrize(
    ("text", "why"),
    [("frame,nbr\n2,=1\n", "could not convert"), ("frame,nbr\n2,1\n2,2\n", "is there twice"), ("", "No columns"),
     ("frame,nbr\n,1\n", "has no number"), ("7", "frame")],
)  # fmt: skip
def test_damaged_measures_of_outlines_are_refused(folder: Path, text: str, why: str) -> None:
    before = save_edits(folder, [(0.0, 0.3)])
    (folder / "masks_edited.csv").write_text(text)
    with pytest.raises(DataError, match=rf"masks_edited\.csv cannot be read: .*{why}.*Delete that file"):
        save_edits(folder, [(0.0, 0.4)])
    assert read_run(folder)[1] == before


def test_measures_of_corrected_outlines_come_into_the_table(folder: Path) -> None:
    (folder / "masks_edited.csv").write_text("frame,mask_area_px,nbr\n4,31,1.25\n0,99,9\n")
    save_edits(folder, [(0.3, 0.6)])
    rows = pd.read_csv(folder / "frames_edited.csv").set_index("frame")
    assert rows.loc[[3, 4, 5], "mask_area_px"].tolist() == [20, 31, 20]
    assert rows.loc[4, "nbr"] == 1.25
    assert rows.loc[0, "mask_area_px"] == 0  # shows no nerve
