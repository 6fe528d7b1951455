from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import DataError, WriteError
from napari_medseg.evaluate.masks import compare_pair, evaluate, image_table, match_objects, metric_table
from napari_medseg.evaluate.metrics.compare import compare, error_map
from napari_medseg.image import Image
from napari_medseg.io import read_labels, write
from napari_medseg.io.write import write_tables
from napari_medseg.jobs import run


def test_error_map_of_every_combination() -> None:
    p, t = np.array([[0, 0, 1, 1, 2]]), np.array([[0, 1, 0, 1, 1]])
    assert error_map(p, t).tolist() == [[0, 3, 2, 1, 1]]
    assert error_map(p, t, "classes").tolist() == [[0, 3, 2, 1, 2]]
    assert error_map(p, t, "instances").tolist() == [[0, 3, 2, 1, 1]]
    with pytest.raises(DataError, match="same grid"):
        error_map(p, t.T)


def test_error_map_reads_masks_as_the_metrics_do() -> None:
    several = np.array([[0, 100, 200, 0]], np.uint8)
    assert error_map(several, np.array([[0, 1, 1, 1]])).tolist() == [[0, 1, 1, 3]]


def blocks() -> tuple[np.ndarray, np.ndarray]:
    """Reference 10 found, 20 partly, 30 missed; result 7 found, 8 partly, 9 spurious.

    ::

        reference 10 10 .  20 20 20 .  30 .
        result     7  7 .   8  .  . .  .  9
    """
    truth = np.array([[10, 10, 0, 20, 20, 20, 0, 30, 0]] * 2, np.uint16)
    result = np.array([[7, 7, 0, 8, 0, 0, 0, 0, 9]] * 2, np.uint16)
    return result, truth


def test_objects_are_matched_by_hand() -> None:
    frame = match_objects(*blocks())
    assert frame[["reference", "result"]].to_numpy().tolist() == [[10, 7], [20, 8], [30, 0], [0, 9]]
    assert frame["verdict"].tolist() == ["found", "partly", "missed", "spurious"]
    assert frame["iou"].tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert frame["dice"].tolist() == pytest.approx([1, 0.5, 0, 0])
    assert frame[["y (px)", "x (px)"]].to_numpy().tolist() == [[0.5, 0.5], [0.5, 4], [0.5, 7], [0.5, 8]]


@pytest.mark.parametrize("name", ["cell.000.tif", "cell_000.png", "cell.000_mask.tif"])
def test_results_of_numbered_scans_find_their_references(tmp_path: Path, name: str) -> None:
    """Of the scan ``cell.000`` the labels are ``cell_000_labels.tif``; its mask may be called after either."""
    mask = Image(np.eye(8, dtype=np.uint8), "YX", kind="labels")
    for folder, written in (("results", "cell_000_labels.tif"), ("references", name)):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / written, mask)
    found = run(evaluate("afm-unet", tmp_path / "results", tmp_path / "references"))
    assert found["images"]["cell_000"]["dice"] == 1


def test_a_mask_is_split_and_blank_maps_give_no_rows() -> None:
    mask = np.array([[1, 0, 1]], np.uint8)
    assert match_objects(mask, mask)["result"].tolist() == [1, 2]
    assert match_objects(np.zeros((3, 3), int), np.zeros((3, 3), int)).empty


def test_compare_pair_holds_metrics_errors_and_objects() -> None:
    result, truth = (Image(data, "YX", kind="labels") for data in blocks())
    found = run(compare_pair("fullnet", result, truth))
    assert found.counts == (6, 2, 6)
    assert found.metrics["pq"] == pytest.approx(compare(result, truth, ("pq",), "instances")["pq"])
    assert found.objects is not None
    assert run(compare_pair("afm-unet", result, truth)).objects is None
    with pytest.raises(DataError, match="same grid"):
        run(compare_pair("afm-unet", result, truth.replace(data=truth.data[:1])))


