from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.io import read_one
from napari_medseg.methods.fullnet.tissue import TISSUES
from napari_medseg.preprocessing import stains
from napari_medseg.samples.histology import nuclei_tile

OTHER = stains.Stains(np.array([[0.60, 0.72, 0.35], [0.24, 0.88, 0.41]]), np.array([1.5, 1.2]))


def mixed(source: stains.Stains, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    amounts = rng.uniform(0.02, 1, (150, 150, 2)) * source.strength
    amounts[:50, :, 1] = 0
    amounts[100:, :, 0] = 0
    return np.clip(255 * np.exp(-amounts @ source.vectors), 0, 255).astype(np.uint8)


def test_macenko_finds_the_stains_it_was_mixed_from() -> None:
    fitted = stains.fit_macenko(mixed(OTHER))
    assert fitted is not None
    unit = OTHER.vectors / np.linalg.norm(OTHER.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.vectors, unit, atol=0.04)


def test_macenko_brings_an_image_to_the_target() -> None:
    fitted = stains.fit_macenko(stains.macenko(mixed(OTHER)))
    assert fitted is not None
    np.testing.assert_allclose(fitted.vectors, stains.TARGET.vectors, atol=0.03)
    np.testing.assert_allclose(fitted.strength, stains.TARGET.strength, rtol=0.05)


def test_macenko_follows_the_formula() -> None:
    rgb = mixed(OTHER)
    fitted = stains.fit_macenko(rgb)
    assert fitted is not None
    od = -np.log((rgb.reshape(-1, 3) + 1.0) / 255)
    amounts = np.linalg.lstsq(fitted.vectors.T, od.T, rcond=None)[0]
    amounts *= (stains.TARGET.strength / fitted.strength)[:, None]
    expected = np.clip(255 * np.exp(-stains.TARGET.vectors.T @ amounts), 0, 255).T.astype(np.uint8)
    np.testing.assert_array_equal(stains.macenko(rgb), expected.reshape(rgb.shape))


def test_blank_glass_stays_as_it_is() -> None:
    blank = np.full((30, 30, 3), 244, np.uint8)
    assert stains.fit_macenko(blank) is None
    np.testing.assert_array_equal(stains.macenko(blank), blank)


def test_reinhard_gives_the_target_statistics() -> None:
    target = stains.LabStatistics(np.array([60.0, 20.0, -10.0]), np.array([8.0, 4.0, 3.0]))
    reached = stains.fit_reinhard(stains.reinhard(nuclei_tile(0, 128)[0].data, target))
    assert reached is not None
    np.testing.assert_allclose(reached.mean, target.mean, atol=0.5)
    np.testing.assert_allclose(reached.std, target.std, atol=0.5)


def test_bare_glass_keeps_its_colour() -> None:
    """Reinhard made purple of white, and tissue's contrast of its noise."""
    glass = np.random.default_rng(0).integers(240, 256, (64, 64, 3)).astype(np.uint8)
    for picture in (glass, np.full((64, 64, 3), 255, np.uint8)):
        np.testing.assert_array_equal(stains.reinhard(picture), picture)
        np.testing.assert_array_equal(stains.macenko(picture), picture)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((2, 2, 4), 65535, np.uint16), 255),
        (np.full((2, 2, 3), 200, np.uint16), 200),
        (np.full((2, 2, 3), 0.5, np.float32), 128),
        (np.full((2, 2, 4), 7, np.uint8), 7),
    ],
)
def test_rgba_16_bit_and_float_become_8_bit_rgb(image: np.ndarray, expected: int) -> None:
    rgb = stains.rgb8(image)
    assert (rgb.shape, rgb.dtype) == ((2, 2, 3), np.uint8)
    np.testing.assert_array_equal(rgb, expected)


def test_grey_is_refused() -> None:
    with pytest.raises(DataError, match="red, green and blue"):
        stains.rgb8(np.zeros((4, 4, 1), np.uint8))


@pytest.mark.data
def test_constants_are_those_of_the_published_tiles(shared_data: Path) -> None:
    tile = shared_data / "histology" / "kumar" / "val" / "images" / "Liver_TCGA-50-5931-01Z-00-DX1.png"
    fitted = stains.fit_macenko(read_one(tile).data)
    assert fitted is not None
    np.testing.assert_allclose(fitted.vectors, stains.TARGET.vectors, atol=1.5e-3)
    np.testing.assert_allclose(fitted.strength, stains.TARGET.strength, atol=0.01)


@pytest.mark.data
def test_input_constants_are_those_of_the_published_tiles(shared_data: Path) -> None:
    files = sorted((shared_data / "histology" / "kumar").glob("*/images/*.png"))
    values = np.arange(256) / 255
    counts = np.zeros((3, 256))
    for file in files:
        data = read_one(file).data
        counts += [np.bincount(data[..., c].ravel(), minlength=256) for c in range(3)]
    mean = counts @ values / counts.sum(1)
    std = np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)
    np.testing.assert_allclose(mean, TISSUES["nuclei"].mean, atol=1e-7)
    np.testing.assert_allclose(std, TISSUES["nuclei"].std, atol=1e-7)


def test_jitter_scales_the_optical_density() -> None:
    rng = np.random.default_rng(0)
    rgb = rng.uniform(0.2, 0.9, (3, 5, 6)).astype(np.float32)
    mean, std = np.array([0.6, 0.5, 0.7]), np.array([0.2, 0.3, 0.1])
    x = ((rgb - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)).astype(np.float32)
    changed = stains.jitter_stain(x, mean, std, 0.6, np.random.default_rng(1))
    factor = np.log(changed * std.reshape(3, 1, 1) + mean.reshape(3, 1, 1)) / np.log(rgb)
    np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1, :1], factor.shape), rtol=1e-3)
    assert 0 < np.abs(np.log(factor)).max() <= 0.9
    np.testing.assert_allclose(stains.jitter_stain(x, mean, std, 0.0, rng), x, atol=1e-5)


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.array([0, 255], np.uint8), 255),
        (np.array([0, 240], np.uint16), 255),
        (np.array([0, 1000], np.uint16), 1023),
        (np.array([0, 4080], np.uint16), 4095),
        (np.array([0, 16000], np.uint16), 16383),
        (np.array([0, 60000], np.uint16), 65535),
        (np.array([0, 0.9], np.float32), 1),
        (np.array([0, 1.05], np.float32), 1),
        (np.array([0, 257.0], np.float32), 255),
        (np.array([0, 4090.0], np.float32), 4095),
    ],
)
def test_white_is_that_of_the_narrowest_camera(values: np.ndarray, white: float) -> None:
    assert stains.white_level(values) == white


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("top", [None, 1.0])
def test_values_that_are_not_finite_are_refused(value: float, top: float | None) -> None:
    image = np.full((4, 4, 3), 0.5)
    image[0, 0, 0] = value
    with pytest.raises(DataError, match="NaN or infinite"):
        stains.rgb8(image, top)
    with pytest.raises(DataError, match="NaN or infinite"):
        stains.white_level(image)
