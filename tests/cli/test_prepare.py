from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from shorthand import call

from napari_medseg.cli.flags import given
from napari_medseg.cli.main import build_parser
from napari_medseg.io import read_one, write
from napari_medseg.io.grids import same_grid
from napari_medseg.jobs import run
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.samples.afm import afm_folder
from napari_medseg.samples.histology import nuclei_tile
from napari_medseg.samples.mri import mri_folder
from napari_medseg.settings import as_flags
from napari_medseg.training.preparation import check_source, prepare


@pytest.fixture
def tissue(tmp_path: Path) -> Path:
    image, labels = nuclei_tile(0, 96)
    write(tmp_path / "raw" / "images" / "a.png", image)
    write(tmp_path / "raw" / "labels" / "a_label.png", labels)
    return tmp_path / "raw"


def test_fullnet_folder_with_flags(tissue: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("prepare", "fullnet", tissue, tmp_path / "out", "--workers", 1, "--patch", 64, "--stain", "none")
    code, text, _ = call(capsys, *words, "--json")
    report = json.loads(text)
    assert code == 0
    assert report["cases"] == ["a"]
    assert len(report["mean"]) == 3
    assert read_one(tmp_path / "out" / "images" / "a_0.png").data.shape == (64, 64, 3)
    code, text, _ = call(capsys, *words)
    assert text.startswith(f"1 case in {tmp_path / 'out'} (1 were there already)")


def test_other_methods_get_sound_pairs_with_their_pixel_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = afm_folder(tmp_path / "raw", 3, 32)
    images = sorted(p for p in (raw / "images").iterdir() if p.suffix != ".json")
    images[0].write_bytes(b"no picture")
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(raw / "images" / "alone.png")
    out = tmp_path / "out"
    code, text, _ = call(capsys, "prepare", "afm-unet", raw, out)
    assert code == 0
    assert text.startswith("2 cases in")
    assert "alone.png has no partner" in text
    assert images[0].name in text
    copied = read_one(out / "images" / images[1].name)
    np.testing.assert_array_equal(copied.data, read_one(images[1]).data)
    assert copied.scale == read_one(images[1]).scale
    assert len(list((out / "labels").glob("*.*"))) >= 2
    assert "(2 were there already)" in call(capsys, "prepare", "afm-unet", raw, out)[1]


def test_all_channels_of_a_case_are_copied(tmp_path: Path) -> None:
    names = ["imagesTr/c_0000.png", "imagesTr/c_0001.png", "labelsTr/c.png"]
    for name in names:
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "raw" / name)
    assert run(prepare("p-net", tmp_path / "raw", tmp_path / "out")).cases == ("c",)
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.png")) == ["c.png", "c_0000.png", "c_0001.png"]


def test_volumes_are_corrected_with_their_labels_and_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = mri_folder(tmp_path / "raw", 2, shape=(12, 36, 32))
    out = tmp_path / "out"
    words = ("prepare", "p-net", raw, out, "--crop", "--resample", 2, "--n4", "--n4-iterations", 2)
    assert call(capsys, *words)[0] == 0
    image, labels = read_one(out / "images" / "case_000.nii.gz"), read_one(out / "labels" / "case_000.nii.gz", "labels")
    assert same_grid(image, labels)
    assert image.scale == pytest.approx((2, 2, 2))
    before = read_one(raw / "labels" / "case_000.nii.gz", "labels")
    volumes = [np.count_nonzero(i.data) * np.prod(i.scale) for i in (labels, before)]
    assert volumes[0] == pytest.approx(volumes[1], rel=0.2)
    assert "(2 were there already)" in call(capsys, *words)[1]
    assert "(0 were there already)" in call(capsys, *words[:4], "--crop")[1]


def test_volumes_of_new_patients_are_corrected_without_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = mri_folder(tmp_path / "raw", 1, shape=(12, 36, 32))
    assert call(capsys, "prepare", "p-net", raw / "images", tmp_path / "out", "--orient", "LPS")[0] == 0
    assert [p.name for p in (tmp_path / "out" / "images").iterdir() if p.suffix == ".gz"] == ["case_000.nii.gz"]
    assert not (tmp_path / "out" / "labels").exists()


def test_check_source_counts(tissue: Path) -> None:
    Pillow.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tissue / "images" / "alone.png")
    expected = ("1 case", "alone.png has no partner and is not used.")
    assert check_source("fullnet", tissue) == check_source("afm-unet", tissue) == expected


@pytest.mark.parametrize(
    ("method", "source", "target", "part"),
    [
        ("no-such", "raw", "out", "no method 'no-such'"),
        ("fullnet", "missing", "out", "missing is not a folder"),
        ("afm-unet", "missing", "out", "missing is not a folder"),
        ("fullnet", "raw", "raw", "source folder itself"),
        ("frame-classifier", "raw", "out", "needs no preparation"),
        ("afm-unet", "empty", "out", "No image/label pairs"),
        ("afm-unet", "raw", "file", "cannot be written"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(
    method: str,
    source: str,
    target: str,
    part: str,
    tissue: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tissue.parent)
    Path("empty").mkdir()
    Path("file").write_text("", encoding="utf-8")
    code, out, err = call(capsys, "prepare", method, source, target)
    assert (code, out) == (2, "")
    assert part in err
    assert "Traceback" not in err


def test_defaults_to_flags_and_back() -> None:
    changed = PrepareSettings(tissue="glands", stain="reinhard", target="t.png", patch=99, overlap="last", workers=3)
    words = ["prepare", "fullnet", "SRC", "DST", *as_flags(changed)]
    assert PrepareSettings.parse(given(build_parser(words).parse_args(words), PrepareSettings)) == changed
