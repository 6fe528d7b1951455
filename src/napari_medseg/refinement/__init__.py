"""Refine a mask with scribbles: the headless session behind the dock, the command line and the tests."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.refinement.session import RefinementSession
    from napari_medseg.refinement.settings import RefinementSettings
    from napari_medseg.refinement.state import Place, RefinementState

__getattr__ = lazily(
    __name__,
    {
        "Place": "state",
        "RefinementSession": "session",
        "RefinementSettings": "settings",
        "RefinementState": "state",
    },
)
__all__ = ["Place", "RefinementSession", "RefinementSettings", "RefinementState"]
