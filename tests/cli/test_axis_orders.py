"""One picture stored in five orders of axes: predict, refine, evaluate and measure find the same in the world."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from napari_medseg import Image, read
from napari_medseg.cli.main import main
from napari_medseg.io.geometry import matrix_of
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint

ORDERS = ("RAS", "LPS", "ASR", "SPL", "IRA")
SHAPE = (20, 18, 16)


def stored(path: Path, data: np.ndarray, order: str) -> Path:
    """Write data (x, y, z to the right, front, top) of 1 x 2 x 1.5 mm with its axes in another order."""
    image = nibabel.Nifti1Image(data, np.diag([1.0, 2, 1.5, 1]))
    image.header.set_xyzt_units("mm")
    wanted = nibabel.orientations.axcodes2ornt(order)
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), wanted))
    nibabel.save(turned, path)
    return path


def places(image: Image) -> set[tuple[float, ...]]:
    """Where the foreground lies."""
    matrix = matrix_of(image)
    world = np.argwhere(np.asarray(image.data)) @ matrix[:3, :3].T + matrix[:3, 3]
    return {tuple(place) for place in np.round(world, 3).tolist()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    folder = tmp_path_factory.mktemp("orders")
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:8, 4:12, 5:11] = 1
    mask[3:5, 4:6, 5:7] = 0
    for order in ORDERS:
        stored(folder / f"scan_{order}.nii", (mask * 100.0 + 5).astype(np.float32), order)
        stored(folder / f"mask_{order}.nii", mask, order)
        strokes = np.zeros(SHAPE, np.uint8)
        strokes[5, 7:9, 8] = 2
        strokes[14, 4:14, 8] = 1
        stored(folder / f"strokes_{order}.nii", strokes, order)
    return folder, mask


def test_evaluate_and_measure(scene: tuple[Path, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    folder, mask = scene
    for order in ORDERS:
        pair = (str(folder / f"mask_{order}.nii"), str(folder / "mask_RAS.nii"))
        assert main(["evaluate", "p-net", *pair, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["mean"]["dice"] == 1
        files = (str(folder / "mask_RAS.nii"), str(folder / f"scan_{order}.nii"))
        assert main(["measure", "volume", *files, "-o", str(folder / "t.csv")]) == 0
        row = pd.read_csv(folder / "t.csv").iloc[0]
        assert row[[c for c in row.index if "mean" in c.lower()]].tolist() == [105]
        assert row["voxels"] == mask.sum()
        capsys.readouterr()


def test_refine(scene: tuple[Path, np.ndarray]) -> None:
    folder, _ = scene
    found = []
    for order in ORDERS:
        out = folder / f"refined_{order}.nii.gz"
        words = ("refine", str(folder / f"scan_{order}.nii"), str(folder / "strokes_RAS.nii"), "-o", str(out))
        assert main([*words, "--initial", str(folder / "mask_SPL.nii"), "--no-crf", "--roi-margin", "0"]) == 0
        found.append(places(read(out)[0]))
    assert all(one == found[0] for one in found)
    assert found[0]


def test_predict(scene: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    """A network that looks at single voxels finds the same mask, however the volume is stored."""
    import torch

    folder, _ = scene
    method = create("p-net", {"ndim": 3, "width": 4, "crop": 16})
    network = method.build_network()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 5:
                middle = (..., *(n // 2 for n in parameter.shape[2:]))
                centre = parameter[middle].clone()
                parameter.zero_()
                parameter[middle] = centre
    write_checkpoint(tmp_path / "model.pt", pack(method, network.state_dict()))
    found = []
    for order in ORDERS:
        words = ("predict", str(tmp_path / "model.pt"), str(folder / f"scan_{order}.nii"), "-o", str(tmp_path / order))
        assert main([*words, "--device", "cpu"]) == 0
        (path,) = (tmp_path / order).glob("*_labels.nii*")
        found.append(places(read(path)[0]))
    assert all(one == found[0] for one in found)
