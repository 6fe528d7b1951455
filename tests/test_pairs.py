from __future__ import annotations

from pathlib import Path

import pytest

from napari_medseg.errors import DataError
from napari_medseg.pairs import case_stem, find_pairs, pair_by_stem


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a_label.png", "a"),
        ("a_gt.tif", "a"),
        ("a_hi.png", "a"),
        ("a_lab.tif", "a"),
        ("a_labels.nii.gz", "a"),
        ("1_org.tif", "1"),
    ],
)
def test_case_stem(name: str, stem: str) -> None:
    assert case_stem(Path(name)) == stem


def test_parallel_folders(tmp_path: Path) -> None:
    touch(tmp_path, "afmheight/x_hi.png", "afmheight/y_hi.png", "labels/x_label.png", "labels/z_label.png")
    found = find_pairs(tmp_path)
    assert [(p.image.name, p.label.name) for p in found.pairs if p.label] == [("x_hi.png", "x_label.png")]
    assert [p.name for p in found.unpaired] == ["y_hi.png", "z_label.png"]


def test_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "1_org.tif", "1_lab.tif", "2_org.tif", "notes.txt")
    found = find_pairs(tmp_path, subject=lambda stem: "s" + stem)
    assert [p.subject for p in found.pairs] == ["s1"]
    assert [p.name for p in found.unpaired] == ["2_org.tif"]


def test_nothing_found_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="_lab"):
        find_pairs(tmp_path).require(tmp_path)
    with pytest.raises(DataError, match="not a folder"):
        find_pairs(tmp_path / "missing")


def test_results_pair_with_references() -> None:
    found = pair_by_stem([Path("a_labels.tif"), Path("b_predict.png")], [Path("b_gt.png"), Path("c.png")])
    assert [(p.image.name, p.label.name) for p in found.pairs if p.label] == [("b_predict.png", "b_gt.png")]
    assert len(found.unpaired) == 2
