"""The Batch dock in a real window: predict a folder, page through it, correct, accept and exclude."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
from qtpy.QtCore import Qt
from shorthand import Open, Wait

from napari_medseg.batch import BatchSettings, ReviewSheet, predict_files
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.jobs import run
from napari_medseg.models.catalog import load_model
from napari_medseg.samples.afm import afm_scan
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.settings import PredictSettings

pytestmark = [pytest.mark.viewer, pytest.mark.usefixtures("no_models")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(3):
        write(tmp_path / "images" / f"scan_{i}.tif", afm_scan(i, 64)[0])
    (tmp_path / "images" / "scan_9.tif").write_bytes(b"II*\0 cut short")
    (tmp_path / "images" / "other.png").write_bytes(b"not asked for")
    return tmp_path / "images"


def press(viewer: Any, key: str) -> None:
    bound = next(call for name, call in viewer.keymap.items() if str(name) == key)
    bound(viewer)


def test_predict_then_review(open_dock: Open, wait: Wait, afm_model: Path, folder: Path, tmp_path: Path) -> None:
    viewer, dock = open_dock("Batch")
    assert "folder of images" in dock.run_bar.reason
    dock.folder.value = folder
    assert dock.out.value == Path(f"{folder}_results")
    wait(lambda: dock.looking is None)
    assert dock.found.text().startswith("5 images; scan_0.tif")
    assert "64x64" in dock.found.text().replace(" ", "")
    dock.out.value = tmp_path / "out"
    dock.models.browse(str(afm_model))
    assert not dock.run_bar.reason
    assert not dock.review_button.isEnabled()
    dock.pattern.setText("scan_*.tif")
    assert "--pattern=scan_*.tif" in dock.command().replace("'", "")
    dock.overlays.setChecked(True)
    assert dock.command().endswith("--overlays")
    dock.form.value = dock.form.value.updated(device="cpu")
    dock.run_bar.run_button.click()
    wait(lambda: dock.run_bar.current is None)
    assert "3 of 4 files" in dock.run_bar.message.text()
    lines = [dock.files.item(i).text() for i in range(dock.files.count())]
    assert len(lines) == 4
    assert sum("done" in line for line in lines) == 3
    assert any(line.startswith("scan_9.tif: ") and "done" not in line for line in lines)
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == 3

    export(dock, wait, tmp_path / "out")
    dock.run_bar.next_button.click()
    wait(lambda: dock.review.worker is None and len(viewer.layers) == 2)


def export(dock: Any, wait: Wait, out: Path) -> None:
    """Export every kind and read each back with another reader."""
    place, table = out.parent / "exported", pd.read_csv(out / "measurements.csv")
    for title in ("outlines for QuPath", "tables as one", "methods"):
        dock.export_kind.setCurrentIndex(dock.export_kind.findText(title, Qt.MatchFlag.MatchStartsWith))
        dock.export_bar.make_job = lambda: dock.make_export(str(place))
        dock.export_bar.start()
        wait(lambda: dock.export_bar.current is None)
        assert not dock.export_bar.failed, dock.export_bar.message.text()
    assert sorted(p.name for p in place.glob("*.geojson")) == [f"scan_{i}.geojson" for i in range(3)]
    objects = [f for p in sorted(place.glob("*.geojson")) for f in json.loads(p.read_text("utf-8"))["features"]]
    areas = [f["properties"]["measurements"]["area (um^2)"] for f in objects]
    assert sorted(areas) == pytest.approx(sorted(table["area (um^2)"]))
    assert len(pd.read_excel(place / "results.xlsx", sheet_name="measurements")) == len(table)
    assert "measured as afm" in (place / "methods.txt").read_text("utf-8")


def test_a_calibration_entered_for_the_folder_is_that_of_its_results(
    open_dock: Open, wait: Wait, afm_model: Path, tmp_path: Path
) -> None:
    viewer, dock = open_dock("Batch")
    (tmp_path / "images").mkdir()
    iio.imwrite(tmp_path / "images" / "scan.png", np.uint8(afm_scan(0, 64)[0].data))
    dock.folder.value = tmp_path / "images"
    wait(lambda: dock.looking is None)
    dock.models.browse(str(afm_model))
    dock.form.value = dock.form.value.updated(device="cpu")

    def predict(size: str, value: str) -> pd.DataFrame:
        dock.calibration.size.setText(size)
        dock.calibration.value.setText(value)
        dock.run_bar.start()
        wait(lambda: dock.run_bar.current is None)
        assert "1 of 1 files" in dock.run_bar.message.text()
        return pd.read_csv(dock.out.value / "summary.csv")

    plain, known = predict("", ""), predict("0.5", "2")
    np.testing.assert_allclose(known["area (um^2)"], plain["area (px)"] * 0.25)
    np.testing.assert_allclose(known["height_max (nm)"], plain["height_max (value)"] * 2, rtol=1e-5)
    assert "--pixel-size=0.5 --nm-per-grey=2.0" in dock.command()
    dock.start_review()
    wait(lambda: dock.review.worker is None and len(viewer.layers) == 2)
    np.testing.assert_allclose(viewer.layers[0].scale, (0.5, 0.5))
    dock.calibration.size.setText("-1")
    dock.run_bar.start()
    assert "no positive number" in dock.run_bar.message.text()
    assert len(viewer.layers) == 2


def test_review(open_dock: Open, wait: Wait, afm_model: Path, folder: Path, tmp_path: Path) -> None:
    settings = PredictSettings(device="cpu")
    options = BatchSettings(pattern="scan_[0-2].tif")
    run(predict_files(load_model(afm_model), [folder], tmp_path / "out", settings, options=options))
    viewer, dock = open_dock("Batch")
    dock.out.value = tmp_path / "out"
    dock.review_button.click()
    review = dock.review
    wait(lambda: review.worker is None and len(viewer.layers) == 2)
    assert "1 of 3" in review.line.text()
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
    np.testing.assert_allclose(viewer.layers[1].scale, viewer.layers[0].scale)
    wait(lambda: 1 in review.ready)
    first = viewer.layers[0].name
    press(viewer, "Right")  # the next case was read ahead: it is there at once
    assert "2 of 3" in review.line.text()
    assert viewer.layers[0].name != first
    press(viewer, "Left")
    assert viewer.layers[0].name == first
    press(viewer, "Right")
    wait(lambda: review.worker is None and "2 of 3" in review.line.text())
    press(viewer, "Left")
    wait(lambda: review.worker is None and "1 of 3" in review.line.text())
    press(viewer, "Left")
    press(viewer, "Right")
    press(viewer, "Right")
    wait(lambda: review.worker is None and "2 of 3" in review.line.text())
    assert len(viewer.layers) == 2

    decide_all(review, viewer, wait)
    check_saved(tmp_path / "out")
    viewer.window.remove_dock_widget(dock)
    assert not {"Left", "Right"} & set(map(str, viewer.keymap))
    assert not viewer.layers
    kept = ReviewSheet(tmp_path / "out").entries
    assert [e.decision for e in kept] == ["accepted", "excluded", "accepted"]
    assert kept[2].corrected


def decide_all(review: Any, viewer: Any, wait: Wait) -> None:
    review.exclude_button.click()
    assert "Say why" in review.line.text()
    review.reason.setText("blurred, torn")
    review.exclude_button.click()
    wait(lambda: review.worker is None and "3 of 3" in review.line.text())
    viewer.layers[-1].data[:8, :8] = 1
    review.accept_button.click()
    wait(lambda: review.worker is None and "1 of 3" in review.line.text())
    review.accept_button.click()
    assert "All 3 cases" in review.line.text()


def check_saved(out: Path) -> None:
    rows = pd.read_csv(out / "review.csv", keep_default_na=False)
    assert [Path(p).name for p in rows["image"]] == [f"scan_{i}.tif" for i in range(3)]
    assert rows["decision"].tolist() == ["accepted", "excluded", "accepted"]
    assert rows["reason"].tolist() == ["", "blurred, torn", ""]
    assert rows["corrected"].tolist() == ["no", "no", "yes"]
    saved = read_one(out / rows["labels"][2], kind="labels")
    assert (saved.data[:8, :8] == 1).all()
    assert saved.metadata["medseg"]["corrected"]
    assert saved.metadata["medseg"]["method"] == "afm-unet"
    summary = pd.read_csv(out / "summary.csv", keep_default_na=False)
    assert summary["decision reason"].tolist() == ["", "blurred, torn", ""]
    measured = pd.read_csv(out / "measurements.csv", keep_default_na=False)
    last = measured[measured["image"] == "scan_2.tif"]
    assert len(last) == len(pd.read_csv(out / "scan_2_measurements.csv"))
    assert set(last["corrected"]) == {"yes"}


def test_what_was_painted_in_a_review_is_kept_when_layers_go_or_napari_is_closed(
    make_napari_viewer_proxy: Any, wait: Wait, afm_model: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = BatchSettings(pattern="scan_[0-2].tif")
    run(predict_files(load_model(afm_model), [folder], out, PredictSettings(device="cpu"), options=options))
    viewer = make_napari_viewer_proxy(show=True)
    dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Batch")[1]
    dock.folder.value, dock.out.value = folder, out
    dock.start_review()
    review = dock.review
    wait(lambda: review.worker is None and len(viewer.layers) == 2)
    review.layers[-1].data[:5, :5] = 7
    viewer.layers.remove(review.layers[-1])
    assert "was removed from the view" in review.line.text()
    review.go(1)
    wait(lambda: review.worker is None and review.index == 1 and len(viewer.layers) == 2)
    review.layers[-1].data = np.zeros((8, 8), np.uint8)
    review.go(2)
    wait(lambda: review.worker is None and review.index == 2 and len(viewer.layers) == 2)
    review.layers[-1].data[:5, :5] = 9
    viewer.close()
    entries = ReviewSheet(out).entries
    assert [entry.corrected for entry in entries] == [True, False, True]
    kept = [read_one(out / entry.labels, "labels").data for entry in entries]
    assert (kept[0][:5, :5] == 7).all()
    assert kept[1].shape == (64, 64)
    assert (kept[2][:5, :5] == 9).all()


def test_correct_then_fine_tune_then_the_most_uncertain(
    open_dock: Open, wait: Wait, afm_model: Path, folder: Path, tmp_path: Path
) -> None:
    out, settings = tmp_path / "out", PredictSettings(device="cpu")
    options = BatchSettings(pattern="scan_[0-2].tif")
    run(predict_files(load_model(afm_model), [folder], out, settings, options=options))
    viewer, dock = open_dock("Batch")
    dock.models.browse(str(afm_model))
    dock.out.value = out
    assert "Correct or accept some cases first" in dock.learn.run_bar.reason
    dock.review_button.click()
    review, learn = dock.review, dock.learn
    wait(lambda: review.worker is None and len(viewer.layers) == 2)
    review.uncertain_button.click()
    wait(lambda: review.worker is None and review.index == review.sheet.most_uncertain(but=0))
    viewer.layers[-1].data[:8, :8] = 1
    corrected = review.index
    review.accept_button.click()
    wait(lambda: review.worker is None and review.index != corrected)
    assert "1 corrected" in learn.line.text()
    assert not learn.run_bar.reason
    assert f"--from={afm_model}" in learn.command()
    assert learn.form.value.epochs == 10
    learn.form.value = learn.form.value.updated(epochs=2, steps_per_epoch=2, device="cpu")
    learn.update_state()
    assert learn.form.value.epochs == 2, "what was entered stays"
    learn.run_bar.run_button.click()
    wait(lambda: learn.run_bar.current is None)
    assert "open cases are segmented with finetune-1" in learn.run_bar.message.text()
    wait(lambda: review.worker is None and len(viewer.layers) == 2)
    assert dock.models.entry.path == out / "finetune-1" / "best.pt"
    sheet = ReviewSheet(out)
    assert review.index == sheet.most_uncertain()
    assert (read_one(out / sheet.entries[corrected].labels, kind="labels").data[:8, :8] == 1).all()
    others = [read_one(out / e.labels, kind="labels").metadata["medseg"]["checkpoint_sha256"] for e in sheet.entries]
    assert others.count(dock.models.entry.card["sha256"]) == 2


def test_movies_and_stacks_are_refused_before_a_run(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = open_dock("Batch")
    (tmp_path / "films").mkdir()
    write_movie(tmp_path / "films" / "film.mkv", nerve_video(0, 5, (32, 32))[0])
    dock.folder.value = tmp_path / "films"
    wait(lambda: dock.looking is None)
    assert "dock Nerve movie" in dock.run_bar.reason
    stack = Image(np.zeros((4, 64, 64), np.float32), "ZYX", (1, 1, 1), ("micrometer",) * 3, name="stack")
    write(tmp_path / "stacks" / "stack.tif", stack)
    dock.folder.value = tmp_path / "stacks"
    wait(lambda: dock.looking is None)
    assert dock.run_bar.reason
    assert "movie" not in dock.run_bar.reason
    row = dock.models.box.model().item(dock.models.box.findText("afm-threshold", Qt.MatchFlag.MatchContains))
    assert not row.isEnabled()
    assert "2D" in row.toolTip()


def test_a_folder_without_result_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no batch result"):
        ReviewSheet(tmp_path)
