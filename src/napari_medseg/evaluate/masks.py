"""Compare results with references by the metrics of a method's field: folders, or one pair in detail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.errors import DataError, MedSegError, some_of
from napari_medseg.evaluate.metrics.compare import LENGTHS, compare, error_map, said_of_lengths, spacing_of
from napari_medseg.evaluate.metrics.glands import Terms, object_terms, pooled_scores
from napari_medseg.evaluate.metrics.video import count, score_counts
from napari_medseg.image import Image, LabelKind
from napari_medseg.io import read_labels
from napari_medseg.io.files import file_stem
from napari_medseg.io.geometry import in_order, sized_like
from napari_medseg.io.grids import MOVED, moved_notes, on_grid
from napari_medseg.io.pairs import (
    ANNOTATIONS,
    LABEL_FOLDERS,
    LABEL_SUFFIXES,
    Pair,
    PairList,
    case_stem,
    inner_folder,
    is_label,
    is_one,
    list_images,
    list_labels,
    pair_files,
    said_below,
)
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.labels import MASK, foreground, ids_of, is_mask
from napari_medseg.methods import for_movies, get_method, known_methods, role_of

if TYPE_CHECKING:
    from pandas import DataFrame

Row = dict[str, float | str]
ABOUT = {"length unit": LENGTHS, "nsd tolerance": ("nsd",)}  # columns of text, and the metrics that they are about
Result = dict[str, Row | dict[str, Row] | list[str]]


def evaluate(method: str, predictions: Path, references: Path) -> Job[Result]:
    """Compare files and return ``mean`` and ``images`` (metrics by stem), ``unpaired``, ``problems`` and ``notes``.

    Where the images hold several classes between them, ``dice_1`` and the like are given for every image that has the
    class in its result or reference, and averaged over these.
    Rows with distances say their ``length unit``, those with a surface Dice its ``nsd tolerance``; where images differ
    in that, these metrics have no mean, and a note says so.
    Files are paired by stem; a trailing ``_label(s) _gt _lab _predict`` is ignored. A pair that cannot be compared is
    a problem, in a sentence, and the others go on; notes say which results were turned or resampled. Masks of movies
    and of their frames also give ``"movie"``: for all frames, nerve frames and found frames the row of `mask_scores`
    (empty pairs count 1), and ``all frames, empty 0``. Instances also give ``"pooled"``: object Dice, IoU and Hausdorff
    distance over the objects of all images as one set, as the GlaS contest defines them.

    Raises
    ------
    DataError
        If nothing pairs up, or no pair can be compared.
    """
    cls = get_method(method)
    found = _pairs(Path(predictions), Path(references))
    images: dict[str, Row] = {}
    counts: list[tuple[int, int, int]] = []
    objects: list[dict[str, Terms]] = []
    problems: list[str] = []
    notes = [note for path in (predictions, references) for note in said_below(Path(path))]
    for index, pair in enumerate(found.pairs, 1):
        yield Progress(index - 1, len(found.pairs), pair.stem)
        try:
            predicted, truth = read_pair(pair)
            drawn = [note for one in (predicted, truth) for note in one.metadata.get("notes", ()) if "outlines" in note]
            notes += [note for note in dict.fromkeys((*moved_notes(predicted), *drawn)) if note not in notes]
            notes += [note for note in _said_of_void(cls.label_kind, predicted, truth) if note not in notes]
            found_metrics = compare(predicted, truth, cls.metrics, cls.label_kind, each=True)
            images[pair.stem] = {**found_metrics, **said_of_lengths(truth, found_metrics)}
        except MedSegError as error:
            problems.append(str(error))
            continue
        masks = np.asarray(predicted.data), np.asarray(truth.data)
        frames = zip(*masks, strict=True) if "T" in truth.axes else [masks]
        counts += [count(*frame) for frame in frames]
        if cls.label_kind == "instances":
            steps = spacing_of("object_hausdorff", truth)
            objects.append(object_terms(np.asarray(predicted.data), np.asarray(truth.data), steps))
    if not images:
        raise DataError(problems[0])
    if cls.label_kind == "classes":
        images = _without_lone_class(images, cls.metrics)
    mean, pooled, said = _means(images, objects)
    more: Result = {"movie": _movie_scores(counts)} if for_movies(method) else {}
    more |= {"pooled": pooled} if objects else {}
    unpaired = [path.name for path in found.unpaired]
    notes += said
    return {"mean": mean, "images": images, "unpaired": unpaired, "problems": problems, "notes": notes, **more}


def _without_lone_class(images: dict[str, Row], metrics: Sequence[str]) -> dict[str, Row]:
    """Return rows without the metrics of each class, if there is one class in all: it is what the others say."""
    own = re.compile(rf"({'|'.join(metrics)})_(\d+)")
    found = {name: match[2] for row in images.values() for name in row if (match := own.fullmatch(name))}
    if len(set(found.values())) > 1:
        return images
    return {stem: {name: value for name, value in row.items() if name not in found} for stem, row in images.items()}


def _means(images: Mapping[str, Row], objects: list[dict[str, Terms]]) -> tuple[Row, Row, list[str]]:
    """Return the means of metrics, those over all objects, and what has no mean: what differs in unit or tolerance."""
    names = list(dict.fromkeys(name for row in images.values() for name in row))
    pooled: Row = dict(pooled_scores(objects)) if objects else {}
    mean: Row = {}
    said = []
    for name in names:
        values = [row[name] for row in images.values() if name in row]
        numbers = [value for value in values if not isinstance(value, str)]
        if numbers:
            mean[name] = _mean(numbers)
        elif len(kinds := list(dict.fromkeys(map(str, values)))) == 1:
            mean[name] = kinds[0]
    for about, metrics in ABOUT.items():
        if about not in names or about in mean:
            continue
        lost = [name for name in names if name.startswith(metrics) and name not in ABOUT]
        mean |= dict.fromkeys(lost, float("nan"))
        pooled |= {name: float("nan") for name in pooled if name.startswith(metrics)}
        kinds = sorted({str(row[about]) for row in images.values() if about in row})
        said.append(f"The images differ in {about} ({', '.join(kinds)}): {', '.join(lost)} have no mean.")
    return mean, pooled, said


def read_pair(pair: Pair) -> tuple[Image, Image]:
    """Read a result and its reference, the result brought onto the reference's grid.

    Outlines (``.xml``, ``.geojson``) are drawn on the grid of the other, both on an area that holds them all.

    Raises
    ------
    ReadError
        If one of them cannot be read as labels.
    DataError
        If nothing says how the two lie on each other, or they lie elsewhere.
    """
    assert pair.label is not None  # `pair_files` gives each result its reference
    drawn = [path.suffix.lower() in ANNOTATIONS for path in (pair.image, pair.label)]
    if all(drawn):
        predicted, truth = _on_common_area(pair.image, pair.label)
    elif drawn[0]:
        truth = read_labels(pair.label)
        predicted = read_labels(pair.image, truth)
    else:
        predicted = read_labels(pair.image)
        truth = read_labels(pair.label, predicted)
    truth = in_order(sized_like(truth, predicted))
    return as_masks(on_grid(predicted, truth, "result"), as_learnt(truth, predicted))


def _on_common_area(*paths: Path) -> tuple[Image, Image]:
    """Draw two files of outlines on the smallest picture that holds both."""
    alone = [read_labels(path) for path in paths]
    sizes = [max(sides) for sides in zip(*(image.spatial_shape for image in alone), strict=True)]
    area = Image(np.broadcast_to(np.uint8(0), sizes), "YX")
    first, second = (read_labels(path, area) for path in paths)
    return first, second


def as_learnt(truth: Image, predicted: Image) -> Image:
    """Return a reference with one foreground class where the result's model or session knew no more."""
    known = predicted.metadata.get("medseg", predicted.metadata)
    classes, method = known.get("settings", {}).get("classes"), known.get("method")
    proposed = method in known_methods() and role_of(method) == "propose"  # a proposal counts the background
    if classes is None or classes - proposed != 1:
        return truth
    return truth.replace(data=foreground(truth.data).astype(np.uint8))


