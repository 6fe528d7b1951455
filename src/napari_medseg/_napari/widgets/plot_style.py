"""Axes and legends of plots in the colour that napari's theme gives to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.compat import isalive


def follow_theme(viewer: Any, plots: Sequence[pg.PlotWidget]) -> Callable[[], None]:
    """Draw axes and legends of `plots` in the text colour of the viewer's theme, now and when it changes.

    Returns what does it again, after new curves.
    """

    def draw(event: Any = None) -> None:
        colour = get_theme(viewer.theme).text.as_hex()
        for plot in filter(isalive, plots):
            for side in ("left", "bottom"):
                plot.getAxis(side).setPen(colour)
                plot.getAxis(side).setTextPen(colour)
            legend = plot.getPlotItem().legend
            if legend is not None:
                legend.setLabelTextColor(colour)
                for _, label in legend.items:
                    label.setText(label.text, color=colour)

    viewer.events.theme.connect(draw)
    draw()
    return draw
