"""``medseg measure`` on a folder and on several files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tifffile import imwrite

from napari_medseg.cli.main import main
from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.io.volumes.space import at_time


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


@pytest.mark.parametrize("stems", [("P1_OD_2",), ("P1_OD_2", "P1_OS_1")])
def test_label_images_are_not_taken_for_the_image(
    eyes: Path, stems: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(eyes / f"{stem}_lab.tif") for stem in ("P1_OD_1", *stems)]  # as a shell puts them for *_lab.tif
    assert main(["measure", "nerve", *files, "-o", str(tmp_path / "t.csv")]) == 2
    assert "--also" in capsys.readouterr().err
    assert not (tmp_path / "t.csv").exists()


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


def test_one_time_point_is_predicted_and_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = np.random.default_rng(0).integers(0, 900, (3, 12, 20, 16)).astype(np.int16)
    affine = np.array([[1.0, 0, 0, 0, 0], [0, 2, 0, 0, 5], [0, 0, 1, 0, -3], [0, 0, 0, 1, 7], [0, 0, 0, 0, 1]])
    movie = Image(data, "TZYX", (1.0, 2, 1, 1), ("second", *("millimeter",) * 3), affine, name="movie")
    write(tmp_path / "movie.nii", movie)
    write(tmp_path / "plain.nii", at_time(movie, 1))
    predict = ["predict", "demo_pnet_3d", "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*predict, str(tmp_path / "movie.nii")]) == 2
    assert "one time point (--time) of it." in capsys.readouterr().err
    assert main([*predict, str(tmp_path / "movie.nii"), "--time", "1"]) == 0
    assert "movie: Time point 1 (counted from 0) of 3." in capsys.readouterr().out
    assert main([*predict, str(tmp_path / "plain.nii")]) == 0
    labels, alone = (read_one(tmp_path / "out" / f"{name}_labels.nii.gz") for name in ("movie", "plain"))
    np.testing.assert_array_equal(labels.data, alone.data)
    np.testing.assert_allclose(labels.affine, affine[1:, 1:])
    assert main([*predict, str(tmp_path / "plain.nii"), "--time", "1"]) == 2
    assert "has no time points" in capsys.readouterr().err

    write(tmp_path / "masks.nii", movie.labels_like((data > np.array([800, 450, 100])[:, None, None, None]) * 1))
    measure = ["measure", "volume", str(tmp_path / "masks.nii"), "-o", str(tmp_path / "t.csv"), "--json"]
    capsys.readouterr()
    assert main([*measure, "--time", "2"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["volume (mL)"] == pytest.approx(2e-3 * (data[2] > 100).sum())
    assert main([*measure, "--time", "3"]) == 2
    assert "has the time points 0 to 2, not 3" in capsys.readouterr().err


def test_what_is_read_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[5:9, 5:9] = 1
    labels, eyes = tmp_path / "a.tif", tmp_path / "who_eyes.csv"
    imwrite(labels, mask)
    eyes.write_text("image,subject,eye\na.tif,S1,OD\n")
    before = labels.read_bytes(), eyes.read_bytes()
    commands: list[list[object]] = [
        ["measure", "nuclei", labels, "-o", labels],
        ["measure", "nerve", labels, "-o", eyes, "--eyes", eyes],
        ["measure", "nerve", tmp_path, "-o", tmp_path / "who.csv", "--eyes", eyes],
        ["export", labels, "-o", labels],
        ["refine", labels, labels, "-o", labels],
        ["evaluate", "frame-classifier", tmp_path, eyes, "-o", eyes],
    ]
    for words in commands:
        assert main([str(word) for word in words]) == 2
        error = capsys.readouterr().err
        assert "would be lost" in error or "written as .csv" in error
    assert (labels.read_bytes(), eyes.read_bytes()) == before


def test_a_name_that_is_too_long_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imwrite(tmp_path / "a.tif", np.ones((40, 40), np.uint8))
    assert main(["measure", "nuclei", str(tmp_path / "a.tif"), "-o", str(tmp_path / f"{'a' * 300}.csv")]) == 2
    assert "name too long" in capsys.readouterr().err.lower()


def test_a_workbook_holds_all_tables(eyes: Path, tmp_path: Path) -> None:
    assert main(["measure", "nerve", str(eyes), "-o", str(tmp_path / "t.xlsx")]) == 0
    sheets = pd.read_excel(tmp_path / "t.xlsx", sheet_name=None)
    assert {name: len(sheet) for name, sheet in sheets.items()} == {"objects": 4, "images": 3, "eyes": 2}
