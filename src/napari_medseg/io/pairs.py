"""Find image/label pairs in the folder layouts that the five fields use."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from napari_medseg.errors import DataError, some_of
from napari_medseg.io.files import file_stem, folders_in
from napari_medseg.io.pictures import PICTURES

IMAGE_FOLDERS = ("images", "image", "img", "imgs", "imagesTr", "afmheight", "input", "Tissue Images")
LABEL_FOLDERS = (
    "labels", "label", "mask", "masks", "labelsTr", "labels_instance", "annotation", "annotations", "gt",
    "label masks", "ground truth", "seg", "segmentation", "segmentations",
)  # fmt: skip
LABEL_SUFFIX = re.compile(
    r"[_\- .](labels?|gt|lab|(cp_)?masks?|seg|(simple )?segmentation|object identities|anno|annotation|1stHO|"
    r"pred|predict|predictions?)$",  # also as Cellpose and ilastik call them
    re.IGNORECASE,
)
IMAGE_SUFFIX = re.compile(r"[_\- .](hi|org|image|img)$", re.IGNORECASE)
CHANNEL_SUFFIX = re.compile(r"_(\d{4})$")  # nnU-Net: case_0000 and case_0001 are the channels of case
SUFFIXES = (*PICTURES, ".npy", ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
ZARR = ".zarr"
ANNOTATIONS = (".xml", ".geojson")  # outlines: ImageScope, QuPath
LABEL_SUFFIXES = (*SUFFIXES, *ANNOTATIONS, ".mat", ZARR)
REGIONS = (".roi", ".zip")  # outlines of ImageJ
DRAWINGS = (*ANNOTATIONS, *REGIONS, ".swc", ".ndf")
FIRST_NUMBER = ".000"  # stands for the suffixes .000 to .999 of NanoScope scans
NUMBERED = re.compile(r"\.\d{3}")
SCAN_NUMBER = re.compile(r"\.(\d{3})$")
SCANS = (
    ".gwy", ".gsf", ".ibw", ".jpk", ".h5-jpk", ".jpk-qi-image", ".spm", ".stp", ".top", ".topostats", ".asd",
    FIRST_NUMBER,
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One training or evaluation case.

    Parameters
    ----------
    image, label
        Files of the image and of its reference; for a classifier `label` is ``None``.
    subject
        Group that must not be split between training and validation.
    extra
        Further files or values by name (weight map, further modalities, class index).
    name
        Name of the case; empty: that of its image.
    """

    image: Path
    label: Path | None
    subject: str = ""
    extra: dict[str, object] = field(default_factory=dict)
    name: str = ""

    @property
    def stem(self) -> str:
        """The case's name: the stem of its image without image suffix, if it has no other."""
        return self.name or case_stem(self.image)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files whose channels make up the image."""
        return cast("tuple[Path, ...]", self.extra.get("modalities", (self.image,)))


@dataclass(frozen=True)
class PairList:
    """Pairs found in a folder, and every file that found no partner."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Path, ...] = ()

    def require(self, folder: Path) -> PairList:
        """Return self, or raise `DataError` saying which layouts are understood."""
        if self.pairs:
            return self
        below = [f"folder {p.name}" for p in sorted(folder.iterdir()) if p.is_dir()] if folder.is_dir() else []
        listed = ", ".join([*(p.name for p in self.unpaired[:5]), *below[:5]]) or "no images at all"
        raise DataError(
            f"No image/label pairs in {folder} (found: {listed}). Expected <folder>/images and <folder>/labels with "
            "the same file stems, or <name>_org / <name>_lab (or <name> / <name>_label) side by side. One folder per "
            "case: p-net and r-net with --modality-files and --label-file."
        )


def case_stem(path: Path) -> str:
    """Return the stem without a trailing ``_label``, ``_gt``, ``_hi``, ``_org`` and the like; accents are one letter.

    Programs of macOS write an accented letter as two characters, which no other system does. The number of a scan
    counts alike with a point and as results have it: ``cell.000.tif``, ``cell_000_labels.tif``.
    """
    stem = IMAGE_SUFFIX.sub("", LABEL_SUFFIX.sub("", unicodedata.normalize("NFC", file_stem(path))))
    return SCAN_NUMBER.sub(r"_\1", stem)


