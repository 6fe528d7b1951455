"""Measure the label images of a folder: a table of objects, a row for each image and, for nerves, for each eye."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_medseg.errors import DataError, MedSegError, some_of
from napari_medseg.image import Image
from napari_medseg.io import read_labels, read_one
from napari_medseg.io.geometry import with_pixel_size
from napari_medseg.io.grids import together
from napari_medseg.io.pairs import (
    DRAWINGS,
    IMAGE_FOLDERS,
    LABEL_SUFFIXES,
    SCANS,
    SUFFIXES,
    case_stem,
    inner_folder,
    is_label,
    is_one,
    label_stems,
    list_images,
    list_labels,
    nearest,
    said_below,
    told_apart,
)
from napari_medseg.io.volumes.space import at_time
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import assumed, measure, summarise
from napari_medseg.measure.eyes import assignment
from napari_medseg.measure.nerve import by_eye
from napari_medseg.settings import Settings

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Tables:
    """Measurements of several label images.

    Parameters
    ----------
    objects, images
        One row for each object and for each image; the first column is ``image``.
    eyes
        For nerves one row for each eye, else ``None``.
    problems
        Why files could not be measured, one sentence each.
    notes
        What is worth knowing of files that were measured, one sentence each.
    """

    objects: DataFrame
    images: DataFrame
    eyes: DataFrame | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def measure_files(
    kind: str,
    labels: Sequence[Path],
    images: Path | None = None,
    pixel_size: float | None = None,
    channel: str = "",
    *,
    time: int | None = None,
    eyes: str = "",
    settings: Settings | None = None,
) -> Job[Tables]:
    """Measure label files and folders of them; a file that cannot be measured is a problem and the others go on.

    Parameters
    ----------
    kind
        One of `measure.KINDS`.
    labels
        Files or folders.
    images
        Folder of the images; without it they are looked for beside the labels by name (``_lab`` and ``_org``).
    pixel_size
        Micrometres per pixel, whatever the files state.
    channel
        Channel of AFM scans; empty: their measured height.
    time
        Time point of labels and images with a time axis, counted from 0.
    eyes
        How names state subject, eye and site, or a table of them (`napari_medseg.measure.eyes.assignment`); by default
        as the corneal microscope's names do.
    settings
        Of the measurement.

    Raises
    ------
    DataError
        If there is no label image, or none can be measured.
    """
    cases = [case for path in labels for case in _cases(Path(path), images)]
    if not cases:
        raise DataError(f"No label images in {', '.join(map(str, labels))}. Give files, or a folder of results.")
    measured: dict[Path, tuple[DataFrame, DataFrame]] = {}
    problems, notes = [], []
    who = assignment(eyes) if eyes else None
    notes += [note for path in labels if not is_one(Path(path)) for note in said_below(Path(path))]
    if images is not None:
        notes += [
            f"{path.name} has no image of its name; only outlines were measured." for path, p, _ in cases if p is None
        ]
    names = told_apart([path for path, *_ in cases])
    for index, (path, partner, others) in enumerate(cases, 1):
        name = path.parent / case_stem(path)
        try:
            if name in measured:
                raise DataError("another label file of this image was measured; an image counts once.")
            found, image = read_case(kind, path, partner, pixel_size, channel, time)
            shown = names[path]
            measured[name] = _measure(kind, found, image, shown, settings)
            if partner is not None and others:
                notes.append(f"{shown} is measured with {partner.name}, not {some_of([o.name for o in others])}.")
            if who is not None:
                notes += _assign(measured[name][1], who(path.name), path.name)
            notes += [note for note in (*notes_of(found, image), *assumed(kind, image)) if note not in notes]
        except MedSegError as error:
            problems.append(f"{names[path]}: {error}")
        yield Progress(index, len(cases), path.name)
    if not measured:
        raise DataError(f"None of {len(cases)} label images could be measured. First: {problems[0]}")
    return replace(collect(kind, list(measured.values()), problems), notes=tuple(notes))


def read_image(kind: str, path: Path, channel: str = "") -> Image:
    """Read the image that labels are measured with; of an AFM scan the `channel`, or its measured height."""
    if kind != "afm" and not channel:
        return read_one(path)
    from napari_medseg.io.afm.reader import read_heights

    return read_heights(path, channel)


def collect(kind: str, measured: Sequence[tuple[DataFrame, DataFrame]], problems: Sequence[str] = ()) -> Tables:
    """Join the object tables and summaries of images."""
    import pandas as pd

    objects = []
    for table, summary in measured:
        table.insert(0, "image", summary["image"].iloc[0], allow_duplicates=True)
        objects.append(table.loc[:, ~table.columns.duplicated()])
    summaries = [summary for _, summary in measured]
    eyes = by_eye(summaries) if kind == "nerve" else None
    joined = [pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)
              for frames in (objects, summaries)]  # fmt: skip
    return Tables(joined[0], joined[1], eyes, tuple(problems))


def read_case(
    kind: str,
    labels: Path,
    image: Path | None,
    pixel_size: float | None = None,
    channel: str = "",
    time: int | None = None,
) -> tuple[Image, Image | None]:
    """Read labels and the image that they are measured with, on one grid.

    Parameters
    ----------
    kind, channel, time
        As for `measure_files`; where only one of the two has a time axis, the other is taken as it is.
    labels, image
        Files.
    pixel_size
        Micrometres per pixel, whatever the files state.
    """
    picture = read_image(kind, image, channel) if image is not None else None
    found = read_labels(labels, picture)
    if time is not None:
        timed = picture is not None and "T" in picture.axes
        picture = at_time(picture, time) if picture is not None and timed else picture
        found = found if timed and "T" not in found.axes else at_time(found, time)
    if pixel_size is not None:
        found = with_pixel_size(found, pixel_size)
        picture = None if picture is None else with_pixel_size(picture, pixel_size)
    return (found, None) if picture is None else together(found, picture)


def notes_of(*images: Image | None) -> list[str]:
    """Return what is worth knowing of images, each sentence once."""
    return list(
        dict.fromkeys(note for image in images if image is not None for note in image.metadata.get("notes", ()))
    )


def _measure(
    kind: str, labels: Image, image: Image | None, name: str, settings: Settings | None = None
) -> tuple[DataFrame, DataFrame]:
    summary = summarise(kind, labels, image, settings).drop(columns="image", errors="ignore")
    summary.insert(0, "image", name)
    return measure(kind, labels, image, settings), summary


def _assign(summary: DataFrame, known: Mapping[str, str] | None, name: str) -> list[str]:
    """Write subject, eye and site into the row of an image; say so if nothing is known of it."""
    if known is None:
        return [f"{name} does not fit the names or the table of the eyes; its subject and eye are as its name says."]
    for key, value in known.items():
        summary[key] = value
    return []


def _cases(path: Path, images: Path | None) -> Iterator[tuple[Path, Path | None, list[Path]]]:
    """Yield label files, each with its image where there is one, and further images that have its name too."""
    files = [path] if is_one(path) else list_labels(path, (*LABEL_SUFFIXES, *DRAWINGS))
    folder = images or (path.parent if is_one(path) else path)
    own = inner_folder(folder, IMAGE_FOLDERS) or folder
    places = dict.fromkeys([*(file.parent for file in files), own])
    pictures = [picture for place in places for picture in list_images(place, (*SUFFIXES, *SCANS))]
    named: dict[str, list[Path]] = {}
    for picture, stems in label_stems([picture for picture in pictures if not is_label(picture)]).items():
        for stem in stems:
            named.setdefault(stem, []).append(picture)
    folders: dict[str, set[Path]] = {}
    for file in files:
        folders.setdefault(case_stem(file), set()).add(file.parent)
    for file in files:
        stem = case_stem(file)
        fitting = [picture for picture in named.get(stem, ()) if picture != file]
        alone = len(folders[stem]) == 1
        among = [picture for picture in fitting if picture.parent == own] if alone else []
        found = nearest(file, among or fitting, alone) if fitting else None
        yield file, found, [one for one in fitting if found and one != found and one.parent == found.parent]
