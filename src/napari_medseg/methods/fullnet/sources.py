"""Find the raw cases of FullNet: pictures with label maps, outlines or one mask an object, in folders and splits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from napari_medseg.errors import DataError, some_of
from napari_medseg.io.pairs import ANNOTATIONS, IMAGE_FOLDERS, LABEL_FOLDERS, case_stem, inner_folder, is_label
from napari_medseg.io.pictures import PICTURES
from napari_medseg.methods.fullnet.cases import SPLIT_OF, SPLITS, split_of

LABELS = ("labels_instance", *LABEL_FOLDERS, "xml")


@dataclass(frozen=True)
class Source:
    """One raw case: picture; label map, annotation, or folder of one mask an object; its split, if there are any."""

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
    """The cases of a folder, every file without partner, and sentences on pictures that share a name."""

    cases: tuple[Source, ...]
    unpaired: tuple[Path, ...]
    twins: tuple[str, ...] = ()


def find_sources(folder: Path) -> Sources:
    """Find cases in ``images`` and ``labels``, in splits above or below these, or side by side in `folder`.

    Folders of one picture with a mask for each object are cases too (`_case_folders`).
    Names that all begin with a split (``train_1``, ``testA_1``) give the splits.

    Raises
    ------
    DataError
        If the folder does not exist or has no pair.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder of images and annotations.")
    cases: list[Source] = []
    unpaired: list[Path] = []
    twins: list[str] = []
    for split, images, labels in _groups(folder):
        by_stem = {case_stem(path): path for path in labels}
        found = [Source(p, by_stem[case_stem(p)], split) for p in images if case_stem(p) in by_stem]
        used = {c.image for c in found} | {c.label for c in found}
        often = Counter(c.stem for c in found)
        for stem in (stem for stem, n in often.items() if n > 1):
            same = [c for c in found if c.stem == stem]
            twins.append(
                f"{' and '.join(c.image.name for c in same)} have one name, and {same[0].label.name} can belong to one "
                "of them only: left out."
            )
        cases += [c for c in found if often[c.stem] == 1]
        unpaired += [p for p in (*images, *labels) if p not in used]
    if not cases:
        cases = _case_folders(folder)
        unpaired = [] if cases else unpaired
    if not cases and twins:
        raise DataError(f"No usable case in {folder}: {twins[0]}")
    if not cases:
        there = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(folder.iterdir()) if p.name[0] != "."]
        listed = some_of([path.name for path in unpaired] or there) or "nothing"
        raise DataError(
            f"No image with an annotation of the same stem in {folder} (found: {listed}). Expected <folder>/images and "
            "<folder>/labels, one file a picture (instance maps, .mat with inst_map, ImageScope .xml, QuPath .geojson)"
            ", or both side by side."
        )
    return Sources(tuple(cases), tuple(unpaired), tuple(twins))


def _groups(folder: Path) -> list[tuple[str, list[Path], list[Path]]]:
    """Return (split, pictures, labels) of each split of a folder, one group without a name where it has none."""
    images, labels = inner_folder(folder, IMAGE_FOLDERS), inner_folder(folder, LABELS)
    if images and labels:
        below = [(n, of, to) for n, of in _split_folders(images) for m, to in _split_folders(labels) if n == m]
        if below:
            return [(name, files_of(of, PICTURES), files_of(to)) for name, of, to in below]
        return _by_name(files_of(images, PICTURES), files_of(labels))
    if splits := _split_folders(folder):
        return [(name, pictures, maps) for name, place in splits for _, pictures, maps in _groups(place)]
    files = files_of(folder)
    maps = [p for p in files if is_label(p)]
    return _by_name([p for p in files if p not in maps], maps)


def _case_folders(folder: Path) -> list[Source]:
    """Find folders of one picture in ``images`` and a mask for each of its objects in ``masks`` (Data Science Bowl)."""
    found = []
    for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        images, masks = inner_folder(place, IMAGE_FOLDERS), inner_folder(place, ("masks",))
        pictures = files_of(images, PICTURES) if images and masks else []
        if masks and len(pictures) == 1 and len(files_of(masks, PICTURES)) > (place == folder):
            found.append(Source(pictures[0], masks))
    return found


def _split_folders(folder: Path) -> list[tuple[str, Path]]:
    """Return the sub-folders called like splits (``Train``, ``valid``), each with the split that it is."""
    found = [(SPLIT_OF[p.name.casefold()], p) for p in folder.iterdir() if p.is_dir() and p.name.casefold() in SPLIT_OF]
    return sorted(found, key=lambda one: (SPLITS.index(one[0]), one[1].name))


def _by_name(pictures: list[Path], maps: list[Path]) -> list[tuple[str, list[Path], list[Path]]]:
    """Part pictures and label maps by the split that their names begin with, where all do and there are several."""
    named = list(dict.fromkeys(split_of(p) for p in pictures))
    if "" in named or len(named) < 2:
        return [("", pictures, maps)]
    return [(n, [p for p in pictures if split_of(p) == n], [p for p in maps if split_of(p) == n]) for n in named]


def files_of(folder: Path, suffixes: tuple[str, ...] = (*PICTURES, *ANNOTATIONS, ".mat")) -> list[Path]:
    """Return the files of a folder with these suffixes, by default pictures, outlines and .mat; by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
