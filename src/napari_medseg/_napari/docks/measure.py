"""The Measure dock: a Labels layer becomes a table; rows and objects select each other."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import napari
import numpy as np
import pandas as pd
from napari.layers import Labels, Layer
from napari.utils.colormaps import label_colormap
from qtpy.QtWidgets import QLabel

from napari_medseg._napari.layers import image_from_layer, image_layers, in_layer, measured_layers
from napari_medseg._napari.nerves.eyes import NerveEyes
from napari_medseg._napari.nerves.paths import NervePaths
from napari_medseg._napari.nerves.pictures import picture_layer
from napari_medseg._napari.widgets.charts import Charts
from napari_medseg._napari.widgets.dock import Dock, FoldedSettings
from napari_medseg._napari.widgets.export_button import ExportButton, Measured
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.layer_chooser import LayerChooser
from napari_medseg._napari.widgets.listening import PLACE, hear
from napari_medseg._napari.widgets.named import Choices
from napari_medseg._napari.widgets.object_tools import ObjectTools
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg._napari.widgets.table import TableView
from napari_medseg._napari.widgets.words import text
from napari_medseg.errors import MedSegError
from napari_medseg.image import FACTS, OBJECTS, SEGMENT_COLOURS, SEGMENT_NAMES, Image
from napari_medseg.io.grids import moved_notes, together
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import KINDS, assumed, measure, measured_labels, summarise
from napari_medseg.measure.nerve import MAIN
from napari_medseg.measure.settings import NerveSettings
from napari_medseg.models.purpose import Field, likely_field
from napari_medseg.settings import Settings, as_flags

EDITS = ("data", "paint", "labels_update", *PLACE)  # events of a layer whose numbers change
VALUES = ("data", "metadata", *PLACE)  # of the image: what its grey values are stands in its metadata
HEADLINES = 4  # numbers of the summary that stand above the table
ROWS = {"afm": "cell", "nerve": "nerve", "nuclei": "object", "video": "frame", "volume": "object"}
OF_FIELD: dict[Field, str] = {
    "afm": "afm", "cornea": "nerve", "tissue": "nuclei", "movie": "video", "volume": "volume", "ultrasound": "nuclei"
}  # fmt: skip
TITLES = {
    "afm": "AFM cells",
    "nerve": "corneal nerves",
    "nuclei": "nuclei and glands",
    "video": "nerve in movies",
    "volume": "volumes",
}


def measure_job(
    kind: str, labels: Image, image: Image | None, settings: Settings | None = None
) -> Job[tuple[Image, pd.DataFrame, pd.DataFrame]]:
    """Return the labels that the rows name, the per-object table and the summary of the image, or of each frame."""
    yield Progress(0, 2, "measuring objects")
    labels = measured_labels(kind, labels)
    table = measure(kind, labels, image, settings)
    yield Progress(1, 2, "summarising")
    return labels, table, summarise(kind, labels, image, settings)


def likely_kind(layer: Layer, labels: Image, image: Image | None) -> tuple[str, bool]:
    """Return the kind of the method that made `layer`, else that of such images, and whether the method says so."""
    from napari_medseg.methods import get_method, usable_methods

    method = layer.metadata.get("medseg", {}).get("method", "")
    if method in usable_methods():  # a mask made with scribbles alone is of none
        return get_method(method).measure, True
    field = (likely_field(image) if image is not None else None) or likely_field(labels)
    return OF_FIELD[field] if field else "afm", False


def show_every(layer: Any) -> None:
    """Give a Labels layer that knows colours for some labels only napari's colours for all, if some are unseen."""
    known = getattr(layer.colormap, "color_dict", None)
    if known is not None and int(layer.data.max()) > max((label for label in known if label is not None), default=0):
        layer.colormap = label_colormap()


