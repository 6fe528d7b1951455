"""The Image contract: axes, scale and units fit the data; geometry survives what is done with it."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import FRAME, PADDING, Image, mm_per, um_per
from napari_medseg.measure import volume


def test_defaults_are_pixels_of_one() -> None:
    image = Image(np.zeros((4, 5)), "YX")
    assert (image.scale, image.units, image.calibrated) == ((1.0, 1.0), ("pixel", "pixel"), False)
    assert (image.spatial_axes, image.spatial_shape, image.n_channels) == ("YX", (4, 5), 1)


@pytest.mark.parametrize(
    ("axes", "shape", "spatial", "n"),
    [("YXC", (4, 5, 3), (4, 5), 3), ("CZYX", (2, 6, 4, 5), (6, 4, 5), 2), ("TYXC", (7, 4, 5, 3), (7, 4, 5), 3)],
)
def test_channels_first_whatever_the_order(axes: str, shape: tuple[int, ...], spatial: tuple[int, ...], n: int) -> None:
    data = np.arange(np.prod(shape)).reshape(shape)
    image = Image(data, axes)
    first = image.channels_first()
    assert (image.spatial_shape, image.n_channels, first.shape) == (spatial, n, (n, *spatial))
    assert np.shares_memory(first, data)
    np.testing.assert_array_equal(first[n - 1], np.take(data, n - 1, axis=axes.index("C")))


def test_one_channel_gets_an_axis() -> None:
    assert Image(np.zeros((4, 5)), "YX").channels_first().shape == (1, 4, 5)


@pytest.mark.parametrize(
    ("shape", "axes", "changes", "reason"),
    [
        ((4, 5), "ZYX", {}, "do not fit an array of shape"),
        ((4, 5), "YY", {}, "do not fit an array of shape"),
        ((4, 5), "YX", {"scale": (1,)}, "2 axes besides C need 2 scales"),
        ((4, 5), "YX", {"units": ("micrometer",)}, "2 axes besides C need 2 scales"),
        ((4, 5), "YX", {"scale": (1, 0)}, "must be positive"),
        ((4, 5), "YX", {"scale": (1, -1)}, "must be positive"),
        ((4, 5), "YX", {"scale": (1, np.nan)}, "must be positive"),
        ((4, 5), "YX", {"affine": np.eye(4)}, "affine must be"),
    ],
)
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], axes: str, changes: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        Image(np.zeros(shape), axes, name="scan", **changes)


def test_labels_like_keeps_the_grid_and_adds_provenance() -> None:
    affine = np.diag([2.0, 3.0, 1.0])
    units = ("micrometer", "micrometer")
    image = Image(np.zeros((4, 5, 3)), "YXC", (2, 3), units, affine, name="a", metadata={"source_file": "a.tif"})
    labels = image.labels_like(np.ones((4, 5), np.uint8), medseg={"method": "afm-unet"})
    assert (labels.kind, labels.axes, labels.scale, labels.units, labels.name) == ("labels", "YX", (2, 3), units, "a")
    assert labels.metadata == {"source_file": "a.tif", "medseg": {"method": "afm-unet"}}
    assert labels.affine is affine
    assert "medseg" not in image.metadata


@pytest.mark.parametrize("stated", [("millimeter", 0.0005), ("nanometer", 500.0), ("meter", 5e-7)])
def test_axes_of_space_share_a_unit(stated: tuple[str, float]) -> None:
    """Areas, lengths and volumes across axes in several units of length are those of one unit."""
    unit, step = stated
    affine = np.diag([2.0, step, 0.25, 1.0])
    affine[:3, 3] = 4, 10 * step, 5
    units = ("second", unit, "micrometer")
    image = Image(np.ones((2, 8, 6), np.uint8), "TYX", (2, step, 0.25), units, affine, "labels")
    assert image.units == ("second", "micrometer", "micrometer")
    np.testing.assert_allclose(image.scale, (2, 0.5, 0.25))
    np.testing.assert_allclose(image.affine, [[2, 0, 0, 4], [0, 0.5, 0, 5], [0, 0, 0.25, 5], [0, 0, 0, 1]])
    unknown = Image(np.ones((8, 6)), "YX", (0.5, 1), ("micrometer", "pixel"))
    assert (unknown.scale, unknown.units) == ((0.5, 1), ("micrometer", "pixel"))


def test_what_was_not_measured() -> None:
    filled = np.array([[-32768, 0, 5]], np.int16)
    assert Image(filled, "YX").measured(filled).tolist() == [[False, True, True]]
    assert Image(filled, "YX", metadata={PADDING: [0, 1]}).measured(filled).tolist() == [[False, False, True]]
    odd = np.array([[np.nan, np.inf, -32768.0]])
    assert Image(odd, "YX").measured(odd).tolist() == [[False, False, True]]
    low = np.array([[-128, 1]], np.int8)
    assert Image(low, "YX").measured(low).all()


def test_replace_checks_again() -> None:
    with pytest.raises(DataError):
        Image(np.zeros((4, 5)), "YX").replace(axes="ZYX")


@pytest.mark.parametrize(
    ("image", "text"),
    [
        (Image(np.zeros((4, 5)), "YX"), "2D, 4x5, pixel size not known (results in pixels), 1 channel"),
        (Image(np.zeros((4, 5, 3)), "YXC", (0.25, 0.5), ("micrometer",) * 2), "2D, 4x5, 0.25x0.5 um, 3 channels"),
        (Image(np.zeros((4, 5)), "YX", (0.0195, 0.0195), ("micrometer",) * 2), "2D, 4x5, 19.5x19.5 nm, 1 channel"),
        (Image(np.zeros((4, 5)), "YX", (0.1, 0.1), ("micrometer",) * 2), "2D, 4x5, 0.1x0.1 um, 1 channel"),
        (
            Image(np.zeros((2, 4, 5)), "ZYX", (0.3, 0.065, 0.065), ("micrometer",) * 3),
            "3D, 2x4x5, 0.3x0.065x0.065 um, 1 channel",
        ),
        (Image(np.zeros((2, 4, 5)), "ZYX", (3, 1, 1), ("millimeter",) * 3), "3D, 2x4x5, 3x1x1 mm, 1 channel"),
        (
            Image(np.zeros((2, 4, 5)), "TYX", (0.1, 1, 1), ("second", "millimeter", "millimeter")),
            "movie of 2 frames, 2D, 4x5, 1x1 mm, 1 channel",
        ),
    ],
)
def test_describe(image: Image, text: str) -> None:
    assert image.describe() == text


def test_the_unit_of_space_is_shared_beside_a_last_axis_of_time() -> None:
    image = Image(np.zeros((2, 3, 4)), "YXT", (1, 500, 2), ("millimeter", "micrometer", "second"))
    assert (image.scale, image.units) == ((1000, 500, 2), ("micrometer", "micrometer", "second"))


def test_oblique_axes_in_two_units_keep_their_true_steps() -> None:
    """The first row counts millimetres: a step along x goes 0.003 mm along y and 4 um along x, 5 um in all."""
    affine = np.array([[0.001, 0.003, 0], [0, 4, 0], [0, 0, 1]])
    scale = np.linalg.norm(affine[:2, :2], axis=0)
    image = Image(np.zeros((4, 5)), "YX", scale, ("millimeter", "micrometer"), affine)
    np.testing.assert_allclose(image.scale, (1, 5))
    np.testing.assert_allclose(image.element_size, 4)  # um^2: the determinant of [[1, 3], [0, 4]]


@pytest.mark.parametrize(
    ("unit", "microns"),
    [
        ("um", 1),
        ("µm", 1),
        ("\\u00b5m", 1),
        ("Millimetre", 1e3),
        ('"cm"', 1e4),
        ("Å", 1e-4),
        ("inch", 25_400),
        ("m", 1e6),
    ],
)
def test_units_of_length_are_known_in_any_usual_spelling(unit: str, microns: float) -> None:
    assert um_per(unit) == microns
    assert mm_per(unit) == pytest.approx(microns / 1e3)


@pytest.mark.parametrize("unit", ["pixel", "", None, "second", "V"])
def test_what_is_no_length_has_none(unit: object) -> None:
    assert um_per(unit) is mm_per(unit) is None


@pytest.mark.parametrize(("unit", "step"), [("millisecond", 500), ("ms", 500), ("minute", 1 / 120), ("s", 0.5)])
def test_times_are_seconds_whatever_their_unit(unit: str, step: float) -> None:
    affine = np.diag([step, 2.0, 2.0, 1.0])
    affine[0, 3] = 4 * step
    units = (unit, "micrometer", "micrometer")
    known = {FRAME: np.diag([step, 2.0, 2.0, 1.0]).tolist()}
    image = Image(np.zeros((3, 4, 5)), "TYX", (step, 2, 2), units, affine, metadata=known)
    assert image.units == ("second", "micrometer", "micrometer")
    np.testing.assert_allclose(image.scale, (0.5, 2, 2))
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[0], (0.5, 0, 0, 2))
    np.testing.assert_allclose(image.metadata[FRAME], np.diag([0.5, 2, 2, 1]))


@pytest.mark.parametrize(
    ("unit", "name"),
    [("mm", "millimeter"), ("millimetres", "millimeter"), ("MM", "millimeter"), ("\u00b5m", "micrometer"),
     ("\u03bcm", "micrometer"), ("micrometres", "micrometer"), ("nanometers", "nanometer"), ("cm", "centimeter"),
     ("pixels", "pixel"), ("px", "pixel"), ("css_pixel", "pixel"), ("dimensionless", "pixel"), ("furlong", "furlong")],
)  # fmt: skip
def test_an_image_knows_each_unit_by_one_name(unit: str, name: str) -> None:
    """What depends on a unit (mL of mm^3, mm of um, kinds of images) must not depend on how it is spelled."""
    image = Image(np.ones((2, 3, 4), np.uint8), "ZYX", (2, 2, 2), (unit,) * 3, kind="labels")
    assert image.units == (name,) * 3
    assert image.scale == (2, 2, 2)
    assert image.calibrated == (name != "pixel")
    named = image.replace(units=(name,) * 3)
    assert list(volume.summary(image)) == list(volume.summary(named))
    assert ("volume (mL)" in volume.summary(image)) == (name == "millimeter")
