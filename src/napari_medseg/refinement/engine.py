"""What an engine is: it brings a mask to scribbles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_medseg.image import Image
from napari_medseg.jobs import Job
from napari_medseg.refinement.intensities import Intensities
from napari_medseg.settings import PredictSettings

if TYPE_CHECKING:
    from napari_medseg.inference.network import Prediction
    from napari_medseg.method import Model


@dataclass
class Answer:
    """What an engine makes of scribbles: labels uint8 (*spatial), seconds per step, a sentence for the user."""

    labels: np.ndarray
    timings: dict[str, float] = field(default_factory=dict)
    message: str = ""


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
        self, scribbles: np.ndarray, before: np.ndarray, mask: np.ndarray, given: np.ndarray, locked: np.ndarray
    ) -> Job[Answer]:
        """Return the labels for all scribbles.

        Parameters
        ----------
        scribbles, before
            All strokes, and those that led to `mask`; uint8 (*spatial), k + 1 for class k.
        mask, given
            The present classes, and what of them no stroke has made (a proposal, a label map); uint8 (*spatial).
        locked
            Accepted objects, which count as background; uint8 (*spatial), not 0 inside.
        """

    @abstractmethod
    def uncertainty(self) -> np.ndarray | None:
        """Return how undecided each voxel was in the last round, float32 (*spatial) in [0, 1], or ``None``."""

    def predict(self, model: Model, image: Image, settings: PredictSettings) -> Job[Prediction]:
        """Run the network that proposes a first mask."""
        from napari_medseg.inference.network import predict

        return (yield from predict(model, image, settings))
