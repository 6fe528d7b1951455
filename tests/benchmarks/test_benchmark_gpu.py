"""``python -m benchmarks gpu`` runs to its end where there is no GPU, so that it will where there is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))


def test_equality_and_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu

    gpu.equality("cpu")
    gpu.rounds("cpu", 8, strokes=2)
    told = capsys.readouterr().out
    assert [float(v) for v in re.findall(r"at most (\S+)", told)] == [0, 0]
    assert "round on 20x24x16" in told


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--device cpu --small" in capsys.readouterr().err
