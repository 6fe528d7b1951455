from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.compare import compare
from napari_medseg.image import Image
from napari_medseg.io import read_labels
from napari_medseg.measure import measure
from napari_medseg.measure.volume import summary, surface_area, table

MM = ("millimeter",) * 3


def two_boxes() -> Image:
    data = np.zeros((6, 10, 12), np.uint8)
    data[1:3, 2:6, 2:7] = 1
    data[4, 8, 9] = 3
    return Image(data, "ZYX", (2, 1, 0.5), MM)


def test_volume_position_and_box_by_hand() -> None:
    rows = table(two_boxes()).set_index("label")
    assert list(rows.index) == [1, 3]
    assert rows.loc[1, "voxels"] == 40
    assert rows.loc[1, "volume (mL)"] == pytest.approx(0.040)
    assert rows.loc[1, ["centroid z (mm)", "centroid y (mm)", "centroid x (mm)"]].tolist() == [3.0, 3.5, 2.0]
    assert rows.loc[1, ["first z", "last z", "first x", "last x"]].tolist() == [1, 2, 2, 6]
    assert rows.loc[3, "volume (mL)"] == pytest.approx(0.001)


def test_centroid_uses_the_affine() -> None:
    affine = np.diag([2, 1, 0.5, 1.0])
    affine[:3, 3] = (-10, 5, 100)
    rows = table(two_boxes().replace(affine=affine))
    assert rows["centroid z (mm)"].tolist() == [-7.0, -2.0]
    assert rows["centroid x (mm)"][0] == 102.0


def test_intensity_leaves_nan_out() -> None:
    labels = two_boxes()
    values = np.full(labels.data.shape, 7.0, np.float32)
    values[1, 2, 2] = np.nan
    values[1, 2, 3] = 46
    rows = table(labels, Image(values, "ZYX", labels.scale, MM))
    assert rows["mean intensity"][0] == pytest.approx(8.0)
    assert rows["SD intensity"][1] == 0
    case = Image(np.stack([values, values]), "CZYX", labels.scale, MM, channels=("T1", "FLAIR"))
    assert "mean intensity FLAIR" in table(labels, case)


def test_surface_of_a_ball_and_a_disc() -> None:
    zyx = np.indices((44, 44, 44)) - 21.5
    ball = (zyx**2).sum(0) < 20**2
    assert surface_area(ball, (1, 1, 1)) == pytest.approx(4 * np.pi * 20**2, rel=0.1)
    assert surface_area(ball, (2, 2, 2)) == pytest.approx(4 * surface_area(ball, (1, 1, 1)), rel=1e-5)
    disc = (zyx[1:, 0] ** 2).sum(0) < 20**2
    assert surface_area(disc, (1, 1)) == pytest.approx(2 * np.pi * 20, rel=0.1)
    assert surface_area(np.ones((1, 3, 3), bool), (1, 1, 1)) > 0


def test_units_follow_the_image() -> None:
    data = np.ones((2, 3, 4), np.int32)
    assert "volume (px^3)" in table(Image(data, "ZYX"))
    assert "area (mm^2)" in table(Image(data[0], "YX", (1, 1), MM[:2]))
    assert "volume (um^3)" in table(Image(data, "ZYX", (1, 1, 1), ("micrometer",) * 3))


def test_summary_and_empty_labels() -> None:
    whole = summary(two_boxes())
    assert whole.loc[0, "objects"] == 2
    assert whole.loc[0, "volume (mL)"] == pytest.approx(0.041)
    nothing = Image(np.zeros((3, 3, 3), np.uint8), "ZYX", (1, 1, 1), MM)
    assert len(table(nothing)) == 0
    assert "volume (mL)" in table(nothing)
    assert summary(nothing).loc[0, "largest volume (mL)"] == 0


def test_bad_input_is_named() -> None:
    labels = two_boxes()
    with pytest.raises(DataError, match="Give the image that was segmented"):
        table(labels, Image(np.zeros((5, 10, 12)), "ZYX"))
    with pytest.raises(DataError, match="not labels"):
        table(labels.replace(data=labels.data * 0.5))
    with pytest.raises(DataError, match="ZYX or YX"):
        table(Image(np.zeros((2, 3, 4, 5), np.uint8), "TZYX"))


def test_a_sheared_grid_is_measured_by_its_determinant() -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.array([[3, 0, 0], [0, 2, 0], [0, 0.4, 1]])
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[5:15, 5:15, 5:15] = 1
    steps = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    row = table(Image(mask, "ZYX", steps, ("millimeter",) * 3, affine, "labels")).iloc[0]
    assert row["volume (mL)"] == pytest.approx(1000 * 6 / 1000)
    faces = 2 * (20 * 10 + 30 * 10 + 30 * 10 * np.hypot(2, 0.4))  # of the slanted block: 30 x 20 x 10 mm
    assert row["surface area (mm^2)"] == pytest.approx(faces, rel=0.06)  # corners are cut


def test_a_stack_whose_planes_have_no_known_distance_counts_voxels(tmp_path: Path) -> None:
    """600 voxels of 0.5 x 0.5 um in planes of unknown distance are no 150 um^3."""
    labels = np.zeros((8, 20, 30), np.uint8)
    labels[2:6, 4:14, 5:20] = 1
    tifffile.imwrite(tmp_path / "a.tif", labels, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "unit": "um"})
    image = read_labels(tmp_path / "a.tif")
    assert "not the distance of planes" in image.metadata["notes"][0]
    row = measure("volume", image).iloc[0]
    assert row["volume (px^3)"] == 600
    assert tuple(row[f"centroid {axis} (px)"] for axis in "zyx") == (3.5, 8.5, 12)
    assert "volume (um^3)" not in row
    whole = measure("volume", image.replace(scale=(2, 0.5, 0.5), units=("micrometer",) * 3)).iloc[0]
    assert whole["volume (um^3)"] == 300


def test_distances_between_masks_of_unknown_planes_are_voxels() -> None:
    truth = np.zeros((9, 20, 30), np.uint8)
    truth[2:6, 4:14, 5:20] = 1
    shifted = np.roll(truth, 3, 2)
    unknown = Image(truth, "ZYX", (1, 0.5, 0.5), ("pixel", "micrometer", "micrometer"), kind="labels")
    assert compare(unknown.replace(data=shifted), unknown, ["hd95"])["hd95"] == pytest.approx(3)
    known = unknown.replace(units=("micrometer",) * 3)
    assert compare(known.replace(data=shifted), known, ["hd95"])["hd95"] == pytest.approx(1.5)


def test_channels_of_one_name_are_told_apart_by_number() -> None:
    data = np.stack([np.full((6, 10, 12), 3.0), np.full((6, 10, 12), 8.0)])
    rows = table(two_boxes(), Image(data, "CZYX", (2, 1, 0.5), MM, channels=("a", "a")))
    assert (rows["mean intensity 0"][0], rows["mean intensity 1"][0]) == (3, 8)
