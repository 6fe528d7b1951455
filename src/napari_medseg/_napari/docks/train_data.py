"""Where training data come from: a folder, generated sample data, or the layers that are open."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.layers import image_from_layer, image_layers, label_layers
from napari_medseg._napari.widgets.named import folder_edit
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.io.grids import same_grid
from napari_medseg.io.volumes.reader import is_volume


class TrainData(QWidget):
    """The folder to train on, and two buttons that fill one.

    Parameters
    ----------
    viewer
        Whose layers can be written.
    say
        Takes one sentence.
    """

    def __init__(self, viewer: Any, say: Callable[[str], None]) -> None:
        super().__init__()
        self.viewer, self.say = viewer, say
        self.folder = folder_edit(
            "Training data", "Folder with images/ and labels/, or another layout that Check data explains"
        )
        sample, layers = QPushButton("Make sample data ..."), QPushButton("Use open layers ...")
        sample.setToolTip("Ten generated AFM scans with their masks")
        layers.setToolTip("Write every Labels layer and the image it belongs to into a folder, as training cases")
        sample.clicked.connect(lambda: self.make_sample())
        layers.clicked.connect(lambda: self.take_layers())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (self.folder.native, sample, layers):  # one below the other: the dock may be narrow
            column.addWidget(widget)

    def make_sample(self, folder: str = "") -> None:
        """Write generated AFM scans with their masks into a folder and choose it."""
        from napari_medseg.samples.afm import afm_folder

        folder = folder or QFileDialog.getExistingDirectory(self, "Folder for sample data")
        if folder:
            afm_folder(Path(folder), 10, 128)
            self.folder.value = Path(folder)

    def take_layers(self, folder: str = "") -> None:
        """Write the open images with their labels into a folder and choose it."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder for the training cases")
        if not folder:
            return
        try:
            names = write_cases(open_cases(self.viewer), Path(folder))
        except MedSegError as error:
            self.say(str(error))
            return
        self.folder.value = Path(folder)
        self.say(f"{len(names)} case{'s' * (len(names) != 1)} in {folder}: {', '.join(names)}")


def open_cases(viewer: Any) -> list[tuple[Image, Image]]:
    """Return each Labels layer with its image: the layer it was made from, else the one image on its grid.

    Raises
    ------
    DataError
        If there is none, or it is not clear which image labels belong to.
    """
    cases, unclear = [], []
    for layer in reversed(label_layers(viewer)):
        labels = image_from_layer(layer)
        found = _sources(viewer, layer, labels)
        if len(found) == 1:
            cases.append((found[0], labels))
        elif labels.data.any():
            unclear.append(layer.name)
    if unclear or not cases:
        which = f"It is not clear which image these belong to: {', '.join(unclear)}. " if unclear else ""
        raise DataError(
            f"{which}Open images, and for each a Labels layer of its size whose name begins as the image's."
        )
    return cases


def _sources(viewer: Any, layer: Layer, labels: Image) -> list[Image]:
    images = [image for image in map(image_from_layer, image_layers(viewer)) if same_grid(image, labels)]
    made_from = layer.metadata.get("medseg", {}).get("source_layer", "")
    named = [image for image in images if image.name == made_from]
    named = named or [image for image in images if _begins(layer.name, image.name)]
    longest = max((len(image.name) for image in named), default=0)
    return [image for image in named if len(image.name) == longest] or images


def _begins(name: str, word: str) -> bool:
    """Whether `name` begins with a whole `word`: ``cell10_label`` is not of ``cell1``."""
    return name.startswith(word) and not (name[len(word) :] and name[len(word) - 1 : len(word) + 1].isalnum())


def write_cases(cases: list[tuple[Image, Image]], folder: Path) -> list[str]:
    """Write ``images/NAME`` and ``labels/NAME`` for each case; return the names.

    Raises
    ------
    DataError
        If the folder holds other cases already, or two images share a name.
    """
    names = [re.sub(r"[^\w.-]+", "_", image.name).strip("._") or "case" for image, _ in cases]
    if len(set(names)) < len(names):
        raise DataError("Two Labels layers belong to one image. Keep one of them, or merge them.")
    if any((folder / kind).exists() for kind in ("images", "labels")):
        raise DataError(f"{folder} holds training data already. Choose an empty folder.")
    for (image, labels), name in zip(cases, names, strict=True):
        suffix = ".nii.gz" if image.axes == "ZYX" and is_volume(image) else ".tif"
        write(folder / "images" / f"{name}{suffix}", image)
        write(folder / "labels" / f"{name}{suffix}", labels)
    return names
