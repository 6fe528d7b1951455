from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.measure import measure, nerve, summarise

STEP = 400 / 384
UM = {"scale": (STEP, STEP), "units": ("micrometer", "micrometer")}


def scene() -> np.ndarray:
    """Two main nerves across the field, a branch from the first, an isolated piece."""
    mask = np.zeros((384, 384), np.uint8)
    mask[99:102] = 1
    mask[299:302] = 1
    mask[101:181, 200:203] = 1
    mask[240, 50:90] = 1
    return mask


def labels(data: np.ndarray, **geometry: object) -> Image:
    return Image(data, "YX", kind="labels", name="scene", **geometry)  # type: ignore[arg-type]


def test_measures_of_a_drawn_scene() -> None:
    row = summarise("nerve", labels(scene(), **UM)).iloc[0]
    total_mm = (383 + 383 + 80 + 39) * STEP / 1000
    assert row["CNFD [no/mm^2]"] == pytest.approx(2 / 0.16)
    assert row["CNBD [no/mm^2]"] == pytest.approx(1 / 0.16)
    assert row["CTBD [no/mm^2]"] == pytest.approx(1 / 0.16)
    assert row["CNFL [mm/mm^2]"] == pytest.approx(total_mm / 0.16, rel=0.01)
    assert row["CNFA [mm^2/mm^2]"] == pytest.approx(scene().mean(), rel=0.001)
    assert row["CNFW [um]"] == pytest.approx(3 * STEP, rel=0.05)
    assert row["tortuosity"] == pytest.approx(1, abs=0.01)
    assert 0.9 < row["fractal dimension"] < 1.3
    assert row["image area [mm^2]"] == pytest.approx(0.16)


def test_one_row_for_each_nerve() -> None:
    rows = measure("nerve", labels(scene(), **UM))
    assert sorted(rows["class"]) == ["branch", "branch", "main", "main"]
    main = rows[rows["class"] == "main"]
    assert main["length [um]"].tolist() == pytest.approx([400, 400], rel=0.01)
    assert main["width [um]"].tolist() == pytest.approx([3.125, 3.125], rel=0.05)
    assert sorted(main["branch points"]) == [0, 1]
    assert {"pixel-graph length [um]", "pixel-count length [um]"} <= set(rows.columns)


@pytest.mark.parametrize("shape", [(384, 384), (1, 1), (5, 300)])
def test_no_nerves_give_zeros_with_units(shape: tuple[int, int]) -> None:
    empty = labels(np.zeros(shape, np.uint8), **UM)
    row = nerve.summary(empty)
    numbers = row.select_dtypes("number").drop(columns="image area [mm^2]")
    assert (numbers.to_numpy() == 0).all()
    assert list(row.columns) == list(nerve.summary(labels(scene(), **UM)).columns)
    assert nerve.table(empty).empty
    assert "length [um]" in nerve.table(empty).columns
    assert nerve.paths(empty) == ([], [])


def test_without_pixel_size_the_headers_say_pixels() -> None:
    row = nerve.summary(labels(scene())).iloc[0]
    assert row["CNFL [px/px^2]"] == pytest.approx((383 * 2 + 80 + 39) / 384**2, rel=0.01)
    assert "length [px]" in nerve.table(labels(scene())).columns
    assert not [name for name in row.index if "mm" in name or "um" in name]


def test_any_positive_label_is_nerve() -> None:
    expected = nerve.summary(labels(scene(), **UM))
    pd.testing.assert_frame_equal(nerve.summary(labels(scene() * 255, **UM)), expected)


def test_volumes_are_refused() -> None:
    with pytest.raises(DataError, match="2D labels"):
        nerve.table(Image(np.zeros((3, 4, 5), np.uint8), "ZYX", kind="labels"))


def test_image_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="no place says where"):
        measure("nerve", labels(scene()), Image(np.zeros((5, 5)), "YX"))


def test_paths_and_table_follow_edits() -> None:
    found, classes = nerve.paths(labels(scene(), **UM))
    assert all(p.ndim == 2 and p.shape[1] == 2 for p in found)
    shape, scale, units = (384, 384), UM["scale"], UM["units"]
    before = nerve.table_from_paths(found, classes, shape, scale, units)
    pd.testing.assert_series_equal(before["length [um]"], nerve.table(labels(scene(), **UM))["length [um]"])
    index = classes.index("main")
    edited = [*found[:index], found[index][:1] + np.array([[0, 0], [0, 96]]), *found[index + 1 :]]
    after = nerve.table_from_paths(edited, classes, shape, scale, units)
    assert after["length [um]"][index] == pytest.approx(100)
    fewer = nerve.summary_from_paths([found[index]], ["main"], shape, scale, units)
    assert fewer["CNFD [no/mm^2]"] == pytest.approx(1 / 0.16)
    assert fewer["CNBD [no/mm^2]"] == 0


