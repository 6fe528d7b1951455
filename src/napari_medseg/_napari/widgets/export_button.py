"""The button that writes what was made, in the format that the next tool reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import napari
import numpy as np
from npe2 import PluginManager
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_medseg._napari import PLUGIN
from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.widgets.calibration import ask_pixel_size
from napari_medseg.errors import MedSegError, counted
from napari_medseg.image import PIXEL, Image
from napari_medseg.io.files import file_stem, write_text
from napari_medseg.io.outlines.polygons import objects_of
from napari_medseg.io.write import write_tables
from napari_medseg.jobs import run

if TYPE_CHECKING:
    import pandas as pd

VOLUMES = (
    "NIfTI (*.nii.gz *.nii)",
    "NRRD (*.nrrd)",
    "MetaImage (*.mha)",
    "FreeSurfer (*.mgz)",
    "TIFF (*.tif)",
    "OME-Zarr (*.ome.zarr)",
)
PICTURES = (
    "TIFF (*.tif *.tiff)", "PNG (*.png)", "QuPath, with measurements and classes (*.geojson)", "ImageJ regions (*.zip)",
    "OME-Zarr (*.ome.zarr)",
)  # fmt: skip
MOVIES = ("TIFF (*.tif *.tiff)", "ImageJ regions (*.zip)", "OME-Zarr (*.ome.zarr)")
TABLES = ("Table (*.csv)", "Excel workbook (*.xlsx)")
TRACINGS = ("NeuronJ tracing (*.ndf)", "Tracing (*.swc)")
REPORTS = ("Report (*.html)", "Report, one page of A4 (*.pdf)")
OUTLINES = (".geojson", ".zip")
TRACED = (".ndf", ".swc")
SIZED = (
    ".csv",
    ".xlsx",
    ".html",
    ".htm",
    ".pdf",
    ".gz",
    ".nii",
    ".nrrd",
    ".mha",
    ".mgz",
    ".zarr",
)  # state a pixel size
TEXT = "Methods paragraph (*.txt)"


def offer_own_writers_first() -> None:
    """Let napari's save dialog (Ctrl+S) begin with this plugin's formats where the selected layers are of this plugin.

    npe2 sorts writers by the order in which plugins were registered, napari's own first, and its writer of labels knows
    neither place nor pixel size. There is no setting for the order, so the manager's answer is sorted again.
    """
    manager = PluginManager.instance()
    known = manager.iter_compatible_writers
    if getattr(known, "sorted", False):
        return

    def ours_first(layer_types: Sequence[str]) -> Iterator[Any]:
        viewer = napari.current_viewer()
        chosen = [] if viewer is None else viewer.layers.selection
        ours = any(layer.metadata.keys() & {"medseg", "medseg_image"} for layer in chosen)
        own = [w for w in known(layer_types) if ours and w.filename_extensions and w.command.startswith(f"{PLUGIN}.")]
        return iter([*own, *(writer for writer in known(layer_types) if writer not in own)])

    ours_first.sorted = True  # type: ignore[attr-defined]
    manager.iter_compatible_writers = ours_first


class Measured(NamedTuple):
    """What was measured: image (or None), labels, both tables, the kind of measurement and its settings (or None)."""

    image: Image | None
    labels: Image
    table: pd.DataFrame
    summary: pd.DataFrame
    kind: str
    settings: Any = None


class ExportButton(QPushButton):
    """*Export ...*, which asks for a name and tells through `say` what came of it.

    Parameters
    ----------
    parent
        Widget over which the file dialog opens.
    layer
        Returns the Labels layer to write, or ``None``.
    say
        Takes one sentence.
    again
        Measures anew, then calls what it is given: the pixel size was entered after the measurement.
    """

    def __init__(
        self,
        parent: QWidget,
        layer: Callable[[], Any],
        say: Callable[[str], None],
        again: Callable[[Callable[[], None]], None] | None = None,
    ) -> None:
        super().__init__("Export ...")
        self._again = again
        self.paths: Callable[[], Any] = lambda: None  # returns the Shapes layer of nerves, where they are shown
        self.measured: Measured | None = None
        self._parent, self._layer, self._say = parent, layer, say
        self.setToolTip(
            "Labels, outlines, tracing, table, report or a paragraph for the methods section, with voxel size and place"
        )
        self.clicked.connect(lambda: self.save())

    def take(self, measured: Measured | None) -> None:
        """Offer table and report of what was just measured too."""
        self.measured = measured

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of files that can be written now."""
        layer, known = self._layer(), self.measured
        labels = () if layer is None else VOLUMES if is_volume(layer) else PICTURES if layer.ndim == 2 else MOVIES
        traced = TRACINGS if known and known.kind == "nerve" else ()
        return (
            *labels,
            *traced,
            *(TABLES if known else ()),
            *(REPORTS if known and known.image is not None else ()),
            TEXT,
        )

    def save(self, path: str = "") -> None:
        """Write what the suffix asks for, under a name that is asked for."""
        layer = self._layer()
        if layer is None or (self.measured is None and not layer.data.any()):  # none found is a result too
            self._say("There is nothing to export yet: no object is there, or the mask is empty.")
            return
        path = (
            path
            or QFileDialog.getSaveFileName(self._parent, "Export", str(proposed(layer)), ";;".join(self.kinds()))[0]
        )
        if path and self._sized(path, layer):
            self.write(Path(path), layer)

    def _sized(self, path: str, layer: Any) -> bool:
        """Ask for the pixel size where the file states one and it is not known; whether to write now."""
        if not path.lower().endswith(SIZED) or image_from_layer(layer).units[-1] != PIXEL:
            return True
        given = ask_pixel_size(self._parent, self._parent.viewer, layer)
        if given and self.measured is not None and self._again is not None:
            self._again(lambda: self.write(Path(path), layer))
            return False
        return given is not None

    def write(self, path: Path, layer: Any) -> None:
        """Write one file and say so, or why not."""
        try:
            self._say(" ".join([f"Saved {self._write(path, layer)}.", *self._pieces(path, layer)]))
        except MedSegError as error:
            self._say(str(error))
        except OSError as error:
            self._say(f"{path} could not be written: {error.strerror or error}.")

    def _pieces(self, path: Path, layer: Any) -> list[str]:
        """Say what the outlines of a mask of nerves are, which are not the nerves of the table."""
        if self.measured is None or self.measured.kind != "nerve" or path.suffix.lower() not in OUTLINES:
            return []
        pieces = int(np.count_nonzero(np.unique(objects_of(image_from_layer(layer)))))
        nerves = counted(len(self.measured.table), "nerve")
        return [
            f"It holds {counted(pieces, 'outline')}, one for each connected piece of the mask; the table has {nerves}: "
            "a piece may hold several, a very short one none."
        ]

    def _write(self, path: Path, layer: Any) -> Any:
        """Write one file and return its name."""
        suffix, known = path.suffix.lower(), self.measured
        facts = layer.metadata.get("medseg", {})
        if suffix == ".txt":
            from napari_medseg.report.case import methods_paragraph

            more = {"measured_as": known.kind, "objects": len(known.table)} if known else {}
            return write_text(path, methods_paragraph(image_from_layer(layer), facts, **more))
        if suffix in TRACED:
            return self._trace(path, layer)
        if suffix in (".csv", ".xlsx", ".html", ".htm", ".pdf"):
            if known is None:
                raise MedSegError(f"{path.name} holds measurements: measure the objects first (dock Measure).")
            if suffix in (".csv", ".xlsx"):
                return write_tables(path, {"objects": known.table, "summary": known.summary})[0]
            return _report(path, known, facts)
        from napari_medseg._napari.writers import write_labels

        data, attributes, _ = layer.as_layer_data_tuple()
        return write_labels(str(path), data, attributes)[0]

    def _trace(self, path: Path, layer: Any) -> str:
        """Write the paths that are shown, with their edits, else those of the mask."""
        from napari_medseg._napari.nerves.paths import path_layer_name, trace
        from napari_medseg._napari.nerves.tracings import shapes_data, write_paths

        if self.paths() is not None:
            data, attributes, _ = self.paths().as_layer_data_tuple()
        else:
            labels, settings = image_from_layer(layer), self.measured.settings if self.measured else None
            data, attributes, _ = shapes_data(*run(trace(labels, settings)), labels, path_layer_name(layer.name))
        return write_paths(str(path), data, attributes)[0]


def _report(path: Path, known: Measured, facts: dict[str, Any]) -> Path:
    from napari_medseg.report import report

    if known.image is None:
        raise MedSegError("A report shows the image too: choose it above and measure again.")
    shown = {"labels": known.labels.name, "measured as": known.kind, **facts}
    return report(path, known.image, known.labels, known.table, shown, summary=known.summary)


def is_volume(layer: Any) -> bool:
    """Whether a layer shows one volume, and no movie."""
    return layer.ndim == 3 and "T" not in image_from_layer(layer).axes


def proposed(layer: Any) -> Path:
    """Return a name beside the image's file that opens as labels again."""
    made = layer.metadata.get("medseg", {})
    source = Path(made.get("source_file", ""))
    stem = file_stem(source) or made.get("source_layer", "") or layer.name
    return source.parent / f"{stem}_label{'.nii.gz' if is_volume(layer) else '.tif'}"
