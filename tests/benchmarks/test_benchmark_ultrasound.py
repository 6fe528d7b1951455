from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from benchmarks import ultrasound
from napari_medseg.methods.double_unet.method import DoubleUnetSettings


@pytest.fixture
def stills(tmp_path: Path) -> Path:
    """Six stills of random structure: value 1 is nerve, 2 something else; the last two show one scene."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for k in range(6):
        rng = np.random.default_rng(min(k, 4))
        picture = np.kron(rng.integers(30, 220, (8, 8)), np.ones((6, 6))).astype(np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        mask[10:20, 10:30], mask[30:40, 10:30] = 1, 2
        iio.imwrite(tmp_path / "images" / f"{k:04d}.png", picture)
        iio.imwrite(tmp_path / "masks" / f"{k:04d}.png", mask)
    return tmp_path


def test_only_the_nerve_is_learnt(stills: Path, tmp_path: Path) -> None:
    ultrasound.nerve_masks(stills, tmp_path / "nerve")
    mask = iio.imread(tmp_path / "nerve" / "masks" / "0003.png")
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == 10 * 20
    assert len(list((tmp_path / "nerve" / "images").iterdir())) == 6


def test_plain_unet_is_the_same_method_with_one_network() -> None:
    options = DoubleUnetSettings(width=16)
    method = ultrasound.PlainUnet(options)
    network = method.build_network().eval()
    with torch.no_grad():
        logits = network(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 1, 32, 32)
    target = torch.zeros(2, 1, 32, 32)
    assert method.loss(logits, target, target)["loss"].ndim == 0
    assert method.decode(torch.sigmoid(logits), (40, 48)).shape == (2, 40, 48)


def test_folds_give_a_table_over_all_stills(stills: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--folds", "2", "--epochs", "1", "--steps", "1", "--size", "32", "--width", "4"]
    ultrasound.main([str(stills), *small])
    text = capsys.readouterr().out
    assert "6 stills in 5 groups" in text
    assert text.count("fold 1, ") == 2
    assert "| DoubleU-Net |" in text
    assert "| U-Net |" in text
    assert "Wilcoxon" in text