def test_a_class_can_be_edited() -> None:
    found, classes = nerve.paths(labels(scene(), **UM))
    all_main = nerve.summary_from_paths(found, ["main"] * len(classes), (384, 384), UM["scale"], UM["units"])
    assert all_main["CNFD [no/mm^2]"] == pytest.approx(4 / 0.16)


def test_by_eye() -> None:
    frames = []
    for subject, eye, site, data in (
        ("P1", "OD", "central", scene()),
        ("P1", "OD", "central", scene() * 0),
        ("P1", "OS", "central", scene()),
        ("P1", "OS", "whorl", scene()),
        ("", "", "", scene()),
    ):
        known = {"subject": subject, "eye": eye, "site": site}
        frames.append(nerve.summary(labels(data, **UM, metadata=known)))
    eyes = nerve.by_eye(frames).set_index(["subject", "eye"])
    right, left, unknown = eyes.loc[("P1", "OD")], eyes.loc[("P1", "OS")], eyes.loc[("scene", "")]
    assert (right["images used"], left["images used"], unknown["images used"]) == (2, 2, 1)
    assert right["CNFD [no/mm^2] mean"] == pytest.approx(6.25)
    assert right["CNFD [no/mm^2] SD"] == pytest.approx(12.5 / np.sqrt(2))
    assert "same nerves" in right["overlap warning"]
    assert left["overlap warning"] == unknown["overlap warning"] == ""
    assert np.isnan(unknown["CNFD [no/mm^2] SD"])
    assert nerve.by_eye([]).empty


def test_eye_with_and_without_a_pixel_size() -> None:
    known = {"subject": "P1", "eye": "OD"}
    frames = [nerve.summary(labels(scene(), metadata=known, **geometry)) for geometry in (UM, {})]
    assert "pixel size" in nerve.by_eye(frames)["unit warning"].iloc[0]


def test_identity_is_of_the_metadata_or_the_name() -> None:
    named = labels(scene()).replace(name="P3_OS_whorl_2_labels")
    assert nerve.identity(named) == {"image": named.name, "subject": "P3", "eye": "OS", "site": "whorl"}
    known = named.replace(metadata={"subject": "P4"})
    assert nerve.identity(known)["subject"] == "P4"
    for shown in ("P3_OS_whorl_2 [1]", "P3_OS_whorl_2 · sc-dcnn", "P3_OS_whorl_2_lab [3]"):
        assert nerve.identity(named.replace(name=shown))["subject"] == "P3"
    assert nerve.identity(labels(scene())) == {"image": "scene", "subject": "", "eye": "", "site": ""}


def test_real_tracing(shared_data: Path) -> None:
    folder = shared_data / "ccm" / "nottingham" / "train"
    image, traced = read_one(folder / "14_org.tif"), read_one(folder / "14_lab.tif", kind="labels")
    row = nerve.summary(image.labels_like(traced.data), image).iloc[0]
    assert 6 < row["CNFL [mm/mm^2]"] < 9
    assert not row.isna().any()