def list_images(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """List files of `folder` with one of `suffixes`, sorted, hidden files left out; ``.000`` is any three digits."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give a folder of images.")
    wanted = tuple(suffixes)

    def fits(path: Path) -> bool:
        numbered = FIRST_NUMBER in wanted and NUMBERED.fullmatch(path.suffix)
        return not path.name.startswith(".") and bool(numbered or path.name.lower().endswith(wanted))

    return sorted(path for path in folder.iterdir() if fits(path))


def inner_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the sub-folder called like the first of `names` that there is; case, spaces and ``_`` do not count."""
    below = {_letters(path.name): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((below[_letters(name)] for name in names if _letters(name) in below), None)


def _letters(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def find_pairs(folder: Path, subject: Callable[[str], str] = lambda stem: stem) -> PairList:
    """Pair images with labels below `folder`: parallel folders, or suffixes side by side.

    `subject` maps a case's stem to its group. Files without a partner are returned, never dropped silently.
    """
    return pair_files(*_candidates(Path(folder)), subject)


def pair_files(
    images: Iterable[Path], labels: Iterable[Path], subject: Callable[[str], str] = lambda stem: stem
) -> PairList:
    """Pair images with labels by `case_stem`, of one stem in several folders by the folder; a label serves one image.

    Images that share a label but for a trailing ``_0000``, ``_0001`` are the modalities of one case (nnU-Net).
    """
    images, labels = list(images), list(labels)
    by_stem: dict[str, list[Path]] = {}
    for label in labels:
        by_stem.setdefault(case_stem(label), []).append(label)
    names = label_stems(images)
    stems = {image: next((name for name in names[image] if name in by_stem), case_stem(image)) for image in images}
    folders: dict[str, set[Path]] = {}
    for image, stem in stems.items():
        folders.setdefault(stem, set()).add(image.parent)
    channels: dict[str, list[Path]] = {}
    taken: dict[Path, Path] = {}
    for image, stem in stems.items():
        case = CHANNEL_SUFFIX.sub("", stem)
        if stem in by_stem and stem in names[image]:
            if found := nearest(image, by_stem[stem], alone=len(folders[stem]) == 1):
                taken.setdefault(found, image)
        elif case in by_stem and case != stem:
            channels.setdefault(case, []).append(image)
    often = Counter(stems[image] for image in taken.values())
    label_of = {image: label for label, image in taken.items()}
    pairs = []
    for image in (image for image in images if image in label_of):
        stem = stems[image]
        name = f"{image.parent.name}/{stem}" if often[stem] > 1 else ""
        pairs.append(Pair(image, label_of[image], subject(stem), name=name))
    for case, files in channels.items():
        pairs.append(Pair(files[0], by_stem[case][-1], subject(case), {"modalities": tuple(files)}, case))
    used = {p.label for p in pairs} | {p.image for p in pairs} | {f for files in channels.values() for f in files}
    return PairList(tuple(pairs), tuple(p for p in (*images, *labels) if p not in used))


def nearest(path: Path, candidates: Sequence[Path], alone: bool = True) -> Path | None:
    """Return which of the files of one stem belongs to `path`: that in its folder, else in a folder called the same.

    Of several in that folder the last. Otherwise the only one, if `path` is the only file that may want it (`alone`).
    """
    for found in (
        [other for other in candidates if other.parent == path.parent],
        [other for other in candidates if other.parent.name == path.parent.name],
    ):
        if found and len({other.parent for other in found}) == 1:
            return found[-1]
    return candidates[-1] if alone and len({other.parent for other in candidates}) == 1 else None


def label_stems(images: Sequence[Path]) -> dict[Path, tuple[str, ...]]:
    """Return the stems that the labels of each image may have, the best first.

    Of numbered scans (``cell.000``) also ``cell.000`` and ``cell_000``; ``cell`` only where one scan has that name.
    """
    numbered = [path for path in images if NUMBERED.fullmatch(path.suffix)]
    shared = Counter((path.parent, case_stem(path)) for path in numbered)
    found: dict[Path, tuple[str, ...]] = {path: (case_stem(path),) for path in images}
    for path in numbered:
        stem = case_stem(path)
        alone = shared[path.parent, stem] == 1
        found[path] = (path.name, path.name.replace(".", "_"), *((stem,) if alone else ()))
    return found


def told_apart(paths: Sequence[Path]) -> dict[Path, str]:
    """Return a name for each of several files: its own, with as many of its folders before it as no other has."""
    names: dict[Path, str] = {}
    rest, depth = list(dict.fromkeys(paths)), 1
    while rest:
        wanted = {path: "/".join(path.parts[-depth:]) for path in rest}
        often = Counter(wanted.values())
        names |= {path: name for path, name in wanted.items() if often[name] == 1 or depth > len(path.parts)}
        rest, depth = [path for path in rest if path not in names], depth + 1
    return names


def is_one(path: Path) -> bool:
    """Whether `path` is one image: a file, or the folder of an OME-Zarr."""
    return path.is_file() or path.name.lower().endswith(ZARR)


def is_label(path: Path) -> bool:
    """Whether a file is called like a label (``_mask``, ``_seg``), or is a drawing."""
    return bool(LABEL_SUFFIX.search(file_stem(path))) or path.suffix.lower() in DRAWINGS


def lies_among_labels(path: Path) -> bool:
    """Whether a file's folder is called like one of labels (``masks``, ``labelsTr``)."""
    return _letters(path.parent.name) in map(_letters, LABEL_FOLDERS)


def list_labels(folder: Path, suffixes: Sequence[str] = LABEL_SUFFIXES) -> list[Path]:
    """List the label files of a folder: of its labels folder, else those called so, else all.

    Of a folder without files, those called so in its sub-folders (of cases, of sites).
    """
    files = list_images(inner_folder(folder, LABEL_FOLDERS) or folder, suffixes)
    if files:
        return [path for path in files if is_label(path)] or files
    return [path for case in folders_in(folder) for path in list_images(case, suffixes) if is_label(path)]


def labels_below(folder: Path) -> list[Path]:
    """Return the files called labels in sub-folders, which `list_labels` leaves out because others lie in `folder`."""
    if not folder.is_dir() or inner_folder(folder, LABEL_FOLDERS) or not list_images(folder, LABEL_SUFFIXES):
        return []
    below = [path for path in folders_in(folder) if not is_one(path)]
    return [path for case in below for path in list_images(case, LABEL_SUFFIXES) if is_label(path)]


def said_below(folder: Path) -> list[str]:
    """Say in a sentence which label files in sub-folders are left out."""
    left = [path.relative_to(folder).as_posix() for path in labels_below(folder)]
    return [f"Label files in sub-folders of {folder.name} are left out: {some_of(left)}."] if left else []


def _candidates(folder: Path) -> tuple[list[Path], list[Path]]:
    files = list_images(folder, (*SUFFIXES, *SCANS))  # refuses what is no folder
    image_folder, label_folder = inner_folder(folder, IMAGE_FOLDERS), inner_folder(folder, LABEL_FOLDERS)
    if image_folder and label_folder:
        return list_images(image_folder, (*SUFFIXES, *SCANS)), list_images(label_folder)
    labels = [path for path in files if is_label(path)]
    return [path for path in files if path not in set(labels)], labels


def case_files(path: Path, words: str) -> list[Path]:
    """Return the files of a case by the comma-separated `words` in their names, in the order of the words.

    `path` is the folder of the case, or, where many cases share a folder, the file of the first word
    (``p1_flair.nii``), whose name the others share up to their word. Case does not count; of several fitting files
    the one with the word alone (``t1``, not ``t1ce``) is meant. Empty where a word fits no file or several.
    """
    wanted = _split(words)
    if not wanted or not path.exists():
        return []
    if path.is_file():
        return _siblings(path, wanted)
    if are_numbers(words):
        return []
    files = list_images(path)
    fitting = [_fitting(files, word) for word in wanted]
    return [found[0] for found in fitting] if all(len(found) == 1 for found in fitting) else []


def case_name(path: Path, words: str = "") -> str:
    """Return the name of the case that `path` is, or is the first file of by the `words` of `case_files`."""
    if path.is_dir() or not case_files(path, words):
        return case_stem(path)
    return file_stem(path)[: -len(_split(words)[0])].rstrip("_-. ")


def are_numbers(words: str) -> bool:
    """Whether `words` number channels as nnU-Net does: their files share a folder with those of other cases."""
    return all(word.isdigit() for word in _split(words))


def _split(words: str) -> list[str]:
    return [word.strip(" _-.") for word in words.split(",") if word.strip(" _-.")]


def _fitting(files: Sequence[Path], word: str) -> list[Path]:
    found = [path for path in files if word.casefold() in file_stem(path).casefold()]
    alone = re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", re.IGNORECASE)
    return [path for path in found if alone.search(file_stem(path))] or found


def _siblings(path: Path, words: Sequence[str]) -> list[Path]:
    stem = file_stem(path)
    case, suffix = stem[: -len(words[0])], path.name[len(stem) :]
    named = stem.casefold().endswith(words[0].casefold()) and not case[-1:].isalnum()
    if not named or not suffix.lower().endswith(SUFFIXES):
        return []
    files = [path, *(path.with_name(f"{case}{word}{suffix}") for word in words[1:])]
    return files if all(file.is_file() for file in files) else []
