"""What an engine is: it brings a mask to scribbles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.image import Image
from napari_medseg.jobs import Job
from napari_medseg.refinement.boxes import Box, Extents, box_of, changed_box, extents_of
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.settings import PredictSettings

if TYPE_CHECKING:
    from napari_medseg.inference.network import Prediction
    from napari_medseg.method import Model


@dataclass
class Answer:
    """What an engine makes of scribbles: labels uint8 (*spatial), seconds per step, a sentence for the user.

    Outside the boxes `changed` the labels are those of the mask; ``None``: they may differ anywhere.
    """

    labels: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    message: str = ""
    changed: list[Box] | None = None


@dataclass(frozen=True)
class Known:
    """What is known of the arrays of a round, so that an engine need not look through the whole of them.

    Parameters
    ----------
    where
        Box outside of which strokes are those of before; ``None``: nowhere do they differ.
    mask, given
        Where the classes of these lie, as `extents_of`.
    painted, taken
        Boxes that hold all strokes and all accepted objects; ``None``: there are none.
    """

    where: Box | None
    mask: Extents
    given: Extents
    painted: Box | None
    taken: Box | None

    @classmethod
    def of(
        cls, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray
    ) -> Known:
        """Look through all of the arrays."""
        boxes = changed_box(scribbles, before), box_of(scribbles > 0), box_of(locked > 0)
        return cls(boxes[0], extents_of(mask), extents_of(given), *boxes[1:])


class Engine(ABC):
    """Brings the mask of one image to scribbles.

    Parameters
    ----------
    image
        The image, 2D or 3D.
    """

    border_doubt = True  # whether the mask's border counts as undecided where the image has no edge

    def __init__(self, image: Image) -> None:
        self.image = image
        self.intensities = Intensities(image)

    @abstractmethod
    def prepare(self) -> None:
        """Do what can be done before the first stroke."""

    @abstractmethod
    def refine(
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray,
        known: Known | None = None,
    ) -> Job[Answer]:  # fmt: skip
        """Return the labels for all scribbles.

        Parameters
        ----------
        scribbles, before
            All strokes, and those that led to `mask`; uint8 (*spatial), k + 1 for class k.
        mask, given
            The present classes, and what of them no stroke has made (a proposal, a label map); uint8 (*spatial).
        locked
            Accepted objects, which count as background; integers (*spatial), not 0 inside.
        known
            What is known of these arrays; without it they are looked through.
        """

    @abstractmethod
    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 (*spatial) in [0, 1], or ``None``."""

    def predict(self, model: Model, image: Image, settings: PredictSettings) -> Job[Prediction]:
        """Run the network that proposes a first mask."""
        from napari_medseg.inference.network import predict

        return (yield from predict(model, image, settings))
