"""What a result's format needs is asked for before the work, so that no work is lost."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_medseg import io
from napari_medseg.cli.main import main


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", np.eye(8, dtype=np.uint8))
    return tmp_path / "a.npy"


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([str(word) for word in words]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


WORK = (
    ("measure", "nuclei", "{labels}"),
    ("measure", "nuclei", "{folder}"),
    ("evaluate", "afm-unet", "{labels}", "{labels}"),
)
PACKAGES = [
    *((words, ("-o", "x.xlsx"), "openpyxl") for words in WORK),
    (WORK[-1], ("--figure", "x.svg"), "matplotlib"),
    (("report", "{labels}", "{labels}", "--kind", "nuclei"), ("-o", "x.pdf"), "reportlab"),
    (("report", "{labels}", "{labels}", "--kind", "nuclei"), ("-o", "x.pdf"), "matplotlib"),
    (("refine", "{labels}", "{labels}"), ("-o", "x_rois.zip"), "roifile"),
    (("refine", "{labels}", "{labels}"), ("-o", "x.ome.zarr"), "zarr"),
    (("export", "{labels}"), ("-o", "x_rois.zip"), "roifile"),
]


@pytest.mark.parametrize(("words", "output", "package"), PACKAGES)
def test_a_package_that_is_missing_is_said_before_the_work(
    labels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...], output: tuple[str, str], package: str,
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    if words[0] != "export":  # which reads, and writes what it read

        def work(path: object, kind: str = "image") -> None:
            raise AssertionError(f"{path} is read")

        for module in ("napari_medseg.io", "napari_medseg.measure.files", "napari_medseg.evaluate.masks"):
            for name in ("read", "read_labels", "read_one"):
                monkeypatch.setattr(f"{module}.{name}", work, raising=False)
    given = [word.format(labels=labels, folder=labels.parent) for word in words]
    said = refused(capsys, *given, output[0], labels.with_name(output[1]))
    assert f"needs the package '{package}'" in said
    assert "pip install" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("evaluate", "afm-unet", "{}", "{}", "-o", "x.txt"), r".csv or .xlsx"),
        (("evaluate", "afm-unet", "{}", "{}", "-o", "none/x.xlsx"), "folder does not exist"),
        (("measure", "nuclei", "{}", "-o", "none/x.xlsx"), "folder does not exist"),
        (("evaluate", "afm-unet", "{}", "{}", "--figure", "x.gif"), ".png, .svg, .pdf"),
        (("report", "{}", "{}", "--kind", "nuclei", "-o", "x.txt"), ".html or .pdf"),
        (("report", "{}", "{}", "--kind", "nuclei", "-o", "{}"), "would be lost"),
        (("refine", "{}", "{}", "-o", "x.gif"), ".nii.gz"),
    ],
)
def test_a_name_that_cannot_be_written_is_said_first(
    labels: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(labels.parent)
    monkeypatch.setattr(io, "read", lambda path: pytest.fail(f"{path} is read"))
    assert said in refused(capsys, *(word.format(labels) for word in words))


def test_classes_of_frames_are_written_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pd.DataFrame(
        {"frame": range(6), "label": ["nerve", "other"] * 3, "p_nerve": [0.9, 0.1] * 3, "p_other": [0.1, 0.9] * 3}
    )
    table.to_csv(tmp_path / "frames.csv", index=False)
    table[["frame", "label"]].assign(label=["nerve", "other", "nerve", "other", "other", "other"]).to_csv(
        tmp_path / "truth.csv", index=False
    )
    words = ("evaluate", "frame-classifier", tmp_path / "frames.csv", tmp_path / "truth.csv")
    assert main([str(word) for word in (*words, "-o", tmp_path / "out.csv")]) == 0
    assert pd.read_csv(tmp_path / "out.csv")["class"].unique().tolist() == ["nerve", "other"]
    confusion = pd.read_csv(tmp_path / "out_confusion.csv").set_index("true class")
    assert confusion.loc["other"].to_dict() == {"nerve": 1, "other": 3}
    assert "--figure" in refused(capsys, *words, "--figure", tmp_path / "x.png")
