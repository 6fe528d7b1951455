"""Find raw images and their annotations: parallel folders with or without splits, or files side by side."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from napari_medseg.errors import DataError
from napari_medseg.io.pairs import ANNOTATIONS, IMAGE_FOLDERS, LABEL_FOLDERS, case_stem, inner_folder, is_label
from napari_medseg.methods.fullnet.cases import SPLITS

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
SPLIT_NAME = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})_\d")
LABELS = ("labels_instance", *LABEL_FOLDERS, "xml")


@dataclass(frozen=True)
class Source:
    """One raw case: picture, label map or annotation, and its split (empty where there are none)."""

    image: Path
    label: Path
    split: str = ""

    @property
    def stem(self) -> str:
        """Name of the case."""
        return case_stem(self.image)

    @property
    def key(self) -> str:
        """Name that is unique in the folder."""
        return f"{self.split}/{self.stem}" if self.split else self.stem


@dataclass(frozen=True)
class Sources:
    """The cases of a folder, and every file without partner."""

    cases: tuple[Source, ...]
    unpaired: tuple[Path, ...]


def find_sources(folder: Path) -> Sources:
    """Find cases in ``images`` and ``labels``, in splits above or below these, or side by side in `folder`.

    Side by side, names that all begin with a split (``train_1``, ``testA_1``) give the splits.

    Raises
    ------
    DataError
        If the folder does not exist or has no pair.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder of images and annotations.")
    cases: list[Source] = []
    unpaired: list[Path] = []
    for split, images, labels in _groups(folder):
        by_stem = {case_stem(path): path for path in labels}
        found = [Source(p, by_stem[case_stem(p)], split) for p in images if case_stem(p) in by_stem]
        used = {c.image for c in found} | {c.label for c in found}
        cases += found
        unpaired += [p for p in (*images, *labels) if p not in used]
    if not cases:
        listed = ", ".join(path.name for path in unpaired[:8]) or "no pictures or annotations"
        raise DataError(
            f"No image with an annotation of the same stem in {folder} (found: {listed}). Expected <folder>/images and "
            "<folder>/labels (instance maps, ImageScope .xml or QuPath .geojson), or both side by side."
        )
    return Sources(tuple(cases), tuple(unpaired))


def _groups(folder: Path) -> list[tuple[str, list[Path], list[Path]]]:
    images, labels = inner_folder(folder, IMAGE_FOLDERS), inner_folder(folder, LABELS)
    splits = [name for name in SPLITS if (folder / name).is_dir()]
    if images and labels:
        below = [name for name in SPLITS if (images / name).is_dir() and (labels / name).is_dir()]
        if below:
            return [(n, _files(images / n, PICTURES), _files(labels / n)) for n in below]
        return [("", _files(images, PICTURES), _files(labels))]
    if splits:
        return [(name, pictures, maps) for name in splits for _, pictures, maps in _groups(folder / name)]
    files = _files(folder)
    maps = [p for p in files if is_label(p)]
    pictures = [p for p in files if p not in maps]
    named = list(dict.fromkeys(_split_of(p) for p in pictures))
    if "" in named or len(named) < 2:
        return [("", pictures, maps)]
    return [(n, [p for p in pictures if _split_of(p) == n], [p for p in maps if _split_of(p) == n]) for n in named]


def _split_of(path: Path) -> str:
    """Return the split that a name begins with, as in the gland contest's folder (``testA_12.bmp``)."""
    match = SPLIT_NAME.match(path.name)
    return match[1] if match else ""


def _files(folder: Path, suffixes: tuple[str, ...] = (*PICTURES, *ANNOTATIONS)) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
