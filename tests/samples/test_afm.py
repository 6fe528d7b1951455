"""Generated scans: the same for the same seed, calibrated, with thin processes, and a folder that pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg import io, samples
from napari_medseg.errors import DataError
from napari_medseg.io.grids import same_grid
from napari_medseg.io.pairs import find_pairs
from napari_medseg.preprocessing.levelling import above_glass
from napari_medseg.samples.afm import afm_folder, afm_scan


def test_scan_is_calibrated_and_repeatable() -> None:
    image, mask = afm_scan(3, 128)
    again, other = afm_scan(3, 128)[0], afm_scan(4, 128)[0]
    np.testing.assert_array_equal(image.data, again.data)
    assert not np.array_equal(image.data, other.data)
    assert (image.data.dtype, image.value_unit, image.units) == (np.float32, "nm", ("micrometer", "micrometer"))
    assert same_grid(image, mask)
    assert (mask.kind, np.unique(mask.data).tolist()) == ("labels", [0, 1])


@pytest.mark.parametrize("seed", range(4))
def test_mask_fits_the_heights_and_has_thin_processes(seed: int) -> None:
    image, mask = afm_scan(seed)
    cells = mask.data > 0
    found = above_glass(image.data).relative() > 4.5
    assert 0.05 < cells.mean() < 0.4
    assert 2 * (found & cells).sum() / (found.sum() + cells.sum()) > 0.7
    thin = cells & ~ndimage.binary_opening(cells, np.ones((3, 3)))
    assert thin.sum() > 50


def test_folder_pairs_and_keeps_nanometres(tmp_path: Path) -> None:
    found = find_pairs(afm_folder(tmp_path, n=2, size=64))
    assert (len(found.pairs), found.unpaired) == (2, ())
    image = io.read_one(found.pairs[0].image)
    np.testing.assert_array_equal(image.data, afm_scan(0, 64)[0].data)
    assert (image.scale, image.value_unit) == ((0.2, 0.2), "nm")
    label = found.pairs[0].label
    assert label is not None
    assert set(np.unique(io.read_one(label, "labels").data)) <= {0, 255}


def test_registry() -> None:
    image, mask = samples.load_sample("afm")
    assert same_grid(image, mask)
    with pytest.raises(DataError, match="Known samples: afm"):
        samples.load_sample("nothing")
