"""Results and references of any kind meet: outlines, pixels, OME-Zarr, numbered cells, volumes in other axes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_medseg import Image, write
from napari_medseg.errors import DataError
from napari_medseg.evaluate.masks import evaluate
from napari_medseg.io.pairs import find_pairs
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.training.data import inspect

MM = ("millimeter",) * 3


def outlines(path: Path, *corners: tuple[int, int]) -> None:
    """Write squares of 10 pixels as QuPath does."""
    features = []
    for x, y in corners:
        ring = [[x, y], [x + 10, y], [x + 10, y + 10], [x, y + 10], [x, y]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        features.append({"type": "Feature", "geometry": geometry, "properties": {"objectType": "detection"}})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), "utf-8")


def squares(*corners: tuple[int, int]) -> Image:
    data = np.zeros((60, 80), np.uint16)
    for number, (x, y) in enumerate(corners, 1):
        data[y : y + 10, x : x + 10] = number
    return Image(data, "YX", kind="labels", name="a")


def test_outlines_that_were_missed_count(tmp_path: Path) -> None:
    outlines(tmp_path / "result" / "a.geojson", (2, 2))
    outlines(tmp_path / "reference" / "a.geojson", (2, 2), (40, 40))
    mean = run(evaluate("fullnet", tmp_path / "result", tmp_path / "reference"))["mean"]
    assert (mean["f1"], mean["aji"], mean["pq"]) == (pytest.approx(2 / 3), pytest.approx(0.5), pytest.approx(2 / 3))


@pytest.mark.parametrize("turned", [False, True])
def test_outlines_meet_pixels(tmp_path: Path, turned: bool) -> None:
    outlines(tmp_path / "one" / "a.geojson", (2, 2))
    write(tmp_path / "two" / "a.tif", squares((2, 2)))
    folders = [tmp_path / "one", tmp_path / "two"]
    assert run(evaluate("fullnet", *folders[:: -1 if turned else 1]))["mean"]["f1"] == 1


def test_ome_zarr_is_a_result(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    write(tmp_path / "result" / "a_labels.ome.zarr", squares((2, 2), (30, 30)))
    write(tmp_path / "reference" / "a_label.tif", squares((2, 2), (30, 30)))
    assert run(evaluate("fullnet", tmp_path / "result", tmp_path / "reference"))["mean"]["f1"] == 1


def test_numbered_cells_are_a_mask(tmp_path: Path) -> None:
    cells = squares((2, 2), (12, 2))
    write(tmp_path / "cells.tif", cells)
    write(tmp_path / "mask.tif", cells.replace(data=np.minimum(cells.data, 1)))
    for pair in (("cells.tif", "mask.tif"), ("mask.tif", "cells.tif")):
        assert run(evaluate("afm-unet", *(tmp_path / name for name in pair)))["mean"]["dice"] == 1


def volume(origin: float = 0.0, mirrored: bool = False) -> Image:
    data = np.zeros((16, 16, 16), np.uint8)
    data[2:6, 4:12, 4:12] = 1
    affine = np.eye(4)
    affine[0, 3] = origin
    if mirrored:
        affine[0, 0], affine[0, 3], data = -1, origin + 15, data[::-1].copy()
    return Image(data, "ZYX", (1.0,) * 3, MM, affine, "labels", "case")


def test_volumes_are_compared_in_the_world(tmp_path: Path) -> None:
    write(tmp_path / "reference.nii", volume())
    write(tmp_path / "mirrored.nii", volume(mirrored=True))
    write(tmp_path / "away.nii", volume(100))
    found = run(evaluate("p-net", tmp_path / "mirrored.nii", tmp_path / "reference.nii"))
    assert found["mean"]["dice"] == 1
    assert "stored in other axes" in found["notes"][0]
    with pytest.raises(DataError, match="lie elsewhere"):
        run(evaluate("p-net", tmp_path / "away.nii", tmp_path / "reference.nii"))


def test_training_turns_masks_and_says_so(tmp_path: Path) -> None:
    for name in ("a", "b"):
        image = volume().replace(data=volume().data * 100.0 + 5, kind="image")
        write(tmp_path / "images" / f"{name}.nii", image)
        write(tmp_path / "labels" / f"{name}.nii", volume(mirrored=True))
    method = create("p-net", {"ndim": 3, "width": 4, "crop": 16})
    report = inspect(method, find_pairs(tmp_path))
    assert "stored in other axes" in report.problems[0]
    x, y = method.load_pair(report.pairs[0])
    np.testing.assert_array_equal(y, volume().data)
    assert x[0][y > 0].min() > x[0][y == 0].max()
