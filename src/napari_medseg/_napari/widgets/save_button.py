"""The button that writes a Labels layer to a file, on the grid of the image it was made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_medseg._napari.readers import write_labels
from napari_medseg.errors import MedSegError
from napari_medseg.io.pairs import file_stem

VOLUMES = "NIfTI (*.nii.gz *.nii);;NRRD (*.nrrd);;MetaImage (*.mha);;TIFF (*.tif)"
PICTURES = "TIFF (*.tif *.tiff);;PNG (*.png);;QuPath (*.geojson);;ImageJ regions (*.zip)"


class SaveButton(QPushButton):
    """*Save result ...*, which asks for a name and tells through `say` what came of it.

    Parameters
    ----------
    parent
        Widget over which the file dialog opens.
    layer
        Returns the Labels layer to write.
    say
        Takes one sentence.
    """

    def __init__(self, parent: QWidget, layer: Callable[[], Any], say: Callable[[str], None]) -> None:
        super().__init__("Save result ...")
        self._parent, self._layer, self._say = parent, layer, say
        self.setToolTip("Write the accepted objects, or the mask while there are none, with voxel size and place")
        self.clicked.connect(lambda: self.save())

    def save(self, path: str = "") -> None:
        """Write the layer, under a name that is asked for."""
        layer = self._layer()
        if not layer.data.any():
            self._say("There is nothing to save yet: no object is accepted, and the mask is empty.")
            return
        kinds = VOLUMES if layer.ndim == 3 else PICTURES
        path = path or QFileDialog.getSaveFileName(self._parent, "Save result", str(proposed(layer)), kinds)[0]
        if not path:
            return
        data, attributes, _ = layer.as_layer_data_tuple()
        try:
            self._say(f"Saved {write_labels(path, data, attributes)[0]}.")
        except MedSegError as error:
            self._say(str(error))


def proposed(layer: Any) -> Path:
    """Return a name beside the image's file that opens as labels again."""
    made = layer.metadata.get("medseg", {})
    source = Path(made.get("source_file", ""))
    stem = file_stem(source) or made.get("source_layer", "") or layer.name
    return source.parent / f"{stem}_label{'.nii.gz' if layer.ndim == 3 else '.tif'}"
