"""Run a network over an image of any size."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.inference.network import Prediction, infer, predict

__getattr__ = lazily(
    __name__,
    {
        "Prediction": "network",
        "infer": "network",
        "predict": "network",
    },
)
__all__ = ["Prediction", "infer", "predict"]
