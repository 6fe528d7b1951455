"""The colours of Okabe and Ito, which colour-blind eyes tell apart: curves, tracings, strokes and marks have them."""

from __future__ import annotations

ORANGE, SKY_BLUE, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
