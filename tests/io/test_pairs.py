from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from napari_medseg.errors import DataError
from napari_medseg.io.pairs import case_files, case_stem, find_pairs, list_labels, pair_files
from napari_medseg.methods.deepigeos.inputs import case_folders


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
        ("a.ome.tif", "a"),
        ("a_label.ome.tiff", "a"),
        ("a_cp_masks.png", "a"),
        ("a_Simple Segmentation.tif", "a"),
        ("a_prediction.tif", "a"),
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
    found = pair_files([Path("a_labels.tif"), Path("b_predict.png")], [Path("b_gt.png"), Path("c.png")])
    assert [(p.image.name, p.label.name) for p in found.pairs if p.label] == [("b_predict.png", "b_gt.png")]
    assert len(found.unpaired) == 2


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("Images/A 1.TIF", "GT/A 1.png"),
        ("Tissue Images/ü.tif", "Annotations/ü.tif"),
        ("img/a.gwy", "Ground_Truth/a.png"),
        ("a.jpk", "a_mask.png"),
        ("a.png", "a-seg.png"),
    ],
)
def test_folders_and_names_of_other_people(tmp_path: Path, image: str, label: str) -> None:
    touch(tmp_path, image, label, "Thumbs.db", f"{Path(image).parent}/._{Path(image).name}")
    found = find_pairs(tmp_path)
    assert [(p.image, p.label) for p in found.pairs] == [(tmp_path / image, tmp_path / label)]
    assert found.unpaired == ()


def test_numbered_channels_are_one_case(tmp_path: Path) -> None:
    names = [f"imagesTr/{case}_000{k}.nii.gz" for case in ("b_001", "b_002") for k in range(2)]
    touch(tmp_path, *names, "labelsTr/b_001.nii.gz", "labelsTr/b_002.nii.gz", "dataset.json")
    found = find_pairs(tmp_path)
    assert [(p.stem, p.subject, [f.name for f in p.files]) for p in found.pairs] == [
        (case, case, [f"{case}_0000.nii.gz", f"{case}_0001.nii.gz"]) for case in ("b_001", "b_002")
    ]
    assert found.unpaired == ()
    assert [p.stem for p in pair_files([Path("b_001_0000_labels.nii.gz")], [Path("b_001.nii.gz")]).pairs] == ["b_001"]


def test_words_name_the_files_of_a_case(tmp_path: Path) -> None:
    kinds = ("flair", "t1", "t1ce", "seg")
    touch(tmp_path, *(f"p1/p1_{kind}.nii.gz" for kind in kinds), "p1/._p1_flair.nii.gz")
    assert [p.name for p in case_files(tmp_path / "p1", "Flair,t1")] == ["p1_flair.nii.gz", "p1_t1.nii.gz"]
    assert case_files(tmp_path / "p1", "flair,p1") == []
    flat = tmp_path / "p1" / "p1_flair.nii.gz"
    assert [p.name for p in case_files(flat, "flair,t1ce")] == ["p1_flair.nii.gz", "p1_t1ce.nii.gz"]
    assert case_files(flat, "t1ce,flair") == []
    assert case_files(flat, "flair,t2") == []


def test_folders_are_named_when_nothing_pairs_up(tmp_path: Path) -> None:
    touch(tmp_path, "patient 1/flair.nii.gz")
    with pytest.raises(DataError, match=r"folder patient 1.*--modality-files"):
        find_pairs(tmp_path).require(tmp_path)


def test_numbered_scans_pair_by_stem_or_number(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.000", "images/b.001", "images/b.002", "images/c.spm", "images/notes.txt")
    touch(tmp_path, "labels/a.tif", "labels/b.001.tif", "labels/b_002_mask.tif", "labels/c.tif")
    pairs = find_pairs(tmp_path).pairs
    assert {(p.image.name, p.label.name) for p in pairs if p.label} == {
        ("a.000", "a.tif"),
        ("b.001", "b.001.tif"),
        ("b.002", "b_002_mask.tif"),
        ("c.spm", "c.tif"),
    }


def test_one_mask_never_serves_two_numbered_scans(tmp_path: Path) -> None:
    touch(tmp_path, "images/b.001", "images/b.002", "labels/b.tif")
    found = find_pairs(tmp_path)
    assert not found.pairs
    assert {path.name for path in found.unpaired} == {"b.001", "b.002", "b.tif"}


def test_equal_names_in_several_folders_pair_by_folder() -> None:
    images = [Path(f"out/{site}/a_labels.tif") for site in ("s1", "s2")]
    labels = [Path(f"truth/{site}/a.tif") for site in ("s2", "s1", "s3")]
    found = pair_files(images, labels)
    assert [(pair.image, pair.label) for pair in found.pairs] == [(images[0], labels[1]), (images[1], labels[0])]
    assert [pair.stem for pair in found.pairs] == ["s1/a", "s2/a"]
    assert found.unpaired == (labels[2],)
    assert not pair_files(images, [Path("truth/a.tif")]).pairs  # of which site is it?


def test_a_label_serves_one_image() -> None:
    images = [Path("in/a.png"), Path("in/a.tif")]
    found = pair_files(images, [Path("truth/a.tif")])
    assert [(pair.image, pair.stem) for pair in found.pairs] == [(images[0], "a")]
    assert found.unpaired == (images[1],)


def test_accents_of_macos_pair_up() -> None:
    names = [unicodedata.normalize(form, "Zell\u00fcbersicht.tif") for form in ("NFD", "NFC")]
    assert len(pair_files([Path("in") / names[0]], [Path("truth") / names[1]]).pairs) == 1


def test_a_folder_of_cases_that_a_link_leads_to_counts_once(tmp_path: Path) -> None:
    """Links to another case, to a folder elsewhere (twice), to the folder that holds the cases, and to itself."""
    cases = tmp_path / "all"
    touch(tmp_path, *(f"{case}/x_{word}.npy" for case in ("all/p1", "all/p2", "elsewhere") for word in ("t1", "seg")))
    for link, to in (
        ("a", cases / "p1"),
        ("b", tmp_path / "elsewhere"),
        ("c", tmp_path),
        ("d", cases / "b"),
        ("e", cases),
    ):
        (cases / link).symlink_to(to, target_is_directory=True)
    assert [path.parent.name for path in list_labels(cases)] == ["b", "p1", "p2"]
    assert [pair.stem for pair in case_folders(cases, "t1", "seg").pairs] == ["b", "p1", "p2"]
