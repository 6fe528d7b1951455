"""Measures of each eye: mean and SD over its images, from the open layers or from a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer
from qtpy.QtWidgets import (
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medseg._napari.layers import image_from_layer, label_layers
from napari_medseg._napari.nerves.paths import PATHS_OF
from napari_medseg._napari.nerves.pictures import plain_name, with_picture
from napari_medseg._napari.widgets.named import named
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.errors import DataError, MedSegError
from napari_medseg.image import Image
from napari_medseg.io.geometry import measurable
from napari_medseg.io.write import write_table, write_tables
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import nerve, summarise
from napari_medseg.measure.eyes import FIELDS, assignment
from napari_medseg.measure.files import Tables, measure_files
from napari_medseg.measure.settings import NerveSettings

Drawn = tuple[list[np.ndarray], list[str]]
Found = tuple[Image, Image | None, Drawn | None]  # labels, their picture on the same grid, paths drawn for them
Rows = tuple[pd.DataFrame, tuple[str, ...]]


def measure_layers(found: Sequence[Found], eyes: str = "", settings: NerveSettings | None = None) -> Job[Rows]:
    """Return a row for each label image, and problems; where paths were drawn they count, not the mask's centreline.

    `eyes` says how names state subject and eye, or names a table (`napari_medseg.measure.eyes.assignment`).

    Raises
    ------
    DataError
        If none can be measured.
    """
    frames, problems = [], []
    who = assignment(eyes) if eyes else None
    for index, (labels, picture, drawn) in enumerate(found, 1):
        try:
            if drawn is None:
                row = summarise("nerve", labels, picture, settings)
            else:
                row = _drawn_summary(measurable(labels), picture, *drawn, settings)
            known = who(plain_name(labels.name)) if who is not None else None
            frames.append(row if known is None else row.assign(**known))
        except DataError as error:
            problems.append(f"{labels.name} is not measured: {error}")
        yield Progress(index, len(found), f"measured {labels.name}")
    if not frames:
        raise DataError(problems[0])
    return pd.concat(frames, ignore_index=True), tuple(problems)


def measure_folder(folder: Path, eyes: str = "", settings: NerveSettings | None = None) -> Job[Rows]:
    """Return a row for each label image in `folder`, and what could not be measured."""
    tables: Tables = yield from measure_files("nerve", [folder], eyes=eyes, settings=settings)
    return tables.images, tables.problems


class NerveEyes(QWidget):
    """Eyes of the open Labels layers or of a folder; `picture` returns the Image layer of one or ``None``.

    `settings` returns those of the measurement, `show` is called with the table.

    Which image is of which eye comes from its name, and can be changed by hand in the table of images.
    """

    def __init__(
        self,
        viewer: Any,
        picture: Callable[[Layer], Layer | None],
        settings: Callable[[], NerveSettings],
        show: Callable[[pd.DataFrame], None],
    ) -> None:
        super().__init__()
        self.viewer, self.picture, self.settings, self.show_result = viewer, picture, settings, show
        self.rows, self.problems = pd.DataFrame(), ("",)
        tip = "Mean and SD of each eye over all open Labels layers; edited paths count"
        self.run_bar = RunBar(self.make_job, self._measured, text="Eyes of open layers", tip=tip)
        self.folder_button = QPushButton("Eyes of a folder ...")
        self.folder_button.setToolTip("Mean and SD of each eye over the label images of a folder")
        self.folder_button.clicked.connect(lambda: self.start_folder())
        self.names = QLineEdit()
        self.names.setPlaceholderText("names: {subject}_{eye}_{frame}, or a table .csv")
        named(
            self.names,
            "Names of images",
            "How names state subject, eye and site (* is anything), or a CSV table with the columns image, subject, "
            "eye, site; empty: as the corneal microscope names them",
        )
        self.hint = QLabel("Of which subject and eye is each image? Click a cell to change it.")
        self.hint.setWordWrap(True)
        self.table = named(QTableWidget(0, 1 + len(FIELDS)), "Who is who", "Click a cell to change it")
        self.table.setHorizontalHeaderLabels(["image", *FIELDS])
        self.table.setMinimumHeight(140)
        self.table.cellChanged.connect(self._assigned)
        self.save_button = QPushButton("Save who is who ...")
        self.save_button.setToolTip("As a table that this dock and medseg measure take instead of a pattern")
        self.save_button.clicked.connect(lambda: self.save())
        self.eyes, self.eyes_button = pd.DataFrame(), QPushButton("Save eyes ...")
        self.eyes_button.setToolTip("The table of eyes as CSV or Excel workbook")
        self.eyes_button.clicked.connect(lambda: self.save_eyes())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        parts = (self.names, self.folder_button, self.run_bar, self.eyes_button)
        for widget in (*parts, self.hint, self.table, self.save_button):
            layout.addWidget(widget)
        self._show_images()

    def make_job(self) -> Job[Rows]:
        """Return the job that measures all open 2D Labels layers."""
        flat = [one for one in reversed(label_layers(self.viewer)) if image_from_layer(one).spatial_axes == "YX"]
        found = [(*with_picture(layer, self.picture(layer)), self._drawn(layer)) for layer in flat]
        if not found:
            raise DataError("Open or make 2D Labels layers first.")
        return measure_layers(found, self.names.text().strip(), self.settings())

    def start_folder(self, folder: str = "") -> None:
        """Measure the label images of a folder."""
        folder = folder or QFileDialog.getExistingDirectory(self, "Folder of label images")
        if not folder:
            return
        try:
            job = measure_folder(Path(folder), self.names.text().strip(), self.settings())
        except MedSegError as error:
            self.run_bar.say(str(error))
            return
        self.run_bar.begin(job, self._measured)

    def save(self, path: str = "") -> None:
        """Save who is who as a table, and take it instead of the pattern from now on."""
        path = path or QFileDialog.getSaveFileName(self, "Save who is who", "eyes.csv", "CSV (*.csv)")[0]
        if not path:
            return
        try:
            self.names.setText(str(write_table(Path(path), self.rows[["image", *FIELDS]])))
        except MedSegError as error:
            self.run_bar.say(str(error))

    def save_eyes(self, path: str = "") -> None:
        """Save the table of eyes, and the images that it is of."""
        kinds = "Table (*.csv);;Excel workbook (*.xlsx)"
        path = path or QFileDialog.getSaveFileName(self, "Save eyes", "eyes_measured.csv", kinds)[0]
        if path:
            try:
                self.run_bar.say(f"Saved {write_tables(Path(path), {'eyes': self.eyes, 'images': self.rows})[0]}.")
            except MedSegError as error:
                self.run_bar.say(str(error))

    def _drawn(self, layer: Any) -> Drawn | None:
        """Return the newest paths of a Labels layer, whatever the two are called now."""
        drawn = [one for one in self.viewer.layers if one.metadata.get(PATHS_OF) == layer.unique_id]
        if not drawn:
            return None
        paths = drawn[-1]
        return [np.array(path) for path in paths.data], paths.features["class"].tolist()

    def _measured(self, found: Rows) -> None:
        self.rows, self.problems = found
        for name in FIELDS:
            if name not in self.rows:
                self.rows[name] = ""
        self.rows[list(FIELDS)] = self.rows[list(FIELDS)].fillna("").astype(str)
        self._show_images()
        self._group()

    def _show_images(self) -> None:
        """List the images with subject, eye and site."""
        self.table.blockSignals(True)
        self.table.setRowCount(len(self.rows))
        for row in range(len(self.rows)):
            for column, name in enumerate(("image", *FIELDS)):
                self.table.setItem(row, column, QTableWidgetItem(str(self.rows[name].iloc[row])))
        self.table.resizeColumnsToContents()
        self.table.blockSignals(False)
        for widget in (self.hint, self.table, self.save_button, self.eyes_button):
            widget.setVisible(len(self.rows) > 0)

    def _assigned(self, row: int, column: int) -> None:
        """Take what was typed and group anew."""
        if column > 0:
            self.rows.loc[self.rows.index[row], FIELDS[column - 1]] = self.table.item(row, column).text().strip()
            self._group()

    def _group(self) -> None:
        eyes = nerve.by_eye([self.rows])
        warnings = [text for name in ("overlap warning", "area warning") for text in eyes.get(name, ())]
        notes = [text for text in warnings if isinstance(text, str) and text] + list(self.problems)
        images = int(eyes["images used"].sum())
        self.run_bar.say("\n".join([f"{len(eyes)} eyes, {images} images", *dict.fromkeys(notes)]))
        self.eyes = eyes
        self.show_result(eyes)


def _drawn_summary(
    labels: Image, picture: Image | None, paths: list[np.ndarray], classes: list[str], settings: NerveSettings | None
) -> pd.DataFrame:
    known = paths, classes, labels.spatial_shape, labels.scale, labels.units, np.asarray(labels.data) > 0
    measures = nerve.summary_from_paths(*known, settings=settings, picture=picture)
    return pd.DataFrame([{**nerve.identity(labels, picture), **measures}])
