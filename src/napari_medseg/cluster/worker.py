"""What happens on a worker: one case is predicted, in shared folders or in a temporary one."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from napari_medseg import __version__
from napari_medseg.batch import Case, predict_case
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.device import choose_device
from napari_medseg.errors import CheckpointError, DeviceError
from napari_medseg.io.files import file_stem, inside, replacing
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.models.catalog import load_model
from napari_medseg.settings import PredictSettings

GPU = "GPU"
ONE_AT_A_TIME = threading.Lock()
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
        model = cached_model(str(task.model), task.card["sha256"])
        return _predict(replace(model, card=task.card), case, task, task.out), {}
    model = cached_model(str(model_path(get_worker(), task.card["sha256"])), task.card["sha256"])
    with tempfile.TemporaryDirectory(prefix="medseg-") as name:
        copy, out = Path(name) / "in" / case.path.name, Path(name) / "out"
        for relative, content in files.items():
            target = inside(copy.parent, relative)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        row = _predict(replace(model, card=task.card), replace(case, copy=copy), task, out)
        return row, {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def _predict(model: Model, case: Case, task: Task, out: Path) -> dict[str, Any]:
    on_gpu = choose_device(task.settings.device)[0].type != "cpu"
    with ONE_AT_A_TIME if on_gpu else nullcontext():
        return run(predict_case(model, case, out, task.settings, task.options))


@lru_cache(maxsize=2)
def cached_model(path: str, sha256: str) -> Model:
    """Load a model of a worker, once."""
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
        sees = Path(path).read_text(encoding="utf-8") == content and all(Path(part).exists() for part in needed)
    except OSError:
        sees = False
    return __version__, sees, GPU in dask_worker.state.total_resources


def ask_workers(
    client: Any, path: str = "", content: str = "", needed: Sequence[str] = ()
) -> tuple[bool, dict[str, int]]:
    """Return whether all workers see what `look` looks for, and the resources that a task must ask for.

    Raises
    ------
    DeviceError
        If a worker lacks this package or has another version of it.
    """
    try:
        found = client.run(look, path, content, list(needed)).values()
    except (ImportError, AttributeError) as error:
        raise DeviceError(
            f'A worker lacks this program ({error}). Install it there with: pip install "napari-medseg"'
        ) from error
    others = {version for version, _, _ in found} - {__version__}
    if others:
        raise DeviceError(
            f"A worker has napari-medseg {', '.join(others)}, this computer {__version__}. Install one version on both."
        )
    return all(sees for _, sees, _ in found), {GPU: 1} if any(gpu for _, _, gpu in found) else {}


def share_model(client: Any, path: Path, sha256: str) -> None:
    """Bring a model to the workers that do not have it yet, and to those that start later."""
    if not all(client.run(_has_model, sha256).values()):
        client.register_plugin(bring_model(path, sha256))


def _has_model(sha256: str, dask_worker: Any = None) -> bool:
    return model_path(dask_worker, sha256).is_file()


def bring_model(path: Path, sha256: str) -> Any:
    """Return the plug-in that brings the model to every worker, also to those that start later."""
    from distributed import WorkerPlugin

    class BringModel(WorkerPlugin):  # type: ignore[misc]
        name = f"medseg-{sha256}"

        def __init__(self) -> None:
            self.content = path.read_bytes()

        def setup(self, worker: Any) -> None:
            with replacing(model_path(worker, sha256)) as part:
                part.write_bytes(self.content)

    return BringModel()


def model_path(worker: Any, sha256: str) -> Path:
    """Return where a model lies on a worker that does not see this computer's files."""
    return Path(worker.local_directory) / f"{sha256}.pt"
