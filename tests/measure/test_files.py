"""Label images of a folder measured together, against the measures of each."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from tifffile import imwrite

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.io.geometry import sized_like, with_pixel_size
from napari_medseg.io.outlines.tracings import write_tracings
from napari_medseg.jobs import run
from napari_medseg.measure import files, nerve
from napari_medseg.measure.files import Tables, measure_files

CNFL = "CNFL [mm/mm^2]"


def save(folder: Path, stem: str, nerves: int) -> None:
    """Write a black picture of the instrument's size and a mask of straight nerves across it."""
    mask = np.zeros((384, 384), np.uint8)
    for index in range(nerves):
        mask[60 + 50 * index : 63 + 50 * index] = 255
    folder.mkdir(exist_ok=True)
    imwrite(folder / f"{stem}_org.tif", np.zeros((384, 384), np.uint8))
    imwrite(folder / f"{stem}_lab.tif", mask)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    folder = tmp_path / "clinic"
    for stem, nerves in (("P1_OD_central_1", 2), ("P1_OD_central_2", 4), ("P1_OS_whorl_1", 0), ("P2_OD_1", 1)):
        save(folder, stem, nerves)
    return folder


def measured(*labels: Path, images: Path | None = None) -> Tables:
    return run(measure_files("nerve", labels, images))


def test_eyes_of_a_folder(clinic: Path) -> None:
    tables = measured(clinic)
    assert tables.images["image"].tolist() == sorted(p.name for p in clinic.glob("*_lab.tif"))
    assert tables.objects["image"].value_counts().to_dict() == {
        "P1_OD_central_1_lab.tif": 2, "P1_OD_central_2_lab.tif": 4, "P2_OD_1_lab.tif": 1,
    }  # fmt: skip
    assert tables.eyes is not None
    eyes = tables.eyes.set_index(["subject", "eye"])
    right, left = eyes.loc[("P1", "OD")], eyes.loc[("P1", "OS")]
    assert eyes["images used"].to_dict() == {("P1", "OD"): 2, ("P1", "OS"): 1, ("P2", "OD"): 1}
    assert right[f"{CNFL} mean"] == pytest.approx(3 * 2.5, rel=0.01)
    assert right[f"{CNFL} SD"] == pytest.approx(2.5 * np.sqrt(2), rel=0.01)
    assert "same nerves" in right["overlap warning"]
    assert left["overlap warning"] == ""
    assert left[f"{CNFL} mean"] == 0
    assert np.isnan(left[f"{CNFL} SD"])  # of one image there is none
    assert not tables.problems


def test_files_and_folders_are_measured_alike(clinic: Path) -> None:
    files = sorted(clinic.glob("*_lab.tif"))
    assert measured(*files).images.equals(measured(clinic).images)


