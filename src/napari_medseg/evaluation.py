"""Compare a folder of results with a folder of references, by the metrics of a method's field."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.io import read_one
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.compare import compare
from napari_medseg.methods import get_method
from napari_medseg.pairs import PairList, list_images, pair_by_stem

Result = dict[str, dict[str, float] | dict[str, dict[str, float]] | list[str]]


def evaluate(method: str, predictions: Path, references: Path) -> Job[Result]:
    """Return ``{"mean": {metric: value}, "images": {stem: {metric: value}}, "unpaired": [file, ...]}``.

    Files are paired by stem; a trailing ``_label(s) _gt _lab _predict`` is ignored.

    Raises
    ------
    DataError
        If nothing pairs up, or a pair is of different size.
    """
    cls = get_method(method)
    found = _pairs(Path(predictions), Path(references))
    images: dict[str, dict[str, float]] = {}
    for index, pair in enumerate(found.pairs, 1):
        if pair.label is not None:
            predicted, truth = read_one(pair.image, "labels"), read_one(pair.label, "labels")
            images[pair.stem] = compare(predicted, truth, cls.metrics, cls.label_kind)
        yield Progress(index, len(found.pairs), pair.stem)
    names = list(dict.fromkeys(name for row in images.values() for name in row))
    mean = {name: _mean([row[name] for row in images.values() if name in row]) for name in names}
    return {"mean": mean, "images": images, "unpaired": [path.name for path in found.unpaired]}


def _pairs(predictions: Path, references: Path) -> PairList:
    for path in (predictions, references):
        if not path.exists():
            raise DataError(f"{path} does not exist. Give a label file or a folder of them.")
    left = [predictions] if predictions.is_file() else _label_files(predictions)
    right = [references] if references.is_file() else list_images(references)
    found = pair_by_stem(left, right)
    if not found.pairs and len(left) == len(right) == 1:
        found = pair_by_stem([left[0]], [right[0]])
    if not found.pairs:
        raise DataError(
            f"No file of {predictions} has a partner in {references}: {len(left)} results, {len(right)} references. "
            "Files pair up by their stem, for example cell1_labels.tif with cell1_label.png."
        )
    return found


def _label_files(folder: Path) -> list[Path]:
    """List a result folder's label files; probability maps beside them are not results."""
    files = list_images(folder)
    return [path for path in files if "_probabilities" not in path.name] or files


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
