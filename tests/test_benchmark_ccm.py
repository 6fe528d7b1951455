from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from napari_medseg.pairs import Pair

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "ccm.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_ccm", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_laboratory_writes_a_row_for_each_level_and_loss(benchmark: ModuleType, tmp_path: Path) -> None:
    small = ["--size", "48", "--width", "1", "--epochs", "1", "--images", "2", "--test", "1", "--seeds", "2"]
    assert benchmark.main(["lab", "-o", str(tmp_path), *small, "--levels", "0", "2"]) == 0
    with (tmp_path / "ccm_lab.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["level"], row["loss"]) for row in rows] == [
        (lv, arm) for lv in ("0.0", "2.0") for arm in benchmark.ARMS
    ]
    assert all(0 <= float(row["f1_3px"]) <= 1 for row in rows)
    assert (tmp_path / "ccm_lab.md").read_text().startswith("| corruption | level | loss")


def test_overhead_is_reported(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["overhead", "--size", "32", "--batch", "1", "--width", "1", "--repeats", "1"]) == 0
    assert "overhead" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(10))
def test_split_keeps_subjects_together(benchmark: ModuleType, seed: int) -> None:
    pairs = [Pair(Path(f"{i}.tif"), None, "14" if i == 17 else str(i)) for i in range(1, 21)]
    training, held_out = benchmark.split(pairs, 4, seed)
    assert (len(training), len(held_out)) == (16, 4)
    assert not {p.subject for p in training} & {p.subject for p in held_out}


def test_corrected_lengths_are_within_one_percent(benchmark: ModuleType, tmp_path: Path) -> None:
    assert benchmark.main(["lengths", "-o", str(tmp_path), "--repeats", "5"]) == 0
    with (tmp_path / "ccm_lengths.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["curve"] for row in rows] == ["straight", "circle", "sinusoid"]
    assert all(float(row["corrected, worst %"]) <= 1 for row in rows)
    assert all(float(row["pixel graph, worst %"]) > 3 for row in rows)
