from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skimage.measure import regionprops
from tifffile import imwrite

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read
from napari_medseg.measure import nuclei
from napari_medseg.preprocessing.stains import TARGET

UM = ("micrometer", "micrometer")


def labels_of(data: np.ndarray, scale: float = 0.5) -> Image:
    return Image(data, "YX", (scale, scale), UM, kind="labels")


def rectangles() -> np.ndarray:
    data = np.zeros((40, 60), np.uint16)
    data[5:9, 10:20] = 3
    data[5:9, 30:40] = 7
    data[30:34, 10:20] = 9
    return data


def test_rectangles_have_the_sizes_drawn() -> None:
    frame = nuclei.table(labels_of(rectangles()))
    assert frame["label"].tolist() == [3, 7, 9]
    np.testing.assert_allclose(frame["area (um^2)"], 10.0)
    np.testing.assert_allclose(frame["Feret diameter (um)"], math.hypot(2, 5))
    np.testing.assert_allclose(frame["solidity"], 1.0)
    np.testing.assert_allclose(frame["perimeter (um)"], 2 * (9 + 3) * 0.5)
    np.testing.assert_allclose(frame["nearest neighbour (um)"], [10, 10, 12.5])
    np.testing.assert_allclose(frame["eccentricity"], math.sqrt(1 - (4 / 10) ** 2))


def test_shapes_agree_with_scikit_image() -> None:
    y, x = np.indices((50, 50))
    data = ((((y - 25) / 18) ** 2 + ((x - 25) / 10) ** 2) < 1).astype(np.uint8)
    data[20:30, 25:45] = 0
    row = nuclei.table(labels_of(data, 1.0)).iloc[0]
    known = regionprops(data)[0]
    assert row["area (um^2)"] == known.area
    assert row["eccentricity"] == pytest.approx(known.eccentricity, abs=0.01)
    assert row["solidity"] == pytest.approx(known.solidity, abs=0.04)
    assert row["Feret diameter (um)"] == pytest.approx(known.feret_diameter_max, abs=1)
    assert row["perimeter (um)"] == pytest.approx(known.perimeter)


def test_stains_are_the_amounts_the_picture_was_made_of() -> None:
    data = rectangles()
    amounts = np.zeros((*data.shape, 2))
    amounts[data == 3], amounts[data == 7], amounts[data == 9] = (1.0, 0.2), (0.3, 0.8), (0.5, 0.5)
    rgb = np.rint(255 * np.exp(-amounts @ TARGET.vectors) - 1).clip(0, 255).astype(np.uint8)
    frame = nuclei.table(labels_of(data), Image(rgb, "YXC", (0.5, 0.5), UM))
    np.testing.assert_allclose(frame["haematoxylin (OD)"], [1.0, 0.3, 0.5], atol=0.03)
    np.testing.assert_allclose(frame["eosin (OD)"], [0.2, 0.8, 0.5], atol=0.03)


def test_summary_counts_per_square_millimetre() -> None:
    row = nuclei.summary(labels_of(rectangles())).iloc[0]
    assert row["count"] == 3
    assert row["density (1/mm^2)"] == pytest.approx(3 / (0.02 * 0.03))
    assert row["covered share"] == pytest.approx(120 / 2400)
    pixels = nuclei.summary(Image(rectangles(), "YX", kind="labels")).iloc[0]
    assert pixels["density (1/Mpx)"] == pytest.approx(3 / 2400e-6)


def test_density_is_the_same_in_every_unit_of_length() -> None:
    in_cm = Image(rectangles(), "YX", (0.5e-4,) * 2, ("centimeter",) * 2, kind="labels")
    column = "density (1/mm^2)"
    assert nuclei.summary(in_cm)[column][0] == pytest.approx(nuclei.summary(labels_of(rectangles()))[column][0])


def test_no_objects_give_headers_only() -> None:
    empty = labels_of(np.zeros((10, 10), np.uint16))
    image = Image(np.zeros((10, 10, 3), np.uint8), "YXC", (0.5, 0.5), UM)
    full = nuclei.table(labels_of(rectangles()), Image(np.zeros((40, 60, 3), np.uint8), "YXC", (0.5, 0.5), UM))
    frame = nuclei.table(empty, image)
    assert len(frame) == 0
    assert list(frame.columns) == list(full.columns)
    assert nuclei.summary(empty, image).iloc[0]["count"] == 0


