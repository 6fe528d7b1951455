"""What happens on a worker: one case is predicted, in shared folders or in a temporary one."""

from __future__ import annotations

import tempfile
import threading
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_medseg import __version__
from napari_medseg.batch import BatchSettings, Case, predict_case
from napari_medseg.device import choose_device
from napari_medseg.errors import CheckpointError
from napari_medseg.io.write import replacing
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import load_model
from napari_medseg.pairs import file_stem
from napari_medseg.settings import PredictSettings

GPU = "GPU"
_one_at_a_time = threading.Lock()
Files = dict[str, bytes]


@dataclass(frozen=True)
class Task:
    """What a worker must know besides the case.

    Parameters
    ----------
    model, card
        Checkpoint, and its card as results shall name it.
    out, settings, options
        As for `predict_files`.
    shared
        Whether the worker sees the files of the computer that asks.
    """

    model: Path
    card: dict[str, Any]
    out: Path
    settings: PredictSettings
    options: BatchSettings
    shared: bool


def work(task: Task, case: Case, files: Files) -> tuple[dict[str, Any], Files]:
    """Predict one case on a worker."""
    from distributed import get_worker

    if task.shared:
        model = _model(str(task.model), task.card["sha256"])
        return _predict(replace(model, card=task.card), case, task, task.out), {}
    model = _model(str(_model_path(get_worker(), task.card["sha256"])), task.card["sha256"])
    with tempfile.TemporaryDirectory(prefix="medseg-") as name:
        copy, out = Path(name) / "in" / case.path.name, Path(name) / "out"
        for relative, content in files.items():
            target = copy.parent / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        row = _predict(replace(model, card=task.card), replace(case, copy=copy), task, out)
        return row, {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def _predict(model: Model, case: Case, task: Task, out: Path) -> dict[str, Any]:
    on_gpu = choose_device(task.settings.device)[0].type != "cpu"
    with _one_at_a_time if on_gpu else nullcontext():
        return run(predict_case(model, case, out, task.settings, task.options))


@lru_cache(maxsize=1)
def _model(path: str, sha256: str) -> Model:
    model = load_model(path)
    if model.card["sha256"] != sha256:
        raise CheckpointError(f"{path} on the worker is another file than on this computer. Copy it there again.")
    return model


def pack(path: Path) -> Files:
    """Return the bytes of an image: of its file and what lies beside it under the same stem, or of its folder.

    What cannot be read is left out; the worker says what it misses.
    """
    if path.is_dir():
        parts = [p for p in path.rglob("*") if p.is_file()]
    else:
        parts = [p for p in path.parent.iterdir() if p.is_file() and file_stem(p) == file_stem(path)]
    found = {}
    for part in parts:
        with suppress(OSError):
            found[part.relative_to(path.parent).as_posix()] = part.read_bytes()
    return found


def look(path: str, content: str, needed: list[str], dask_worker: Any = None) -> tuple[str, bool, bool]:
    """Tell the version, whether the worker sees `content` in `path` and all `needed`, and whether it has a GPU."""
    try:
        sees = Path(path).read_text() == content and all(Path(part).exists() for part in needed)
    except OSError:
        sees = False
    return __version__, sees, GPU in dask_worker.state.total_resources


def bring_model(path: Path, sha256: str) -> Any:
    """Return the plug-in that brings the model to every worker, also to those that start later."""
    from distributed import WorkerPlugin

    class BringModel(WorkerPlugin):  # type: ignore[misc]
        name = f"medseg-{sha256}"

        def __init__(self) -> None:
            self.content = path.read_bytes()

        def setup(self, worker: Any) -> None:
            with replacing(_model_path(worker, sha256)) as part:
                part.write_bytes(self.content)

    return BringModel()


def _model_path(worker: Any, sha256: str) -> Path:
    return Path(worker.local_directory) / f"{sha256}.pt"
