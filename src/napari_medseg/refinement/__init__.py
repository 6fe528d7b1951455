"""Refine a mask with scribbles: the headless session behind the dock, the command line and the tests."""

from napari_medseg.refinement.replay import replay
from napari_medseg.refinement.session import RefinementSession
from napari_medseg.refinement.state import Place, RefinementSettings, RefinementState

__all__ = ["Place", "RefinementSession", "RefinementSettings", "RefinementState", "replay"]
