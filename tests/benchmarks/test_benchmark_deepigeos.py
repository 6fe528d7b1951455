"""The tables of ``python -m benchmarks deepigeos``, without training."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_medseg import io
from napari_medseg.image import Image
from napari_medseg.io.pairs import Pair


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    try:
        return importlib.import_module("benchmarks.deepigeos")
    finally:
        sys.path.pop(0)


def test_strokes_alone_mend_a_poor_proposal(benchmark: ModuleType, tmp_path: Path) -> None:
    truth = np.zeros((12, 16, 16), np.uint8)
    truth[3:9, 4:12, 4:12] = 2
    proposal = np.roll(truth > 0, 3, 2).astype(np.uint8)
    files = tmp_path / "image.nii.gz", tmp_path / "label.nii.gz"
    io.write(files[0], Image(truth.astype(np.float32), "ZYX"))
    io.write(files[1], Image(truth, "ZYX", kind="labels"))
    options = type("Options", (), {"smallest": 5, "rounds": 2})
    refiner = dict(benchmark.refiners(dict.fromkeys(benchmark.NETWORKS), "cpu"))[benchmark.STROKES]
    rows = benchmark.rounds_of(Pair(*files, "a"), proposal, refiner, 0, options)
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert rows[0]["dice"] < rows[1]["dice"] < rows[2]["dice"]
    assert rows[0]["marked"] == 0 < rows[1]["marked"] < rows[2]["marked"]


def test_table_has_a_column_for_each_round(benchmark: ModuleType) -> None:
    rows = [
        {"case": case, "round": k, "dice": 0.5 + 0.1 * k + x} for case, x in (("a", 0.1), ("b", -0.1)) for k in (0, 1)
    ]
    lines = benchmark.markdown({"P-Net": rows[:1] + rows[2:3], "R-Net": rows}, "dice", 1).splitlines()
    assert lines[0] == "| dice | proposal | round 1 |"
    assert lines[2:] == ["| P-Net | 0.500 ± 0.100 |  |", "| R-Net | 0.500 ± 0.100 | 0.600 ± 0.100 |"]
