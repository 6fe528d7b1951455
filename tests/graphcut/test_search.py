"""The search for an object on a grid of cells, and what searches share."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.graphcut.energy import Search
from napari_medseg.graphcut.level import Level
from napari_medseg.graphcut.problem import EDGE, INSIDE, OVER, Lazy, Problem, Push
from napari_medseg.image import Image
from napari_medseg.refinement import intensities
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.refinement.seek import ALONE


def scene(shape: tuple[int, ...], frame: np.ndarray) -> Problem:
    rng = np.random.default_rng(0)
    image = ndimage.gaussian_filter(rng.random(shape), 3)[None].astype(np.float32)
    image = (image - image.min()) / np.ptp(image)
    strokes = np.zeros(shape, np.int8)
    strokes[tuple(n // 2 for n in shape[:-1])][5:20] = 1
    seeds = np.zeros(shape, bool)
    seeds[tuple(n // 2 for n in shape[:-1])][16:20] = True
    mask = image[0] > 0.6
    return Problem(image, (1.0,) * len(shape), strokes, mask, frame=frame, pushes=[Push(seeds, True, 60.0)])


@pytest.mark.parametrize("shape", [(90, 100), (16, 30, 40)])
def test_a_search_with_another_frame_is_a_new_one(shape: tuple[int, ...]) -> None:
    network = lambda inputs: inputs[6] - 0.5  # noqa: E731
    ends = np.full((len(shape), 2), EDGE)
    other = ends.copy()
    other[0, 0], other[1, 1] = OVER, INSIDE
    first = Search(scene(shape, ends), ALONE)
    first.solve(network)
    shared, new = first.framed(other, 900.0), Search(scene(shape, other), ALONE).limited(900.0)
    np.testing.assert_array_equal(shared.solve(network), new.solve(network))
    np.testing.assert_array_equal(shared.inputs, new.inputs)
    assert shared.contrast() == new.contrast()
    assert not np.array_equal(first.inputs, new.inputs)
    again = Search(scene(shape, ends), ALONE)
    np.testing.assert_array_equal(first.solve(network), again.solve(network))


def test_arrays_that_hold_nothing_are_zeros() -> None:
    shape = (30, 41)
    empty = {kind: Lazy(shape, lambda box, kind=kind: np.zeros(shape, kind)[box], None) for kind in (np.int8, bool)}
    image = np.random.default_rng(0).random((2, *shape), np.float32)
    found = Level(Problem(image, (1.0, 1.0), empty[np.int8], empty[bool], held=empty[bool]), (3, 4))
    for part in (found.object, found.background, found.held, found.closed, found.mask, found.frame):
        assert part.shape == (10, 11)
        assert not part.any()
    assert found.image.shape == (2, 10, 11)


def test_intensities_of_a_part_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(100, 30, (3, 20, 30))
    data[0, 2, 2] = np.nan
    box = (slice(1, 7), slice(2, 30))
    small = Intensities(Image(data, "CYX")).inside(box)
    monkeypatch.setattr(intensities, "KEPT", 0)
    np.testing.assert_array_equal(Intensities(Image(data, "CYX")).inside(box), small)
    assert small.shape == (3, 6, 28)
    assert small.dtype == np.float32
