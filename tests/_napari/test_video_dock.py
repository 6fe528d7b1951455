"""The Nerve movie dock and its timeline in a real window."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shorthand import Open, Wait

from napari_medseg._napari.video.result import video_job
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.video import VideoSettings

pytest.importorskip("av")
pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]
FRAMES = 20


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Model]:
    """Untrained networks of the smallest input, by the file that names them; their cards lie beside."""
    folder = tmp_path_factory.mktemp("models")
    settings = {
        "frame-classifier": {"backbone": "densenet121", "input_size": 32, "encoder_weights": "none"},
        "double-unet": {"input_size": 32, "encoder_weights": "none"},
    }
    found = {}
    for name, changes in settings.items():
        method, path = create(name, changes), folder / f"{name}.pt"
        network = method.build_network().eval()
        path.touch()
        card = {"method": name, "settings": method.settings.model_dump(mode="json")}
        path.with_suffix(".json").write_text(json.dumps(card))
        found[path] = Model(method, network, {"sha256": name})
    return found


@pytest.fixture
def models(loaded: dict[Path, Model], monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Files of the networks; opening one gives the network at hand (reading it is tested elsewhere)."""
    monkeypatch.setattr("napari_medseg._napari.video.result.load_model", loaded.__getitem__)
    return {model.method.name: path for path, model in loaded.items()}


@pytest.fixture
def movie(tmp_path: Path) -> Path:
    return write_movie(tmp_path / "film.mkv", nerve_video(0, FRAMES, (32, 40))[0])


def test_run_pause_stop_resume_and_seek(
    open_dock: Open, wait: Wait, models: dict[str, Path], movie: Path, tmp_path: Path
) -> None:
    viewer, dock = open_dock("Nerve movie")
    assert "Open a movie first" in dock.run_bar.message.text()
    dock.open_movie(str(movie))
    assert dock.movie.line.text() == f"{FRAMES} frames of 40x32 pixels, 20 frames/s, {FRAMES / 20:.1f} s"
    dock.classifier.browse(str(models["frame-classifier"]))
    dock.segmenter.browse(str(models["double-unet"]))
    assert Path(dock.folder.value) == tmp_path / "film_nerve"  # proposed
    dock.folder.value = tmp_path / "out"
    quick = {"device": "cpu", "batch": 1, "threads": 1, "movie": "none", "nerve_probability": 0.01, "threshold": 0.1}
    dock.form.value = dock.form.value.updated(**quick)
    command = dock.command()
    assert command.startswith(f"medseg video {movie} -o {tmp_path / 'out'} --classifier {models['frame-classifier']}")
    assert "--movie=none" in command

    dock.run_bar.run_button.click()
    wait(lambda: len(dock.timeline.rows) >= 2 and "running" in viewer.layers)
    assert viewer.layers["running"].data.shape == (32, 40, 3)
    shown = viewer.dims.current_step[0]
    assert dock.timeline.cursors[0].value() == pytest.approx(shown / 20)
    dock.run_bar.pause_button.click()
    wait(lambda: dock.run_bar.pause_button.text() == "Resume")
    paused = len(dock.timeline.rows)
    assert paused < FRAMES
    dock.run_bar.pause_button.click()
    wait(lambda: len(dock.timeline.rows) > paused)
    dock.run_bar.stop_button.click()
    wait(lambda: dock.run_bar.current is None and dock.loader is None)
    stopped = len(pd.read_csv(tmp_path / "out" / "frames.csv"))
    assert paused < stopped < FRAMES
    assert "Not finished" in dock.run_bar.message.text()
    assert "running" not in viewer.layers
    assert viewer.layers["film · nerve"].data.shape == (stopped, 32, 40)
    assert viewer.dims.current_step[0] == 0, "where nerve begins"

    dock.follow.setChecked(False)
    viewer.dims.set_current_step(0, 1)
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None and dock.loader is None)
    assert viewer.dims.current_step[0] == 1
    assert f"Nerve in {FRAMES} of {FRAMES} frames, 1 interval" in dock.run_bar.message.text()
    labels = viewer.layers["film · nerve"]
    assert labels.data.shape == (FRAMES, 32, 40)
    assert not isinstance(labels.data, np.ndarray)
    np.testing.assert_allclose(labels.scale, viewer.layers["film"].scale)
    assert labels.metadata["medseg"]["method"] == "double-unet"
    assert len(viewer.layers) == 2
    rows = pd.read_csv(tmp_path / "out" / "frames.csv")
    assert [row["probability"] for row in dock.timeline.rows] == pytest.approx(rows["p_nerve"].tolist())
    found = dock.timeline.intervals.value
    assert found[["start_s", "stop_s"]].to_numpy().tolist() == [pytest.approx([0, FRAMES / 20])]

    check_seeking(viewer, dock.timeline)