def test_images_of_another_folder_give_the_pixel_size(clinic: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    (clinic / "P2_OD_1_lab.tif").rename(masks / "P2_OD_1_lab.tif")
    assert measured(masks, images=clinic).images[CNFL].iloc[0] == pytest.approx(2.5, rel=0.01)
    assert "CNFL [px/px^2]" in measured(masks).images


def test_parallel_folders(clinic: Path, tmp_path: Path) -> None:
    for kind, end in (("images", "org"), ("labels", "lab")):
        (tmp_path / "data" / kind).mkdir(parents=True)
        for path in clinic.glob(f"*_{end}.tif"):
            path.rename(tmp_path / "data" / kind / path.name)
    assert measured(tmp_path / "data").images[CNFL].tolist() == pytest.approx([5, 10, 0, 2.5], rel=0.01)


def test_an_image_counts_once(clinic: Path) -> None:
    write_tracings(clinic / "P2_OD_1.swc", [np.array([[5.0, 0], [5, 300]])])
    tables = measured(clinic)
    assert len(tables.images) == 4
    assert "counts once" in tables.problems[0]


def test_a_damaged_file_is_named_and_the_others_go_on(clinic: Path) -> None:
    (clinic / "P3_OD_1_lab.tif").write_bytes(b"II*")
    tables = measured(clinic)
    assert len(tables.images) == 4
    assert tables.problems[0].startswith("P3_OD_1_lab.tif")


def test_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No label images"):
        measured(tmp_path)
    (tmp_path / "a_lab.png").write_text("no picture")
    with pytest.raises(DataError, match="None of 1"):
        measured(tmp_path)


def test_other_kinds_have_no_eyes(clinic: Path) -> None:
    tables = run(measure_files("afm", [clinic]))
    assert tables.eyes is None
    assert tables.images.columns[0] == "image"
    assert tables.objects.columns[0] == "image"


def test_stated_pixel_size(clinic: Path) -> None:
    labels = nerve.Image(np.zeros((4, 5), np.uint8), "YX", kind="labels")
    assert with_pixel_size(labels, 0.5).scale == (0.5, 0.5)
    other = nerve.Image(np.zeros((5, 5)), "YX", (2.0, 2.0), ("micrometer",) * 2)
    assert sized_like(labels, other) is labels


def test_outlines_and_folders_of_cases_are_measured(tmp_path: Path) -> None:
    ring = [[1, 1], [4, 1], [4, 3], [1, 3], [1, 1]]
    outline = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    (tmp_path / "Annotations").mkdir()
    text = json.dumps({"type": "FeatureCollection", "features": [outline]})
    (tmp_path / "Annotations" / "a.geojson").write_text(text)
    (tmp_path / "Tissue Images").mkdir()
    imwrite(tmp_path / "Tissue Images" / "a.tif", np.zeros((8, 9, 3), np.uint8))
    tables = run(measure_files("nuclei", [tmp_path], pixel_size=0.5))
    assert tables.objects["area (um^2)"].tolist() == [6 * 0.25]
    (tmp_path / "site" / "p1").mkdir(parents=True)
    imwrite(tmp_path / "site" / "p1" / "p1_seg.tif", np.ones((4, 4), np.uint8))
    imwrite(tmp_path / "site" / "p1" / "p1_flair.tif", np.ones((4, 4), np.uint8))
    assert run(measure_files("volume", [tmp_path / "site"])).images["voxels"].tolist() == [16]


def test_patients_of_equal_file_names_keep_their_images(tmp_path: Path) -> None:
    for number, patient in enumerate(("p1", "p2"), 1):
        (tmp_path / patient).mkdir()
        volume = np.full((4, 6, 6), 100 * number, np.int16)
        write(tmp_path / patient / "flair.nii.gz", Image(volume, "ZYX", (1, 1, 1), ("millimeter",) * 3))
        mask = np.zeros(volume.shape, np.uint8)
        mask[1:3, 1:3, 1:3] = 1
        write(
            tmp_path / patient / "flair_seg.nii.gz", Image(mask, "ZYX", (1, 1, 1), ("millimeter",) * 3, kind="labels")
        )
    found = run(measure_files("volume", [tmp_path])).objects.set_index("image")["mean intensity"]
    assert found.to_dict() == {"p1/flair_seg.nii.gz": 100, "p2/flair_seg.nii.gz": 200}


def test_a_large_folder_is_paired_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of each file is looked at a few times, not once for each other file."""
    for k in range(60):
        for folder in ("images", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"c{k}.tif").touch()
    looked: list[Path] = []
    stem = files.case_stem
    monkeypatch.setattr(files, "case_stem", lambda path: looked.append(path) or stem(path))
    cases = list(files._cases(tmp_path, None))
    assert [(label.name, image and image.name) for label, image, _ in cases] == [(c[0].name,) * 2 for c in cases]
    assert len(cases) == 60
    assert max(Counter(looked).values()) < 5


def test_choices_among_files_are_said(tmp_path: Path) -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:9, 5:9] = 1
    for name in ("a_mask.tif", "a.png", "a.tif", "old/b_mask.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        imwrite(tmp_path / name, mask) if name.endswith("tif") else Pillow.fromarray(mask).save(tmp_path / name)
    notes = run(measure_files("afm", [tmp_path])).notes
    assert any("a_mask.tif is measured with a.tif, not a.png" in note for note in notes)
    assert any("left out: old/b_mask.tif" in note for note in notes)


@pytest.mark.parametrize("stated", [0.25, None])
def test_a_given_pixel_size_that_the_file_contradicts_is_said(tmp_path: Path, stated: float | None) -> None:
    mask = np.zeros((4, 20, 20), np.uint8)
    mask[1:3, 5:9, 5:9] = 1
    units = ("micrometer",) * 3 if stated else ()
    write(tmp_path / "a_mask.tif", Image(mask, "ZYX", (stated or 1,) * 3, units, kind="labels"))
    found = run(measure_files("volume", [tmp_path], pixel_size=0.5))
    assert found.objects["volume (um^3)"].tolist() == pytest.approx([32 * 0.125])
    said = "states pixels of 0.25 x 0.25 x 0.25 um; the given 0.5 um" if stated else "are taken to lie 0.5 um apart"
    assert any(said in note for note in found.notes)


def test_files_of_one_name_are_told_apart_in_every_row(tmp_path: Path) -> None:
    """Two patients whose labels have one name in folders of one name."""
    for k, patient in enumerate(("p1", "p2")):
        (tmp_path / patient / "seg").mkdir(parents=True)
        square = np.zeros((9, 9), np.uint8)
        square[2 : 5 + k, 2:5] = 1
        np.save(tmp_path / patient / "seg" / "a_seg.npy", square)
    (tmp_path / "p2" / "seg" / "b_seg.npy").write_bytes(b"no array")
    tables = run(measure_files("nuclei", [tmp_path / "p1" / "seg", tmp_path / "p2" / "seg"]))
    assert tables.objects.set_index("image")["pixels"].to_dict() == {"p1/seg/a_seg.npy": 9, "p2/seg/a_seg.npy": 12}
    assert tables.images["image"].tolist() == ["p1/seg/a_seg.npy", "p2/seg/a_seg.npy"]
    assert tables.problems[0].startswith("b_seg.npy: ")
