"""Damaged files of every kind: an image or one message, in 10 s and with bounded memory, never anything else.

"read" counts only what is equal to what was written; damage that a format cannot show (pixels without a check sum, text
that is still text) is "other". A file that was cut is never another one.

The short cut damages each kind a few times; ``MEDSEG_TORTURE=1000`` (`make torture`) sets the number for all of it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from seeds import pickle_bomb, seed_names  # noqa: E402

FULL = int(os.environ.get("MEDSEG_TORTURE", "0"))
COUNT = FULL or 25
HANG, START = 10.0, 120.0
VALID = -1


class Worker:
    """A reading process, started anew after a crash or a hang."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.kind = folder, ""
        self.process: subprocess.Popen[str] | None = None

    def ask(self, kind: str, index: int) -> dict[str, Any]:
        process = self.process or self._start()
        if self.kind != kind:
            assert self._answer(process, kind, VALID, START) == "ready", f"the process does not read {kind}"
            self.kind = kind
        answer: dict[str, Any] | None = self._answer(process, kind, index, HANG)
        if answer is None:
            code = process.poll()
            self.close()
            text = f"no answer in {HANG:.0f} s" if code is None else f"the process died with {code}"
            return {"outcome": "WRONG", "text": text, "seconds": HANG, "memory": 0}
        return answer

    def _start(self) -> subprocess.Popen[str]:
        words = [sys.executable, str(HERE / "worker.py"), tempfile.mkdtemp(dir=self.folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        return self.process

    def _answer(self, process: subprocess.Popen[str], kind: str, index: int, seconds: float) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{kind} {index}\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], seconds)[0]:
            return None
        line = process.stdout.readline()
        if not line:
            process.wait()
        return json.loads(line) if line else None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
        self.process, self.kind = None, ""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    made = Worker(tmp_path_factory.mktemp("torture"))
    yield made
    made.close()


@pytest.mark.xdist_group("torture")
@pytest.mark.parametrize("kind", seed_names())
def test_damaged_files_are_read_or_refused(worker: Worker, kind: str) -> None:
    whole = worker.ask(kind, VALID)
    assert whole["outcome"] == "read", whole["text"]
    answers = [(index, worker.ask(kind, index)) for index in range(COUNT)]
    counts = Counter(answer["outcome"] for _, answer in answers)
    if FULL:
        slowest, most = max(a["seconds"] for _, a in answers), max(a["memory"] for _, a in answers)
        line = {"kind": kind, **counts, "slowest_s": round(slowest, 2), "most_mb": round(most / 2**20)}
        with open(os.environ.get("MEDSEG_TORTURE_LOG", os.devnull), "a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
    wrong = [f"{index}: {answer['text']}" for index, answer in answers if answer["outcome"] == "WRONG"]
    assert not wrong, f"{len(wrong)} of {COUNT}\n" + "\n".join(wrong[:12])


def test_checkpoint_with_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_medseg.errors import CheckpointError
    from napari_medseg.models.catalog import load_model

    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.pt").write_bytes(pickle_bomb())
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "evil.pt")
    assert not (tmp_path / "pwned").exists()