@pytest.mark.usefixtures("no_models")
def test_the_sample_can_be_run_as_it_opens(open_dock: Open, wait: Wait, movie: Path) -> None:
    viewer, dock = open_dock("Nerve movie")
    viewer.open_sample("napari-medseg", "video")
    assert dock.classifier.entry.path.stem == "demo_frame_classifier"
    assert dock.segmenter.entry.path.stem == "demo_double_unet"
    assert Path(dock.folder.value) == Path.home() / "nerve_video_0_nerve"
    assert not dock.run_bar.reason
    dock.classifier.box.setCurrentIndex(0)
    assert "every frame is taken to show nerve" in dock.classifier.card.text()
    dock.classifier.refresh()
    assert dock.classifier.entry is None, "what was declined is proposed again"
    dock.classifier.box.setCurrentIndex(1)
    assert dock.classifier.entry is not None


@pytest.mark.usefixtures("no_models")
def test_a_real_movie_is_given_no_demo(open_dock: Open, movie: Path) -> None:
    _, dock = open_dock("Nerve movie")
    dock.open_movie(str(movie))
    assert dock.classifier.entry is None
    assert "train one: dock Train" in dock.classifier.card.text()
    assert "No model here was made for" in dock.run_bar.reason


def check_seeking(viewer: Any, timeline: Any) -> None:
    """A time leads to its frame, and a frame to its time."""
    timeline.seek(0.36)
    assert viewer.dims.current_step[0] == 7
    assert timeline.cursors[0].value() == pytest.approx(0.35)
    viewer.dims.set_current_step(0, 2)
    assert timeline.cursors[2].value() == pytest.approx(0.1)


