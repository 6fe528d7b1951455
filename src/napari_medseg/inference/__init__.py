"""Run a network over an image of any size."""

from napari_medseg.inference.network import Prediction, infer, predict

__all__ = ["Prediction", "infer", "predict"]
