"""The Evaluate dock: a result against its reference, as two layers or two folders, or round by round."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QFileDialog, QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.docks.evaluate_errors import ErrorView, plain_table, show_frame
from napari_medseg._napari.docks.evaluate_rounds import RoundsCurve, RoundsInput
from napari_medseg._napari.docks.measure import likely_kind
from napari_medseg._napari.layers import image_from_layer, image_layers
from napari_medseg._napari.widgets.dock import Dock, path_in
from napari_medseg._napari.widgets.layer_chooser import FixedChooser
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.named import Choices, folder_edit, push_button
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.errors import MedSegError
from napari_medseg.evaluate import figures
from napari_medseg.evaluate.masks import Comparison, compare_pair, evaluate, image_table, metric_table
from napari_medseg.image import Image
from napari_medseg.io.geometry import in_order
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.io.write import write_tables
from napari_medseg.jobs import Job
from napari_medseg.methods import get_method, role_of, title_of, usable_methods

LAYERS, FOLDERS, ROUNDS = "two layers", "two folders", "a recorded refinement"


def picture_of(viewer: Any, labels: Any) -> Image | None:
    """Return the image that a Labels layer is of: the one it was made from, else one of its size, ``None`` without."""
    source = labels.metadata.get("medseg", {}).get("source_layer", "")
    found = [
        one for one in image_layers(viewer) if one.name == source or one.data.shape[: labels.ndim] == labels.data.shape
    ]
    found.sort(key=lambda one: one.name != source)
    return image_from_layer(found[0]) if found else None


def likely_method(layer: Any, labels: Image | None, image: Image | None) -> str:
    """Return the method that made a layer, else the one whose metrics are those of such images; empty if unknown."""
    made = layer.metadata.get("medseg", {}).get("method", "")
    if made in usable_methods() or labels is None:
        return str(made)
    kind = likely_kind(layer, labels, image)[0]
    made_for = (name for name in usable_methods() if get_method(name).measure == kind and role_of(name) != "classify")
    return next(made_for, "")


class EvaluateDock(Dock):
    """Compare results with references."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.mode = Choices("What is compared", "Two open layers, two folders, or each round of a refinement")
        self.method, self.metrics = Choices("Method", "Whose metrics are computed"), QLabel("")
        self.mode.addItems([LAYERS, FOLDERS, ROUNDS])
        for name in usable_methods():
            self.method.addItem(title_of(name), name)
        self.metrics.setWordWrap(True)
        self.result, self.reference = FixedChooser(napari_viewer, "afm"), FixedChooser(napari_viewer)
        self.results = folder_edit("Folder of results", "Label images that are judged")
        self.references = folder_edit("Folder of references", "Label images that are taken as right, of the same names")
        self.pair, self.folders = _group(self.result, self.reference), _group(self.results, self.references)
        self.rounds, self.curve = RoundsInput(napari_viewer, self.update_reason), RoundsCurve(napari_viewer)
        self.run_bar = RunBar(
            self.make_job, self.show_result, text="Compare", tip="Compute the metrics, and show where the two differ"
        )
        self.table, self.errors = plain_table(150), ErrorView(napari_viewer)
        self.tables: dict[str, pd.DataFrame] = {}
        self.save_button = push_button("Save tables ...", "As CSV or Excel workbook")
        copy = push_button("Copy as command", "Copy the line that does the same in a terminal")
        self.figure_button = push_button("Save figure ...", "As PNG, SVG or PDF")
        for button, action in ((self.save_button, self.save), (self.figure_button, self.save_figure)):
            button.setEnabled(False)
            button.clicked.connect(lambda _=False, action=action: action())
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.command()))
        self.section("Compare", self.mode, self.pair, self.folders, self.rounds)
        self.section("With the metrics of", self.method, self.metrics, copy)
        self.section("Run", self.run_bar)
        self.section("Result", self.table, self.curve, self.errors, self.save_button, self.figure_button)
        self.picked = False  # whether somebody chose the method
        self.method.activated.connect(lambda _: setattr(self, "picked", True))
        self.result.changed.connect(self.update_state)
        for changed in (self.mode.currentIndexChanged, self.method.currentIndexChanged, self.reference.changed):
            changed.connect(lambda *_: self.update_reason())
        listen(napari_viewer.layers.events.inserted, self._inserted, position="last")
        for field in (self.results, self.references):
            field.changed.connect(lambda _: self.update_reason())
        made = next((layer for layer in self.result.found if "medseg" in layer.metadata), None)
        if made is not None:
            self.result.choose(made)
        self.update_state()

    def update_state(self) -> None:
        """Choose the metrics of the result's method, and another layer as its reference."""
        layer = self.result.layer
        made = layer is not None and layer.metadata.get("medseg", {}).get("method", "") in usable_methods()
        if layer is not None and (made or not self.picked):
            proposed = likely_method(layer, self.result.image, picture_of(self.viewer, layer))
            self.method.setCurrentIndex(max(self.method.findData(proposed), 0))
        result, reference = self.result.box.currentData(), self.reference.box.currentData()
        others = [x for x in self.reference.layers(self.viewer) if x.name != result]
        if others and reference == result:
            self.reference.choose(others[0])
        self.update_reason()

    def _inserted(self, event: Any) -> None:
        """Take a new result of a method as the result."""
        if "medseg" in event.value.metadata and isinstance(event.value, Labels):
            self.result.choose(event.value)

    def update_reason(self) -> None:
        """Show the fields of the mode, and enable Run, or say what is missing."""
        mode = self.mode.currentText()
        for shown, fields in ((LAYERS, self.pair), (FOLDERS, self.folders), (ROUNDS, self.rounds)):
            fields.setVisible(mode == shown)
        metrics = ("dice after each step",) if mode == ROUNDS else get_method(self.method.currentData()).metrics
        self.metrics.setText(", ".join(metrics))
        a, b = self.result.box.currentData(), self.reference.box.currentData()
        reason = "" if a and b else "Open a result and its reference as Labels layers."
        if a and a == b:
            reason = "Result and reference are one layer. Choose another one of the two, or open it."
        if mode == FOLDERS:
            reason = "" if path_in(self.results) and path_in(self.references) else "Choose both folders."
        self.run_bar.set_reason(self.rounds.reason if mode == ROUNDS else reason)

    def command(self) -> str:
        """Return the ``medseg evaluate`` line that does the same."""
        if self.mode.currentText() == ROUNDS:
            return self.rounds.command(self.method.currentData())
        files = [path_in(self.results), path_in(self.references)]
        if self.mode.currentText() == LAYERS:
            chosen = self.result.layer, self.reference.layer
            files = ["" if layer is None else image_from_layer(layer).metadata["source_file"] for layer in chosen]
        names = [str(file or word) for file, word in zip(files, ("PRED", "REF"), strict=True)]
        return shlex.join(["medseg", "evaluate", self.method.currentData(), *names])

    def make_job(self) -> Job[Any]:
        """Return the comparison."""
        method = self.method.currentData()
        if self.mode.currentText() == FOLDERS:
            return evaluate(method, Path(self.results.value), Path(self.references.value))
        if self.mode.currentText() == ROUNDS:
            return self.rounds.job()
        self.compared = self.result.layer, self.reference.layer
        predicted, truth = (image_from_layer(layer) for layer in self.compared)
        truth = in_order(truth)
        pair = on_grid(predicted, truth, "result"), truth
        self.images = [one.replace(data=np.array(one.data)) for one in pair]  # what is painted later is not compared
        return compare_pair(method, *self.images)

    def show_result(self, result: Any) -> None:
        """Fill the tables; for layers also show the errors, for a refinement the curve."""
        done = self.run_bar.message.text()
        self.errors.setVisible(isinstance(result, Comparison))
        self.curve.show_rounds(result if isinstance(result, pd.DataFrame) else None)
        if isinstance(result, Comparison):
            self.tables = {"metrics": metric_table(result.metrics, self.images[1])}
            self.tables |= {} if result.objects is None else {"objects": result.objects}
            self.draw = partial(figures.error_figure, result, *self.images)
            self.errors.show_errors(result, self.images[1], *self.compared)
            notes = "".join(f" {note}" for note in moved_notes(self.images[0]))
            self.run_bar.say(f"{done}. The two layers are hidden below their errors.{notes}")
        elif isinstance(result, pd.DataFrame):
            self.tables, self.draw = {"rounds": result}, partial(figures.rounds_figure, result)
            self.run_bar.say(f"{done}. Dice {result['dice'].iloc[-1]:.3f} after {len(result) - 1} steps.")
        else:
            self.tables = {"images": image_table(result)}
            self.draw = partial(figures.metric_figure, self.tables["images"])
            unpaired = f" Without partner: {', '.join(result['unpaired'])}." if result["unpaired"] else ""
            problems = "".join(f" Not compared: {problem}" for problem in result["problems"])
            problems += "".join(f" {note}" for note in result["notes"])
            self.run_bar.say(f"{done}. {len(result['images'])} images compared.{unpaired}{problems}")
        show_frame(self.table, next(iter(self.tables.values())))
        self.save_button.setEnabled(True)
        self.figure_button.setEnabled(True)

    def save(self, path: str = "") -> None:
        """Save the tables as CSV or Excel."""
        self._save(path, "evaluation.csv", "CSV (*.csv);;Excel (*.xlsx)", lambda p: write_tables(p, self.tables))

    def save_figure(self, path: str = "") -> None:
        """Save the figure as PNG, SVG or PDF."""
        kinds = "PNG (*.png);;SVG (*.svg);;PDF (*.pdf)"
        self._save(path, "evaluation.png", kinds, lambda p: [figures.save_figure(p, self.draw())])

    def _save(self, path: str, name: str, kinds: str, write: Callable[[Path], list[Path]]) -> None:
        path = path or QFileDialog.getSaveFileName(self, "Save", name, kinds)[0]
        if not path:
            return
        try:
            self.run_bar.say(f"Saved {', '.join(one.name for one in write(Path(path)))}")
        except MedSegError as error:
            self.run_bar.say(str(error))


def _group(*fields: Any) -> QWidget:
    box = QWidget()
    layout = QVBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    for name, field in zip(("Result", "Reference"), fields, strict=True):
        layout.addWidget(QLabel(name))
        layout.addWidget(getattr(field, "native", field))
    return box