def keep_objects(layer: Labels, objects: np.ndarray) -> None:
    """Give a layer the objects that were found in it, and let each value be one from now on."""
    if not np.array_equal(layer.data, objects):
        layer.data = objects
        show_every(layer)
        known = layer.metadata.get("medseg_image", {})  # the names were those of the earlier numbers
        known = {key: value for key, value in known.items() if key not in (SEGMENT_NAMES, SEGMENT_COLOURS, FACTS)}
        layer.metadata = {**layer.metadata, "medseg_image": known}
    kept = layer.metadata.get("medseg_image", {})
    if not kept.get(OBJECTS):
        layer.metadata = {**layer.metadata, "medseg_image": {**kept, OBJECTS: True}}


def _values(column: pd.Series) -> str:
    """Return the one value of a column, or of several the range; of words each once."""
    values = column.dropna().unique()
    if len(values) > 1 and column.dtype.kind in "biuf":
        return f"{text(values.min())} to {text(values.max())}"
    return ", ".join(map(text, values)) or text(float("nan"))


def _kinds(nerves: pd.DataFrame) -> str:
    """Say how many nerves of a table are main nerves, the others being branches."""
    main = int((nerves["class"] == MAIN).sum())
    others = len(nerves) - main
    return f" ({main} main, {others} branch{'es' * (others != 1)})"


