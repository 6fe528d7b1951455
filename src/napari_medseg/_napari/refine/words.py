"""What the dock Refine with scribbles says: hints, tool tips and the line on an accepted object."""

from __future__ import annotations

from napari_medseg.refinement import RefinementState
from napari_medseg.refinement.state import amount, elements

HINT = "Paint a stroke inside the object, and one outside it where the mask leaks."
CORRECT = "Paint where the mask is wrong: foreground in what is missing, background in what is too much."
TIPS = {
    "auto": "Each released stroke refines. Off: draw several strokes, then press S once",
    "outline": "Show the border of the mask only",
    "overlay": "Show how undecided the mask is: a stroke helps most where it is bright",
    "refine": "Bring the mask to all strokes",
    "undo": "Go back one round: strokes and mask",
    "redo": "Go forward one round",
    "place": "Show the least decided place in the middle of the view, then the next one",
    "disagreement": "Show the largest difference from the reference layer in the middle of the view",
    "accept": "Write the mask into the layer of objects under the next number, lock it there, clear the strokes",
    "finish": "End the refinement; it is saved, and its layers stay",
}
REFERENCE = "Labels layer that the mask is compared with"


def accepted(state: RefinementState) -> str:
    """Say what was accepted: the mask turned into a locked object."""
    volume = amount(abs(state.volume_change), state.unit)
    size = f"{state.n_changed:,} {elements(state.mask.ndim)} ({volume})"
    return f"round {state.index} · object {int(state.result.max())} accepted and locked: {size}"
