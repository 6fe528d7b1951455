from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from scipy.io import savemat

from napari_medseg.errors import DataError, WriteError
from napari_medseg.io import read_one
from napari_medseg.jobs import Progress, run
from napari_medseg.measure.labels import instances
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.method import FullNet
from napari_medseg.methods.fullnet.preparation import prepare_fullnet
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.preprocessing import stains
from napari_medseg.samples.histology import nuclei_tile

ONE = PrepareSettings(workers=1)


def save(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(data).save(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Two training cases and a validation case of 300 pixels, an image and a label without partner."""
    for split, seeds in (("train", (0, 1)), ("val", (2,))):
        for seed in seeds:
            image, labels = nuclei_tile(seed, 300)
            save(tmp_path / "raw" / split / "images" / f"case_{seed}.png", image.data)
            save(tmp_path / "raw" / split / "labels" / f"case_{seed}_label.png", labels.data)
    save(tmp_path / "raw" / "train" / "images" / "alone.png", np.zeros((9, 9, 3), np.uint8))
    save(tmp_path / "raw" / "train" / "labels" / "orphan_label.png", np.zeros((9, 9), np.uint8))
    return tmp_path / "raw"


def test_folder_has_the_layout_and_the_right_content(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(prepare_fullnet(raw, out, ONE))
    assert report.cases == ("train/case_0", "train/case_1", "val/case_2")
    assert sorted(p.split()[0] for p in report.problems) == ["alone.png", "orphan_label.png"]
    image, truth = nuclei_tile(2, 300)
    np.testing.assert_array_equal(read_one(out / "images/val/case_2.png").data, stains.macenko(image.data))
    np.testing.assert_array_equal(read_one(out / "labels_instance/val/case_2_label.png").data, truth.data)
    labels = read_one(out / "labels/val/case_2_label.png").data
    np.testing.assert_array_equal(ternary.from_rgb(labels), ternary.ternary(truth.data.astype(int)))
    grey = read_one(out / "weight_maps/val/case_2_weight.png").data
    np.testing.assert_array_equal(grey, ternary.weights_to_grey(ternary.weight_map(truth.data.astype(int))))
    patches = sorted(p.name for p in (out / "images/train").glob("case_0_*.png"))
    assert len(patches) == len(list((out / "weight_maps/train").glob("case_0_*_weight.png")))
    assert len(patches) > 3
    assert read_one(out / "images/train/case_0_0.png").data.shape == (250, 250, 3)


@pytest.mark.parametrize(
    ("folders", "right"),
    [
        (
            ("images/train_1", "labels/train_1_anno", "images/testA_1", "labels/testA_1_anno"),
            ["testA/testA_1", "train/train_1"],
        ),
        (("Train/Images/a", "Train/Labels/a", "Test/Images/b", "Test/Labels/b"), ["test/b", "train/a"]),
        (("train/Images/a", "train/Annotation/a", "valid/Images/b", "valid/Annotation/b"), ["train/a", "val/b"]),
        (("training_1", "training_1_gt", "Validation_2", "Validation_2_gt"), ["train/training_1", "val/Validation_2"]),
        (("tissue images/a", "label masks/a"), ["a"]),
    ],
)
def test_pictures_stay_in_the_split_that_their_data_set_gives(
    tmp_path: Path, folders: tuple[str, ...], right: list[str]
) -> None:
    """The contest of glands, CoNSeP, CRAG and NuInsSeg as they are handed out."""
    image, labels = nuclei_tile(0, 64)
    for k, name in enumerate(folders):
        save(tmp_path / "raw" / f"{name}.png", (labels if k % 2 else image).data)
    report = run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE.updated(patch=0)))
    assert list(report.cases) == right
    assert not report.problems


def test_labels_of_matlab_are_prepared_as_those_of_png(tmp_path: Path) -> None:
    image, labels = nuclei_tile(0, 64)
    save(tmp_path / "raw" / "images" / "a.png", image.data)
    (tmp_path / "raw" / "labels").mkdir()
    savemat(tmp_path / "raw" / "labels" / "a.mat", {"inst_map": labels.data.astype(float), "type_map": labels.data})
    run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE.updated(patch=0)))
    np.testing.assert_array_equal(read_one(tmp_path / "out/labels_instance/a_label.png").data, labels.data)


def test_masks_of_one_object_each_make_a_case(tmp_path: Path) -> None:
    """The Data Science Bowl's layout: a folder for each picture, in it images/<id>.png and masks/*.png."""
    truth = {}
    for seed, name in enumerate(("aa", "bb")):
        image, labels = nuclei_tile(seed, 64)
        opaque = np.dstack([image.data, np.full((64, 64), 255, np.uint8)])
        save(tmp_path / "raw" / name / "images" / f"{name}.png", opaque)
        ids = np.unique(labels.data)[1:]
        truth[name] = sorted(int((labels.data == k).sum()) for k in ids)
        for k in ids:
            save(tmp_path / "raw" / name / "masks" / f"{k * 7919 % 101:03}.png", np.uint8(255) * (labels.data == k))
    report = run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE.updated(patch=0)))
    assert report.cases == ("aa", "bb")
    for name, areas in truth.items():
        found = read_one(tmp_path / f"out/labels_instance/{name}_label.png").data
        assert sorted(np.bincount(found.ravel())[1:].tolist()) == areas


