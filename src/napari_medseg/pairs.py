"""Find image/label pairs in the folder layouts that the five fields use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from napari_medseg.errors import DataError

IMAGE_FOLDERS = ("images", "image", "img", "imagesTr", "afmheight", "input")
LABEL_FOLDERS = ("labels", "label", "mask", "masks", "labelsTr", "labels_instance", "annotation")
LABEL_SUFFIX = re.compile(r"_(labels?|gt|lab|mask|seg|anno|1stHO|predict)$", re.IGNORECASE)
IMAGE_SUFFIX = re.compile(r"_(hi|org|image|img)$", re.IGNORECASE)
SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".npy", ".nii", ".nii.gz", ".nrrd", ".mha")


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
    """

    image: Path
    label: Path | None
    subject: str = ""
    extra: dict[str, object] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """Stem without image suffix, the case's name."""
        return case_stem(self.image)


@dataclass(frozen=True)
class PairList:
    """Pairs found in a folder, and every file that found no partner."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Path, ...] = ()

    def require(self, folder: Path) -> PairList:
        """Return self, or raise `DataError` saying which layouts are understood."""
        if self.pairs:
            return self
        listed = ", ".join(p.name for p in self.unpaired[:5]) or "no images at all"
        raise DataError(
            f"No image/label pairs in {folder} (found: {listed}). Expected <folder>/images and <folder>/labels with "
            "the same file stems, or <name>_org / <name>_lab (or <name> / <name>_label) side by side."
        )


def file_stem(path: Path) -> str:
    """Return the name without suffix; ``.nii.gz`` counts as one suffix."""
    return path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem


def case_stem(path: Path) -> str:
    """Return the stem without a trailing ``_label``, ``_gt``, ``_hi``, ``_org`` and the like."""
    return IMAGE_SUFFIX.sub("", LABEL_SUFFIX.sub("", file_stem(path)))


def list_images(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """List files of `folder` with one of `suffixes`, sorted, hidden files left out."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give a folder of images.")
    wanted = tuple(suffixes)
    return sorted(p for p in folder.iterdir() if p.name.lower().endswith(wanted) and not p.name.startswith("."))


def find_pairs(folder: Path, subject: Callable[[str], str] = lambda stem: stem) -> PairList:
    """Pair images with labels below `folder`: parallel folders, or suffixes side by side.

    `subject` maps a case's stem to its group. Files without a partner are returned, never dropped silently.
    """
    folder = Path(folder)
    images, labels = _candidates(folder)
    by_stem = {case_stem(path): path for path in labels}
    pairs = tuple(
        Pair(path, by_stem[case_stem(path)], subject(case_stem(path))) for path in images if case_stem(path) in by_stem
    )
    used = {p.image for p in pairs} | {p.label for p in pairs}
    return PairList(pairs, tuple(p for p in (*images, *labels) if p not in used))


def pair_by_stem(predictions: Iterable[Path], references: Iterable[Path]) -> PairList:
    """Pair result files with reference files by `case_stem`."""
    by_stem = {case_stem(path): path for path in references}
    predictions = list(predictions)
    pairs = tuple(Pair(path, by_stem[case_stem(path)]) for path in predictions if case_stem(path) in by_stem)
    used = {p.image for p in pairs} | {p.label for p in pairs}
    return PairList(pairs, tuple(p for p in (*predictions, *by_stem.values()) if p not in used))


def _candidates(folder: Path) -> tuple[list[Path], list[Path]]:
    image_folder = next((folder / name for name in IMAGE_FOLDERS if (folder / name).is_dir()), None)
    label_folder = next((folder / name for name in LABEL_FOLDERS if (folder / name).is_dir()), None)
    if image_folder and label_folder:
        return list_images(image_folder), list_images(label_folder)
    files = list_images(folder)
    labels = [p for p in files if LABEL_SUFFIX.search(file_stem(p))]
    return [p for p in files if p not in set(labels)], labels


def case_files(folder: Path, words: str) -> list[Path]:
    """Return the files of a case folder whose names hold each of the comma-separated `words`, in their order.

    Empty where a word fits no file or several, where there are no words, or `folder` is no folder.
    """
    wanted = [word.strip() for word in words.split(",") if word.strip()]
    if not wanted or not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.name.lower().endswith(SUFFIXES)]
    fitting = [[p for p in files if word in file_stem(p)] for word in wanted]
    return [found[0] for found in fitting] if all(len(found) == 1 for found in fitting) else []