def test_tables_are_saved_as_sheets_or_files(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    tables = {"metrics": pd.DataFrame({"metric": ["dice"], "value": [0.5]}), "objects": pd.DataFrame({"iou": [0.25]})}
    assert [p.name for p in write_tables(tmp_path / "t.csv", tables)] == ["t.csv", "t_objects.csv"]
    assert pd.read_csv(tmp_path / "t_objects.csv")["iou"].tolist() == [0.25]
    write_tables(tmp_path / "t.xlsx", tables)
    for name, frame in tables.items():
        pd.testing.assert_frame_equal(pd.read_excel(tmp_path / "t.xlsx", sheet_name=name), frame)
    with pytest.raises(WriteError, match=r"csv or \.xlsx"):
        write_tables(tmp_path / "t.txt", tables)
    with pytest.raises(WriteError, match="could not be written"):
        write_tables(tmp_path / "none" / "t.xlsx", tables)


def test_probabilities_and_overlays_are_no_results(tmp_path: Path) -> None:
    from napari_medseg.evaluate.masks import _label_files

    for name in ("a_labels.tif", "a_probabilities.tif", "a_overlay.png", "my_overlays.png"):
        (tmp_path / name).write_text("")
    assert [path.name for path in _label_files(tmp_path)] == ["a_labels.tif", "my_overlays.png"]


def test_two_files_are_compared_whatever_they_are_called(tmp_path: Path) -> None:
    from napari_medseg.evaluate.masks import _pairs

    for name in ("mask.tif", "case_000.tif"):
        (tmp_path / name).write_text("")
    (pair,) = _pairs(tmp_path / "mask.tif", tmp_path / "case_000.tif").pairs
    assert (pair.image.name, pair.label.name) == ("mask.tif", "case_000.tif")
    (tmp_path / "mask.tif").rename(tmp_path.with_name("alone.tif"))
    with pytest.raises(DataError, match="has a partner"):
        _pairs(tmp_path.with_name("alone.tif"), tmp_path)


def test_glands_are_pooled_over_the_images(tmp_path: Path) -> None:
    """One image found wholly (16 pixels), one with half of its gland (8 of 16): Dice 1 and 2/3, weighted by area."""
    whole, half = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    whole[2:6, 2:6], half[2:6, 2:4] = 1, 1
    for name, found in (("a", whole), ("b", half)):
        write(tmp_path / "found" / f"{name}.tif", Image(found, "YX", kind="labels"))
        write(tmp_path / "truth" / f"{name}.tif", Image(whole, "YX", kind="labels"))
    result = run(evaluate("fullnet", tmp_path / "found", tmp_path / "truth"))
    over_references, over_found = (16 * 1 + 16 * 2 / 3) / 32, (16 * 1 + 8 * 2 / 3) / 24
    assert result["pooled"]["object_dice"] == pytest.approx((over_references + over_found) / 2)  # type: ignore[call-overload]


def labels(path: Path, data: np.ndarray, **metadata: object) -> Path:
    return write(path, Image(data, "YX", kind="labels", metadata=dict(metadata)))


def test_one_bad_pair_does_not_lose_the_others(tmp_path: Path) -> None:
    for name, shape in (("a", (4, 4)), ("b", (4, 5))):
        labels(tmp_path / "found" / f"{name}.tif", np.ones((4, 4), np.uint8))
        labels(tmp_path / "truth" / f"{name}.tif", np.ones(shape, np.uint8))
    labels(tmp_path / "found" / "c.tif", np.ones((4, 4), np.uint8))
    (tmp_path / "truth" / "c.tif").write_bytes(b"II*")
    result = run(evaluate("afm-unet", tmp_path / "found", tmp_path / "truth"))
    assert list(result["images"]) == ["a"]
    assert ["same grid" in result["problems"][0], "c.tif" in result["problems"][1]] == [True, True]
    (tmp_path / "truth" / "a.tif").unlink()
    with pytest.raises(DataError, match="same grid"):
        run(evaluate("afm-unet", tmp_path / "found", tmp_path / "truth"))


@pytest.mark.parametrize("name", ["GT/a.png", "a_seg.png", "a/a_seg.png"])
def test_references_may_lie_beside_their_images(tmp_path: Path, name: str) -> None:
    truth = np.eye(4, dtype=np.uint8)
    labels(tmp_path / "found" / "a_labels.tif", truth)
    labels(tmp_path / "data" / name, truth)
    labels(tmp_path / "data" / name.replace("_seg", "_img").replace("GT", "images"), 1 - truth)
    result = run(evaluate("afm-unet", tmp_path / "found", tmp_path / "data"))
    assert result["mean"]["dice"] == 1  # type: ignore[call-overload]


def test_an_image_beside_its_label_is_no_reference(tmp_path: Path) -> None:
    labels(tmp_path / "found" / "p1_flair_labels.tif", np.eye(4, dtype=np.uint8))
    labels(tmp_path / "found" / "p2_labels.tif", np.eye(4, dtype=np.uint8))
    for name in ("p1_flair", "p1_seg", "p2_seg"):
        labels(tmp_path / "data" / f"{name}.tif", np.eye(4, dtype=np.uint8))
    result = run(evaluate("afm-unet", tmp_path / "found", tmp_path / "data"))
    assert list(result["images"]) == ["p2"]
    assert result["unpaired"] == ["p1_flair_labels.tif", "p1_seg.tif", "p1_flair.tif"]


def test_outlines_are_references_on_the_grid_of_the_result(tmp_path: Path) -> None:
    found = np.zeros((8, 9), np.uint8)
    found[2:6, 2:5] = 1
    labels(tmp_path / "found" / "a_labels.tif", found)
    ring = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in ((2, 2), (5, 2), (5, 6), (2, 6)))
    outlines = f'<Annotations><Annotation><Regions><Region Id="1"><Vertices>{ring}</Vertices></Region>'
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "a.xml").write_text(f"{outlines}</Regions></Annotation></Annotations>")
    result = run(evaluate("fullnet", tmp_path / "found", tmp_path / "xml"))
    assert result["mean"]["aji"] == 1  # type: ignore[call-overload]


