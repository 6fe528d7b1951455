"""Sample data as files: every kind is found again by the method it is for; bundled models are found by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg.cli.main import main
from napari_medseg.errors import DataError
from napari_medseg.io import read_one
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import bundled, find_model
from napari_medseg.samples import KINDS, strokes, write_sample
from napari_medseg.samples.mri import brain_volume

METHOD = {"afm": "afm-unet", "ccm": "sc-dcnn", "glands": "fullnet", "histology": "fullnet", "mri": "p-net"}


@pytest.mark.parametrize("kind", METHOD)
def test_a_folder_holds_cases_of_its_method(kind: str, tmp_path: Path) -> None:
    folder = write_sample(kind, tmp_path / "data with space", count=2)
    method = create(METHOD[kind], {"ndim": 3} if kind == "mri" else {})
    found = method.find_pairs(folder)
    assert len(found.pairs) == 2
    assert not found.unpaired
    x, y = method.load_pair(found.pairs[0])
    assert x.shape[-2:] == y.shape[-2:]


def test_a_movie_and_its_training_frames(tmp_path: Path) -> None:
    pytest.importorskip("av")
    folder = write_sample("video", tmp_path, count=1)
    assert read_one(folder / "movie.mkv").axes.startswith("T")
    assert len(create("frame-classifier").find_pairs(folder / "classification").pairs) == 30
    assert create("double-unet").find_pairs(folder / "segmentation").pairs


def test_strokes_lie_in_the_object_and_around_it() -> None:
    truth = np.asarray(brain_volume(0, (32, 48, 40))[1].data)
    marks = strokes(truth)
    assert truth[marks == 2].all()
    assert (marks == 2).any()
    assert not truth[marks == 1].any()
    assert len(np.unique(np.argwhere(marks == 1)[:, 0])) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "mri", "-o", str(tmp_path / "mri"), "--count", "1"]) == 0
    assert (tmp_path / "mri" / "scribbles" / "case_000.nii.gz").is_file()
    assert main(["sample", "mri", "-o", str(tmp_path / "no"), "--count", "-1"]) == 2
    assert "--count" in capsys.readouterr().err


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for kind in KINDS:
        assert main(["sample", kind, "-o", str(tmp_path / "file" / "below")]) == 2
        assert "cannot be written" in capsys.readouterr().err
    with pytest.raises(DataError, match="no sample 'nothing'"):
        write_sample("nothing", tmp_path)


def test_bundled_models_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("demo_pnet_2d") == bundled("demo_pnet_2d")
    assert load_model("demo_pnet_2d").method.name == "p-net"
    assert find_model("folder/demo_pnet_2d") == Path("folder/demo_pnet_2d")
    assert find_model("absent.pt") == Path("absent.pt")
    Path("demo_pnet_2d").write_text("a file of that name comes first", encoding="utf-8")
    assert find_model("demo_pnet_2d") == Path("demo_pnet_2d")
