"""Cases of several files (FLAIR, T1c): trained on, predicted, reviewed, learnt from and refined as channels of one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_medseg.batch import list_inputs
from napari_medseg.batch.inputs import list_cases
from napari_medseg.batch.review import ReviewSheet, load_case
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.cli.main import main
from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint

SIZE = (24, 28)
MM = ("millimeter", "millimeter")
SETTINGS = {
    "ndim": 2, "width": 4, "channels": 2, "modality_files": "Flair,T1c", "label_file": "OT", "crf": "none",
}  # fmt: skip


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Two cases of two modalities, one with a single modality, and a plain image."""
    rng = np.random.default_rng(0)
    for name, words in (("p1", ("Flair", "T1c")), ("p2", ("Flair", "T1c")), ("p3", ("Flair",))):
        for word in words:
            write(
                tmp_path / "in" / name / f"{word}_{name}.tif", Image(rng.random(SIZE, np.float32), "YX", (0.5, 0.5), MM)
            )
    return tmp_path / "in"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    method = create("p-net", SETTINGS)
    path = tmp_path / "p.pt"
    write_checkpoint(path, pack(method, method.build_network().state_dict()))
    return path


def test_folders_of_modality_files_are_cases(cases: Path, tmp_path: Path) -> None:
    options = BatchSettings(modality_files="Flair,T1c")
    found, _ = list_cases([cases], options, tmp_path / "out", {})
    assert [c.name for c in found] == ["p1", "p2", "Flair_p3"]
    assert [c.name for c in list_cases([cases / "p1"], options, tmp_path / "out", {})[0]] == ["p1"]
    assert len(list_inputs([cases])[0]) == 5


def test_predict_review_and_learn_from(cases: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["predict", str(model), str(cases), "-o", str(out), "--device", "cpu", "--overlays"]) == 0
    rows = json.loads((out / "run.json").read_text())["files"]
    status = {row["name"]: row["status"] for row in rows.values()}
    assert status == {"p1": "done", "p2": "done", "Flair_p3": "failed"}
    assert "2 channel(s)" in rows[str(cases / "p3" / "Flair_p3.tif")]["reason"]
    assert read_one(out / "p1_labels.tif", "labels").spatial_shape == SIZE
    sheet = ReviewSheet(out)
    image, labels = run(load_case(sheet.entries[0].image, out / sheet.entries[0].labels, "Flair,T1c"))
    assert (image.n_channels, labels.spatial_shape) == (2, SIZE)
    sheet.decide(0, "accepted")
    pair = ReviewSheet(out).pairs()[0]
    assert create("p-net", SETTINGS).load_pair(pair)[0].shape == (2, *SIZE)


def test_refine_takes_further_channels(
    cases: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strokes = np.zeros(SIZE, np.uint8)
    strokes[12, 10:16], strokes[2, 2:9] = 2, 1
    marks = write(tmp_path / "marks.tif", Image(strokes, "YX", (0.5, 0.5), kind="labels"))
    flair, t1c = cases / "p1" / "Flair_p1.tif", cases / "p1" / "T1c_p1.tif"
    words = [
        "refine",
        str(flair),
        str(marks),
        "-o",
        str(tmp_path / "m.tif"),
        "--proposal",
        str(model),
        "--device",
        "cpu",
    ]
    assert main(words) == 2
    assert "2 channel(s)" in capsys.readouterr().err
    assert main([*words, "--channel", str(t1c)]) == 0
    mask = np.asarray(read_one(tmp_path / "m.tif", "labels").data)
    assert (mask[strokes == 2] == 1).all()
    assert (mask[strokes == 1] == 0).all()
    other = write(tmp_path / "other.tif", Image(np.zeros((5, 5), np.float32), "YX", (0.5, 0.5)))
    assert main([*words, "--channel", str(other)]) == 2
    assert "differ in size" in capsys.readouterr().err


def test_channels_that_nnunet_numbers_are_trained_on_and_predicted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = tmp_path / "Dataset001"
    for case in ("c_001", "c_002"):
        for k in range(2):
            write(
                data / "imagesTr" / f"{case}_000{k}.nii.gz", Image(rng.random(SIZE, np.float32), "YX", (0.5, 0.5), MM)
            )
        write(data / "labelsTr" / f"{case}.nii.gz", Image(np.eye(*SIZE, dtype=np.uint8), "YX", (0.5, 0.5), MM))
    schedule = ["--epochs", "1", "--steps-per-epoch", "1", "--device", "cpu"]
    words = ["train", "p-net", str(data), "-o", str(tmp_path / "run"), "--width", "4", "--channels", "2"]
    assert main([*words, *schedule]) == 0
    model, out = str(tmp_path / "run" / "best.pt"), tmp_path / "out"
    assert main(["predict", model, str(data / "imagesTr"), "-o", str(out), "--device", "cpu"]) == 0
    rows = json.loads((out / "run.json").read_text())["files"].values()
    assert [(row["name"], row["status"]) for row in rows] == [("c_001", "done"), ("c_002", "done")]
    assert main(["evaluate", "p-net", str(out), str(data)]) == 0


def test_cases_that_share_a_folder_are_called_up_to_their_word(tmp_path: Path) -> None:
    for name in ("p1_flair", "p1_t1c", "p1_seg", "p2_flair"):
        write(tmp_path / f"{name}.tif", Image(np.zeros(SIZE, np.uint8), "YX"))
    found, skipped = list_cases([tmp_path], BatchSettings(modality_files="flair,t1c"), tmp_path / "out", {})
    assert [(c.path.name, c.name) for c in found] == [("p1_flair.tif", "p1"), ("p2_flair.tif", "p2_flair")]
    assert [Path(name).name for name in skipped] == ["p1_seg.tif"]
