"""Train a method on a folder of images and labels."""

from napari_medseg.training.loop import fit, train

__all__ = ["fit", "train"]
