"""Object against background as a minimum of an energy: graph cuts on grids, coarse to fine, without torch."""

from napari_medseg.graphcut.cut import minimum_cut
from napari_medseg.graphcut.energy import EDGE, INSIDE, OVER, THIN, Answer, Energy, Problem, Push, likeness, minimise

__all__ = [
    "EDGE",
    "INSIDE",
    "OVER",
    "THIN",
    "Answer",
    "Energy",
    "Problem",
    "Push",
    "likeness",
    "minimise",
    "minimum_cut",
]