def test_single_object_has_no_neighbour_and_single_pixels_are_measured() -> None:
    data = np.zeros((9, 9), np.uint8)
    data[4, 4] = 1
    row = nuclei.table(labels_of(data, 1.0)).iloc[0]
    assert math.isnan(row["nearest neighbour (um)"])
    assert row["eccentricity"] == 0
    assert row["Feret diameter (um)"] == pytest.approx(math.sqrt(2))


def test_binary_mask_is_split_into_components() -> None:
    assert nuclei.table(labels_of((rectangles() > 0).astype(np.uint8) * 255))["label"].tolist() == [1, 2, 3]


def test_nuclei_are_counted_per_gland() -> None:
    glands = np.zeros((40, 60), np.uint16)
    glands[:20] = 2
    glands[25:, 30:] = 5
    frame = nuclei.per_parent(labels_of(rectangles()), labels_of(glands))
    assert frame["label"].tolist() == [2, 5]
    assert frame["objects"].tolist() == [2, 0]
    assert frame["area (um^2)"].tolist() == [300.0, 112.5]
    none = labels_of(np.zeros((40, 60), np.uint16))
    assert nuclei.per_parent(none, labels_of(glands))["objects"].tolist() == [0, 0]
    assert len(nuclei.per_parent(labels_of(rectangles()), none)) == 0


def test_glands_of_another_grid_are_laid_on_the_nuclei_by_position() -> None:
    coarse = np.zeros((20, 30), np.uint16)
    coarse[:10] = 2  # what is the upper half of the nuclei's picture, at twice the pixel size
    frame = nuclei.per_parent(labels_of(rectangles()), labels_of(coarse, 1.0))
    assert frame["objects"].tolist() == [2]
    assert frame["area (um^2)"].tolist() == [300.0]
    with pytest.raises(DataError, match=r"parents"):
        nuclei.per_parent(labels_of(rectangles()), labels_of(np.ones((7, 11), np.uint16)))


def test_a_nucleus_on_a_border_belongs_where_most_of_it_lies() -> None:
    glands = np.zeros((40, 60), np.uint16)
    glands[:, :13] = 1
    glands[:, 13:25] = 2
    assert nuclei.per_parent(labels_of(rectangles()), labels_of(glands))["objects"].tolist() == [0, 2]


@pytest.mark.parametrize("image", [np.zeros((20, 60, 3), np.uint8), np.zeros((20, 60, 1), np.uint8)])
def test_images_of_another_size_are_refused(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="Give the segmented image"):
        nuclei.table(labels_of(rectangles()), Image(image, "YXC", (0.5, 0.5), UM))


@pytest.mark.parametrize("channels", [1, 2])
def test_objects_of_images_without_colours_are_measured_without_stains(channels: int) -> None:
    """Fluorescence has one channel; the sizes are those of the labels."""
    image = Image(np.zeros((40, 60, channels), np.uint8), "YXC", (0.5, 0.5), UM, name="dapi")
    frame = nuclei.table(labels_of(rectangles()), image)
    pd.testing.assert_frame_equal(frame, nuclei.table(labels_of(rectangles())))
    assert not {*nuclei.STAINS} & {*frame.columns}
    (note,) = nuclei.assumed(image)
    assert note.startswith("Stains are measured on colour images; dapi has ")


@pytest.mark.parametrize("tag", [True, False])
def test_stains_follow_the_white_that_a_file_states_or_say_what_is_assumed(tmp_path: Path, tag: bool) -> None:
    """The same picture in bytes and in any other numbers has the same optical densities."""
    rgb = np.random.default_rng(0).integers(40, 230, (12, 12, 3)).astype(np.uint8)
    labels = Image(np.pad(np.ones((6, 6), np.uint8), 3), "YX", kind="labels")
    right = nuclei.table(labels, Image(rgb, "YXC"))[list(nuclei.STAINS)]
    white = 2**31 - 1
    extra = [(341, "I", 3, (white,) * 3, True)] if tag else []
    wide = (rgb.astype(np.float64) / 255 * white).astype(np.uint32)
    imwrite(tmp_path / "a.tif", wide, photometric="rgb", extratags=extra)
    (image,) = read(tmp_path / "a.tif")
    if tag:
        np.testing.assert_allclose(nuclei.table(labels, image)[list(nuclei.STAINS)], right, atol=1e-6)
        assert not nuclei.assumed(image)
        return
    percent = Image(rgb / np.float32(2.55), "YXC")
    for unknown in (image, percent):
        with pytest.raises(DataError, match="Nothing says what value white has"):
            nuclei.table(labels, unknown)
    twelve = Image((rgb.astype(np.uint16) * 16).astype(np.uint16), "YXC")
    assert nuclei.assumed(twelve) == ["The file does not state the value of white; 4095 is assumed."]