def as_masks(predicted: Image, truth: Image) -> tuple[Image, Image]:
    """Return a result and its reference as 0 and 1 where one of them calls the one class of both 255, as masks do."""
    ids = [ids_of(np.asarray(image.data)) for image in (predicted, truth)]
    if any(len(one) != 1 for one in ids) or ids[0] == ids[1] or not (is_mask(ids[0]) or is_mask(ids[1])):
        return predicted, truth
    note = f"A result holds {ids[0][0]} where its reference holds {ids[1][0]}: both are masks."  # once for all files
    known = {key: [*predicted.metadata.get(key, ()), note] for key in ("notes", MOVED)}
    masks = [image.replace(data=foreground(image.data).astype(np.uint8)) for image in (predicted, truth)]
    return masks[0].replace(metadata={**masks[0].metadata, **known}), masks[1]


def _said_of_void(kind: LabelKind, predicted: Image, truth: Image) -> list[str]:
    """Say that 255 beside other classes of a reference counts as a class: in many data sets it marks what is void."""
    result, reference = ids_of(np.asarray(predicted.data)), ids_of(np.asarray(truth.data))
    if kind == "instances" or len(reference) < 2 or reference[-1] != MASK or len(reference) > 100 or MASK in result:
        return []
    return [
        f"{truth.name or 'The reference'} holds {MASK} beside {some_of([str(k) for k in reference[:-1]])}: it counts "
        "as foreground. If it marks what is not to be judged, set these pixels to 0 in the result and the reference."
    ]


