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
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import DataError, MedSegError, WriteError
from napari_medseg.io import read_case
from napari_medseg.io.atomic import write_bytes
from napari_medseg.io.pairs import Pair, PairList, file_stem, find_pairs
from napari_medseg.jobs import Job, Progress
from napari_medseg.methods.fullnet.prepare_case import (
    DONE,
    Task,
    patch_size,
    prepare_case,
)
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.methods.fullnet.sources import find_sources

__all__ = ["PrepareReport", "PrepareSettings", "check_source", "prepare", "prepare_fullnet"]
POOLED = ("", "train", "val")


@dataclass(frozen=True)
class PrepareReport:
    """What was made: case names, those found finished, problems, mean and SD of RGB / 255, what is worth knowing."""

    folder: Path
    cases: tuple[str, ...]
    skipped: tuple[str, ...]
    problems: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notes: tuple[str, ...] = ()


def prepare(method: str, src: Path, dst: Path, settings: PrepareSettings | None = None) -> Job[PrepareReport]:
    """Make the training folder `dst` of a method from raw images and labels; `settings` are those of ``fullnet``.

    Raises
    ------
    DataError
        If `src` holds nothing usable, is `dst`, or the method needs no preparation.
    WriteError
        If `dst` cannot be written.
    """
    src, dst = Path(src), Path(dst)
    if src.resolve() == dst.resolve():
        raise DataError(f"{dst} is the source folder itself. Choose another folder to write to.")
    if method == "fullnet":
        return (yield from prepare_fullnet(src, dst, settings))
    return (yield from _copy_cases(_plain_pairs(method, src), dst))


def check_source(method: str, src: Path) -> tuple[str, ...]:
    """Say in lines what `prepare` would find in `src`: number of cases, then files without partner.

    Raises
    ------
    DataError
        If it would find nothing, or the method needs no preparation.
    """
    if method == "fullnet":
        sources = find_sources(Path(src))
        splits = Counter(case.split for case in sources.cases)
        parts = f" ({', '.join(f'{name} {n}' for name, n in splits.items())})" if any(splits) else ""
        unpaired, cases = sources.unpaired, len(sources.cases)
    else:
        found = _plain_pairs(method, Path(src))
        unpaired, cases, parts = found.unpaired, len(found.pairs), ""
    return (
        f"{cases} case{'s' * (cases != 1)}{parts}",
        *(f"{p.name} has no partner and is not used." for p in unpaired),
    )


def _plain_pairs(method: str, src: Path) -> PairList:
    from napari_medseg.methods import get_method  # loads torch, which preparing for FullNet does without

    get_method(method)
    if method == "frame-classifier":
        raise DataError(
            "frame-classifier needs no preparation: put the frames into one folder per class and train on that folder."
        )
    return find_pairs(src).require(src)


def _copy_cases(found: PairList, dst: Path) -> Job[PrepareReport]:
    """Copy pairs that can be read and have one size to ``images`` and ``labels``; those there already are kept."""
    problems = [f"{path.name} has no partner." for path in found.unpaired]
    cases, skipped = [], []
    for done, pair in enumerate(found.pairs):
        yield Progress(done, len(found.pairs), pair.stem)
        assert pair.label is not None  # `find_pairs` gives each case its label
        copies = [*((path, dst / "images") for path in pair.files), (pair.label, dst / "labels")]
        try:
            if all(_is_copy(path, folder / path.name) for path, folder in copies):
                skipped.append(pair.stem)
            else:
                _check_pair(pair, pair.label)
                for path, folder in copies:
                    _copy(path, folder)
            cases.append(pair.stem)
        except WriteError:
            raise
        except MedSegError as error:
            problems.append(f"{pair.stem}: {error}")
    if not cases:
        raise DataError(f"No usable case. The first of {len(problems)} problems: {problems[0]}")
    return PrepareReport(dst, tuple(cases), tuple(skipped), tuple(problems), (), ())


def _check_pair(pair: Pair, label: Path) -> None:
    read_case(pair.files, label)


def _copy(path: Path, folder: Path) -> None:
    """Copy a file, and the side-car with its pixel size, into `folder`."""
    side_car = path.with_name(f"{file_stem(path)}.json")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in (side_car, path):
            if one.is_file():
                shutil.copy2(one, folder / one.name)
    except OSError as error:
        raise WriteError(f"{folder} cannot be written: {error}. Choose a folder you may write to.") from error


def _is_copy(path: Path, copy: Path) -> bool:
    if not copy.is_file():
        return False
    a, b = path.stat(), copy.stat()
    return a.st_size == b.st_size and a.st_mtime_ns == b.st_mtime_ns


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
    problems = [f"{path.name} has no partner." for path in sources.unpaired]
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
        finished = len(results) + len(problems) - len(sources.unpaired)
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


def _run_all(tasks: list[Task], workers: int) -> Iterator[tuple[str, dict[str, Any] | str]]:
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
    write_bytes(folder / "mean_std.json", json.dumps({"mean": mean, "std": std}, indent=2).encode())
    buffer = io.BytesIO()
    np.save(buffer, np.array([mean, std]))
    write_bytes(folder / "mean_std.npy", buffer.getvalue())


def _make_folders(tasks: list[Task]) -> None:
    for task in tasks:
        for name in ("images", "labels", "weight_maps", "labels_instance", DONE):
            folder = task.folder / name / ("" if name == DONE else task.source.split)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WriteError(f"{folder} cannot be made: {error}. Choose a folder you may write to.") from error
