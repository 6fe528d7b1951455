"""Fields and buttons that say what they are: each has a name, which screen readers read out, and a tooltip."""

from __future__ import annotations

from typing import TypeVar

from magicgui.widgets import FileEdit
from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QPaintEvent
from qtpy.QtWidgets import QComboBox, QPushButton, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

LEAST, FEW = 120, 90  # pixels that a list of choices needs, alone and beside its label
W = TypeVar("W", bound=QWidget)


def named(widget: W, name: str, tip: str) -> W:
    """Give a widget its name and its tooltip."""
    widget.setAccessibleName(name)
    widget.setToolTip(tip)
    return widget


class Choices(QComboBox):
    """A list to choose from. It may be narrower than its entries: then they end in dots, and the open list is wider."""

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        named(self, name, tip)
        still(self)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return a width that does not follow the longest entry."""
        hint = super().minimumSizeHint()
        return QSize(min(hint.width(), LEAST), hint.height())

    def showPopup(self) -> None:  # noqa: N802
        """Open the list as wide as its entries."""
        view = self.view()
        view.setMinimumWidth(view.sizeHintForColumn(0) + view.verticalScrollBar().sizeHint().width())
        super().showPopup()

    def shown_text(self) -> str:
        """Return the text of the chosen entry, with dots in its middle where it has no room."""
        option = QStyleOptionComboBox()
        self.initStyleOption(option)
        field = QStyle.SubControl.SC_ComboBoxEditField
        room = self.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, field, self).width()
        return str(self.fontMetrics().elidedText(self.currentText(), Qt.TextElideMode.ElideMiddle, room))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        """Draw the chosen entry."""
        painter, option = QStylePainter(self), QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        option.currentText = self.shown_text()
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)


def make_narrow(box: QComboBox) -> None:
    """Let a list of choices that somebody else made be narrower than its entries; the open list is as wide as they."""
    box.setMinimumWidth(FEW)
    box.view().setTextElideMode(Qt.TextElideMode.ElideNone)
    box.view().setMinimumWidth(box.view().sizeHintForColumn(0))


def push_button(text: str, tip: str) -> QPushButton:
    """Return a button."""
    made = named(QPushButton(text), text, tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)  # a click must not take the keys from the picture
    return made


class _Still(QObject):
    """Lets the wheel scroll the dock over fields that have not the keys: they would change unseen."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Hand the wheel on."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def still(field: QWidget) -> None:
    """Keep the wheel from changing a field that has not the keys."""
    field.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    field.installEventFilter(_Still(field))


def folder_edit(name: str, tip: str) -> FileEdit:
    """Return a field for a folder, with a button to choose it."""
    edit = FileEdit(mode="d", label=name, nullable=True)
    name_path(edit, name, tip)
    return edit


def name_path(edit: FileEdit, name: str, tip: str) -> None:
    """Name the parts of a field for a path."""
    named(edit.line_edit.native, name, tip)
    named(edit.choose_btn.native, f"Choose: {name}", f"Choose in a dialog. {tip}")