def test_a_label_map_of_another_name_is_no_mask_of_one_object(tmp_path: Path) -> None:
    image, labels = nuclei_tile(0, 64)
    save(tmp_path / "raw" / "images" / "a.png", image.data)
    save(tmp_path / "raw" / "masks" / "b.png", labels.data)
    with pytest.raises(DataError, match="No image with an annotation of the same stem"):
        run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE))
    save(tmp_path / "raw" / "masks" / "c.png", labels.data)
    with pytest.raises(DataError, match="several objects; expected one mask"):
        run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE))


def test_pictures_to_test_on_are_not_trained_on_without_preparation(tmp_path: Path) -> None:
    image, labels = nuclei_tile(0, 64)
    for name in ("train_1", "testA_1"):
        save(tmp_path / f"{name}.bmp", image.data)
        save(tmp_path / f"{name}_anno.bmp", labels.data.astype(np.uint8))
    with pytest.raises(DataError, match=r"pictures to test on by their names \(testA_1.bmp\)"):
        FullNet().find_pairs(tmp_path)


def test_a_folder_without_cases_says_what_is_there(tmp_path: Path) -> None:
    save(tmp_path / "GT_01" / "a.png", np.zeros((9, 9), np.uint8))
    save(tmp_path / "Slide_01" / "a.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"found: GT_01/, Slide_01/"):
        run(prepare_fullnet(tmp_path, tmp_path.parent / "out", ONE))


def test_statistics_are_pooled_over_pixels(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = run(prepare_fullnet(raw, out, ONE.updated(stain="none")))
    pixels = np.concatenate([nuclei_tile(seed, 300)[0].data.reshape(-1, 3) for seed in range(3)]) / 255
    np.testing.assert_allclose(report.mean, pixels.mean(0), rtol=1e-9)
    np.testing.assert_allclose(report.std, pixels.std(0), rtol=1e-9)
    assert json.loads((out / "mean_std.json").read_text())["mean"] == list(report.mean)
    np.testing.assert_allclose(np.load(out / "mean_std.npy"), [report.mean, report.std])


def test_method_trains_on_the_result_with_patches_of_a_tile_as_one_subject(raw: Path, tmp_path: Path) -> None:
    report = run(prepare_fullnet(raw, tmp_path / "out", ONE))
    method = FullNet().adapted_to(tmp_path / "out")
    found = method.find_pairs(tmp_path / "out")
    assert {pair.subject for pair in found.pairs} == {"case_0", "case_1"}
    assert not found.unpaired
    assert method.settings.mean == pytest.approx(report.mean)
    x, y = method.load_pair(found.pairs[0])
    assert (x.shape, y.shape) == ((3, 250, 250), (2, 250, 250))
    assert y[1].max() > 2


def test_stopped_run_is_resumed_and_finished_cases_are_kept(raw: Path, tmp_path: Path) -> None:
    job = prepare_fullnet(raw, tmp_path / "out", ONE)
    next(job)
    next(job)
    job.close()
    steps: list[Progress] = []
    report = run(prepare_fullnet(raw, tmp_path / "out", ONE), steps.append)
    assert len(report.skipped) == 1
    assert len(report.cases) == 3
    assert "1 already done" in steps[0].message
    assert not run(prepare_fullnet(raw, tmp_path / "out", ONE.updated(overlap="last"))).skipped


def test_deleted_output_is_made_again(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(prepare_fullnet(raw, out, ONE))
    lost = out / "images" / "val" / "case_2.png"
    lost.unlink()
    assert len(run(prepare_fullnet(raw, out, ONE)).skipped) == 2
    assert lost.is_file()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(moments=[10, None, [1, 1, 1]]),
        lambda record: record["moments"].__setitem__(0, "x"),
        lambda record: record.pop("written"),
        lambda record: record.update(notes=7),
        lambda record: record["written"].append("../../keep.png"),
    ],
)
def test_a_record_that_is_none_means_to_make_the_case_again(
    raw: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    out = tmp_path / "out"
    run(prepare_fullnet(raw, out, ONE))
    statistics = (out / "mean_std.json").read_bytes()
    marker = min((out / ".prepare").glob("*.json"))
    record = json.loads(marker.read_text(encoding="utf-8"))
    change(record)
    marker.write_text(json.dumps(record), encoding="utf-8")
    min((out / "weight_maps" / "val").iterdir()).write_bytes(b"")  # of another case, or the same
    assert len(run(prepare_fullnet(raw, out, ONE)).skipped) < 3
    assert all(path.stat().st_size for path in out.rglob("*.png"))
    assert (out / "mean_std.json").read_bytes() == statistics


def test_parallel_equals_serial(raw: Path, tmp_path: Path) -> None:
    one = run(prepare_fullnet(raw, tmp_path / "one", ONE))
    two = run(prepare_fullnet(raw, tmp_path / "two", PrepareSettings(workers=2)))
    assert (one.cases, one.mean) == (two.cases, two.mean)
    files = [p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.png")]
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_outlines_become_instances(tmp_path: Path) -> None:
    image, _ = nuclei_tile(0, 64)
    save(tmp_path / "raw" / "images" / "a.tif", image.data)
    (tmp_path / "raw" / "Annotations").mkdir()
    vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((10, 10), (30, 10), (30, 30), (10, 30)))
    region = f'<Annotations><Annotation><Regions><Region Id="1"><Vertices>{vertices}</Vertices></Region></Regions>'
    (tmp_path / "raw" / "Annotations" / "a.xml").write_text(f"{region}</Annotation></Annotations>")
    run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE))
    assert (read_one(tmp_path / "out/labels_instance/a_label.png").data == 1).sum() == 400


