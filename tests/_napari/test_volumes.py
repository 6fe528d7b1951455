"""Volumes in the window: a DICOM series is one layer however it is opened, one volume of many keeps its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dicom_files as d
import nibabel
import numpy as np
import pytest
from napari.layers import Labels
from napari.layers.utils.stack_utils import stack_to_images
from npe2 import PluginManager

from napari_medseg._napari.readers import get_reader, read_layers
from napari_medseg.io import read_one

pytestmark = pytest.mark.viewer
VOLUME = np.random.default_rng(1).integers(0, 1000, (4, 6, 5)).astype(np.uint16)


@pytest.mark.parametrize("stack", [False, True])
def test_all_slices_open_one_layer(make_napari_viewer_proxy: Any, tmp_path: Path, stack: bool) -> None:
    paths = [str(path) for path in d.series(tmp_path / "a", VOLUME)]
    viewer = make_napari_viewer_proxy()
    viewer.open(paths, stack=stack, plugin="napari-medseg")
    viewer.open(paths[1], plugin="napari-medseg")
    (layer,) = viewer.layers
    np.testing.assert_array_equal(layer.data, VOLUME)
    result = viewer.add_labels(np.zeros(VOLUME.shape, int), metadata={**layer.metadata, "medseg": {"method": "p-net"}})
    viewer.layers.remove(layer)
    viewer.open(paths[2], plugin="napari-medseg")
    assert len(viewer.layers) == 2
    viewer.layers.remove(result)
    other = [str(path) for path in d.series(tmp_path / "b", VOLUME, series="9.9")]
    viewer.open(other[0], plugin="napari-medseg")
    assert len(viewer.layers) == 2


def test_pictures_of_one_series_open_each(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    for k in range(3):
        d.one(tmp_path / f"{k}.dcm", VOLUME[k], modality="US", sop=d.ULTRASOUND)
    viewer.open([str(tmp_path / f"{k}.dcm") for k in range(3)], plugin="napari-medseg")
    np.testing.assert_array_equal([layer.data for layer in viewer.layers], VOLUME[:3])


@pytest.mark.parametrize("name", ["IM0003", "I1000001", "MR.1.2.840.113.3", "scan.17", "a.hdr", "a.DICOM", "DICOMDIR"])
def test_the_plugin_offers_itself_for_files_without_a_suffix_of_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    manager = PluginManager.instance()
    manager.discover()
    assert "napari-medseg" in {r.plugin_name for r in manager.iter_compatible_readers([str(tmp_path / name)])}
    assert get_reader(str(tmp_path / name)) is None  # it is empty


def test_one_volume_of_a_film_is_saved_at_its_place(tmp_path: Path) -> None:
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = (-10, 20, 5)
    source = nibabel.Nifti1Image(np.ones((9, 8, 6, 3), np.int16), affine)
    source.header.set_zooms((1, 2, 3, 2.5))
    source.to_filename(tmp_path / "scan.nii")
    from napari.layers import Layer

    film = Layer.create(*read_layers(str(tmp_path / "scan.nii"))[0])
    one = stack_to_images(film, 0)[1]
    kept = {name: getattr(one, name) for name in ("scale", "translate", "affine", "units", "metadata")}
    mask = Labels(np.ones(one.data.shape, np.uint8), **kept)
    mask.save(str(tmp_path / "mask.nii.gz"), plugin="napari-medseg")
    saved = nibabel.load(tmp_path / "mask.nii.gz")
    assert saved.shape == (9, 8, 6)
    np.testing.assert_allclose(saved.affine, affine)
    assert read_one(tmp_path / "mask.nii.gz").units == ("millimeter",) * 3
