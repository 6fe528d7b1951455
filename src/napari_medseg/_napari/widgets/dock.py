"""Parts that every dock is made of: a scrolling column, folded settings, where it computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from magicgui.widgets import FileEdit
from napari.utils.notifications import show_info
from npe2 import PluginManager
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtGui import QIcon, QKeyEvent
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QFrame,
    QGridLayout,
    QLabel,
    QMainWindow,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_medseg._napari import PLUGIN
from napari_medseg._napari.view import keep_whole, seen_whole
from napari_medseg._napari.widgets.export_button import offer_own_writers_first
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import named, push_button
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.errors import MedSegError
from napari_medseg.io.files import write_text

NARROWEST, BESIDE = 300, 4  # width of a dock that holds little, and room around what it holds
USUAL, INDENT = 340, 6
NAMES = "Medical segmentation", PLUGIN  # by which napari names docks that were opened from its menus, and by scripts


def path_in(edit: FileEdit) -> Path | None:
    """Return the path that was chosen, ``None`` where there is none."""
    return Path(edit.value) if edit.value and str(edit.value) != "." else None


class _Column(QScrollArea):
    """Scrolls from top to bottom only: never narrower than what it holds."""

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        """Return the width of the widest widget beside the scroll bar."""
        hint, inner = super().minimumSizeHint(), self.widget()
        wanted = inner.minimumSizeHint().width() + self.verticalScrollBar().sizeHint().width() + 4 if inner else 0
        return QSize(max(NARROWEST, wanted), hint.height())

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the width at which docks open: the same for all."""
        return QSize(max(USUAL, self.minimumSizeHint().width()), super().sizeHint().height())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Pass on that the width may have changed."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


class _Sections(QVBoxLayout):
    """Stacks sections from the top, each as high as its wrapped text needs."""

    def sizeHint(self) -> QSize:  # noqa: N802
        """Return the hint at the width that is there: Qt gives an aligned layout no more, and text would be cut off."""
        hint, width = super().sizeHint(), self.parentWidget().width()
        return QSize(hint.width(), max(hint.height(), self.heightForWidth(width)))


