"""Make the training folder of a method from raw images and labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from napari_medseg.errors import DataError, MedSegError, WriteError, counted
from napari_medseg.image import Image
from napari_medseg.io import read_case, read_channels, write
from napari_medseg.io.files import file_stem, read_json, write_json
from napari_medseg.io.geometry import matrix_of
from napari_medseg.io.grids import on_grid
from napari_medseg.io.pairs import Pair, PairList, find_pairs
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Preparation, PrepareReport
from napari_medseg.methods import get_method
from napari_medseg.settings import Settings

COPIED = "Trains on images and labels as they are: sound pairs are copied to images/ and labels/."


def prepare(method: str, src: Path, dst: Path, settings: Settings | None = None) -> Job[PrepareReport]:
    """Make the training folder `dst` of a method from the raw images and labels in `src`.

    Parameters
    ----------
    settings
        Of the class ``preparation`` of the method's settings, for methods that have one.

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
    own = _own(method)
    if own is not None and own.run is not None:
        return (yield from own.run(src, dst, settings))
    if own is not None and own.correct is not None and settings is not None and settings != type(settings)():
        correct, given = own.correct, settings
        return (yield from _correct_cases(find_pairs(src), src, dst, lambda image: correct(image, given), given))
    return (yield from _copy_cases(find_pairs(src).require(src), dst))


def check_source(method: str, src: Path) -> tuple[str, ...]:
    """Say in lines what `prepare` would find in `src`: number of cases, then files without partner.

    Raises
    ------
    DataError
        If it would find nothing, or the method needs no preparation.
    """
    own = _own(method)
    if own is not None and own.check is not None:
        return own.check(Path(src))
    found = find_pairs(Path(src)).require(Path(src))
    return (
        counted(len(found.pairs), "case"),
        *(f"{path.name} has no partner and is not used." for path in found.unpaired),
    )


def note_of(method: str) -> str:
    """Return what preparing for a method does, in a sentence."""
    own = get_method(method).preparation
    return COPIED if own is None else own.note


def is_prepared(method: str) -> bool:
    """Return whether there is anything to prepare for a method."""
    own = get_method(method).preparation
    return own is None or own.needed


def _own(method: str) -> Preparation | None:
    """Return the method's own preparation, or ``None``; refuse where none is needed."""
    own = get_method(method).preparation
    if own is not None and not own.needed:
        raise DataError(f"{method}: {own.note}")
    return own


def _copy_cases(found: PairList, dst: Path) -> Job[PrepareReport]:
    """Copy pairs that can be read and have one size to ``images`` and ``labels``; those there already are kept."""

    def make(pair: Pair) -> bool:
        assert pair.label is not None  # `find_pairs` gives each case its label
        copies = [*((path, dst / "images") for path in pair.files), (pair.label, dst / "labels")]
        if all(_is_copy(path, folder / path.name) for path, folder in copies):
            return False
        read_case(pair.files, pair.label)
        for path, folder in copies:
            _copy(path, folder)
        return True

    problems = [f"{path.name} has no partner." for path in found.unpaired]
    return (yield from _each_case(found.pairs, dst, problems, make))


def _correct_cases(
    found: PairList, src: Path, dst: Path, correct: Callable[[Image], Image], settings: Settings
) -> Job[PrepareReport]:
    """Write corrected images, labels on their grids, as ``.nii.gz``; images alone where there are no labels at all."""
    pairs = found.pairs or [Pair(path, None) for path in found.unpaired]
    if not pairs:
        found.require(src)
    problems = [f"{path.name} has no partner." for path in found.unpaired] if found.pairs else []
    notes, same = dst / "prepare.json", settings.model_dump(mode="json")
    again = notes.is_file() and read_json(notes) == same
    write_json(notes, same)

    def make(pair: Pair) -> bool:
        written = [dst / part / f"{pair.stem}.nii.gz" for part in ("images", "labels")[: 2 if pair.label else 1]]
        if again and all(path.is_file() for path in written):
            return False
        for path, image in zip(written, _corrected(pair, correct), strict=True):
            write(path, image)
        return True

    return (yield from _each_case(pairs, dst, problems, make))


def _each_case(
    pairs: Sequence[Pair], dst: Path, problems: list[str], make: Callable[[Pair], bool]
) -> Job[PrepareReport]:
    """Make each case; `make` says whether there was anything to do. What is wrong with one stops no other.

    Raises
    ------
    DataError
        If no case is usable.
    """
    cases, skipped = [], []
    for done, pair in enumerate(pairs):
        yield Progress(done, len(pairs), pair.stem)
        try:
            if not make(pair):
                skipped.append(pair.stem)
            cases.append(pair.stem)
        except WriteError:
            raise
        except MedSegError as error:
            problems.append(f"{pair.stem}: {error}")
    if not cases:
        raise DataError(f"No usable case. The first of {len(problems)} problems: {problems[0]}")
    return PrepareReport(dst, tuple(cases), tuple(skipped), tuple(problems))


def _corrected(pair: Pair, correct: Callable[[Image], Image]) -> list[Image]:
    """Return a case's corrected image, and its labels on the new grid where it has some."""
    if pair.label is None:
        return [correct(read_channels(pair.files))]
    image, labels = read_case(pair.files, pair.label)
    image = image.replace(affine=matrix_of(image))
    labels = image.labels_like(np.asarray(labels.data))
    image = correct(image)
    return [image, on_grid(labels, image, "labels")]


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
