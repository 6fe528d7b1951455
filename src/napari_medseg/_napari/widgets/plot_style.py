"""Plots in the colours of napari's theme: its ground, and for axes and legends that of its text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.compat import isalive


def follow_theme(viewer: Any, plots: Sequence[pg.PlotWidget]) -> Callable[[], None]:
    """Draw `plots` on the ground of the viewer's theme, axes and legends in its text colour, now and when it changes.

    Returns what does it again, after new curves.
    """

    def draw(event: Any = None) -> None:
        theme = get_theme(viewer.theme)
        colour = theme.text.as_hex()
        for plot in filter(isalive, plots):
            plot.setBackground(theme.background.as_hex())  # a transparent one keeps what was painted below it
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
