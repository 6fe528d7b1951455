from __future__ import annotations

import csv
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from napari_medseg.io.pairs import Pair
from napari_medseg.samples.ccm import ccm_folder

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--width", "1", "--steps", "2", "--batch", "1", "--crop", "32", "--seeds", "2"]


@pytest.fixture(scope="module")
def benchmark() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT))
    yield importlib.import_module("benchmarks.ccm")
    sys.path.remove(str(ROOT))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_laboratory_writes_a_row_for_each_corruption_and_loss(benchmark: ModuleType, tmp_path: Path) -> None:
    small = ["--size", "48", "--images", "2", "--test", "1", *TINY]
    assert benchmark.main(["lab", "-o", str(tmp_path), *small, "--corruptions", "exact:0", "trace:2"]) == 0
    rows = rows_of(tmp_path / "ccm_lab.csv")
    nerves = sys.modules["benchmarks._nerves"]
    assert [(row["corruption"], row["loss"]) for row in rows] == [
        (name, arm) for name in ("exact:0", "trace:2") for arm in (*nerves.ARMS, nerves.CRF_ARM)
    ]
    assert all(0 <= float(row["f1_3px"]) <= 1 for row in rows)
    assert (tmp_path / "ccm_lab.md").read_text().startswith("| corruption | loss")


def test_traced_images_are_split_and_scored(benchmark: ModuleType, tmp_path: Path) -> None:
    data = str(ccm_folder(tmp_path / "data", 3, 48))
    short = ["--hold", "1", *TINY, "--seeds", "1"]
    assert benchmark.main(["nottingham", "-o", str(tmp_path), "--data", data, *short]) == 0
    rows = rows_of(tmp_path / "ccm_nottingham.csv")
    assert [row["loss"] for row in rows] == ["balanced CE", "balanced CE + SC"]
    assert all(0 <= float(row["f1_3px"]) <= 1 for row in rows)


def test_overhead_is_reported(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["overhead", "--size", "32", "--batch", "1", "--width", "1", "--repeats", "1"]) == 0
    assert "overhead" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(10))
def test_split_keeps_subjects_together(benchmark: ModuleType, seed: int) -> None:
    pairs = [Pair(Path(f"{i}.tif"), None, "14" if i == 17 else str(i)) for i in range(1, 21)]
    training, held_out = sys.modules["benchmarks._nerves"].split(pairs, 4, seed)
    assert (len(training), len(held_out)) == (16, 4)
    assert not {p.subject for p in training} & {p.subject for p in held_out}
    fives = [sys.modules["benchmarks._nerves"].split(pairs, 4, 5 * (seed // 5) + fold)[1] for fold in range(5)]
    assert sorted(p.stem for held in fives for p in held) == sorted(p.stem for p in pairs)


def test_corrected_lengths_are_within_one_percent(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "skan", None)  # it compiles for seconds
    assert benchmark.main(["lengths", "-o", str(tmp_path), "--repeats", "3"]) == 0
    rows = rows_of(tmp_path / "ccm_lengths.csv")
    assert [row["curve"] for row in rows] == ["straight", "circle", "sinusoid"]
    assert all(float(row["corrected, worst %"]) <= 1 for row in rows)
    assert all(float(row["pixel graph, worst %"]) > 3 for row in rows)
    assert "skan is not installed" in capsys.readouterr().out


def test_window_crf_smooths(benchmark: ModuleType) -> None:
    crf = sys.modules["benchmarks._crf"]
    p = np.full((40, 40), 0.05, np.float32)
    p[18:22] = 0.9
    p[5, 5] = 0.6
    p[20, 20] = 0.4
    grey = np.zeros_like(p)
    grey[18:22] = 1
    stacked = np.stack([1 - p, p])
    mask = crf._window(grey, stacked, (0.5, 1.0, 1.0, 5.0))
    assert mask[18:22].all()
    assert not mask[5, 5]
    assert mask.sum() == 160