@pytest.mark.parametrize(("classes", "dice"), [(2, 1.0), (3, 1 / 3)])
def test_a_model_of_one_structure_is_compared_with_all_classes_as_one(
    tmp_path: Path, classes: int, dice: float
) -> None:
    """All six pixels of two classes are found as class 1: Dice 1 as one class, else 2/3 and 0."""
    truth = np.array([[0, 1, 2], [0, 1, 2], [0, 1, 2]], np.uint8)
    made = {"method": "p-net", "settings": {"classes": classes}}
    predicted = labels(tmp_path / "a_labels.nii.gz", (truth > 0).astype(np.uint8), medseg=made)
    reference = labels(tmp_path / "a.nii.gz", truth)
    assert run(evaluate("p-net", predicted, reference))["mean"]["dice"] == pytest.approx(dice)  # type: ignore[call-overload]


def test_two_results_of_one_image_count_once_and_sub_folders_are_named(tmp_path: Path) -> None:
    truth, blank = np.zeros((20, 30), np.uint8), np.zeros((20, 30), np.uint8)
    truth[4:9, 4:9] = 1
    for name, labels in (("p/a_labels.tif", truth), ("p/a_mask.tif", blank), ("p/old/b_labels.tif", blank),
                         ("r/a.tif", truth)):  # fmt: skip
        write(tmp_path / name, Image(labels, "YX", kind="labels"))
    found = run(evaluate("fullnet", tmp_path / "p", tmp_path / "r"))
    assert found["images"]["a"]["f1"] == found["pooled"]["object_dice"] == 1
    assert found["unpaired"] == ["a_mask.tif"]
    assert any("old/b_labels.tif" in note for note in found["notes"])


def volumes(folder: Path, sizes: dict[str, tuple[float, str]]) -> tuple[Path, Path]:
    """Write results one voxel beside their references, of voxels of the given sizes and units."""
    truth = np.zeros((6, 9, 9), np.uint8)
    truth[2:4, 3:6, 3:6] = 1
    for name, data in (("results", np.roll(truth, 1, 2)), ("references", truth)):
        (folder / name).mkdir()
        for stem, (size, unit) in sizes.items():
            write(folder / name / f"{stem}.tif", Image(data, "ZYX", (size,) * 3, (unit,) * 3, kind="labels"))
    return folder / "results", folder / "references"


def test_rows_say_the_unit_of_distances_and_the_tolerance(tmp_path: Path) -> None:
    folders = volumes(tmp_path, {"a": (2, "millimeter"), "b": (3, "millimeter")})
    result = run(evaluate("p-net", *folders))
    said = {"length unit": "mm", "nsd tolerance": "1 mm"}
    table = image_table(result).set_index("image")
    assert table[list(said)].drop_duplicates().to_dict("records") == [said]
    assert table.loc["MEAN", "assd"] == pytest.approx((table.loc["a", "assd"] + table.loc["b", "assd"]) / 2)
    images = [read_labels(folder / "a.tif") for folder in folders]
    rows = metric_table(run(compare_pair("p-net", *images)).metrics, images[1]).set_index("metric")
    assert (rows.loc["nsd", "tolerance"], rows.loc["assd", "unit"], rows.loc["dice", "unit"]) == ("1 mm", "mm", "")


def test_distances_in_several_units_have_no_mean(tmp_path: Path) -> None:
    folders = volumes(tmp_path, {"a": (2, "millimeter"), "b": (3, "micrometer"), "c": (1, "pixel")})
    result = run(evaluate("p-net", *folders))
    rows, mean = result["images"], result["mean"]
    assert [rows[name]["length unit"] for name in "abc"] == ["mm", "um", "px"]
    assert [rows[name]["nsd tolerance"] for name in "abc"] == ["1 mm", "1 um", "1 px"]
    assert np.isnan([mean[name] for name in ("assd", "hd95", "nsd")]).all()
    assert mean["dice"] == pytest.approx(np.mean([row["dice"] for row in rows.values()]))
    assert any("length unit (mm, px, um)" in note and "assd, hd95" in note for note in result["notes"])


