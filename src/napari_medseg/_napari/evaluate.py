"""The Evaluate dock: a result against its reference, as two layers or two folders."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import napari
import pandas as pd
from magicgui.widgets import FileEdit
from napari.layers import Labels
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medseg._napari.dock import Dock
from napari_medseg._napari.error_view import ErrorView, FixedChooser, plain_table, show_frame
from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.run_bar import RunBar
from napari_medseg.errors import MedSegError
from napari_medseg.evaluation import Comparison, compare_pair, evaluate, image_table, metric_table, save_tables
from napari_medseg.image import SHORT_UNITS
from napari_medseg.jobs import Job
from napari_medseg.methods import METHODS, get_method

LAYERS, FOLDERS = "two layers", "two folders"


class EvaluateDock(Dock):
    """Compare results with references."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.mode, self.method, self.metrics = QComboBox(), QComboBox(), QLabel("")
        self.mode.addItems([LAYERS, FOLDERS])
        for name in METHODS:
            self.method.addItem(name, name)
        self.metrics.setWordWrap(True)
        self.result, self.reference = FixedChooser(napari_viewer, "afm"), FixedChooser(napari_viewer)
        self.results = FileEdit(mode="d", label="Results", nullable=True)
        self.references = FileEdit(mode="d", label="References", nullable=True)
        self.pair, self.folders = _group(self.result, self.reference), _group(self.results, self.references)
        self.run_bar = RunBar(self.make_job, self.show_result, text="Compare")
        self.table, self.errors = plain_table(150), ErrorView(napari_viewer)
        self.tables: dict[str, pd.DataFrame] = {}
        self.save_button, copy = QPushButton("Save tables ..."), QPushButton("Copy as command")
        self.save_button.setEnabled(False)
        self.save_button.clicked.connect(lambda: self.save())
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.command()))
        self.section("Compare", self.mode, self.pair, self.folders)
        self.section("With the metrics of", self.method, self.metrics, copy)
        self.section("Run", self.run_bar)
        self.section("Result", self.table, self.errors, self.save_button)
        self.result.changed.connect(self.update_state)
        for changed in (self.mode.currentIndexChanged, self.method.currentIndexChanged, self.reference.changed):
            changed.connect(lambda *_: self.update_reason())
        napari_viewer.layers.events.inserted.connect(self._inserted, position="last")
        for field in (self.results, self.references):
            field.changed.connect(lambda _: self.update_reason())
        self.update_state()

    def update_state(self) -> None:
        """Choose the metrics of the result's method, and another layer as its reference."""
        layer = self.result.layer
        if layer is not None and "medseg" in layer.metadata:
            self.method.setCurrentIndex(max(self.method.findData(layer.metadata["medseg"].get("method")), 0))
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
        layers = self.mode.currentText() == LAYERS
        self.pair.setVisible(layers)
        self.folders.setVisible(not layers)
        self.metrics.setText(", ".join(get_method(self.method.currentData()).metrics))
        if layers:
            a, b = self.result.box.currentData(), self.reference.box.currentData()
            ready, wanted = a and b and a != b, "Open a result and its reference as Labels layers."
        else:
            ready, wanted = _path(self.results) and _path(self.references), "Choose both folders."
        self.run_bar.set_reason("" if ready else wanted)

    def command(self) -> str:
        """Return the ``medseg evaluate`` line that does the same."""
        files = [_path(self.results), _path(self.references)]
        if self.mode.currentText() == LAYERS:
            chosen = self.result.layer, self.reference.layer
            files = ["" if layer is None else image_from_layer(layer).metadata["source_file"] for layer in chosen]
        names = [file or word for file, word in zip(files, ("PRED", "REF"), strict=True)]
        return shlex.join(["medseg", "evaluate", self.method.currentData(), *names])

    def make_job(self) -> Job[Any]:
        """Return the comparison."""
        method = self.method.currentData()
        if self.mode.currentText() == FOLDERS:
            return evaluate(method, Path(self.results.value), Path(self.references.value))
        self.compared = self.result.layer, self.reference.layer
        return compare_pair(method, *(image_from_layer(layer) for layer in self.compared))

    def show_result(self, result: Any) -> None:
        """Fill the tables; for layers also show the errors."""
        done = self.run_bar.message.text()
        if isinstance(result, Comparison):
            unit = image_from_layer(self.compared[1]).units[-1]
            self.tables = {"metrics": metric_table(result.metrics, SHORT_UNITS.get(unit, unit))}
            self.tables |= {} if result.objects is None else {"objects": result.objects}
            self.errors.show_errors(result, *self.compared)
            self.run_bar.say(f"{done}. The two layers are hidden below their errors.")
        else:
            self.tables = {"images": image_table(result)}
            self.errors.hide()
            unpaired = f"Without partner: {', '.join(result['unpaired'])}" if result["unpaired"] else ""
            self.run_bar.say(f"{done}. {len(result['images'])} images compared. {unpaired}")
        show_frame(self.table, next(iter(self.tables.values())))
        self.save_button.setEnabled(True)

    def save(self, path: str = "") -> None:
        """Save the tables as CSV or Excel."""
        kinds = "CSV (*.csv);;Excel (*.xlsx)"
        path = path or QFileDialog.getSaveFileName(self, "Save tables", "evaluation.csv", kinds)[0]
        if not path:
            return
        try:
            written = save_tables(Path(path), self.tables)
            self.run_bar.say(f"Saved {', '.join(one.name for one in written)}")
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


def _path(edit: FileEdit) -> str:
    value = edit.value
    return str(value) if value and str(value) not in {"", "."} else ""