def test_three_channel_label_collapses_and_glands_use_their_constants(tmp_path: Path) -> None:
    image, labels = nuclei_tile(0, 64)
    save(tmp_path / "raw" / "train_1.bmp", image.data)
    save(tmp_path / "raw" / "train_1_anno.bmp", np.repeat(labels.data.astype(np.uint8)[..., None], 3, 2))
    run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE.updated(tissue="glands")))
    np.testing.assert_array_equal(read_one(tmp_path / "out/images/train_1.png").data, image.data)
    classes = ternary.from_rgb(read_one(tmp_path / "out/labels/train_1_label.png").data)
    np.testing.assert_array_equal(classes, ternary.ternary(instances(labels.data), 2))


def test_bad_cases_are_listed_and_the_others_go_on(raw: Path, tmp_path: Path) -> None:
    save(raw / "train" / "labels" / "case_0_label.png", np.ones((20, 30), np.uint8))
    save(raw / "train" / "images" / "case_1.png", np.zeros((300, 300), np.uint8))
    report = run(prepare_fullnet(raw, tmp_path / "out", ONE))
    assert report.cases == ("val/case_2",)
    text = " ".join(report.problems)
    assert "no place says where" in text
    assert "no colour picture" in text


def test_overflowed_8_bit_labels_are_refused(tmp_path: Path) -> None:
    grid = np.zeros((90, 90), np.int64)
    grid[::3, ::3] = np.arange(1, 901).reshape(30, 30)
    save(tmp_path / "raw" / "a.png", np.zeros((90, 90, 3), np.uint8))
    save(tmp_path / "raw" / "a_label.png", (grid % 256).astype(np.uint8))
    with pytest.raises(DataError, match="16-bit"):
        run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE))