def test_masks_of_255_are_told_of_once_for_all_files(tmp_path: Path) -> None:
    mask = np.eye(8, dtype=np.uint8)
    for name in "abc":
        for folder, value in (("results", 1), ("truth", 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            np.save(tmp_path / folder / f"{name}.npy", mask * np.uint8(value))
    result = run(evaluate("afm-unet", tmp_path / "results", tmp_path / "truth"))
    assert result["mean"]["dice"] == 1
    assert [note for note in result["notes"] if "both are masks" in note] == [
        "A result holds 1 where its reference holds 255: both are masks."
    ]


@pytest.mark.parametrize(("mine", "theirs", "dice"), [(1, 255, 1), (255, 1, 1), (2, 255, 1), (1, 1, 1), (2, 1, 0)])
def test_a_mask_of_255_is_one_of_1(tmp_path: Path, mine: int, theirs: int, dice: float) -> None:
    """The same voxels, numbered otherwise; 2 and 1 may be two organs."""
    volume = np.zeros((4, 6, 7), np.uint8)
    volume[1:3, 2:5, 2:6] = 1
    for name, value in (("result", mine), ("truth", theirs)):
        np.save(tmp_path / f"{name}.npy", volume * np.uint8(value))
    result = run(evaluate("p-net", tmp_path / "result.npy", tmp_path / "truth.npy"))
    assert result["mean"]["dice"] == dice
    assert any("both are masks" in note for note in result["notes"]) == (dice == 1 and mine != theirs)
    images = [read_labels(tmp_path / f"{name}.npy") for name in ("result", "truth")]
    found = run(compare_pair("p-net", *images))
    assert found.metrics["dice"] == dice
    assert (found.counts[1] + found.counts[2] == 0) == (dice == 1)
    several = images[1].replace(data=np.where(np.arange(7) > 3, 2, 1) * (volume > 0))
    assert run(compare_pair("p-net", images[0], several)).metrics["dice"] < 1


def test_a_movie_in_one_file_counts_its_frames_as_files_of_frames_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = (rng.random((2, 6, 12, 14)) < 0.3).astype(np.uint8)
    masks[0, 0], masks[1, 0], masks[1, 1] = 0, 0, 0
    for name, movie in zip(("results", "references"), masks, strict=True):
        write(tmp_path / name / "whole" / "film_labels.tif", Image(movie, "TYX", kind="labels", name="film"))
        for k, frame in enumerate(movie):
            write(tmp_path / name / "frames" / f"film_{k}_labels.tif", Image(frame, "YX", kind="labels"))
    whole, frames = (
        run(evaluate("double-unet", tmp_path / "results" / kind, tmp_path / "references" / kind))["movie"]
        for kind in ("whole", "frames")
    )
    assert whole == frames
    assert whole["all frames"]["frames"] == 6
    assert whole["nerve frames"]["frames"] == 4


def test_an_image_of_one_class_counts_in_the_mean_of_that_class(tmp_path: Path) -> None:
    """Class 2 is right in one image and missed in another, which holds nothing else; a third image is empty."""
    both, lone, none = np.array([[1, 2]] * 2, np.uint8), np.array([[0, 2]] * 2, np.uint8), np.zeros((2, 2), np.uint8)
    for name, result, truth in (("a", both, both), ("b", none, lone), ("c", none, none)):
        write(tmp_path / "result" / f"{name}.tif", Image(result, "YX", kind="labels"))
        write(tmp_path / "truth" / f"{name}.tif", Image(truth, "YX", kind="labels"))
    found = run(evaluate("p-net", tmp_path / "result", tmp_path / "truth"))
    mean = found["mean"]
    assert {name: mean[name] for name in ("dice", "dice_1", "dice_2")} == {"dice": 2 / 3, "dice_1": 1, "dice_2": 0.5}
    (tmp_path / "truth" / "a.tif").unlink()
    alone = run(evaluate("p-net", tmp_path / "result", tmp_path / "truth"))["mean"]
    assert alone["dice"] == 0.5
    assert not any(name.endswith("_2") for name in alone)


def test_a_void_label_of_a_reference_is_said(tmp_path: Path) -> None:
    truth = np.array([[1, 2, 0, 255]] * 2, np.uint8)
    write(tmp_path / "truth.tif", Image(truth, "YX", kind="labels"))
    write(tmp_path / "result.tif", Image(truth % 255, "YX", kind="labels"))
    for method in ("p-net", "double-unet"):
        notes = run(evaluate(method, tmp_path / "result.tif", tmp_path / "truth.tif"))["notes"]
        assert "holds 255 beside 1, 2: it counts as foreground" in str(notes)
    assert run(evaluate("fullnet", tmp_path / "result.tif", tmp_path / "truth.tif"))["notes"] == []
