"""The dock Outlines to labels. magicgui makes it from the types below, which it cannot find by their names alone."""

from typing import cast

from napari.layers import Image, Shapes
from napari.types import LayerDataTuple
from napari.utils.notifications import show_info

from napari_medseg._napari.readers import outlines_to_labels
from napari_medseg.errors import MedSegError
from napari_medseg.io.outlines.polygons import Overlap


def draw_outlines(outlines: Shapes, image: Image, overlap: Overlap = "first") -> LayerDataTuple:
    """Draw outlines as labels of an image's size; `overlap` says whether the first or last outline keeps a pixel."""
    if outlines is None or image is None:
        show_info("Open outlines (a Shapes layer) and the image that they were drawn on.")
    else:
        try:
            return LayerDataTuple(outlines_to_labels(outlines, image, overlap))
        except MedSegError as error:
            show_info(str(error))
    return cast(LayerDataTuple, None)  # adds no layer
