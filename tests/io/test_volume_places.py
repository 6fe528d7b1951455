"""Voxel centres after writing and reading: the same place in the world, for this program and for another reader."""

from __future__ import annotations

from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from napari_medseg import io
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io.volumes import reader

SHAPE = (3, 4, 5)
ANGLE = np.radians(30)
TURN = np.array([[1, 0, 0], [0, np.cos(ANGLE), -np.sin(ANGLE)], [0, np.sin(ANGLE), np.cos(ANGLE)]])
STEPS = np.diag([3.0, 0.7, 0.5])
MATRICES = {
    "straight": STEPS,
    "mirrored": STEPS @ np.diag([1, -1, 1]),
    "all mirrored": -STEPS,
    "turned": TURN @ STEPS,
    "turned and mirrored": TURN @ STEPS @ np.diag([-1, 1, 1]),
    "axes swapped": STEPS[:, [2, 0, 1]],
    "sheared": STEPS + np.array([[0, 0, 0], [0, 0, 0.2], [0, 0, 0]]),
}
CORNERS = np.array(
    [(k, j, i, 1) for k in (0, SHAPE[0] - 1) for j in (0, SHAPE[1] - 1) for i in (0, SHAPE[2] - 1)], float
)


def labels(matrix: np.ndarray, unit: str) -> Image:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, (-120.5, 33.25, 8)
    data = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
    return Image(data, "ZYX", tuple(np.linalg.norm(matrix, axis=0)), (unit,) * 3, affine, "labels", "mask")


def of_nibabel(path: Path) -> np.ndarray:
    loaded = nibabel.load(path)
    factor = 1 if path.suffix == ".mgz" else {"mm": 1, "micron": 1e-3}[loaded.header.get_xyzt_units()[0]]
    return CORNERS[:, [2, 1, 0, 3]] @ (np.diag([-1, -1, 1, 1]) @ loaded.affine).T[:, :3] * factor


def of_pynrrd(path: Path) -> np.ndarray:
    header = nrrd.read_header(str(path))
    factor = {"mm": 1, "um": 1e-3}[header["space units"][0]]
    return (CORNERS[:, [2, 1, 0]] @ header["space directions"] + header["space origin"]) * factor


def of_itk(path: Path) -> np.ndarray:
    image = sitk.ReadImage(str(path))
    return np.array([image.TransformIndexToPhysicalPoint([int(v) for v in c[2::-1]]) for c in CORNERS])


@pytest.mark.parametrize("unit", ["millimeter", "micrometer"])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize(
    ("suffix", "other"),
    [(".nii", of_nibabel), (".nii.gz", of_nibabel), (".nrrd", of_pynrrd), (".mha", of_itk), (".mgz", of_nibabel)],
)
def test_voxel_centres_stay_where_they_are(tmp_path: Path, suffix: str, other, name: str, unit: str) -> None:
    image = labels(MATRICES[name], unit)
    path = tmp_path / f"mask{suffix}"
    if name == "sheared" and suffix in (".mha", ".mgz"):
        with pytest.raises(WriteError, match="shears"):
            io.write(path, image)
        return
    io.write(path, image)
    back = io.read_one(path)
    factors = [{"millimeter": 1.0, "micrometer": 1e-3}[one.units[0]] for one in (image, back)]
    true = (CORNERS @ np.asarray(image.affine).T)[:, :3] * factors[0]
    voxel = min(image.scale) * factors[0]
    np.testing.assert_allclose((CORNERS @ np.asarray(back.affine).T)[:, :3] * factors[1], true, atol=1e-4 * voxel)
    np.testing.assert_allclose(other(path)[:, ::-1], true, atol=1e-4 * voxel)
    np.testing.assert_array_equal(back.data, image.data)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mgz", ".mgh"])
def test_labels_that_were_written_are_labels_again(tmp_path: Path, suffix: str) -> None:
    mask = labels(MATRICES["turned"], "millimeter")
    for image in (mask, mask.replace(kind="image")):
        (back,) = io.read(io.write(tmp_path / f"{len(image.kind)}{suffix}", image))
        assert back.kind == image.kind


@pytest.mark.parametrize("suffix", reader.SUFFIXES)
def test_pixels_stay_pixels(tmp_path: Path, suffix: str) -> None:
    reader.write(tmp_path / f"a{suffix}", Image(np.ones(SHAPE, np.uint8), "ZYX", kind="labels"))
    back = io.read_one(tmp_path / f"a{suffix}")
    assert (set(back.units), back.scale) == ({"pixel"}, (1, 1, 1))
    assert "does not state its voxel size" in back.metadata["notes"][0]


@pytest.mark.parametrize("kind", ["image", "labels"])
@pytest.mark.parametrize(("seconds", "unit"), [(1.0, "second"), (0.5, "second"), (1.0, "pixel")])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mgz", ".tif"])
def test_few_volumes_over_time_stay_time_whatever_their_step(
    tmp_path: Path, suffix: str, seconds: float, unit: str, kind: str
) -> None:
    data = np.arange(120, dtype=np.uint8).reshape(2, *SHAPE)
    movie = Image(data, "TZYX", (seconds, 3.0, 0.7, 0.5), (unit, *("millimeter",) * 3), kind=kind, name="movie")
    if (suffix, unit) == (".mgz", "pixel"):
        with pytest.raises(WriteError, match="time points by their step, which is not known"):
            io.write(tmp_path / f"movie{suffix}", movie)
        return
    (back,) = io.read(io.write(tmp_path / f"movie{suffix}", movie))
    assert (back.axes, back.units[0], back.scale[0]) == ("TZYX", unit, pytest.approx(seconds))
    np.testing.assert_array_equal(np.asarray(back.data), data)
