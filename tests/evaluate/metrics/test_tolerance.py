from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.evaluate.metrics.compare import dice
from napari_medseg.evaluate.metrics.tolerance import TOLERANCE_METRICS, cldice, tolerance_scores
from napari_medseg.io import read_one


def row(y: int, start: int = 0, stop: int = 40) -> np.ndarray:
    mask = np.zeros((20, 40), np.uint8)
    mask[y, start:stop] = 1
    return mask


@pytest.mark.parametrize(("shift", "values"), [(1, (1, 1, 1)), (2, (0, 1, 1)), (3, (0, 0, 1)), (4, (0, 0, 0))])
def test_shifted_line(shift: int, values: tuple[int, int, int]) -> None:
    found = [TOLERANCE_METRICS[f"f1_{t}px"](row(8 + shift), row(8), (1.0, 1.0)) for t in (1, 2, 3)]
    assert found == list(values)


def test_precision_and_recall() -> None:
    precision, recall, f1 = tolerance_scores(row(8, 0, 20), row(8), 1)
    assert (precision, recall) == (1.0, pytest.approx(21 / 40))
    assert f1 == pytest.approx(2 * recall / (1 + recall))


def test_tolerance_is_in_pixels_whatever_the_spacing() -> None:
    assert TOLERANCE_METRICS["f1_1px"](row(9), row(8), (5.0, 5.0)) == 1.0


def test_empty_masks() -> None:
    nothing = np.zeros((20, 40), np.uint8)
    for metric in TOLERANCE_METRICS.values():
        assert metric(nothing, nothing, (1.0, 1.0)) == 1.0
        assert metric(nothing, row(8), (1.0, 1.0)) == 0.0
        assert metric(row(8), nothing, (1.0, 1.0)) == 0.0
        assert metric(np.ones((1, 1)), np.ones((1, 1)), (1.0, 1.0)) == 1.0


def test_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="differ in size"):
        tolerance_scores(np.ones((3, 3)), np.ones((3, 4)), 1)
    with pytest.raises(DataError, match="differ in size"):
        cldice(np.ones((3, 3)), np.ones((3, 4)))


def test_cldice_by_hand() -> None:
    thick = np.zeros((20, 40), np.uint8)
    thick[7:10] = 1
    assert cldice(row(8, 5, 35), thick) == pytest.approx(2 * 30 / (30 + 38), rel=0.02)  # the skeleton loses its ends
    assert cldice(thick, thick) == 1.0
    assert cldice(row(8, 0, 20), row(8)) == pytest.approx(2 * 0.5 / 1.5)


def test_human_against_human(shared_data: Path) -> None:
    folder = shared_data / "ccm" / "nottingham" / "train"
    first, second = (read_one(folder / f"{i}_lab.tif", kind="labels").data for i in (14, 17))
    assert dice(first, second) == pytest.approx(0.248, abs=1e-3)
    for name, value in (("f1_1px", 0.677), ("f1_2px", 0.900), ("f1_3px", 0.983)):
        assert TOLERANCE_METRICS[name](first, second, (1.0, 1.0)) == pytest.approx(value, abs=1e-3)
