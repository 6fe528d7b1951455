"""Hand the cases of a batch to workers and keep the record."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.batch import BatchRecord, Case, open_record
from napari_medseg.batch.predict import measure_again
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.cluster.worker import Task, ask_workers, bring_model, pack, work
from napari_medseg.errors import CheckpointError, DeviceError
from napari_medseg.io.files import inside, write_bytes
from napari_medseg.io.locks import held_folder
from napari_medseg.jobs import Job
from napari_medseg.method import Model
from napari_medseg.settings import PredictSettings

RETRIES = 2
AHEAD = 2  # tasks per worker thread that are handed out before results are in


def predict_on_cluster(
    client: Any,
    model: Model,
    inputs: Sequence[Path],
    out: Path,
    settings: PredictSettings,
    *,
    resume: bool = True,
    options: BatchSettings | None = None,
    shared: bool | None = None,
) -> Job[dict[str, Any]]:
    """Do what `predict_files` does on the workers of a Dask client; results and record are the same.

    A task is tried again twice when its worker fails. Workers that announce the resource ``GPU`` are given one task
    at a time; on others a lock keeps tasks of one process from sharing a GPU.

    Parameters
    ----------
    client
        A `distributed.Client`.
    model, inputs, out, settings, resume, options
        As for `predict_files`; the model must come from a file.
    shared
        Whether workers see this computer's files; ``None``: find out.

    Raises
    ------
    CheckpointError
        If the model comes from no file.
    DataError
        If no input is an image, or every file failed.
    DeviceError
        If workers have another version of this package, or the scheduler is lost.
    """
    if not model.card.get("sha256"):
        raise CheckpointError("Workers need the model as a file. Save it, and load it with load_model.")
    options = (options or BatchSettings()).of(model)
    with held_folder(out, "batch") as out:
        record = open_record(model.card, inputs, out, settings, options, resume=resume)
        record.save()  # says why it cannot, before anything is computed
        return (yield from _predict(client, model, record, settings, options, shared))


def _predict(
    client: Any,
    model: Model,
    record: BatchRecord,
    settings: PredictSettings,
    options: BatchSettings,
    shared: bool | None,
) -> Job[dict[str, Any]]:
    """Hand the open cases of a record to the workers of `client`; return the record's content."""
    out = record.out
    checkpoint = Path(os.path.abspath(model.card["file"]))
    sees, resources = _inspect(client, out, [checkpoint, *{case.path.parent for case in record.todo}])
    where = Path(os.path.abspath(out))
    task = Task(checkpoint, model.card, where, settings, options, sees if shared is None else shared)
    try:
        if not task.shared:
            client.register_plugin(bring_model(task.model, model.card["sha256"]))
        yield record.step(f"{record.greeting()}; {len(client.nthreads())} workers")
        yield from measure_again(record, model.method.measure)
        yield from _hand_out(client, record, task, resources)
    finally:
        record.save()
    return record.conclude()


def _hand_out(client: Any, record: BatchRecord, task: Task, resources: dict[str, int]) -> Job[None]:
    """Keep a few tasks per worker under way until every case has its row."""
    from distributed import CancelledError, wait

    waiting = list(reversed(record.todo))
    pending: dict[Any, Case] = {}
    try:
        while waiting or pending:
            workers = client.nthreads()
            while waiting and len(pending) < AHEAD * max(1, sum(workers.values())):
                case = waiting.pop()
                record.begin(case)
                files = {} if task.shared else pack(case.path)
                future = client.submit(work, task, case, files, retries=RETRIES, pure=False, resources=resources)
                pending[future] = case
            try:
                with client.as_current():
                    done = wait(list(pending), timeout=1, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                yield record.step(f"{len(workers)} workers, {len(pending)} files handed out")
                continue
            for future in done:
                case = pending.pop(future)
                yield record.finish(case, _collect(future, case, task))
    except (CancelledError, OSError) as error:
        raise DeviceError(
            "The connection to the scheduler was lost. What was finished is kept; run the same command again."
        ) from error
    finally:
        for future in pending:
            future.cancel()


def _collect(future: Any, case: Case, task: Task) -> dict[str, Any]:
    """Return the row of a finished task and write the files that came with it."""
    if future.status == "error":
        reason = str(future.exception()).strip() or type(future.exception()).__name__
        return {"status": "failed", "name": case.name, "reason": f"the workers failed: {reason.splitlines()[0]}"}
    row, files = future.result()
    for name, content in files.items():
        write_bytes(inside(task.out, name), content)
    result: dict[str, Any] = row
    return result


def _inspect(client: Any, out: Path, needed: list[Path]) -> tuple[bool, dict[str, int]]:
    """Return whether all workers see the folder `out` and what is `needed`, and what a task asks of them."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=out, prefix=".medseg-") as token:
        content = os.urandom(16).hex()
        token.write(content)
        token.flush()
        return ask_workers(client, os.path.abspath(token.name), content, list(map(str, needed)))
