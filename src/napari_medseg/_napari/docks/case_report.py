"""The button that writes a measured case as one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from qtpy.QtWidgets import QFileDialog, QPushButton, QWidget

from napari_medseg.errors import MedSegError
from napari_medseg.image import Image


class Measured(NamedTuple):
    """What a report is made of: image (or None), labels, both tables and the kind of measurement."""

    image: Image | None
    labels: Image
    table: pd.DataFrame
    summary: pd.DataFrame
    kind: str


class ReportButton(QPushButton):
    """*Save report ...*, which asks for a name and tells through `say` what came of it.

    Parameters
    ----------
    parent
        Widget over which the file dialog opens.
    say
        Takes one sentence.
    """

    def __init__(self, parent: QWidget, say: Callable[[str], None]) -> None:
        super().__init__("Save report ...")
        self.measured: Measured | None = None
        self._parent, self._say = parent, say
        self.setToolTip("One page with picture, table, settings and versions, HTML or PDF")
        self.setEnabled(False)
        self.clicked.connect(lambda: self.save())

    def take(self, measured: Measured) -> None:
        """Offer the report of what was just measured."""
        self.measured = measured
        self.setEnabled(True)

    def save(self, path: str = "") -> None:
        """Write the report."""
        from napari_medseg.report import report

        assert self.measured is not None  # the button is enabled by `take`
        image, labels, table, summary, kind = self.measured
        kinds = "HTML page (*.html);;PDF, one page of A4 (*.pdf)"
        path = path or QFileDialog.getSaveFileName(self._parent, "Save report", f"{labels.name}.html", kinds)[0]
        if not path:
            return
        facts = {"labels": labels.name, "measured as": kind, **labels.metadata.get("medseg", {})}
        try:
            if image is None:
                raise MedSegError("A report shows the image too: choose it above and measure again.")
            self._say(f"Saved {report(Path(path), image, labels, table, facts, summary=summary)}")
        except MedSegError as error:
            self._say(str(error))