class Dock(QWidget):
    """A dock: sections from top to bottom that scroll when the window is small."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = viewer
        self.watching = False  # napari's window, which is not kept here
        self.ending = False  # that window is being closed: layers are left as they are
        if seen_whole(viewer):
            keep_whole(viewer, self)
        offer_own_writers_first()
        inner = QWidget()
        self.column = _Sections(inner)
        self.column.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.column.setContentsMargins(BESIDE, BESIDE, BESIDE, BESIDE)
        self.area = _Column()
        self.area.setWidgetResizable(True)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # arrow keys go to the slices, not to the scroll bar
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(self.area)

    def section(self, title: str, *widgets: QWidget) -> None:
        """Add a titled group of widgets."""
        label = QLabel(f"<b>{title}</b>")
        label.setWordWrap(True)
        self.column.addWidget(label)
        for widget in widgets:
            self.column.addWidget(widget)

    def scroll_to(self, widget: QWidget) -> None:
        """Bring a part of the column into view, as soon as it has its place."""
        QTimer.singleShot(0, lambda: self.area.ensureWidgetVisible(widget) if isalive(self) else None)

    def event(self, event: QEvent) -> bool:
        """Notice that the dock is closed: napari takes the widget out of its window."""
        handled = bool(super().event(event))
        if event.type() == QEvent.Type.Show and not self.watching:
            main = self.parentWidget()
            while main is not None and not isinstance(main, QMainWindow):
                main = main.parentWidget()
            if main is not None:
                main.installEventFilter(self)
                self.watching = True
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.leave()
        if event.type() == QEvent.Type.ParentChange and hasattr(self.parent(), "destroyOnClose"):
            frame = self.parent()
            close, frame.destroyOnClose = frame.destroyOnClose, lambda: self.ask_to_leave() and close()
        return handled

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Press the button that has the keys on Enter too, as on Space; other keys go on to napari."""
        pressed = QApplication.focusWidget()
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and isinstance(pressed, QPushButton):
            pressed.click()
        else:
            super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Notice that napari is closed: its window is hidden, and everything is there still."""
        closing = event.type() == QEvent.Type.Hide and not event.spontaneous()
        if closing and isinstance(watched, QMainWindow):
            watched.removeEventFilter(self)
            self.ending = True
            self.leave()
        return False

    def ask_to_leave(self) -> bool:
        """Ask before the dock is closed by its button while something runs; return whether to close it."""
        running = [bar for bar in self.findChildren(RunBar) if bar.current is not None]
        if not running:
            return True
        names = " and ".join(bar.run_button.text() for bar in running)
        kept = " ".join(dict.fromkeys(bar.kept for bar in running))
        said = f"{names} is still running and stops when this dock is closed. {kept} Close it?"
        yes = QMessageBox.StandardButton.Yes
        return QMessageBox.question(self, "Close the dock?", said, yes | QMessageBox.StandardButton.No) == yes

    def leave(self) -> None:
        """Stop what runs: without the dock nobody could."""
        for bar in self.findChildren(RunBar):
            bar.stop()

    def open_next(self, name: str) -> Any:
        """Open the dock of the next step as a tab beside this one, in front also where it was open already."""
        window = self.viewer.window
        there = getattr(window, "dock_widgets", {})  # napari from 0.6.2
        dock = next((there[full] for label in NAMES if (full := f"{name} ({label})") in there), None)
        if dock is None:
            contributed = PluginManager.instance().iter_widgets()
            make = next(one for one in contributed if (one.plugin_name, one.display_name) == (PLUGIN, name))
            dock = make.get_callable()(self.viewer)
            window.add_dock_widget(dock, name=f"{name} ({NAMES[0]})", tabify=True)
        dock = getattr(dock, "__wrapped__", dock)  # docks see a window through a proxy
        frame = dock.parent()
        frame.show()
        frame.raise_()
        return dock

    def measure_next(self, labels: Any) -> Any:
        """Open the dock Measure and measure `labels` as it proposes; return it."""
        dock = self.open_next("Measure")
        dock.labels.choose(labels)
        dock.run_bar.start()
        return dock


def show_device(bar: RunBar, form: SettingsForm, *, here: bool = False) -> None:
    """Keep saying under `bar` where the settings of `form` compute and why; `here`: never on a scheduler."""
    from napari_medseg._napari.remote import where  # loads torch, which no dock without networks needs

    def say(*_: Any) -> None:
        bar.device.setText(where(str(form["device"].value), here=here))
        bar.device.show()

    form["device"].changed.connect(say)
    say()


class FoldedSettings(QCollapsible):
    """A folded form with Reset, Save, Load and Copy as command."""

    def __init__(self, form: SettingsForm, command: Callable[[], str], title: str = "Settings") -> None:
        super().__init__(title, expandedIcon=QIcon(), collapsedIcon=QIcon())
        self.form, self.command, self.title = form, command, title
        named(self.toggleButton(), title, "Show or hide these settings; each has a proposed value")
        self.toggled.connect(self._mark)
        self._mark(False)
        row = QWidget()
        layout = QGridLayout(row)  # in two rows: the dock may be narrow
        layout.setContentsMargins(0, 0, 0, 0)
        for place, (text, tip, action) in enumerate(
            (
                ("Reset", "Back to the values that were proposed", form.reset),
                ("Save", "Write these settings to a file (.json)", self.save),
                ("Load", "Read settings from a file (.json)", self.load),
                ("Copy as command", "Copy the line that does the same in a terminal", self.copy),
            )
        ):
            made = push_button(text, tip)
            made.clicked.connect(lambda _=False, action=action: action())
            layout.addWidget(made, place // 3, place % 3, 1, 3 if place == 3 else 1)
        self.addWidget(form.native)
        self.addWidget(row)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.content().layout().setContentsMargins(INDENT, 0, 0, 0)

    def _mark(self, opened: bool) -> None:
        """Draw the arrow as text, in the colour that the theme gives to text."""
        self.setText(f"{'▾' if opened else '▸'}  {self.title}")

    def copy(self) -> None:
        """Put the equivalent command line onto the clipboard."""
        try:
            QApplication.clipboard().setText(self.command())
            show_info("Command copied")
        except MedSegError as error:
            show_info(str(error))

    def save(self, path: str = "") -> None:
        """Save the settings as JSON."""
        path = path or QFileDialog.getSaveFileName(self, "Save settings", "settings.json", "JSON (*.json)")[0]
        if path:
            try:
                write_text(path, self.form.value.model_dump_json(indent=2))
            except MedSegError as error:
                show_info(str(error))

    def load(self, path: str = "") -> None:
        """Load settings from JSON."""
        path = path or QFileDialog.getOpenFileName(self, "Load settings", "", "JSON (*.json)")[0]
        if not path:
            return
        try:
            with open(path, encoding="utf-8") as file:
                self.form.value = type(self.form.defaults).model_validate_json(file.read())
        except (OSError, ValueError) as error:
            show_info(f"{path} cannot be loaded: {error}")
