"""Tables and the figure of the corneal nerve benchmarks."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

Row = dict[str, object]


def mean_row(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def spread(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean and SD over seeds; the SD of one seed is not a number."""
    result = {}
    for name, value in mean_row(rows).items():
        result[name] = value
        result[f"{name} SD"] = float(np.std([row[name] for row in rows], ddof=1)) if len(rows) > 1 else math.nan
    return result


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Write `rows` as ``.csv`` and as a Markdown table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def draw_lab(rows: Sequence[Row], path: Path) -> None:
    """Draw each metric over the corruptions, one colour for each loss."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no figure")
        return
    names = ("dice", "cldice", "f1_3px", "small pieces")
    corruptions = list(dict.fromkeys(str(row["corruption"]) for row in rows))
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    arms = list(dict.fromkeys(str(row["loss"]) for row in rows))
    for axes, name in zip(figure.subplots(2, 2, sharex=True).ravel(), names, strict=True):
        for index, arm in enumerate(arms):
            chosen = {row["corruption"]: row for row in rows if row["loss"] == arm}
            places = [i + 0.16 * (index - 1.5) for i in range(len(corruptions))]
            values = [float(str(chosen[c][name])) for c in corruptions]
            error = [float(str(chosen[c].get(f"{name} SD", 0))) for c in corruptions]
            axes.errorbar(places, values, error, fmt="osD^"[index], markersize=4, label=arm)
        axes.set_title(name)
        axes.set_xticks(range(len(corruptions)), corruptions, rotation=45, ha="right")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=len(arms), fontsize=8)
    figure.savefig(path, dpi=90)