def _movie_scores(counts: list[tuple[int, int, int]]) -> dict[str, Row]:
    rows = [*score_counts(counts).to_dict("records"), *score_counts(counts, "zero").to_dict("records")[:1]]
    names = [*(str(row.pop("over")) for row in rows[:-1]), f"{rows[-1].pop('over')}, empty 0"]
    return {
        name: {str(k): v if isinstance(v, int) else float(v) for k, v in row.items()}
        for name, row in zip(names, rows, strict=True)
    }


@dataclass(frozen=True)
class Comparison:
    """One result against its reference.

    Parameters
    ----------
    metrics
        Value of each metric.
    errors
        The `error_map`, uint8 (*spatial).
    counts
        Pixels of true positives, false positives and false negatives.
    objects
        For instances the table of `match_objects`, else ``None``.
    """

    metrics: dict[str, float]
    errors: np.ndarray
    counts: tuple[int, int, int]
    objects: DataFrame | None


def compare_pair(method: str, predicted: Image, truth: Image) -> Job[Comparison]:
    """Compare one label image with its reference: metrics, where the errors are, and which objects match.

    Raises
    ------
    DataError
        If the two are of different size, or hold what the metrics cannot take.
    """
    cls = get_method(method)
    yield Progress(0, 3, "computing the metrics")
    truth = in_order(truth)
    predicted = on_grid(predicted, truth, "result")
    predicted, truth = as_masks(predicted, as_learnt(truth, predicted))
    predicted, truth = (image.replace(data=np.asarray(image.data)) for image in (predicted, truth))
    metrics = compare(predicted, truth, cls.metrics, cls.label_kind)
    yield Progress(1, 3, "drawing the errors")
    errors = error_map(predicted.data, truth.data, cls.label_kind)
    counts = np.bincount(errors.ravel(), minlength=4)
    yield Progress(2, 3, "matching objects")
    objects = match_objects(predicted.data, truth.data) if cls.label_kind == "instances" else None
    return Comparison(metrics, errors, (int(counts[1]), int(counts[2]), int(counts[3])), objects)


def metric_table(metrics: Mapping[str, float], truth: Image) -> DataFrame:
    """Return metrics as rows ``metric, value, unit``; of a surface Dice also its ``tolerance``."""
    import pandas as pd

    said = said_of_lengths(truth, metrics)
    units = [said["length unit"] if name.startswith(LENGTHS) else "" for name in metrics]
    frame = pd.DataFrame({"metric": list(metrics), "value": list(metrics.values()), "unit": units})
    if "nsd tolerance" in said:
        frame["tolerance"] = [said["nsd tolerance"] if name.startswith("nsd") else "" for name in metrics]
    return frame


