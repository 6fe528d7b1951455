"""Train a method on a folder of images and labels."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.training.loop import fit, train

__getattr__ = lazily(
    __name__,
    {
        "fit": "loop",
        "train": "loop",
    },
)
__all__ = ["fit", "train"]
