from __future__ import annotations

import numpy as np

from napari_medseg.io.grids import same_grid
from napari_medseg.measure.labels import components
from napari_medseg.samples import load_sample
from napari_medseg.samples.histology import nuclei_tile


def test_samples_have_a_picture_its_exact_nuclei_and_a_real_image() -> None:
    (image, labels), (real,) = load_sample("histology"), load_sample("ihc")
    assert image.axes == real.axes == "YXC"
    assert same_grid(image, labels)
    assert labels.kind == "labels"
    assert labels.data.dtype == np.uint16
    assert labels.data.max() > 200
    assert real.data.shape == (512, 512, 3)


def test_nuclei_are_separate_and_darker_than_stroma() -> None:
    image, labels = nuclei_tile(3, 200)
    assert components(labels.data).max() == labels.data.max()
    assert image.data[labels.data > 0].mean() < image.data[labels.data == 0].mean() - 20


def test_equal_seeds_give_equal_tiles() -> None:
    np.testing.assert_array_equal(nuclei_tile(1, 96)[0].data, nuclei_tile(1, 96)[0].data)
    assert (nuclei_tile(1, 96)[0].data != nuclei_tile(2, 96)[0].data).any()
