"""What `medseg` gives to other programs, read back by their own libraries: labels, and models with their card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import torch

from napari_medseg.cli.main import main
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.write import write
from napari_medseg.methods import create
from napari_medseg.models.catalog import entry
from napari_medseg.models.checkpoint import pack, write_checkpoint

UM = ("micrometer", "micrometer")


def oblique(path: Path) -> Any:
    """Write a volume turned by 30 degrees about two axes, with unequal voxels; return it as SimpleITK sees it."""
    a = np.deg2rad(30)
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    volume = SimpleITK.GetImageFromArray(np.random.default_rng(0).random((12, 20, 16), np.float32))
    volume.SetSpacing((0.7, 0.8, 2.5))
    volume.SetOrigin((-31.0, 14.0, 250.0))
    volume.SetDirection((about_z @ about_x).ravel().tolist())
    SimpleITK.WriteImage(volume, str(path))
    return volume


def test_predicted_labels_lie_on_the_grid_of_the_source(tmp_path: Path) -> None:
    source = oblique(tmp_path / "scan.nii.gz")
    torch.manual_seed(0)
    method = create("p-net", {"ndim": 3, "width": 4})
    write_checkpoint(tmp_path / "m.pt", pack(method, method.build_network().state_dict()))
    words = ["predict", str(tmp_path / "m.pt"), str(tmp_path / "scan.nii.gz"), "-o", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu", "--tile", "32"]) == 0
    labels = SimpleITK.ReadImage(str(tmp_path / "out" / "scan_labels.nii.gz"))
    assert labels.GetSize() == source.GetSize()
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, name)(), getattr(source, name)(), atol=1e-4)


@pytest.mark.parametrize("by_way_of", ["labels.tif", "labels.nrrd", "labels.nii.gz"])
def test_export_to_nifti_keeps_grid_and_values(by_way_of: str, tmp_path: Path) -> None:
    source = oblique(tmp_path / "scan.nii.gz")
    image = read_one(tmp_path / "scan.nii.gz")
    data = (np.asarray(image.data) > 0.7).astype(np.uint8) * 3
    write(tmp_path / by_way_of, image.labels_like(data))
    assert main(["export", str(tmp_path / by_way_of), "-o", str(tmp_path / "out.nii.gz")]) == 0
    labels = SimpleITK.ReadImage(str(tmp_path / "out.nii.gz"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(labels), data)
    for name in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(labels, name)(), getattr(source, name)(), atol=1e-4)


@pytest.fixture
def cells(tmp_path: Path) -> np.ndarray:
    """Three objects, one with a hole, in ``cells.tif``."""
    data = np.zeros((24, 40), np.uint16)
    data[2:10, 2:12], data[5:7, 5:7] = 1, 0
    data[12:20, 5:9], data[3:9, 25:38] = 2, 300
    write(tmp_path / "cells.tif", Image(data, "YX", (0.5, 0.25), UM, kind="labels", name="cells"))
    return data


def export(tmp_path: Path, name: str) -> Path:
    assert main(["export", str(tmp_path / "cells.tif"), "-o", str(tmp_path / name)]) == 0
    return tmp_path / name


def test_export_to_ome_zarr(cells: np.ndarray, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra export is not installed")
    group = zarr.open_group(str(export(tmp_path, "cells.ome.zarr")), mode="r")
    np.testing.assert_array_equal(group["0"][:], cells)
    transform = group.attrs["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]
    assert transform == {"type": "scale", "scale": [0.5, 0.25]}


def test_export_to_imagej_regions(cells: np.ndarray, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra export is not installed")
    rois = {roi.name: roi for roi in roifile.roiread(export(tmp_path, "cells_rois.zip"))}
    assert sorted(rois, key=int) == ["1", "2", "300"]
    roi = rois["300"]
    assert np.abs(np.subtract((roi.top, roi.left, roi.bottom, roi.right), (3, 25, 9, 38))).max() <= 1


def test_export_to_geojson(cells: np.ndarray, tmp_path: Path) -> None:
    """The area of each polygon, holes taken off, by the shoelace formula, is its pixels but for the cut corners."""
    features = json.loads(export(tmp_path, "cells.geojson").read_text())["features"]

    def area(ring: list[list[float]]) -> float:
        x, y = np.array(ring).T
        return abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2

    found = []
    for feature in features:
        rings = feature["geometry"]["coordinates"]
        found.append(area(rings[0]) - sum(map(area, rings[1:])))
    assert sorted(found) == pytest.approx(sorted(np.unique(cells[cells > 0], return_counts=True)[1]), abs=0.6)


def test_the_card_of_a_model_says_who_made_it(tmp_path: Path) -> None:
    method = create("afm-unet", {"architecture": "unet2"})
    said = {"authors": "A. Author, B. Author", "license": "CC-BY-4.0", "trained_on": "40 scans"}
    write_checkpoint(tmp_path / "m.pt", pack(method, method.build_network().state_dict(), **said))
    told = entry(tmp_path / "m.pt").describe()
    for value in said.values():
        assert value in told
    write_checkpoint(tmp_path / "old.pt", {k: v for k, v in pack(method, {}).items() if k != "authors"})
    assert "authors" not in entry(tmp_path / "old.pt").describe()


def test_the_package_takes_authors_and_licence_from_the_card(tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="the extra export is not installed")
    method = create("afm-unet", {"architecture": "unet2"})
    said = {"authors": "A. Author, B. Author", "license": "CC-BY-4.0"}
    write_checkpoint(tmp_path / "m.pt", pack(method, method.build_network().state_dict(), **said))
    words = ["export", str(tmp_path / "m.pt"), "-o", str(tmp_path / "m.zip"), "--format", "bioimageio"]
    assert main(words) == 0
    description = core.load_model_description(tmp_path / "m.zip", perform_io_checks=False)
    assert [a.name for a in description.authors] == ["A. Author", "B. Author"]
    assert str(description.license) == "CC-BY-4.0"
