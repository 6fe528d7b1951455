"""The dock Outlines to labels. magicgui makes it from the types below, which it cannot find by their names alone."""

from typing import Any, cast

from magicgui import magic_factory
from napari.layers import Image, Shapes
from napari.types import LayerDataTuple
from napari.utils.notifications import show_info

from napari_medseg._napari.outline_shapes import outlines_to_labels
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


def _name_parts(form: Any) -> None:
    """Give each field its label as its name, and the button its tooltip."""
    for part in form:
        part.native.setAccessibleName(part.label)
    form.call_button.native.setAccessibleName(form.call_button.text)
    form.call_button.tooltip = "Add a Labels layer with one label per outline"


outlines_dock = magic_factory(
    draw_outlines,
    widget_init=_name_parts,
    outlines={"tooltip": "The Shapes layer, for instance of an ImageScope or QuPath file"},
    image={"tooltip": "The image that they were drawn on, whose size and place the labels get"},
    overlap={"tooltip": "Where two outlines lie over each other, whether the first or the last keeps the pixel"},
)
