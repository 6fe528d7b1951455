"""Find FullNet's training cases: image, label, weight map."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_medseg.errors import DataError
from napari_medseg.io.pairs import ANNOTATIONS, Pair, PairList, find_pairs, list_images, pair_files

PATCH_INDEX = re.compile(r"_\d+$")
SPLITS = ("train", "val", "test", "test_same", "test_diff", "testA", "testB")
SPLIT_OF = {
    **{name.casefold(): name for name in SPLITS},
    **{"training": "train", "valid": "val", "validation": "val", "testing": "test"},
}
SPLIT_NAME = re.compile(rf"({'|'.join(sorted(SPLIT_OF, key=len, reverse=True))})[_-]?\d", re.IGNORECASE)


def split_of(path: Path) -> str:
    """Return the split that a name begins with, as in the gland contest's folder (``testA_12.bmp``)."""
    match = SPLIT_NAME.match(path.name)
    return SPLIT_OF[match[1].casefold()] if match else ""


def find_cases(folder: Path, patches: bool = False) -> PairList:
    """Find cases in ``images/train`` and ``labels/train``, or in any layout of `napari_medseg.io.pairs`.

    Weight maps (``<stem>_weight.png``, beside the image or in ``weight_maps``) go into ``extra["weight"]``. With
    `patches` a trailing ``_<k>`` is a patch number, and patches of one tile are one subject.

    Raises
    ------
    DataError
        If the folder holds outlines instead, which are no training data before they are prepared, or pictures whose
        names say that they are for testing.
    """

    def subject(stem: str) -> str:
        return PATCH_INDEX.sub("", stem) if patches else stem

    images, labels = (folder / name / "train" for name in ("images", "labels"))
    if images.is_dir() and labels.is_dir():
        found = pair_files(list_images(images), list_images(labels), subject)
    else:
        found = find_pairs(folder, subject)
        _refuse_test_pictures(folder, [pair.image for pair in found.pairs])
    if not found.pairs:
        _refuse_outlines(folder)
    pairs = [_with_weight(pair) for pair in found.pairs]
    weights = {pair.extra.get("weight") for pair in pairs}
    return PairList(tuple(pairs), tuple(p for p in found.unpaired if p not in weights))


def _refuse_test_pictures(folder: Path, images: Sequence[Path]) -> None:
    splits = {split_of(image): image for image in images}
    test = next((image for name, image in splits.items() if name.startswith("test")), None)
    if test is not None and len(splits) > 1 and "" not in splits:
        raise DataError(
            f"{folder} holds pictures to test on by their names ({test.name}) beside those to train on. Part them with "
            f"medseg prepare fullnet {str(folder)!r} PREPARED, or take them out, and train on the others."
        )


def _refuse_outlines(folder: Path) -> None:
    files = (path for pattern in ("*", "*/*") for path in folder.glob(pattern))
    if any(path.suffix.lower() in ANNOTATIONS for path in files):
        raise DataError(
            f"{folder} holds outlines (.xml, .geojson), to be drawn as labels before training. Prepare it first "
            f"(medseg prepare fullnet {str(folder)!r} PREPARED), then train on what was prepared."
        )


def _with_weight(pair: Pair) -> Pair:
    folder, parts = pair.image.parent, list(pair.image.parent.parts)
    folders = [folder]
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "weight_maps"
        folders.append(Path(*parts))
    names = (f"{pair.image.stem}_weight.png", f"{pair.image.stem}_anno_weight.png")
    found = next((place / name for place in folders for name in names if (place / name).is_file()), None)
    return replace(pair, extra={**pair.extra, "weight": found}) if found else pair