@pytest.mark.parametrize("content", [[], ["a.png"]])
def test_folder_without_pairs_is_refused(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        save(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(DataError, match="Expected"):
        run(prepare_fullnet(tmp_path, tmp_path / "out", ONE))


def test_unwritable_folder_is_an_error_of_its_own(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be made"):
        run(prepare_fullnet(raw, tmp_path / "file" / "out", ONE))


def test_names_of_a_flat_folder_give_the_splits(tmp_path: Path) -> None:
    image, truth = nuclei_tile(0, 64)
    for name in ("train_1", "testA_1", "testB_1"):
        save(tmp_path / "raw" / f"{name}.bmp", image.data)
        save(tmp_path / "raw" / f"{name}_anno.bmp", truth.data.astype(np.uint8))
    run(prepare_fullnet(tmp_path / "raw", tmp_path / "out", ONE.updated(tissue="glands")))
    pictures = {str(p.relative_to(tmp_path / "out" / "images")) for p in (tmp_path / "out" / "images").rglob("*.png")}
    assert pictures == {"train/train_1.png", "testA/testA_1.png", "testB/testB_1.png"}


@pytest.mark.parametrize("kind", ["planar", "12 bits"])
def test_colours_are_kept_however_they_are_stored(tmp_path: Path, kind: str) -> None:
    image, truth = nuclei_tile(0, 64)
    colour = np.ascontiguousarray(image.data)
    folder = tmp_path / "raw"
    save(folder / "a_label.png", truth.data)
    if kind == "planar":
        data, options = colour.transpose(2, 0, 1), {"planarconfig": "separate"}
    else:
        data, options = colour.astype(np.uint16) * 16, {}
    tifffile.imwrite(folder / "a.ome.tif", data, photometric="rgb", **options)
    run(prepare_fullnet(folder, tmp_path / "out", ONE.updated(stain="none", patch=0)))
    np.testing.assert_allclose(read_one(tmp_path / "out" / "images" / "a.png").data, colour, atol=1)


def test_two_pictures_of_one_name_are_said_and_replace_each_other_nowhere(tmp_path: Path) -> None:
    src = tmp_path / "src"
    mask = np.zeros((64, 64), np.uint8)
    mask[5:20, 5:20] = 1
    for name, grey in (("a.png", 160), ("a.tif", 100), ("b.png", 120)):
        save(src / name, np.full((64, 64, 3), grey, np.uint8))
    save(src / "a_mask.png", mask)
    save(src / "b_mask.png", mask)
    report = run(prepare_fullnet(src, tmp_path / "out", PrepareSettings(workers=1, stain="none", patch=0)))
    assert report.cases == ("b",)
    assert "a.png and a.tif have one name" in report.problems[0]
    (src / "b.png").unlink()
    with pytest.raises(DataError, match=r"a\.png and a\.tif"):
        run(prepare_fullnet(src, tmp_path / "again", ONE))
