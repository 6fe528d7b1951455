"""Subjects and eyes are assigned by the pattern of names or by a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_medseg import Image, write
from napari_medseg.cli.main import main
from napari_medseg.errors import ReadError, SettingsError
from napari_medseg.jobs import run
from napari_medseg.measure import nerve
from napari_medseg.measure.eyes import assignment
from napari_medseg.measure.files import measure_files
from napari_medseg.measure.settings import NerveSettings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mask = np.zeros((384, 384), np.uint8)
    mask[100:103, 20:350] = 1
    for name in ("right-007-a", "right-007-b", "left-007-a", "right-012-a"):
        write(tmp_path / "labels" / f"{name}_labels.tif", Image(mask, "YX", kind="labels"))
    return tmp_path / "labels"


def test_a_pattern_of_names(folder: Path) -> None:
    tables = run(measure_files("nerve", [folder], eyes="{eye}-{subject}-{frame}"))
    assert tables.eyes is not None
    found = tables.eyes.set_index(["subject", "eye"])["images used"].to_dict()
    assert found == {("007", "right"): 2, ("007", "left"): 1, ("012", "right"): 1}


def test_a_table_made_by_hand(folder: Path, tmp_path: Path) -> None:
    rows = [("right-007-a_labels.tif", "A", "OD"), ("right-007-b", "A", "OD"), ("left-007-a", "A", "OS")]
    pd.DataFrame(rows, columns=["image", "subject", "eye"]).to_csv(tmp_path / "eyes.csv", index=False)
    tables = run(measure_files("nerve", [folder], eyes=str(tmp_path / "eyes.csv")))
    assert tables.eyes is not None
    found = tables.eyes.set_index(["subject", "eye"])["images used"].to_dict()
    assert found == {("A", "OD"): 2, ("A", "OS"): 1, ("right-012-a_labels.tif", ""): 1}
    assert any(note.startswith("right-012-a_labels.tif does not fit") for note in tables.notes)


@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, separator: str) -> None:
    rows = [("Image", "Subject", "Eye"), ("a.tif", "007", "od"), ("a.png", "008", "OS"), ("'=b.tif", "007", "OD")]
    (tmp_path / "eyes.csv").write_text("\n".join(separator.join(row) for row in rows), encoding="utf-8-sig")
    known = assignment(str(tmp_path / "eyes.csv"))
    assert known("a.tif") == {"subject": "007", "eye": "OD"}
    assert known("=b_lab.png") == {"subject": "007", "eye": "OD"}
    assert known("a_lab.bmp") is None  # it may be of either


def test_two_rows_that_differ_about_an_image_are_refused(tmp_path: Path) -> None:
    (tmp_path / "eyes.csv").write_text("image,subject,eye\na.tif,p1,OD\na.tif,p1,OD\na.tif,p2,OS\n")
    with pytest.raises(ReadError, match=r"says two things of a\.tif: p1 OD and p2 OS"):
        assignment(str(tmp_path / "eyes.csv"))


def test_what_says_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="names no subject or eye"):
        assignment("{frame}")
    with pytest.raises(ReadError, match="cannot be read"):
        assignment(str(tmp_path / "none.csv"))
    (tmp_path / "bad.csv").write_text("picture,eye\na,OD\n")
    with pytest.raises(ReadError, match="needs the column image"):
        assignment(str(tmp_path / "bad.csv"))


def test_settings_on_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.csv"
    words = ["measure", "nerve", str(folder / "right-007-a_labels.tif"), "-o", str(out)]
    assert main([*words, "--main-length", "340"]) == 0
    assert pd.read_csv(out)["class"].tolist() == ["branch"]
    assert main(words) == 0
    assert pd.read_csv(out)["class"].tolist() == ["main"]
    assert main([*words[:1], "nuclei", *words[2:], "--spur", "3"]) == 2
    assert "only nerves" in capsys.readouterr().err
    assert main(["measure", "nerve", str(folder), "-o", str(out), "--eyes", "{eye}-{subject}-*"]) == 0
    eyes = pd.read_csv(tmp_path / "t_eyes.csv", dtype={"subject": str})
    assert eyes["subject"].tolist() == ["007", "007", "012"]
    spread = eyes.loc[eyes["images used"] == 1, [c for c in eyes if c.endswith("SD")]]
    assert spread.isna().all(axis=None)


def test_settings_change_what_is_a_main_nerve() -> None:
    mask = np.zeros((384, 384), np.uint8)
    mask[100:103, 20:200] = 1
    labels = Image(mask, "YX", (1.0, 1.0), ("micrometer",) * 2, kind="labels")
    assert nerve.table(labels)["class"].tolist() == ["main"]
    assert nerve.table(labels, settings=NerveSettings(main_length=250))["class"].tolist() == ["branch"]
