from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.augment import intensity

CHANGES = (
    intensity.gamma,
    intensity.brightness_contrast,
    intensity.gaussian_noise,
    intensity.blur,
    intensity.bias_field,
)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("shape", [(1, 12, 9), (2, 5, 6, 7)])
def test_shape_type_seed_and_input_are_kept(change, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).random(shape, dtype=np.float32) - 0.3
    before = x.copy()
    first, second, other = (change(x, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("change", CHANGES)
def test_constant_image_stays_finite(change) -> None:
    assert np.isfinite(change(np.full((1, 8, 8), 0.5, np.float32), np.random.default_rng(0))).all()


def test_gamma_keeps_the_range_and_the_order() -> None:
    x = np.linspace(-2, 3, 50, dtype=np.float32)[None, None]
    changed = intensity.gamma(x, np.random.default_rng(3), (2.0, 2.0))
    np.testing.assert_allclose(changed, ((x + 2) / 5) ** 2 * 5 - 2, atol=1e-5)
    assert (np.diff(changed) >= 0).all()


def test_contrast_about_the_mean_and_brightness_bounds() -> None:
    x = np.random.default_rng(0).random((1, 20, 20), dtype=np.float32)
    for seed in range(10):
        changed = intensity.brightness_contrast(x, np.random.default_rng(seed), 0.1, 0.2)
        assert abs(changed.mean() - x.mean()) <= 0.1 + 1e-6
        assert 0.8 - 1e-5 <= changed.std() / x.std() <= 1.2 + 1e-5


def test_noise_has_the_drawn_deviation() -> None:
    noise = intensity.gaussian_noise(np.zeros((1, 200, 200), np.float32), np.random.default_rng(0), (0.5, 0.5))
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert abs(noise.mean()) < 0.02


def test_blur_keeps_the_mean_and_does_not_mix_channels() -> None:
    x = np.zeros((2, 21, 21), np.float32)
    x[0, 10, 10] = 1
    blurred = intensity.blur(x, np.random.default_rng(0), (1.0, 1.0))
    assert blurred[0].sum() == pytest.approx(1, abs=1e-4)
    assert blurred[0].max() < 0.2
    assert not blurred[1].any()


def test_bias_field_is_positive_smooth_and_common_to_channels() -> None:
    changed = intensity.bias_field(np.ones((2, 40, 50), np.float32), np.random.default_rng(0), 0.3)
    np.testing.assert_array_equal(changed[0], changed[1])
    assert 0.5 < changed.min() < 1 < changed.max() < 2
    assert np.abs(np.diff(changed[0], axis=0)).max() < 0.1
