"""Training data: check the cases, split them by subject, cache them, assemble batches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_medseg.errors import DataError, MedSegError, counted, some_of
from napari_medseg.image import SHORT_UNITS
from napari_medseg.io import read_one
from napari_medseg.io.pairs import Pair, PairList
from napari_medseg.method import Method, quiet
from napari_medseg.models.purpose import Traits
from napari_medseg.settings import TrainSettings

LOOKED_AT = 20
CACHE_BYTES = 2 * 2**30
WORKERS = min(8, os.cpu_count() or 1)
Sample = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Split:
    """Training and held-out cases; no subject is in both."""

    train: tuple[Pair, ...]
    held_out: tuple[Pair, ...]

    def stems(self) -> dict[str, list[str]]:
        """Return the case names, for ``split.json``."""
        return {"train": [p.stem for p in self.train], "held_out": [p.stem for p in self.held_out]}


def split(pairs: Sequence[Pair], settings: TrainSettings) -> list[Split]:
    """Split by subject: grouped k-fold when ``folds`` is set, else one seeded split.

    Raises
    ------
    DataError
        If there are fewer subjects than folds.
    """
    subjects = sorted({pair.subject for pair in pairs})
    order = np.random.default_rng(settings.seed).permutation(len(subjects))
    subjects = [subjects[i] for i in order]
    if settings.folds > 1:
        if settings.folds > len(subjects):
            raise DataError(f"{settings.folds} folds need at least as many subjects; there are {len(subjects)}.")
        held_out = [set(subjects[fold :: settings.folds]) for fold in range(settings.folds)]
    else:
        n = round(settings.validation_fraction * len(subjects))
        n = max(n, 1) if settings.validation_fraction and len(subjects) > 1 else n
        held_out = [set(subjects[: min(n, len(subjects) - 1)])]
    return [
        Split(
            tuple(p for p in pairs if p.subject not in group),
            tuple(p for p in pairs if p.subject in group),
        )
        for group in held_out
    ]


@dataclass(frozen=True)
class Report:
    """What a folder holds: usable cases, files without partner, and every problem in plain words."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]
    problems: tuple[str, ...]
    lines: tuple[str, ...]
    all_empty: bool = False  # no label holds anything


def inspect(method: Method, found: PairList, store: Store | None = None) -> Report:
    """Load every case once and say what was found; cases that cannot be used are listed and left out.

    A training that goes on with the same `store` does not read them again.
    """
    load = store.load if store else method.load_pair
    usable, problems, sizes, empty = [], [], set(), []
    moved: list[str] = []
    twins: dict[str, list[str]] = {}
    for pair in found.pairs:
        try:
            x, y = load(pair, moved.append)
        except MedSegError as error:
            problems.append(str(error))
            continue
        usable.append(pair)
        twins.setdefault(hashlib.sha256(np.ascontiguousarray(x).data).hexdigest(), []).append(pair.stem)
        sizes.add("x".join(map(str, x.shape[1:])))
        if y.ndim and not np.any(y):
            empty.append(pair.stem)
    if moved:
        problems.append(moved[0] + (f" {len(moved) - 1} more of this kind." if len(moved) > 1 else ""))
    same = [" = ".join(stems) for stems in twins.values() if len(stems) > 1]
    if same:
        said = "Keep one of each: with one to train on and one held out the score is too good."
        problems.append(f"{counted(len(same), 'image')} there more than once: {some_of(same)}. {said}")
    if empty:
        problems.append(f"{counted(len(empty), 'label')} without foreground: {some_of(empty)}.")
    unpaired = tuple(path.name for path in found.unpaired)
    if unpaired:
        problems.append(f"{counted(len(unpaired), 'file')} without partner, not used: {some_of(unpaired)}.")
    subjects = len({pair.subject for pair in usable})
    lines = (f"{counted(len(usable), 'case')} of {counted(subjects, 'subject')}", f"sizes: {some_of(sorted(sizes))}")
    return Report(tuple(usable), unpaired, tuple(problems), lines, bool(usable) and len(empty) == len(usable))


