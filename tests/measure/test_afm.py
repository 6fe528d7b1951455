"""A square and a spherical cap on a tilted bowl, measured against their formulas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io.outlines.polygons import objects_of
from napari_medseg.measure import afm, measure, measured_labels, summarise
from napari_medseg.preprocessing.levelling import above_glass

UM = ("micrometer", "micrometer")
SHAPE = (120, 100)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
BOWL = 500 + 0.8 * X - 0.5 * Y + 0.004 * X * Y + 0.003 * Y**2


def labels_of(mask: np.ndarray, step: tuple[float, float] = (0.5, 0.5), units: tuple[str, str] = UM) -> Image:
    return Image(mask, "YX", step, units, kind="labels", name="cells")


def heights_of(values: np.ndarray, step: tuple[float, float] = (0.5, 0.5)) -> Image:
    return Image(values, "YX", step, UM, name="scan", value_unit="nm")


SQUARE = np.zeros(SHAPE, np.uint8)
SQUARE[20:40, 30:60] = 1  # 20 x 30 pixels = 10 x 15 um


def test_square() -> None:
    row = afm.table(labels_of(SQUARE), heights_of(BOWL + 200 * SQUARE)).iloc[0]
    assert row["label"] == 1
    np.testing.assert_allclose(row["area (um^2)"], 150)
    np.testing.assert_allclose(row["perimeter (um)"], 2 * (19 + 29) * 0.5)  # through the pixel centres
    np.testing.assert_allclose(row["circularity"], 4 * np.pi * 150 / 48**2)
    np.testing.assert_allclose((row["centroid_y (um)"], row["centroid_x (um)"]), (29.5 * 0.5, 44.5 * 0.5))
    np.testing.assert_allclose((row["height_max (nm)"], row["height_mean (nm)"]), 200, atol=0.01)
    np.testing.assert_allclose(row["volume (um^3)"], 150 * 0.2, rtol=1e-4)
    np.testing.assert_allclose((row["Sa (nm)"], row["Sq (nm)"], row["Sz (nm)"]), 0, atol=0.01)


def test_spherical_cap_volume() -> None:
    """V = pi h^2 (3 R - h) / 3 and base radius a^2 = h (2 R - h)."""
    radius, top, step = 20.0, 2.0, 0.2  # um
    base = np.sqrt(top * (2 * radius - top))
    rows, columns = np.mgrid[:200, :200] * step
    distance = np.hypot(rows - 20.1, columns - 19.9)
    cap = np.where(distance < base, np.sqrt(radius**2 - np.minimum(distance, base) ** 2) - (radius - top), 0)
    mask = (distance < base).astype(np.uint8)
    row = afm.table(labels_of(mask, (step, step)), heights_of(cap * 1000 + 300, (step, step))).iloc[0]
    np.testing.assert_allclose(row["volume (um^3)"], np.pi * top**2 * (3 * radius - top) / 3, rtol=2e-3)
    np.testing.assert_allclose(row["height_max (nm)"], 2000, rtol=1e-3)
    np.testing.assert_allclose(row["area (um^2)"], np.pi * base**2, rtol=5e-3)
    assert row["circularity"] > 0.9


def test_roughness_by_hand() -> None:
    z = np.array([1.0, 3.0, 1.0, 3.0, 7.0])  # mean 3: deviations -2 0 -2 0 4
    sq = np.sqrt((4 + 4 + 16) / 5)
    np.testing.assert_allclose(afm.roughness(z), (8 / 5, sq, 48 / 5 / sq**3, 288 / 5 / sq**4, 6))


def test_roughness_of_normal_noise() -> None:
    sa, sq, ssk, sku, _ = afm.roughness(np.random.default_rng(0).normal(5, 2, 200_000))
    np.testing.assert_allclose((sa, sq, ssk, sku), (2 * np.sqrt(2 / np.pi), 2, 0, 3), atol=0.03)


def test_binary_masks_split_and_instances_stay() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[5:8, 5:8] = 255  # touch at a corner: one cell
    mask[12:16, 12:16] = 255
    assert afm.table(labels_of(mask))["area (um^2)"].tolist() == [18 * 0.25, 16 * 0.25]
    given = (mask > 0).astype(np.int32)
    given[5:8, 5:8] = 9
    assert afm.table(labels_of(given))["label"].tolist() == [1, 9]


def test_pixels_where_not_calibrated() -> None:
    frame = afm.table(labels_of(SQUARE, (1, 1), ("pixel", "pixel")), Image(BOWL, "YX"))
    assert list(frame.columns[:4]) == ["label", "area (px)", "perimeter (px)", "circularity"]
    assert "height_max (value)" in frame
    assert frame["area (px)"].tolist() == [600]


def test_uncalibrated_labels_take_the_pixel_size_of_their_scan() -> None:
    frame = afm.table(labels_of(SQUARE, (1, 1), ("pixel", "pixel")), heights_of(BOWL))
    assert frame["area (um^2)"].tolist() == [150]


def test_pixels_that_are_not_square() -> None:
    row = afm.table(labels_of(SQUARE, (1.0, 0.5))).iloc[0]
    np.testing.assert_allclose(row["area (um^2)"], 20 * 15)
    np.testing.assert_allclose(row["perimeter (um)"], 2 * (20 + 15), rtol=0.03)


def test_no_cells_keep_the_headers() -> None:
    empty = labels_of(np.zeros(SHAPE, np.uint8))
    frame, filled = afm.table(empty, heights_of(BOWL)), afm.table(labels_of(SQUARE), heights_of(BOWL))
    assert len(frame) == 0
    assert list(frame.columns) == list(filled.columns)
    assert (frame.dtypes == filled.dtypes).all()
    row = afm.summary(empty, heights_of(BOWL)).iloc[0]
    assert (row["cells"], row["coverage (%)"]) == (0, 0)
    assert np.isnan(row["height_max (nm)"])


def test_summary() -> None:
    noise = np.random.default_rng(0).normal(0, 3, SHAPE)
    row = afm.summary(labels_of(SQUARE), heights_of(BOWL + noise + 200 * SQUARE)).iloc[0]
    assert (row["image"], row["cells"]) == ("scan", 1)
    np.testing.assert_allclose(row["coverage (%)"], 100 * 600 / 12_000)
    np.testing.assert_allclose(row["area (um^2)"], 150)
    np.testing.assert_allclose(row["volume (um^3)"], 30, rtol=0.01)
    np.testing.assert_allclose((row["Sq_cell (nm)"], row["Sq_substrate (nm)"]), 3, rtol=0.1)
    np.testing.assert_allclose(row["Sku_substrate"], 3, atol=0.3)


def test_heights_are_those_above_the_glass_that_the_mask_was_found_on() -> None:
    offsets = np.random.default_rng(0).normal(0, 20, (SHAPE[0], 1))
    noise = np.random.default_rng(1).normal(0, 1, SHAPE)
    image = heights_of(BOWL + 2e-5 * (X - 50) ** 3 + offsets + noise + 200 * SQUARE)
    row = afm.table(labels_of(SQUARE), image).iloc[0]
    assert row["height_mean (nm)"] == pytest.approx(200, abs=1)
    assert row["height_mean (nm)"] == pytest.approx(above_glass(image.data).height[SQUARE > 0].mean(), abs=1)
    assert afm.summary(labels_of(SQUARE), image)["levelled by"].iloc[0] == afm.SURFACE


def test_an_object_of_two_pieces_stays_one_where_values_are_objects() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[2:5, 2:5] = mask[12:16, 12:16] = 1
    objects = measured_labels("afm", labels_of(mask))
    assert measure("afm", objects)["label"].tolist() == [1, 2]
    merged = objects.replace(data=np.minimum(objects.data, 1))
    assert measure("afm", merged)["area (um^2)"].tolist() == [25 * 0.25]
    assert summarise("afm", merged)["cells"].iloc[0] == 1
    np.testing.assert_array_equal(objects_of(merged), mask)


def test_a_film_is_measured_frame_by_frame() -> None:
    frames = np.stack([SQUARE, np.zeros_like(SQUARE), np.roll(SQUARE, 50, 0) | SQUARE])
    heights = np.stack([BOWL + 200 * frame for frame in frames])
    film = Image(heights, "TYX", (0.1, 0.5, 0.5), ("second", *UM), name="film", value_unit="nm")
    labels = measured_labels("afm", film.labels_like(frames))
    assert [np.unique(frame[frame > 0]).tolist() for frame in labels.data] == [[1], [], [2, 3]]
    table = measure("afm", labels, film)
    assert table[["frame", "label"]].to_numpy().tolist() == [[0, 1], [2, 2], [2, 3]]
    np.testing.assert_allclose(table["height_mean (nm)"], 200, atol=0.1)
    rows = summarise("afm", labels, film)
    assert rows["frame"].tolist() == [0, 1, 2]
    assert rows["cells"].tolist() == [1, 0, 2]
    assert measure("afm", film.labels_like(frames), film)["label"].tolist() == [1, 2, 3]


def test_constant_and_full_images_are_quiet() -> None:
    flat = heights_of(np.full(SHAPE, 7.0))
    row = afm.table(labels_of(SQUARE), flat).iloc[0]
    assert row["height_max (nm)"] == 0
    assert np.isnan(row["Ssk"])
    full = afm.table(labels_of(np.ones(SHAPE, np.uint8)), flat).iloc[0]
    assert np.isnan(full["height_max (nm)"])
    assert np.isnan(full["volume (um^3)"])


def test_single_pixel() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3, 3] = 1
    row = afm.table(labels_of(mask), heights_of(BOWL)).iloc[0]
    assert row["area (um^2)"] == 0.25
    assert np.isnan(row["circularity"])


def test_bad_input_is_named() -> None:
    holes = BOWL.copy()
    holes[0, :4] = np.nan
    with pytest.raises(DataError, match="4 non-finite heights"):
        afm.table(labels_of(SQUARE), heights_of(holes))
    with pytest.raises(DataError, match="no place says where"):
        measure("afm", labels_of(SQUARE), heights_of(BOWL[:50]))
    with pytest.raises(DataError, match="one channel"):
        afm.table(labels_of(SQUARE), Image(np.zeros((*SHAPE, 3)), "YXC"))
    with pytest.raises(DataError, match="Choose one frame"):
        afm.table(Image(np.zeros((2, 4, 4), np.uint8), "TYX", kind="labels"))


def test_through_the_package_interface() -> None:
    arguments = labels_of(SQUARE), heights_of(BOWL)
    pd.testing.assert_frame_equal(measure("afm", *arguments), afm.table(*arguments))
    pd.testing.assert_frame_equal(summarise("afm", *arguments), afm.summary(*arguments))
