from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from napari_medseg.errors import ReadError
from napari_medseg.evaluate.masks import evaluate
from napari_medseg.io import read, read_labels
from napari_medseg.jobs import run
from napari_medseg.measure.files import measure_files

LABELS = np.array([[0, 1, 1], [7, 7, 0]])


@pytest.mark.parametrize("kind", [np.float64, np.uint16, np.int32])
def test_inst_map_is_read_as_objects(tmp_path: Path, kind: Any) -> None:
    savemat(tmp_path / "a.mat", {"inst_map": LABELS.astype(kind), "inst_type": [[1.0], [2.0]]}, do_compression=True)
    image = read_labels(tmp_path / "a.mat")
    assert (image.kind, image.axes) == ("labels", "YX")
    np.testing.assert_array_equal(image.data, LABELS)


def test_a_folder_of_them_is_measured_and_evaluated(tmp_path: Path) -> None:
    for folder in ("results", "references"):
        (tmp_path / folder).mkdir()
        savemat(tmp_path / folder / "a.mat", {"inst_map": LABELS.astype(float)})
    measured = run(measure_files("nuclei", [tmp_path / "results"]))
    assert measured.images["count"].tolist() == [2]
    found = run(evaluate("fullnet", tmp_path / "results", tmp_path / "references"))
    assert found["images"]["a"]["aji"] == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"type_map": LABELS}, "holds type_map; expected inst_map"),
        ({"inst_map": LABELS / 2}, "expected whole numbers"),
        ({"inst_map": np.zeros((2, 2, 2))}, "expected whole numbers"),
        ({"inst_map": -LABELS}, "negative labels"),
    ],
)
def test_other_variables_are_refused(tmp_path: Path, content: dict[str, Any], words: str) -> None:
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(ReadError, match=words):
        read(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello" * 100, "no MATLAB file or damaged"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400), "version 7.3"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ReadError, match=words):
        read(tmp_path / "a.mat")
