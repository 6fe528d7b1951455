"""Turn images with instance maps or outlines into a FullNet training folder.

Layout of the result (with ``<split>`` where the source has splits)::

    images/<split>/<stem>.png                  colour-normalised RGB, training images cut into <stem>_<k>.png
    labels/<split>/<stem>_label.png            ternary RGB: red inside, green contour, blue background
    weight_maps/<split>/<stem>_weight.png      20 x weight
    labels_instance/<split>/<stem>_label.png   16-bit instances, whole
    mean_std.json, mean_std.npy, prepare.json

The other methods train on images and labels as they are: for them `prepare` copies what pairs up and is sound.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, WriteError, counted
from napari_medseg.io.files import write_bytes
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import PrepareReport
from napari_medseg.methods.fullnet.one_case import DONE, Task, patch_size, prepare_case
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.methods.fullnet.sources import find_sources

POOLED = ("", "train", "val")  # splits whose pixels give mean and SD


def check_fullnet(src: Path) -> tuple[str, ...]:
    """Say in lines how many cases `src` holds, by split, and what has no partner.

    Raises
    ------
    DataError
        If there is no case.
    """
    sources = find_sources(Path(src))
    splits = Counter(case.split for case in sources.cases)
    parts = f" ({', '.join(f'{name} {n}' for name, n in splits.items())})" if any(splits) else ""
    return (
        f"{counted(len(sources.cases), 'case')}{parts}",
        *(f"{path.name} has no partner and is not used." for path in sources.unpaired),
        *sources.twins,
    )


def prepare_fullnet(src: Path, dst: Path, settings: PrepareSettings | None = None) -> Job[PrepareReport]:
    """Prepare every case of `src` into `dst`, in parallel; finished cases of an interrupted run are kept.

    Parameters
    ----------
    src
        Folder of images with instance maps, ImageScope XML or QuPath GeoJSON (see `find_sources`).
    dst
        Folder to write.
    settings
        Preparation settings.

    Raises
    ------
    DataError
        If there is no usable case. Files without partner and cases that failed are listed in the report.
    WriteError
        If `dst` cannot be written.
    """
    src, dst, settings = Path(src), Path(dst), settings or PrepareSettings()
    sources = find_sources(src)
    problems = [*(f"{path.name} has no partner." for path in sources.unpaired), *sources.twins]
    known = len(problems)
    tasks = [Task(source, dst, settings) for source in sources.cases]
    _make_folders(tasks)
    results = {task.source.key: earlier for task in tasks if (earlier := task.finished())}
    skipped = tuple(results)
    total = len(tasks)
    yield Progress(len(results), total, "; ".join([f"{total} cases, {len(skipped)} already done", *problems[:10]]))
    for key, outcome in _run_all([t for t in tasks if t.source.key not in results], settings.workers):
        if isinstance(outcome, str):
            problems.append(f"{key}: {outcome}")
        else:
            results[key] = outcome
        finished = len(results) + len(problems) - known
        yield Progress(finished, total, f"{key}: {outcome if isinstance(outcome, str) else 'done'}")
    if not results:
        raise DataError(f"No usable case in {src}. The first of {len(problems)} problems: {problems[0]}")
    mean, std = _pooled(results)
    patches = bool(patch_size(settings))
    said = [f"{key}: {note}" for key in sorted(results) for note in results[key].get("notes", ())]
    notes = {
        "settings": settings.model_dump(),
        "patches": patches,
        "cases": sorted(results),
        "problems": problems,
        "notes": said,
    }
    write_bytes(dst / "prepare.json", json.dumps(notes, indent=2).encode())
    _write_statistics(dst, mean, std)
    return PrepareReport(dst, tuple(sorted(results)), skipped, tuple(problems), tuple(mean), tuple(std), tuple(said))


def _make_folders(tasks: list[Task]) -> None:
    for task in tasks:
        for name in ("images", "labels", "weight_maps", "labels_instance", DONE):
            folder = task.folder / name / ("" if name == DONE else task.source.split)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WriteError(f"{folder} cannot be made: {error}. Choose a folder you may write to.") from error


def _run_all(tasks: list[Task], workers: int) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield the key of each case with its record, or what is wrong with it, as it is finished; in processes."""
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task.source.key, prepare_case(task)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"))  # spawn: safe beside Qt and torch threads
    try:
        futures: dict[Future[dict[str, Any] | str], str] = {pool.submit(prepare_case, t): t.source.key for t in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pooled(results: dict[str, dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return pooled per-pixel mean and SD over training and validation images (over all, if there are none)."""
    chosen = [r for r in results.values() if r["split"] in POOLED] or list(results.values())
    n = sum(r["moments"][0] for r in chosen)
    mean = np.sum([r["moments"][1] for r in chosen], 0) / n
    std = np.sqrt(np.maximum(np.sum([r["moments"][2] for r in chosen], 0) / n - mean**2, 0))
    return mean.tolist(), np.maximum(std, 1 / 255).tolist()


def _write_statistics(folder: Path, mean: list[float], std: list[float]) -> None:
    """Write the mean and SD of red, green and blue / 255 as JSON, and as the authors' numpy file (2, 3)."""
    write_bytes(folder / "mean_std.json", json.dumps({"mean": mean, "std": std}, indent=2).encode())
    buffer = io.BytesIO()
    np.save(buffer, np.array([mean, std]))
    write_bytes(folder / "mean_std.npy", buffer.getvalue())
