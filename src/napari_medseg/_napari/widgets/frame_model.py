"""A DataFrame as rows of a Qt table."""

from __future__ import annotations

from typing import Any

import pandas as pd
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

from napari_medseg._napari.widgets.words import text


class FrameModel(QAbstractTableModel):
    """Show a DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        super().__init__()
        self.frame = frame

    def rowCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the rows."""
        return len(self.frame)

    def columnCount(self, parent: QModelIndex | None = None) -> int:  # noqa: N802
        """Count the columns."""
        return len(self.frame.columns)

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return one cell as text."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return text(self.frame.iat[index.row(), index.column()])

    def headerData(self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        """Return a header."""
        if role != Qt.ItemDataRole.DisplayRole:
            return None
        return str(self.frame.columns[section]) if orientation == Qt.Orientation.Horizontal else str(section + 1)
