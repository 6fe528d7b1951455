"""``medseg measure`` on a folder and on several files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tifffile import imwrite

from napari_medseg.cli.main import main


@pytest.fixture
def eyes(tmp_path: Path) -> Path:
    """Two images of a right eye and one of a left eye; a mask that is none."""
    folder = tmp_path / "eyes"
    folder.mkdir()
    for stem, nerves in (("P1_OD_1", 1), ("P1_OD_2", 3), ("P1_OS_1", 0)):
        mask = np.zeros((384, 384), np.uint8)
        for index in range(nerves):
            mask[60 + 50 * index : 63 + 50 * index] = 1
        imwrite(folder / f"{stem}_lab.tif", mask)
        imwrite(folder / f"{stem}_org.tif", mask)
    (folder / "P9_OD_1_lab.tif").write_bytes(b"II*")
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_folder_by_eye(eyes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "nerve", str(eyes), "-o", str(tmp_path / "t.csv"), "--json"]) == 0
    out, err = capsys.readouterr()
    shown = json.loads(out)
    assert "P9_OD_1_lab.tif" in err
    assert [row["images used"] for row in shown["eyes"]] == [2, 1]
    assert shown["eyes"][0]["CNFD [no/mm^2] mean"] == pytest.approx(12.5)
    assert shown["eyes"][0]["CNFD [no/mm^2] SD"] == pytest.approx(12.5 / np.sqrt(2))
    assert [row["image"] for row in read(tmp_path / "t_images.csv")] == [row["image"] for row in shown["images"]]
    assert len(read(tmp_path / "t.csv")) == 4
    assert [row["eye"] for row in read(tmp_path / "t_eyes.csv")] == ["OD", "OS"]
    assert "same nerves" in read(tmp_path / "t_eyes.csv")[0]["overlap warning"]


def test_several_files(eyes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [str(eyes / f"P1_{eye}_1_lab.tif") for eye in ("OD", "OS")]
    assert main(["measure", "nerve", files[0], "--also", files[1], "-o", str(tmp_path / "t.csv")]) == 0
    assert "CNFL [mm/mm^2] mean" in capsys.readouterr().out
    assert [row["images used"] for row in read(tmp_path / "t_eyes.csv")] == ["1", "1"]


@pytest.mark.parametrize("words", [[], ["--pixel-size", "0"]])
def test_refused(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "nerve", str(tmp_path), "-o", str(tmp_path / "t.csv"), *words]) == 2
    assert ("--pixel-size" if words else "No label images") in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()