def look(report: Report, settings: TrainSettings) -> Report:
    """Add to a report how `settings` split the cases, and the pixel sizes and label values of the first of them."""
    if not report.pairs:
        return report
    lines = [f"split by subject: {len(part.train)} to train on, {len(part.held_out)} held out"
             for part in split(report.pairs, settings)[:1]]  # fmt: skip
    steps, values = set(), set()
    for pair in report.pairs[:LOOKED_AT]:
        try:
            labels = read_one(pair.label, kind="labels") if pair.label is not None else read_one(pair.image)
        except MedSegError:  # a method that reads its cases in its own way
            return replace(report, lines=(*report.lines, *lines))
        unit = SHORT_UNITS.get(labels.units[-1], labels.units[-1])
        steps.add(f"{'x'.join(f'{s:.4g}' for s in labels.scale)} {unit}" if labels.calibrated else "not known")
        values |= set(np.unique(labels.data).tolist()) if labels.kind == "labels" else set()
    first = f" (first {LOOKED_AT} cases)" if len(report.pairs) > LOOKED_AT else ""
    lines += [f"pixel sizes{first}: {some_of(sorted(steps))}"]
    lines += [f"label values{first}: {some_of([str(v) for v in sorted(values)])}"] if values else []
    return replace(report, lines=(*report.lines, *lines))


class Store:
    """Cases in memory, each read once, as long as they fit into `CACHE_BYTES` together."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._kept: dict[tuple[Path, Path | None], Sample] = {}
        self._traits: dict[tuple[Path, Path | None], Traits] = {}
        self._bytes = 0

    def load(self, pair: Pair, say: Callable[[str], None] = quiet) -> Sample:
        """Return a case as `Method.load_pair` does."""
        key = pair.image, pair.label
        if key not in self._kept:
            image, labels = self._method.read_pair(pair, say)
            self._traits[key] = Traits.of(image)
            case = self._method.encode_pair(pair, image, labels)
            size = case[0].nbytes + case[1].nbytes
            if self._bytes + size > CACHE_BYTES:
                return case
            self._kept[key] = case
            self._bytes += size
        return self._kept[key]

    def traits(self, pairs: Sequence[Pair]) -> list[Traits]:
        """Return what the images of those of the cases are like that were read."""
        return [found for pair in pairs if (found := self._traits.get((pair.image, pair.label)))]


class Cases:
    """Loaded cases by index, kept while they fit into memory."""

    def __init__(self, method: Method, pairs: Sequence[Pair], store: Store | None = None) -> None:
        self.method, self.pairs = method, tuple(pairs)
        self._store = store or Store(method)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        return self._store.load(self.pairs[index])

    def traits(self) -> list[Traits]:
        """Return what the images of the cases are like, as far as they were read."""
        return self._store.traits(self.pairs)


class Batches:
    """Batches of one epoch; every random draw follows from (seed, epoch, position) alone."""

    def __init__(self, cases: Cases, settings: TrainSettings) -> None:
        self.cases, self.settings = cases, settings
        self.steps = settings.steps_per_epoch or max(1, -(-len(cases) // settings.batch_size))

    def epoch(self, epoch: int, rank: int = 0, size: int = 1) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Yield the epoch's batches x (B, C, *spatial), y; with several processes only this rank's share of each."""
        indices = self._indices(epoch)
        batch = self.settings.batch_size
        with ThreadPoolExecutor(WORKERS) as pool:  # the next batches are made while the network works

            def submit(step: int) -> list[Future[Sample]]:
                positions = range(step * batch, (step + 1) * batch)[rank::size]
                return [pool.submit(self._sample, int(indices[p]), epoch, p) for p in positions]

            pending = [submit(step) for step in range(min(2, self.steps))]
            for step in range(self.steps):
                samples = [future.result() for future in pending.pop(0)]
                if step + 2 < self.steps:
                    pending.append(submit(step + 2))
                yield _collate(samples)

    def _indices(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.settings.seed, epoch])
        n, needed = len(self.cases), self.steps * self.settings.batch_size
        return np.concatenate([rng.permutation(n) for _ in range(-(-needed // n))])[:needed]

    def _sample(self, index: int, epoch: int, position: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng([self.settings.seed, epoch, position])
        method = self.cases.method
        x, y = method.sample(*self.cases[index], rng)
        x, y = method.augment(x, y, rng) if self.settings.augment else (x, y)
        return method.complete(x, y, rng)


def _collate(samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    shapes = {x.shape for x, _ in samples}
    if len(shapes) > 1:
        raise DataError(
            f"Images of different size cannot share a batch: {some_of([str(s[1:]) for s in shapes])}. "
            "Set a crop size, or a batch size of 1."
        )
    xs, ys = zip(*samples, strict=True)
    return torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(ys))
