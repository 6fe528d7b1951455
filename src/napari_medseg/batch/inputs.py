"""Which files a batch predicts, and what their results are called."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_channels, reader_for
from napari_medseg.io.files import LONGEST, file_stem, portable
from napari_medseg.io.geometry import with_heights, with_pixel_size
from napari_medseg.io.pairs import (
    DRAWINGS,
    IMAGE_FOLDERS,
    NUMBERED,
    case_files,
    case_name,
    case_stem,
    inner_folder,
    is_label,
    lies_among_labels,
)
from napari_medseg.io.sidecar import load, sidecar_path
from napari_medseg.io.tiff.files import set_of
from napari_medseg.io.volumes.dicom import series_of
from napari_medseg.io.volumes.nifti import is_second_half
from napari_medseg.io.volumes.reader import source_files as voxels_of
from napari_medseg.io.volumes.space import at_time

MADE = re.compile(r"[_\- .](probabilit(y|ies)( maps?)?|overlay)$", re.IGNORECASE)  # of an image, beside it


@dataclass(frozen=True)
class Case:
    """One file of a batch.

    Parameters
    ----------
    path
        The file, or the folder of a DICOM series or of the modality files.
    name
        What its results are called below the result folder, without suffix; may hold folders.
    copy
        Where the file is read from, if not from `path`.
    """

    path: Path
    name: str
    copy: Path | None = None

    def renamed(self) -> Case:
        """Return this case with a name that no other image has."""
        return replace(self, name=f"{self.name}_{digest(self.path)}")


def read_input(path: Path, modality_files: str = "", calibration: Mapping[str, float] | None = None) -> Image:
    """Read one image with its ``pixel_size`` (um) and ``nm_per_grey``, at its ``time``; modality files are channels.

    Raises
    ------
    ReadError
        If it cannot be read.
    DataError
        If it holds labels.
    """
    image = read_channels(case_files(path, modality_files) or [path])
    if image.kind == "labels":
        raise DataError(f"{path.name} holds labels (a segmentation or outlines), no image. Give the image of them.")
    known = calibration or {}
    image = at_time(image, int(known["time"])) if "time" in known else image
    image = with_pixel_size(image, known["pixel_size"]) if "pixel_size" in known else image
    return with_heights(image, known["nm_per_grey"]) if "nm_per_grey" in known else image


def source_files(path: Path, modality_files: str = "") -> list[Path]:
    """Return every file that an image is read from: its own, its modalities, its voxels or planes and its side-car."""
    parts = case_files(path, modality_files) or [path]
    found = [file for part in parts for file in (part, *set_of(part), *voxels_of(part))]
    found += [sidecar_path(part) for part in parts if part.is_file() and load(part) is not None]
    return list(dict.fromkeys(found))


def list_inputs(inputs: Sequence[Path], pattern: str = "", exclude: Path | None = None) -> tuple[list[Path], list[str]]:
    """Return the image files among `inputs` (folders are searched) and the names of everything else.

    Labels that lie beside their images are not among them, unless they are given by name or pattern.

    Parameters
    ----------
    inputs
        Files and folders.
    pattern
        Only files of folders whose name, or path below the folder, is like this; ``*`` and ``?`` as in a shell.
    exclude
        A folder that is not searched (the one that results go to).

    Raises
    ------
    DataError
        If an input does not exist, or none is an image.
    """
    pairs, skipped = _list_with_roots(inputs, BatchSettings(pattern=pattern), exclude)
    return [path for path, _ in pairs], skipped


def list_cases(
    inputs: Sequence[Path], options: BatchSettings, exclude: Path, taken: dict[Path, str]
) -> tuple[list[Case], list[str]]:
    """Return the cases among `inputs`, as `list_inputs` finds them, and the names of everything else."""
    pairs, skipped = _list_with_roots(inputs, options, exclude)
    return name_cases(pairs, taken, options.modality_files), skipped


def name_cases(files: Sequence[tuple[Path, Path]], taken: dict[Path, str] | None = None, words: str = "") -> list[Case]:
    """Name the results of files, given with the folder they were found in, so that no two are the same.

    The name is the stem, without the first of the `words` of a case's files; where stems collide the folders below
    the searched one come before it, then that folder's own name, then the suffix becomes part of the name; of numbered
    scans (``cell.000``) it does so first. What some
    file system does not take is replaced, long names are cut. Files of `taken` keep their name, nobody else gets it.
    """
    names = dict(taken or {})
    rest = [pair for pair in files if pair[0] not in names]
    for level in range(5):
        wanted = {path: _candidate(path, root, level, words) for path, root in rest}
        used = Counter(map(_folded, (*names.values(), *wanted.values())))
        names |= {path: name for path, name in wanted.items() if used[_folded(name)] == 1}
        rest = [pair for pair in rest if pair[0] not in names]
    names |= {path: f"{portable(file_stem(path), LONGEST - 9)}_{digest(path)}" for path, _ in rest}
    return [Case(path, names[path]) for path, _ in files]


def _candidate(path: Path, root: Path, level: int, words: str) -> str:
    folder = path.parent.relative_to(root)
    named = Path(root.name) / folder
    suffixed = path.name.replace(".", "_")
    name = case_name(path, words)
    stems = (name, folder / name, folder / file_stem(path), named / file_stem(path))
    if NUMBERED.fullmatch(path.suffix):  # of a microscope's scans the number tells them apart
        stems = (name, Path(suffixed), folder / suffixed, named / suffixed)
    return "/".join(map(portable, Path((*stems, named / suffixed)[level]).parts))


def _folded(name: str) -> str:
    """Return what two names share that are one file on Windows or macOS."""
    return unicodedata.normalize("NFC", name).casefold()


def digest(path: Path) -> str:
    """Return what tells a file from all others in the name of its results."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def _list_with_roots(
    inputs: Sequence[Path], options: BatchSettings, exclude: Path | None
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Return the images with the folder that each was searched in, and the files that are left out."""
    files: dict[Path, Path] = {}
    others: list[Path] = []
    searched = {_real(exclude)} if exclude else set()
    known: set[Path] = set()
    for path in map(_absolute, inputs):
        if not path.exists():
            raise DataError(f"{path} does not exist. Give image files or folders of them.")
        if not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is a pipe or a device. Give image files or folders of them.")
        whole = path.is_file() or _is_one_image(path, options)
        root = path.parent if whole else path
        found = [path] if whole else _search(path, options, searched)
        labels = set() if whole or options.pattern else _labels_among(found, root, options.modality_files)
        for candidate in found:
            readable = reader_for(candidate) is not None or case_files(candidate, options.modality_files)
            if readable and candidate not in labels:
                place = _real(candidate) if candidate.is_dir() else _real(candidate.parent) / candidate.name
                if place not in known:
                    files[candidate] = root
                known.add(place)
            else:
                others.append(candidate)
    files = dict(_once(files))
    if not files:
        like = f" like {options.pattern!r}" if options.pattern else ""
        raise DataError(f"No image{like} found in {', '.join(map(str, inputs))}. Give image files or folders of them.")
    parts = {part for path in files for part in case_files(path, options.modality_files)[1:] if path.is_file()}
    files = {path: root for path, root in files.items() if path not in parts}
    plain = [path for path in others if path.suffix.lower() != ".json"]
    stems = {path.with_name(file_stem(path)) for path in (*files, *parts, *plain)}  # their side-cars are part of them
    stems |= set(files)  # ``a.tif.json`` is a side-car too
    skipped = [str(p) for p in others if p.suffix.lower() != ".json" or p.with_suffix("") not in stems]
    return list(files.items()), skipped


def _once(files: Mapping[Path, Path]) -> Iterator[tuple[Path, Path]]:
    """Leave out the files of a DICOM series, or of one OME-TIFF, behind the first, which stands for all."""
    seen: set[tuple[Path, str]] = set()
    for path, root in files.items():
        planes = set_of(path)
        series = path.parent, series_of(path) or (min(planes).name if len(planes) > 1 else "")
        if series not in seen:
            yield path, root
        if series[1]:
            seen.add(series)


def _search(root: Path, options: BatchSettings, seen: set[Path]) -> list[Path]:
    """Return what a folder holds, with the folders below: each, and each that a link leads to, once.

    A folder is found under its own name rather than by a link; links to one that holds `root` are not followed.
    `seen` are the folders that were searched, or are not to be; it grows.
    """
    own, linked = [root], list[Path]()
    found, again = list[Path](), list[Path]()
    pattern = options.pattern
    while own or linked:
        folder = own.pop() if own else linked.pop(0)
        real = _real(folder)
        if folder != root and (real in seen or _real(root).is_relative_to(real)):
            continue
        seen.add(real)
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or is_second_half(path):
                continue
            one = path.is_file() or _is_one_image(path, options)
            if path.is_dir() and not one:
                (linked if path.is_symlink() else own).append(path)
            elif not pattern or fnmatch(path.name, pattern) or fnmatch(path.relative_to(root).as_posix(), pattern):
                (again if path.is_dir() and path.is_symlink() else found).append(path)
    images = {_real(path): path for path in reversed((*found, *again)) if path.is_dir()}
    return sorted(path for path in (*found, *again) if not path.is_dir() or images[_real(path)] == path)


def _labels_among(files: Sequence[Path], root: Path, words: str) -> set[Path]:
    """Return the files made of others: called labels or probabilities beside their image, or beside ``images``."""
    pictures = {(path.parent, case_name(path, words)) for path in files if not is_label(path)}
    folders = {path.parent for path in files if path.parent != root and lies_among_labels(path)}
    beside = {folder for folder in folders if inner_folder(folder.parent, IMAGE_FOLDERS)}
    return {
        path for path in files
        if path.parent in beside
        or path.suffix.lower() in DRAWINGS
        or (is_label(path) and (path.parent, case_stem(path)) in pictures)
        or (MADE.search(file_stem(path)) and (path.parent, MADE.sub("", file_stem(path))) in pictures)
    }  # fmt: skip


def _is_one_image(path: Path, options: BatchSettings) -> bool:
    """Whether a folder is one image: modality files, a DICOM series, a Zarr store (not the frames of a movie)."""
    from napari_medseg.io import ome_zarr as pyramid
    from napari_medseg.io.volumes import reader as mri

    return path.is_dir() and (
        bool(case_files(path, options.modality_files)) or pyramid.matches(path) or mri.matches(path)
    )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))