class MeasureDock(Dock):
    """Measure a Labels layer."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.labels = LayerChooser(napari_viewer, measured_layers, sample="afm", sizes=True, name="Labels")
        self.image = LayerChooser(napari_viewer, image_layers, none="no image", heights=True, name="Image")
        self.kind = Choices("What is measured", "Decides the columns: each field has measurements of its own")
        for kind in KINDS:
            self.kind.addItem(TITLES[kind], kind)
        self.kind.setCurrentIndex(self.kind.findData("afm"))
        self.kind_picked = self.proposing = False
        self.measured: Any = None
        self.measured_as = ""
        self.traced: Any = None
        self.followed: Any = None
        self.changed = ""  # what is no longer as it was measured
        self.meanwhile = False  # whether the labels changed while they were measured
        self.run_bar = RunBar(
            self.make_job, self.show_result, text="Measure", tip="Make a table with one row per object"
        )
        self.nerve_form = SettingsForm(NerveSettings())
        self.nerve_settings = FoldedSettings(self.nerve_form, self.command)
        self.paths = NervePaths(
            napari_viewer, self.chosen_layer, self.picture_of, lambda: self.nerve_form.value, self.show_paths
        )
        self.eyes = NerveEyes(napari_viewer, self.picture_of, lambda: self.nerve_form.value, self.show_eyes)
        self.table, self.summary, self.details = TableView(napari_viewer), QLabel(""), QLabel("")
        self.summary.setWordWrap(True)
        self.details.setWordWrap(True)
        self.stale, self.charts = QLabel(""), Charts(napari_viewer)
        self.stale.setWordWrap(True)
        self.stale.hide()
        self.table.unlinked.connect(self.say_unlinked)
        self.tools = ObjectTools(self)
        self.unfollow: Callable[[], None] = lambda: None
        self.unwatch: Callable[[], None] = lambda: None
        self.then: Callable[[], None] | None = None
        self.export_button = ExportButton(
            self, lambda: self.followed, lambda sentence: self.run_bar.say(sentence), self.measure_again
        )
        self.export_button.paths = lambda: self.paths.layer if self.followed is self.traced else None
        self.offer_export(False)
        self.section("Labels", self.labels)
        self.section("Image (for heights and intensities)", self.image)
        self.section("What", self.kind)
        self.section("Run", self.nerve_settings, self.run_bar, self.export_button, self.paths, self.eyes)
        self.section("Result", self.stale, self.summary, self.table, self.tools, self.details, self.charts)
        self.labels.changed.connect(self.update_state)
        self.kind.currentIndexChanged.connect(self.update_kind)
        self.update_kind()
        self.kind_picked = False
        self.update_state()

    def update_state(self) -> None:
        """Choose the image and the kind that fit the layer, and enable Run."""
        labels = self.labels.image
        missing = self.labels.problem or "Open or make a Labels layer first."
        self.run_bar.set_reason(missing if labels is None else "")
        self.update_stale()
        if labels is None:
            return
        source = self.labels.layer.metadata.get("medseg", {}).get("source_layer", "")
        if source in self.viewer.layers:
            self.image.choose(self.viewer.layers[source])
        elif self.image.image is not None and self.image.image.spatial_shape != labels.spatial_shape:
            same = [x for x in self.image.found if x.data.shape[: labels.data.ndim] == labels.data.shape]
            self.image.choose(*same[:1] or [self.image.layer])
        kind, known = likely_kind(self.labels.layer, labels, self.image.image)
        if known or not self.kind_picked:
            self.proposing = True
            self.kind.setCurrentIndex(max(self.kind.findData(kind), 0))
            self.proposing = False

    def update_kind(self, index: int = 0) -> None:
        """Offer paths and eyes where nerves are measured; what somebody picked is not proposed over."""
        self.kind_picked = self.kind_picked or not self.proposing
        for part in (self.nerve_settings, self.paths, self.eyes):
            part.setVisible(self.kind.currentData() == "nerve")
        self.image.take_for(next(field for field, kind in OF_FIELD.items() if kind == self.kind.currentData()))

    def command(self) -> str:
        """Return the ``medseg measure`` line that does the same."""
        source = "" if self.labels.image is None else str(self.labels.image.metadata.get("source_file", ""))
        words = ["medseg", "measure", str(self.kind.currentData()), source or "LABELS", "-o", "TABLE.csv"]
        return shlex.join([*words, *(as_flags(self.nerve_form.value) if self.kind.currentData() == "nerve" else [])])

    def chosen_layer(self) -> Layer:
        """Return the chosen labels, whose nerves become paths."""
        if self.labels.layer is None:
            raise MedSegError("Open or make a Labels layer first.")
        self.traced = self.labels.layer
        return self.traced

    def picture_of(self, layer: Layer) -> Layer | None:
        """Return the Image layer of a Labels layer: of the chosen one the chosen image, if one is."""
        return self.image.layer if layer == self.labels.layer else picture_layer(self.viewer, layer)

    def make_job(self) -> Job[Any]:
        """Return the measuring job."""
        self.measured = self.labels.layer
        image = image_from_layer(self.image.layer) if self.image.layer is not None else None
        labels = image_from_layer(self.measured)
        if image is not None:
            labels, image = together(labels, image)
        self.measured_image, self.measured_layer = image, self.image.layer
        self.measured_as = str(self.kind.currentData())
        self.settings = self.nerve_form.value if self.measured_as == "nerve" else None
        self.unwatch()
        self.meanwhile = False
        self.unwatch = hear(self.measured, EDITS, self.changes)
        return measure_job(self.measured_as, labels, image, self.settings)

    def changes(self, event: Any = None) -> None:
        """Notice that the labels change while they are measured."""
        self.meanwhile = True

    def show_result(self, result: tuple[Image, pd.DataFrame, pd.DataFrame]) -> None:
        """Show table and summary, and put the table onto the layer; a mask becomes one label per object."""
        labels, table, summary = result
        self.unwatch()
        if isinstance(self.measured, Labels) and labels.metadata.get(OBJECTS) and not self.meanwhile:
            keep_objects(self.measured, in_layer(self.measured, labels))
        self.show_tables(table, summary, None if self.meanwhile else self.measured)  # whose labels are others by now
        self.follow(self.measured, self.measured_layer)
        shown = image_from_layer(self.measured)
        known = Measured(self.measured_image, shown, table, summary, self.measured_as, self.settings)
        self.export_button.take(known)
        if self.meanwhile:
            self.changed_since()
        self.offer_export(True)
        self.scroll_to(self.table)
        rows = f"{len(table):,} {ROWS[self.measured_as]}{'s' * (len(table) != 1)}"
        rows += _kinds(table) if self.measured_as == "nerve" else ""
        moved = moved_notes(self.measured_image) if self.measured_image is not None else ()
        notes = (*moved, *assumed(self.measured_as, self.measured_image))
        self.run_bar.say(" ".join([f"Measured {rows} of {self.measured.name} in {self.run_bar.spent}.", *notes]))
        then, self.then = self.then, None
        if then is not None:
            then()

    def follow(self, layer: Any, image: Any = None) -> None:
        """Say from now on when the labels or their image change: the table is of what they were."""
        self.unfollow()
        self.followed, self.changed = layer, ""
        self.update_stale()
        ends = hear(layer, EDITS, self.changed_since), hear(image, VALUES, self.image_changed_since)

        def end() -> None:
            for one in ends:
                one()

        self.unfollow = end

    def changed_since(self, event: Any = None) -> None:
        """Say that the labels are no longer those of the table."""
        self._outdated(self.followed.name)

    def image_changed_since(self, event: Any = None) -> None:
        """Say that the image is no longer that of the table."""
        self._outdated(f"The image of {self.followed.name}")

    def _outdated(self, what: str) -> None:
        self.unfollow()
        self.unfollow = lambda: None
        self.changed = what
        self.update_stale()

    def update_stale(self) -> None:
        """Say where the numbers shown are not those of the chosen labels as they are now."""
        of, chosen, said = self.followed, self.labels.layer, ""
        if of is not None and self.changed:
            said = f"<b>{self.changed} changed since</b> it was measured: press Measure for new numbers."
        if of is not None and chosen is not of:
            again = f" Press Measure for those of {chosen.name}." if chosen is not None else ""
            said = f"<b>These are the numbers of {of.name}</b>, and what Export writes.{again}"
        self.stale.setText(said)
        self.stale.setVisible(bool(said))

    def leave(self) -> None:
        """Stop, and take the outline away, when the dock is closed."""
        super().leave()
        self.unfollow()
        self.unwatch()
        self.table.clear_mark()

    def measure_again(self, then: Callable[[], None]) -> None:
        """Measure, then do something with it."""
        self.then = then
        self.run_bar.start()

    def show_tables(self, table: pd.DataFrame, summary: pd.DataFrame, layer: Any) -> None:
        """Show the table of `layer`, the first numbers of the summary above it, and the whole summary below."""
        self.table.show_table(table, layer)
        self.charts.show_table(table)
        self.tools.offer()
        known = [name for name in summary if summary[name].astype(str).any()] if len(summary) else []
        said = {name: f"{str(name).replace('_', ' ')}: <b>{_values(summary[name])}</b>" for name in known}
        first = [name for name in known if summary[name].dtype.kind in "iuf"][:HEADLINES]
        self.summary.setText("<br>".join(said[name] for name in first))
        self.details.setText("<br>".join(said[name] for name in known if name not in first))

    def offer_export(self, there: bool) -> None:
        """Offer to export what was measured."""
        self.export_button.setEnabled(there)
        self.export_button.setVisible(there)

    def show_paths(self, table: pd.DataFrame, summary: pd.DataFrame, layer: Any) -> None:
        """Show the measures of paths as they are drawn, which are what Export writes from now on."""
        self.show_tables(table, summary, layer)
        if self.followed is not self.traced:
            self.follow(self.traced, self.picture_of(self.traced))
        picture = self.export_button.measured.image if self.export_button.measured is not None else None
        labels, settings = image_from_layer(self.traced), self.nerve_form.value
        self.export_button.take(Measured(picture, labels, table, summary, "nerve", settings))
        self.offer_export(True)

    def say_unlinked(self) -> None:
        """Say how to see a nerve of the table: rows are nerves, and the mask does not tell them apart."""
        if self.measured_as == "nerve" and isinstance(self.table.layer, Labels):
            self.paths.line.setText("Press Show paths to see the nerve of a row in the picture.")

    def show_eyes(self, eyes: pd.DataFrame) -> None:
        """Show one row for each eye."""
        self.table.show_table(eyes, None)
        self.charts.show_table(eyes)
        self.tools.offer()
        self.summary.setText(f"{len(eyes)} eyes")
        self.details.setText("")
