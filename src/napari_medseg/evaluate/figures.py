"""Figures of an evaluation, drawn by matplotlib without a window: where the errors are, the metrics, Dice per round."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError, WriteError, require
from napari_medseg.evaluate.masks import ABOUT, metric_table
from napari_medseg.image import Image
from napari_medseg.io.files import replacing
from napari_medseg.report.overlay import PALETTE

if TYPE_CHECKING:
    from pandas import DataFrame

    from napari_medseg.evaluate.masks import Comparison

SUFFIXES = (".png", ".svg", ".pdf")
COLOURS = {
    "true positive": "#009e73",  # of Okabe and Ito: told apart by colour-blind eyes
    "false positive": "#e69f00",
    "false negative": "#56b4e9",
}
LINE = "#0072b2"
LARGEST = 1200  # pixels of a picture's edge
ROWS = 12


def save_figure(path: Path, figure: Any) -> Path:
    """Write a figure as ``.png``, ``.svg`` or ``.pdf``.

    Raises
    ------
    WriteError
        If the suffix is another, or the disk refuses.
    """
    path = Path(path)
    check_figure(path)
    with replacing(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that a font lacks
        figure.savefig(part, format=path.suffix[1:].lower(), dpi=200)
    return path


def check_figure(path: Path) -> None:
    """Refuse a name that no figure can be written under; to be asked before the work that it shows.

    Raises
    ------
    WriteError
        If the suffix is none of `SUFFIXES`.
    MissingDependencyError
        If matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise WriteError(f"{path.name}: figures are written as {', '.join(SUFFIXES)}. Choose one of these suffixes.")
    require("matplotlib", "figure", "A figure")


def error_figure(found: Comparison, predicted: Image, truth: Image) -> Any:
    """Return reference, result and errors side by side, of a volume in the plane with most errors; metrics below."""
    wrong = found.errors > 1
    index: tuple[int, ...] = ()
    if wrong.ndim > 2:
        counts = wrong.reshape(-1, *wrong.shape[-2:]).sum((1, 2))
        index = tuple(int(i) for i in np.unravel_index(int(counts.argmax()), wrong.shape[:-2]))
    step = max(1, -(-max(wrong.shape[-2:]) // LARGEST))
    errors, result, reference = (
        np.asarray(array[index])[::step, ::step] for array in (found.errors, predicted.data, truth.data)
    )
    figure = _figure(11, 5.2)
    left = figure.subplots(2, 3, gridspec_kw={"height_ratios": [4, 1]})
    aspect = truth.scale[-2] / truth.scale[-1]
    colours = np.array([[0, 0, 0], *(_rgb(c) for c in COLOURS.values())])
    plane = f", plane {', '.join(map(str, index))}" if index else ""
    panels = (("reference" + plane, _labels(reference)), ("result", _labels(result)), ("errors", colours[errors]))
    for axis, (title, picture) in zip(left[0], panels, strict=True):
        axis.imshow(picture, aspect=aspect, interpolation="nearest")
        axis.set_title(title, fontsize=10)
        axis.set_axis_off()
    for axis in left[1]:
        axis.set_axis_off()
    total = max(sum(found.counts), 1)
    patch = require("matplotlib.patches", "figure", "A figure").Patch
    handles = [
        patch(color=colour, label=f"{name}: {n:,} px ({n / total:.1%})")
        for (name, colour), n in zip(COLOURS.items(), found.counts, strict=True)
    ]
    left[1][2].legend(handles=handles, loc="upper left", frameon=False, fontsize=9)
    rows = metric_table(found.metrics, truth).to_dict("records")
    metrics = [f"{row['metric']} {row['value']:.3f} {row['unit'] or _within(row)}".rstrip() for row in rows]
    left[1][0].text(0, 0.8, "\n".join(_wrapped(metrics)), fontsize=9, va="top", transform=left[1][0].transAxes)
    return figure


def metric_figure(images: DataFrame) -> Any:
    """Return one panel per metric of `image_table`: a dot per image, a line at the mean.

    Raises
    ------
    DataError
        If the table holds no number.
    """
    rows = images[images["image"] != "MEAN"]
    names = [name for name in images.columns if name not in ("image", *ABOUT)]
    if not names or not len(rows):
        raise DataError("There is nothing to draw: no image was compared.")
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = _figure(2.8 * columns, 2.4 * lines)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    order = np.arange(len(rows))
    for axis, name in zip(axes, names, strict=False):
        values = rows[name].to_numpy(float)
        axis.plot(order, values, "o", color=LINE, markersize=4)
        finite = values[np.isfinite(values)]
        if finite.size:
            axis.axhline(finite.mean(), color=COLOURS["false positive"])
            axis.set_title(f"{name}: {finite.mean():.3f}", fontsize=10)
        few = len(rows) <= ROWS
        axis.set_xticks(order if few else [], list(rows["image"]) if few else [], rotation=60, ha="right", fontsize=7)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    return figure


def rounds_figure(rounds: DataFrame) -> Any:
    """Return the Dice after each step of a refinement (`replay_scores`), accepted objects and undo marked."""
    figure = _figure(6, 3.6)
    axis = figure.subplots()
    axis.plot(rounds["step"], rounds["dice"], "-o", color=LINE, markersize=4)
    for _, row in rounds[~rounds["event"].isin(["start", "refine"])].iterrows():
        axis.annotate(row["event"], (row["step"], row["dice"]), fontsize=7, xytext=(0, 6), textcoords="offset points")
    axis.set_xlabel("step of the refinement")
    axis.set_ylabel("Dice")
    axis.set_ylim(-0.02, 1.04)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)
    last = rounds.iloc[-1]
    axis.set_title(f"Dice {rounds['dice'].iloc[0]:.3f} to {last['dice']:.3f} with {int(last['strokes'])} strokes")
    return figure


def _within(row: Mapping[Hashable, Any]) -> str:
    return f"within {row['tolerance']}" if row.get("tolerance") else ""


def _figure(width: float, height: float) -> Any:
    return require("matplotlib.figure", "figure", "A figure").Figure((width, height), layout="constrained")


def _labels(labels: np.ndarray) -> np.ndarray:
    """Return a picture (Y, X, 3) in [0, 1] of a label map: black, one label grey, several in colours."""
    values = labels.astype(np.int64)
    if len(np.unique(values[values > 0])) <= 1:
        return np.repeat(np.where(values > 0, 0.85, 0.0)[..., None], 3, 2)
    return np.where((values > 0)[..., None], PALETTE[(values - 1) % len(PALETTE)] / 255, 0.0)


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def _wrapped(words: list[str], each: int = 4) -> list[str]:
    return [" · ".join(words[i : i + each]) for i in range(0, len(words), each)]
