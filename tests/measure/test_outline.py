from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import perimeter as on_squares

from napari_medseg.image import Image
from napari_medseg.measure import measure
from napari_medseg.measure.outline import perimeter


def disc(radius: float, step: tuple[float, float]) -> np.ndarray:
    y, x = (np.arange(int(3 * radius / side)) * side - 1.5 * radius for side in step)
    return np.asarray(np.hypot(y[:, None], x) < radius)


@pytest.mark.parametrize("step", [(1.0, 0.5), (0.5, 1.0), (1.0, 0.25), (0.3, 0.5)])
@pytest.mark.parametrize("radius", [3, 10, 20])
def test_a_disc_has_its_perimeter_on_oblong_pixels(step: tuple[float, float], radius: float) -> None:
    assert perimeter(disc(radius, step), step) == pytest.approx(2 * np.pi * radius, rel=0.03)


def test_square_pixels_are_those_of_skimage() -> None:
    mask = disc(9, (1, 1))
    assert perimeter(mask, (0.5, 0.5)) == pytest.approx(0.5 * on_squares(mask))


@pytest.mark.parametrize("kind", ["nuclei", "afm"])
def test_tables_measure_oblong_pixels_alike(kind: str) -> None:
    labels = Image(disc(10, (1.0, 0.5)).astype(np.uint8), "YX", (1.0, 0.5), ("micrometer",) * 2, kind="labels")
    assert measure(kind, labels)["perimeter (um)"][0] == pytest.approx(2 * np.pi * 10, rel=0.03)


@pytest.mark.parametrize("kind", ["nuclei", "afm", "volume"])
def test_ids_may_be_large(kind: str) -> None:
    data = np.zeros((64, 64), np.uint32)
    data[2:12, 2:12], data[30:45, 30:45] = 300_000_000, 300_000_007
    assert measure(kind, Image(data, "YX", kind="labels"))["label"].tolist() == [300_000_000, 300_000_007]