def drawn(*lines: list[tuple[float, float]], shape: tuple[int, int] = (384, 384), width: float = 3.0) -> Image:
    """Lines of a width on frames of 400 um."""
    mask = np.zeros(shape, np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for line in lines:
        for (a, b), (c, d) in pairwise(line):
            way = np.array([c - a, d - b], float)
            along = np.clip(((y - a) * way[0] + (x - b) * way[1]) / (way @ way), 0, 1)
            mask[np.hypot(y - a - along * way[0], x - b - along * way[1]) <= width / 2] = 1
    return labels(mask, **UM)


FRAME = [[(40 + 70 * k, 40), (60 + 70 * k, 340)] for k in range(5)]


def test_density_of_main_nerves_does_not_depend_on_how_many_frames_are_joined() -> None:
    frame = drawn(*FRAME)  # type: ignore[arg-type]
    mosaic = frame.replace(data=np.tile(frame.data, (4, 4)))
    one, sixteen = (nerve.summary(image)["CNFD [no/mm^2]"].iloc[0] for image in (frame, mosaic))
    assert one == pytest.approx(31.25)
    assert sixteen == pytest.approx(31.25)


def test_a_nerve_through_a_mosaic_counts_once_for_each_frame() -> None:
    frame, joined = drawn([(190, 0), (190, 383)]), drawn([(190, 0), (190, 4 * 384 - 1)], shape=(384, 4 * 384))
    one, four = (nerve.summary(image).iloc[0] for image in (frame, joined))
    assert four["CNFD [no/mm^2]"] == pytest.approx(one["CNFD [no/mm^2]"])
    assert four["main nerves"] == 1


@pytest.mark.parametrize("degrees", [5, 8, 12, 20, 45, 90])
def test_two_crossing_nerves_are_two(degrees: float) -> None:
    rise = min(np.tan(np.deg2rad(degrees / 2)) * 170, 170)
    found = drawn([(190 - rise, 20), (190 + rise, 360)], [(190 + rise, 20), (190 - rise, 360)])
    row = nerve.summary(found).iloc[0]
    assert (row["main nerves"], row["branches"], row["CNBD [no/mm^2]"]) == (2, 0, 0)
    true = 2 * np.hypot(2 * rise, 340) * 400 / 384 / 1000
    assert row["total length [mm]"] == pytest.approx(true, rel=0.02)


@pytest.mark.parametrize("degrees", [12, 20, 30, 45, 80])
def test_a_connecting_branch_is_one_branch_with_two_branch_points(degrees: float) -> None:
    width = min(80 / np.tan(np.deg2rad(degrees)), 260)
    height = np.tan(np.deg2rad(degrees)) * width
    found = drawn(
        [(100, 10), (100, 375)], [(100 + height, 10), (100 + height, 375)], [(100, 60), (100 + height, 60 + width)]
    )
    row = nerve.summary(found).iloc[0]
    assert (row["main nerves"], row["branches"]) == (2, 1)
    assert row["CNBD [no/mm^2]"] == pytest.approx(2 / 0.16)


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right"])
@pytest.mark.parametrize("thick", [2, 4])
def test_a_nerve_along_the_border_is_followed(side: str, thick: int) -> None:
    mask = np.zeros((384, 384), np.uint8)
    at = {"top": np.s_[:thick], "bottom": np.s_[-thick:], "left": np.s_[:, :thick], "right": np.s_[:, -thick:]}[side]
    mask[at] = 1
    row = nerve.summary(labels(mask)).iloc[0]
    assert row["main nerves"] == 1
    assert row["total length [px]"] == pytest.approx(384, abs=8)


@pytest.mark.parametrize("step", [(1.0, 1.0), (2.0, 0.5), (0.5, 2.0)])
def test_classes_do_not_depend_on_the_shape_of_pixels(step: tuple[float, float]) -> None:
    """Two nerves of 300 um, one along each axis, and one of 60 um, are two main nerves and a branch."""
    field = 400
    mask = np.zeros([round(field / side) for side in step], np.uint8)
    for row, column, height, width in ((40, 350, 300, 4), (350, 20, 4, 300), (20, 40, 4, 60)):
        top, left = round(row / step[0]), round(column / step[1])
        mask[top : top + round(height / step[0]), left : left + round(width / step[1])] = 1
    labels = Image(mask, "YX", step, ("micrometer",) * 2, kind="labels")
    rows = nerve.table(labels).sort_values("length [um]")
    assert rows["class"].tolist() == ["branch", "main", "main"]
    np.testing.assert_allclose(rows["length [um]"].iloc[1:], 300, rtol=0.1)  # thick ends are thinned away


def test_a_tracing_is_measured_as_it_was_drawn() -> None:
    straight = [[(50, 20), (50, 80)], [(120, 20), (120, 220)], [(120, 100), (112, 100)], [(200, 30), (200, 45)]]
    known = {"paths": straight, "classes": ["main", "main", "branch", "branch"]}
    traced = labels(np.zeros((384, 384), np.uint8), metadata=known)
    row = nerve.summary(traced).iloc[0]
    assert (row["main nerves"], row["branches"], row["total length [px]"]) == (2, 2, 283)
    assert nerve.table(traced)["length [px]"].tolist() == [60, 200, 8, 15]
    by_rule = nerve.table(traced.replace(metadata={"paths": straight, "classes": ["nerve"] * 4}))
    assert by_rule["class"].tolist() == ["branch", "main", "branch", "branch"]


@pytest.mark.parametrize("ground", ["black", "white", "nan"])
@pytest.mark.parametrize("drawn", [False, True])
def test_densities_of_a_mosaic_are_per_area_that_frames_cover(ground: str, drawn: bool) -> None:
    """Nine frames of 400 um, of which four in the corners are missing: the nerves of the other five."""
    step, side = 400 / 384, 384
    noise = np.random.default_rng(0).integers(20, 200, (3 * side, 3 * side)).astype(float)
    mask = np.zeros(noise.shape, np.uint8)
    for row in (0, 2):
        for column in (0, 2):
            place = slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)
            noise[place] = {"black": 0, "white": 255, "nan": np.nan}[ground]
    mask[side + 100 : side + 103, 50:1100] = 1
    data = noise.astype(np.float32 if ground == "nan" else np.uint8)
    units = ("micrometer", "micrometer")
    picture = Image(data, "YX", (step, step), units)
    known = {"paths": [[[side + 101.0, 50.0], [side + 101.0, 1099.0]]], "classes": ["main"]} if drawn else {}
    labels = picture.labels_like(mask, **known)
    whole, seen = (nerve.summary(labels, one).iloc[0] for one in (None, picture))
    assert whole["image area [mm^2]"] == pytest.approx(1.44)
    assert np.isnan(whole["uncovered area [mm^2]"])
    assert "whole image" in whole["area note"]
    assert seen["image area [mm^2]"] == pytest.approx(0.8)
    assert seen["uncovered area [mm^2]"] == pytest.approx(0.64)
    assert seen["area note"] == ""
    for name in ("CNFL [mm/mm^2]", "CNFD [no/mm^2]"):
        assert seen[name] == pytest.approx(whole[name] * 9 / 5)
    assert seen["total length [mm]"] == whole["total length [mm]"]


