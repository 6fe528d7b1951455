"""Batches: which files, what they are called, what is written, and what a second run does."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dicom_files
import numpy as np
import pytest
from PIL import Image as Pillow
from shorthand import noise

from napari_medseg.batch import BatchSettings, list_inputs, name_cases, predict_files
from napari_medseg.batch.inputs import read_input
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.jobs import Progress, run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.report.overlay import overlay
from napari_medseg.settings import PredictSettings

CPU = PredictSettings(device="cpu")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    for index, name in enumerate(["m1/a.png", "m2/a.png", "m2/b.png", "m2/deep/c_raw.png"]):
        noise(root / name, index)
    (root / "notes.txt").write_text("no image")
    (root / ".hidden.png").write_bytes(b"")
    return root


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_side_cars_are_part_of_their_image(tmp_path: Path) -> None:
    from napari_medseg.samples.afm import afm_folder

    images = afm_folder(tmp_path, 1, 32) / "images"
    (images / "notes.json").write_text("{}")
    files, skipped = list_inputs([images])
    assert [path.name for path in files] == ["scan_000.tif"]
    assert [Path(path).name for path in skipped] == ["notes.json"]


def test_a_file_that_links_lead_to_counts_once(tree: Path, tmp_path: Path) -> None:
    """Links to a folder of the tree, to the tree, to what holds it, to each other, and to a folder elsewhere."""
    wanted = ["m1/a.png", "m2/a.png", "m2/b.png", "m2/deep/c_raw.png", "z/far.png"]
    noise(tmp_path / "elsewhere" / "far.png", 5)
    noise(tmp_path / "beside.png", 6)
    for link, to in (("a", "m1"), ("m1/up", "."), ("m2/out", ".."), ("z", "../elsewhere"), ("m1/y", "z"), ("q", "q")):
        (tree / link).symlink_to(to if link == "q" else (tree / to).resolve(), target_is_directory=link != "q")
    files, skipped = list_inputs([tree])
    assert [p.relative_to(tree).as_posix() for p in files if p.name != "far.png"] == wanted[:-1]
    assert [p.name for p in files].count("far.png") == 1
    assert [Path(p).name for p in skipped] == ["notes.txt", "q"]
    (tmp_path / "same").symlink_to(tree, target_is_directory=True)
    assert list_inputs([tree, tmp_path / "same", tmp_path / "same" / "m1" / "a.png"])[0] == files
    assert list_inputs([tree / "m1" / "a.png", tmp_path / "same" / "m1" / "a.png"])[0] == [tree / "m1" / "a.png"]


def test_results_in_the_searched_folder_are_no_images_even_by_a_link(tree: Path) -> None:
    noise(tree / "out" / "a_labels.png")
    (tree / "results").symlink_to(tree / "out", target_is_directory=True)
    assert len(list_inputs([tree], exclude=tree / "out")[0]) == 4
    assert len(list_inputs([tree], exclude=tree / "results")[0]) == 4
    assert len(list_inputs([tree], exclude=tree)[0]) == 5


def test_a_linked_series_is_one_image(tree: Path) -> None:
    dicom_files.series(tree / "series", np.zeros((4, 6, 5), np.uint16))
    (tree / "again").symlink_to(tree / "series", target_is_directory=True)
    assert tree / "series" in list_inputs([tree])[0]
    assert tree / "again" not in list_inputs([tree])[0]


def test_subfolders_patterns_and_what_is_skipped(tree: Path) -> None:
    files, skipped = list_inputs([tree])
    assert [p.relative_to(tree).as_posix() for p in files] == ["m1/a.png", "m2/a.png", "m2/b.png", "m2/deep/c_raw.png"]
    assert [Path(p).name for p in skipped] == ["notes.txt"]
    assert [p.name for p in list_inputs([tree], "*_raw.png")[0]] == ["c_raw.png"]
    assert [p.name for p in list_inputs([tree], "m2/*.png")[0]] == ["a.png", "b.png", "c_raw.png"]
    assert [p.name for p in list_inputs([tree], exclude=tree / "m2")[0]] == ["a.png"]
    with pytest.raises(DataError, match=r"\*\.tif"):
        list_inputs([tree], "*.tif")
    with pytest.raises(DataError, match="does not exist"):
        list_inputs([tree / "nowhere"])


def test_colliding_stems_keep_their_folder(tree: Path, tmp_path: Path) -> None:
    files = [(p, tree) for p in list_inputs([tree])[0]]
    assert [c.name for c in name_cases(files)] == ["m1/a", "m2/a", "b", "c_raw"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["/x/a.png", "/x/a.tif"], ["x/a_png", "x/a_tif"]),
        (["/x/a_org.png", "/x/a.png"], ["a_org", "a"]),
        (["/x/a.png", "/y/a.png"], ["x/a", "y/a"]),
        (["/x/A.png", "/y/a.png"], ["x/A", "y/a"]),
    ],
)
def test_names_never_collide(files: list[str], names: list[str]) -> None:
    found = [c.name for c in name_cases([(Path(f), Path(f).parent) for f in files])]
    assert len({n.casefold() for n in found}) == len(found)
    assert found == names


def test_same_file_names_everywhere_still_differ() -> None:
    files = [(Path(f"/{k}/x/a.png"), Path(f"/{k}/x")) for k in "pqr"]
    assert len({c.name for c in name_cases(files)}) == 3
    taken = {Path("/p/x/a.png"): "a"}
    assert [c.name for c in name_cases(files[:2], taken)] == ["a", "x/a"]


def test_numbered_scans_of_one_name_lie_beside_each_other(tmp_path: Path) -> None:
    """As their masks do: ``b.000`` and ``b.001`` are two scans, not one in two folders."""
    files = [(tmp_path / name, tmp_path) for name in ("a.000", "b.000", "b.001", "m1/c.000", "m2/c.000")]
    assert [c.name for c in name_cases(files)] == ["a", "b_000", "b_001", "m1/c_000", "m2/c_000"]


def test_batch_writes_results_tables_and_overlays(tree: Path, tmp_path: Path, model: Model) -> None:
    noise(tree / "bad.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    record = run(predict_files(model, [tree], out, CPU, options=BatchSettings(overlays=True)))
    assert json.loads((out / "run.json").read_text())["files"] == record["files"]
    states = {Path(k).name: v["status"] for k, v in record["files"].items()}
    assert states == {"a.png": "done", "b.png": "done", "c_raw.png": "done", "bad.png": "failed"}
    for name in ("m1/a", "m2/a", "b", "c_raw"):
        assert (out / f"{name}_labels.tif").is_file()
        with Pillow.open(out / f"{name}_overlay.png") as small:
            assert small.size == (20, 24)
    summary = {row["image"]: row for row in rows(out / "summary.csv")}
    assert set(summary) == {"m1/a.png", "m2/a.png", "b.png", "c_raw.png", "bad.png"}
    assert summary["bad.png"]["status"] == "failed"
    assert summary["bad.png"]["reason"]
    assert any("(" in key for key in summary["b.png"])
    labelled = sum(int(row["voxels"]) for row in rows(out / "measurements.csv") if row["image"] == "b.png")
    labels = np.asarray(Pillow.open(out / "b_labels.tif"))
    assert labelled == np.count_nonzero(labels)


def test_results_inside_the_input_folder_are_no_input(tree: Path, model: Model) -> None:
    first = run(predict_files(model, [tree], tree / "out", CPU))
    second = run(predict_files(model, [tree], tree / "out", CPU))
    assert set(second["files"]) == set(first["files"])


def _stop_after(job: Any, n: int) -> None:
    for progress in job:
        if progress.step >= n and progress.message.endswith("done"):
            job.close()
            return


def _stamps(out: Path) -> dict[str, int]:
    return {p.relative_to(out).as_posix(): p.stat().st_mtime_ns for p in sorted(out.rglob("*_labels.tif"))}


def test_resume_after_a_stop_redoes_nothing(tree: Path, tmp_path: Path, model: Model) -> None:
    out = tmp_path / "out"
    _stop_after(predict_files(model, [tree], out, CPU), 2)
    before = _stamps(out)
    assert len(before) == 2
    said: list[Progress] = []
    record = run(predict_files(model, [tree], out, CPU), said.append)
    assert said[0].message == "2 files were done before"
    assert all(row["status"] == "done" for row in record["files"].values())
    assert {name: _stamps(out)[name] for name in before} == before
    whole = run(predict_files(model, [tree], tmp_path / "whole", CPU))
    assert [r["name"] for r in record["files"].values()] == [r["name"] for r in whole["files"].values()]
    assert (out / "measurements.csv").read_bytes() == (tmp_path / "whole" / "measurements.csv").read_bytes()


@pytest.mark.parametrize(
    ("change", "redone"),
    [({}, False), ({"tile": 64}, False), ({"tta": True}, True), ({"overlap": 3}, True)],
)
def test_other_settings_that_change_results_are_not_mixed(
    change: dict[str, Any], redone: bool, tree: Path, tmp_path: Path, model: Model
) -> None:
    out = tmp_path / "out"
    run(predict_files(model, [tree / "m1"], out, CPU))
    before = _stamps(out)
    run(predict_files(model, [tree / "m1"], out, CPU.updated(**change)))
    assert (_stamps(out) != before) == redone


def test_a_later_file_of_the_same_name_does_not_overwrite(tree: Path, tmp_path: Path, model: Model) -> None:
    out = tmp_path / "out"
    run(predict_files(model, [tree / "m1"], out, CPU))
    record = run(predict_files(model, [tree / "m2"], out, CPU))
    assert sorted(row["name"] for row in record["files"].values()) == ["a", "b", "c_raw", "m2/a"]


def test_many_files_do_not_write_the_record_for_ever(tmp_path: Path, model: Model) -> None:
    """The record costs a bounded share: with a slow disk it is written rarely, at the end in any case."""
    from napari_medseg.batch.inputs import Case
    from napari_medseg.batch.record import BatchRecord

    record = BatchRecord(tmp_path, {"model": {}, "settings": {}, "skipped": []}, {})
    record.cases = [Case(tmp_path / f"{i}.png", str(i)) for i in range(50)]
    record.todo = list(record.cases)
    writes = 0

    def slow() -> None:
        nonlocal writes
        writes += 1
        record._saved, record._cost = time.monotonic(), 10.0

    record.save = slow  # type: ignore[method-assign]
    for case in record.cases:
        record.finish(case, {"status": "done", "name": case.name})
    assert writes == 1


def _planes() -> Iterator[tuple[Image, np.ndarray]]:
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 10:30] = 1
    yield Image(np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60), "YX"), mask
    yield Image(np.zeros((40, 60, 3), np.uint8), "YXC"), mask
    yield Image(np.zeros((5, 40, 60), np.int16), "ZYX"), np.stack([mask * (z == 3) for z in range(5)])


@pytest.mark.parametrize("case", range(3))
def test_overlay_shows_the_outline_of_the_labels(case: int) -> None:
    image, mask = list(_planes())[case]
    shown = overlay(image, image.labels_like(mask)).astype(int)
    assert shown.shape == (40, 60, 3)
    red = (shown[..., 0] == 230) & (shown[..., 1] == 25)
    assert red[10, 10:30].all()
    assert red[10:20, 29].all()
    assert not red[12:18, 12:28].any()
    assert not red[:10].any()


def test_overlay_is_small() -> None:
    image = Image(np.zeros((2000, 1500), np.uint8), "YX")
    assert overlay(image, image.labels_like(image.data), size=256).shape == (250, 188, 3)


def test_a_photograph_for_a_height_network_is_outlined_without_heights(tmp_path: Path) -> None:
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / "photo.png")
    method = create("afm-unet", {"architecture": "unet2"})
    model = Model(method, method.build_network().eval(), {"sha256": "a", "file": "m.pt"})
    record = run(predict_files(model, [tmp_path / "photo.png"], tmp_path / "out", CPU))
    (row,) = record["files"].values()
    assert row["status"] == "done"
    assert "only outlines were measured" in " ".join(row["notes"])
    with (tmp_path / "out" / row["measurements"]).open(encoding="utf-8") as file:
        header = file.readline()
    assert "area" in header
    assert "height" not in header


def test_what_a_killed_process_left_is_removed(tree: Path, tmp_path: Path, model: Model) -> None:
    out = tmp_path / "out"
    out.mkdir()
    program = (
        "import os, sys; from napari_medseg.io.files import replacing; "
        "begun = replacing(sys.argv[1]); begun.__enter__(); os._exit(9)"
    )
    for name in ("b_labels.tif", "m1/a_labels.tif"):
        subprocess.run([sys.executable, "-c", program, str(out / name)], check=False)
    (out / ".hidden").write_bytes(b"another program's")
    assert len(list(out.rglob(".medseg-*"))) == 2
    run(predict_files(model, [tree], out, CPU))
    assert [p.name for p in out.rglob(".*")] == [".hidden"]


@pytest.mark.parametrize(
    ("names", "images"),
    [
        (["a.png", "a_mask.png", "b_seg.png"], ["a.png", "b_seg.png"]),
        (["c0.png", "c0_probabilities.png", "c1_probabilities.png"], ["c0.png", "c1_probabilities.png"]),
        (["a.png", "a_cp_masks.png", "a_Object Identities.png"], ["a.png"]),
        (["Images/a.png", "GT/a.png", "GT/more.png", "labels_instance/a.png"], ["Images/a.png"]),
        (["GT/a.png"], ["GT/a.png"]),
    ],
)
def test_labels_beside_their_images_are_not_predicted(tmp_path: Path, names: list[str], images: list[str]) -> None:
    for name in names:
        noise(tmp_path / name)
    found, skipped = list_inputs([tmp_path])
    assert found == [tmp_path / name for name in images]
    assert len(skipped) == len(names) - len(images)
    assert len(list_inputs([tmp_path], pattern="*.png")[0]) == len(names)


def test_labels_and_outlines_are_no_image_to_predict(tmp_path: Path) -> None:
    ring = [[1, 1], [9, 1], [9, 9], [1, 9], [1, 1]]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    with pytest.raises(DataError, match=r"a.geojson holds labels"):
        read_input(tmp_path / "a.geojson")


def test_a_pair_of_header_and_voxels_is_one_image(tmp_path: Path) -> None:
    import nibabel

    nibabel.Nifti1Pair(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_filename(tmp_path / "scan.img")
    assert list_inputs([tmp_path]) == ([tmp_path / "scan.hdr"], [])


def test_slices_given_one_by_one_are_one_image(tmp_path: Path) -> None:
    paths = dicom_files.series(tmp_path / "a", np.zeros((4, 6, 5), np.uint16))
    assert list_inputs(paths) == (paths[:1], [])
    stills = [dicom_files.one(tmp_path / f"{k}.dcm", np.zeros((6, 5), np.uint16), modality="US") for k in range(2)]
    assert list_inputs(stills) == (stills, [])


def test_rows_of_two_files_of_one_name_are_told_apart(model: Model, tmp_path: Path) -> None:
    """Two patients whose files have one name, in folders of one name, given one by one."""
    files = [noise(tmp_path / patient / "img" / "a.png", k) for k, patient in enumerate(("p1", "p2"))]
    record = run(predict_files(model, [file.parent for file in files], tmp_path / "out", CPU))
    names = [f"{record['files'][str(file)]['name']}.png" for file in files]
    assert len(set(names)) == 2
    for table in ("summary.csv", "measurements.csv"):
        assert list(dict.fromkeys(row["image"] for row in rows(tmp_path / "out" / table))) == names
    sizes = [rows(tmp_path / "out" / record["files"][str(file)]["measurements"]) for file in files]
    assert [row["voxels"] for row in rows(tmp_path / "out" / "measurements.csv")] == [
        row["voxels"] for table in sizes for row in table
    ]