def test_a_click_on_the_curve_seeks_and_intervals_are_edited(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Nerve movie")
    timeline = dock.timeline
    timeline.open("")
    frames = pd.DataFrame({"frame": range(0, 40, 2), "time_s": np.arange(20) / 10, "p_nerve": 0.5, "nbr": np.nan})
    timeline.show_table(frames, "p_nerve")
    timeline.intervals.set([(1.0, 1.5), (0.2, 0.4)])
    assert timeline.intervals.text.text() == "2 nerve intervals, 0.7 s"
    sought: list[int] = []
    timeline.sought.connect(sought.append)
    wait(lambda: timeline.plots[0].getViewBox().viewRange()[0][1] > 1.5)
    box = timeline.plots[0].getViewBox()
    timeline.click(timeline.plots[0], box.mapViewToScene(box.viewRect().center().__class__(1.02, 0.5)))
    assert sought == [20]
    timeline.set_frame(21)
    assert timeline.cursors[0].value() == pytest.approx(1.0)
    timeline.intervals.remove()
    assert timeline.intervals.value["start_s"].tolist() == [0.2]
    timeline.intervals.regions[0].setRegion((0.1, 0.5))
    timeline.intervals.add()
    timeline.intervals.save(str(tmp_path / "intervals.csv"))
    saved = pd.read_csv(tmp_path / "intervals.csv")
    assert saved["start_s"].tolist() == pytest.approx([0.1, 1.0])
    assert saved["duration_s"].tolist()[0] == pytest.approx(0.4)
    viewer.window.remove_dock_widget(timeline)
    timeline.open("")
    assert timeline.parent() is not None


def test_edited_intervals_change_the_result_and_come_back(
    open_dock: Open, wait: Wait, models: dict[str, Path], movie: Path, tmp_path: Path
) -> None:
    settings = VideoSettings(device="cpu", batch=4, threads=1, movie="none", threshold=0.1)
    run(video_job(movie, None, models["double-unet"], tmp_path / "out", settings))
    viewer, dock = open_dock("Nerve movie")
    dock.open_movie(str(movie))
    dock.open_result(str(tmp_path / "out"))
    wait(lambda: dock.loader is None and dock.run_bar.current is None)
    edits = dock.timeline.intervals
    assert not any(edits.buttons[name].isEnabled() for name in ("Apply to result", "Undo all edits"))
    assert viewer.layers["film · nerve"].data[2].any()

    edits.regions[0].setRegion((0.5, 1.0))
    assert edits.buttons["Apply to result"].isEnabled()
    edits.buttons["Apply to result"].click()
    wait(lambda: dock.loader is None and dock.run_bar.current is None)
    assert f"Nerve in 10 of {FRAMES} frames, 1 interval, 10 frames changed by hand;" in dock.run_bar.message.text()
    rows = pd.read_csv(tmp_path / "out" / "frames_edited.csv")
    assert np.flatnonzero(rows["label"] == "Nerve").tolist() == list(range(10, FRAMES))
    assert [row["mask_area_px"] for row in dock.timeline.rows[:10]] == [0] * 10
    assert not viewer.layers["film · nerve"].data[:10].any()
    assert viewer.layers["film · nerve"].data[12].any()
    dock.open_result(str(tmp_path / "out"))
    wait(lambda: dock.loader is None and dock.run_bar.current is None)
    assert edits.value[["start_s", "stop_s"]].to_numpy().tolist() == [pytest.approx([0.5, 1.0])]
    assert not edits.buttons["Apply to result"].isEnabled()

    edits.buttons["Undo all edits"].click()
    wait(lambda: dock.loader is None and dock.run_bar.current is None)
    assert edits.value["start_s"].tolist() == [0]
    assert viewer.layers["film · nerve"].data[2].any()
    assert not (tmp_path / "out" / "frames_edited.csv").exists()
    dock.timeline.clear()
    edits.add()
    assert not edits.buttons["Apply to result"].isEnabled()  # there is no result to apply it to


def test_outlines_are_corrected_frame_by_frame_and_rendered(
    open_dock: Open, wait: Wait, models: dict[str, Path], movie: Path, tmp_path: Path
) -> None:
    settings = VideoSettings(device="cpu", batch=4, threads=1, threshold=0.1)
    run(video_job(movie, None, models["double-unet"], tmp_path / "out", settings))
    viewer, dock = open_dock("Nerve movie")
    assert not dock.outlines.button.isEnabled()
    dock.open_movie(str(movie))
    dock.open_result(str(tmp_path / "out"))
    wait(lambda: dock.loader is None)
    viewer.dims.set_current_step(0, 4)
    dock.outlines.button.click()
    outline = viewer.layers["outline"]
    assert not viewer.layers["film · nerve"].visible
    np.testing.assert_array_equal(outline.data, viewer.layers["film · nerve"].data[4])
    outline.data = np.zeros((32, 40), np.uint8)
    outline.data[2:6, 3:8] = 1
    viewer.dims.set_current_step(0, 5)  # going on keeps it
    np.testing.assert_array_equal(viewer.layers["outline"].data, viewer.layers["film · nerve"].data[5])
    apply = dock.timeline.intervals.buttons["Apply to result"]
    assert apply.isEnabled()
    apply.click()
    wait(lambda: dock.run_bar.current is None)
    assert "1 frames changed by hand" in dock.run_bar.message.text()
    assert "outline" not in viewer.layers
    assert viewer.layers["film · nerve"].visible
    assert int(np.asarray(viewer.layers["film · nerve"].data[4]).sum()) == 20
    assert dock.timeline.rows[4]["mask_area_px"] == 20
    assert pd.read_csv(tmp_path / "out" / "frames_edited.csv")["mask_area_px"][4] == 20
    assert (tmp_path / "out" / "overlay_edited.mkv").is_file()
    dock.timeline.intervals.buttons["Undo all edits"].click()
    wait(lambda: dock.run_bar.current is None)
    assert not (tmp_path / "out" / "masks_edited").exists()


def test_a_folder_without_result_is_one_sentence(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    viewer, dock = open_dock("Nerve movie")
    viewer.open_sample("napari-medseg", "video")
    assert dock.movie.layer is not None
    dock.open_result(str(tmp_path))
    wait(lambda: dock.loader is None and dock.run_bar.current is None)
    assert "holds no result" in dock.run_bar.message.text()