@pytest.mark.parametrize("case", ["drawing", "constant", "nan", "bridged"])
def test_plain_ground_in_which_nerves_were_traced_counts_as_seen(case: str) -> None:
    mask = np.zeros((800, 800), np.uint8)
    for row in range(60, 800, 90):
        mask[row : row + 5] = 1  # from side to side: they part the ground
    data = mask * np.float32(200)
    if case == "constant":
        data[:] = 3
    elif case == "nan":
        data[:] = np.nan
    elif case == "bridged":  # frames left and right, and nerves drawn across the gap
        data = np.random.default_rng(0).uniform(20, 200, mask.shape).astype(np.float32)
        data[:, 300:500] = 0
    picture = Image(data, "YX", (1.0, 1.0), ("micrometer",) * 2)
    row = nerve.summary(picture.labels_like(mask), picture).iloc[0]
    assert row["image area [mm^2]"] == pytest.approx(0.64)
    assert row["uncovered area [mm^2]"] == 0
    assert row["area note"].startswith("plain parts") == (case in ("drawing", "bridged"))


def test_nerves_that_end_at_a_frame_or_run_along_it_do_not_make_the_gap_seen() -> None:
    data = np.random.default_rng(0).integers(20, 200, (400, 1000), np.uint8)
    data[:, 400:600] = 255
    mask = np.zeros(data.shape, np.uint8)
    for row in range(20, 400, 60):
        mask[row : row + 4, 100:400] = 1
    mask[30:370, 598:602] = 1  # the edge itself was taken for a nerve
    colours = np.stack([*[255 - data] * 3, np.full_like(data, 255)], -1)  # black ground, opaque
    picture = Image(colours, "YXC", (1.0, 1.0), ("micrometer",) * 2)
    row = nerve.summary(picture.labels_like(mask), picture).iloc[0]
    assert row["uncovered area [mm^2]"] == pytest.approx(0.08)


def test_a_dark_part_of_a_single_frame_counts_as_seen() -> None:
    frame = np.full((384, 384), 90, np.uint8)
    frame[:200] = 0
    picture = Image(frame, "YX", (400 / 384,) * 2, ("micrometer", "micrometer"))
    mask = np.zeros(frame.shape, np.uint8)
    mask[300:303, 20:360] = 1
    assert nerve.summary(picture.labels_like(mask), picture)["image area [mm^2]"].tolist() == pytest.approx([0.16])