def image_table(result: Result) -> DataFrame:
    """Return one row per image of what `evaluate` returned, the mean last."""
    import pandas as pd

    rows = {**result["images"], "MEAN": result["mean"]}  # type: ignore[dict-item]
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("image").reset_index()


def match_objects(predicted: np.ndarray, truth: np.ndarray) -> DataFrame:
    """Return one row per object: its number in the result and in the reference (0: none), Dice and IoU.

    Pairs are those of the AJI with one-to-one matching. ``verdict`` is *found* (IoU above 0.5, as in the panoptic
    quality), *partly*, *missed* or *spurious*; the last columns hold an object's centre in pixels, one per axis.
    """
    import pandas as pd
    from scipy import ndimage

    from napari_medseg.evaluate.metrics.objects import match_greedy
    from napari_medseg.evaluate.metrics.overlap import overlaps

    (p, p_ids), (t, t_ids) = _numbered(predicted), _numbered(truth)
    o = overlaps(p, t)
    pairs = match_greedy(o)
    missed = np.setdiff1d(np.arange(t_ids.size), o.ref[pairs])
    spurious = np.setdiff1d(np.arange(p_ids.size), o.pred[pairs])
    alone = missed.size + spurious.size
    verdicts = ["found" if iou > 0.5 else "partly" for iou in o.iou[pairs]]
    frame = pd.DataFrame(
        {
            "reference": np.concatenate([t_ids[o.ref[pairs]], t_ids[missed], np.zeros(spurious.size, int)]),
            "result": np.concatenate([p_ids[o.pred[pairs]], np.zeros(missed.size, int), p_ids[spurious]]),
            "verdict": verdicts + ["missed"] * missed.size + ["spurious"] * spurious.size,
            "iou": np.append(o.iou[pairs], np.zeros(alone)),
            "dice": np.append(o.dice[pairs], np.zeros(alone)),
        }
    )
    places = [
        centre
        for found, objects in ((t, o.ref[pairs]), (t, missed), (p, spurious))
        if objects.size
        for centre in ndimage.center_of_mass(found > 0, found, objects + 1)
    ]
    axes = [f"{axis} (px)" for axis in "tzyx"[-truth.ndim :]]
    return frame.join(pd.DataFrame(places, columns=axes))


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return objects 1 .. N and their N ids; a map of one id is split, and its objects' ids are their numbers."""
    from napari_medseg.measure.labels import ids_of, instances

    objects, ids = instances(labels), ids_of(labels)
    n = int(objects.max(initial=0))
    return objects, ids if ids.size == n else np.arange(1, n + 1)


def _pairs(predictions: Path, references: Path) -> PairList:
    """Pair results with references: two files whatever they are called, folders by stem."""
    for path in (predictions, references):
        if not path.exists():
            raise DataError(f"{path} does not exist. Give a label file or a folder of them.")
    if is_one(predictions) and is_one(references):
        return PairList((Pair(predictions, references),))  # whatever they are called
    left = [predictions] if is_one(predictions) else _label_files(predictions)
    right = [references] if is_one(references) else list_labels(references)
    found = pair_files(left, right)
    if not found.pairs:
        raise DataError(
            f"No file of {predictions} has a partner in {references}: {len(left)} results, {len(right)} references. "
            "Files pair up by their stem, for example cell1_labels.tif with cell1_label.png."
        )
    others = [] if is_one(references) else [path for path in _label_files(references) if path not in right]
    return PairList(found.pairs, (*found.unpaired, *others))


def _label_files(folder: Path) -> list[Path]:
    """List a folder's label files and outlines; probabilities, overlays and images beside them are not labels."""
    files = list_images(inner_folder(folder, LABEL_FOLDERS) or folder, LABEL_SUFFIXES) or list_labels(folder)
    files = [path for path in files if not file_stem(path).endswith(("_probabilities", "_overlay"))] or files
    labelled = {case_stem(path) for path in files if is_label(path)}
    return [path for path in files if is_label(path) or case_stem(path) not in labelled]


def _mean(values: list[float]) -> float:
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
