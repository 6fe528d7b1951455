"""A hand on the window: real mouse and key events through X's test extension, and a count of what it did."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QPoint, QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QFileDialog, QLineEdit, QPushButton, QScrollArea, QWidget

LEFT, WHEEL_UP, WHEEL_DOWN = 1, 4, 5
NAMES = {"/": "slash", ".": "period", "-": "minus", "_": "underscore", " ": "space"}  # X's names of keys
PATIENCE, PAUSE, MOST_WHEEL = 300.0, 0.15, 80


class Hand:
    """Mouse and keyboard of a person in a viewer's window; `clicks`, `wheel` and `keys` count what they did.

    Raises
    ------
    RuntimeError
        From any action: if what should be pressed is disabled, hidden, or lies under something else.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer, self.clicks, self.wheel, self.keys = viewer, 0, 0, 0
        try:
            self.x, self.test = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
        except OSError as error:
            raise RuntimeError(f"A real mouse needs X's test extension (Debian: libxtst6): {error}") from error
        self.x.XOpenDisplay.restype = ctypes.c_void_p
        self.x.XStringToKeysym.restype = self.x.XKeycodeToKeysym.restype = ctypes.c_ulong
        display = self.x.XOpenDisplay(None)
        if not display:
            raise RuntimeError("There is no X display: run this under xvfb-run.")
        self.display = ctypes.c_void_p(display)

    # ---- time
    def wait(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Let the window work until `condition` holds; raises `TimeoutError`."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the window did not come to an end")
            QApplication.processEvents()
            time.sleep(0.005)

    def settle(self, seconds: float = PAUSE) -> None:
        """Let the window work for a while."""
        end = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > end)

    # ---- mouse
    def press(self, place: QPoint, button: int = LEFT) -> None:
        """Go to a place of the screen and click."""
        self._move(place)
        for down in (1, 0):  # at once: lists take a late release for a choice
            self.test.XTestFakeButtonEvent(self.display, button, down, 0)
        self.x.XSync(self.display, 0)
        self.settle()

    def click(self, widget: QWidget) -> None:
        """Click the middle of a widget; one that is out of view is first brought there with the wheel."""
        self._reach(widget)
        self.clicks += 1
        self.press(widget.mapToGlobal(widget.rect().center()))

    def hover(self, widget: QWidget) -> None:
        """Bring the mouse over a widget."""
        self._move(widget.mapToGlobal(widget.rect().center()))

    def choose(self, box: QComboBox, text: str) -> None:
        """Choose an entry of a list: two clicks."""
        self.click(box)
        index, view = box.findText(text), box.view()
        self.wait(view.isVisible, 20)
        self.settle(0.001 * QApplication.doubleClickInterval() + PAUSE)  # until then lists take no choice
        view.scrollTo(view.model().index(index, box.modelColumn()))
        self.settle()
        self.clicks += 1
        self.press(view.viewport().mapToGlobal(view.visualRect(view.model().index(index, box.modelColumn())).center()))

    def menu(self, *names: str) -> None:
        """Open a menu of the window's bar and click through its entries."""
        bar = self.viewer.window._qt_window.menuBar()
        for depth, name in enumerate(names):
            action = next((a for a in bar.actions() if a.text().replace("&", "").startswith(name)), None)
            if action is None:
                raise RuntimeError(f"{name} is not in the menu: {[a.text() for a in bar.actions()]}")
            self.clicks += 1
            self.press(bar.mapToGlobal(bar.actionGeometry(action).center()))
            if depth < len(names) - 1:
                bar = action.menu()
                self.wait(bar.isVisible, 10)

    def drag(self, layer: Any, points: Sequence[Sequence[float]]) -> None:
        """Paint along positions of a layer (in its data's coordinates) with the button held: one click."""
        places = [self._on_canvas(layer, point) for point in points]
        self._move(places[0])
        self.settle()
        self.clicks += 1
        self._button(LEFT, 1)
        for place in places:
            self._move(place)
            self.settle(0.02)
        self._button(LEFT, 0)
        self.settle(0.02)

    # ---- keys
    def type(self, text: str) -> None:
        """Press the keys of a text."""
        for letter in text:
            self.key(NAMES.get(letter, letter))

    def key(self, name: str, *, held: Sequence[str] = ()) -> None:
        """Press a key by X's name, like ``a`` or ``Return``, with others held, like ``Control_L``."""
        sym = self.x.XStringToKeysym(name.encode())
        code = self.x.XKeysymToKeycode(self.display, ctypes.c_ulong(sym))
        shifted = self.x.XKeycodeToKeysym(self.display, ctypes.c_ubyte(code), 0) != sym
        around = [*held, *(["Shift_L"] if shifted else [])]
        codes = [self._code(one) for one in around]
        for one in (*codes, code):
            self.test.XTestFakeKeyEvent(self.display, one, 1, 0)
        for one in (code, *reversed(codes)):
            self.test.XTestFakeKeyEvent(self.display, one, 0, 0)
        self.x.XSync(self.display, 0)
        self.keys += 1
        self.settle(0.01)

    def save_as(self, button: QWidget, path: str) -> None:
        """Press a button that asks for a file's name, type it, press Save."""
        failed: list[Exception] = []

        def answer() -> None:
            dialog = QApplication.activeModalWidget()
            if not isinstance(dialog, QFileDialog) or not dialog.isVisible():
                timer.start()
                return
            try:
                self.settle(0.5)
                field = dialog.findChild(QLineEdit)
                self.key("a", held=["Control_L"])
                self.type(path)
                self.wait(lambda: field.text() == path, 60)
                save = next(b for b in dialog.findChildren(QPushButton) if b.text().strip("&") == "Save")
                self.click(save)
            except Exception as error:  # Qt would swallow it
                failed.append(error)
                dialog.reject()

        timer = QTimer(interval=50, singleShot=True)
        timer.timeout.connect(answer)
        timer.start()
        self.click(button)
        timer.stop()
        if failed:
            raise failed[0]

    # ---- X
    def _move(self, place: QPoint) -> None:
        self.test.XTestFakeMotionEvent(self.display, -1, place.x(), place.y(), 0)
        self.x.XSync(self.display, 0)
        self.settle(0.02)

    def _button(self, button: int, down: int) -> None:
        self.test.XTestFakeButtonEvent(self.display, button, down, 0)
        self.x.XSync(self.display, 0)
        QApplication.processEvents()

    def _code(self, name: str) -> int:
        sym = self.x.XStringToKeysym(name.encode())
        return int(self.x.XKeysymToKeycode(self.display, ctypes.c_ulong(sym)))

    # ---- places
    def _reach(self, widget: QWidget) -> None:
        """Make sure that a person can press the middle of a widget, scrolling if need be."""
        text = getattr(widget, "text", lambda: type(widget).__name__)()
        if not widget.isVisible() or not widget.isEnabled():
            raise RuntimeError(f"{text!r} cannot be pressed: it is hidden or grey")
        area = self._area(widget)
        for _ in range(MOST_WHEEL):
            if area is None:
                break
            middle = widget.mapTo(area.viewport(), widget.rect().center()).y()
            if 4 <= middle < area.viewport().height() - 4:
                break
            self._move(area.viewport().mapToGlobal(QPoint(6, area.viewport().height() // 2)))
            for down in (1, 0):
                self._button(WHEEL_DOWN if middle > 0 else WHEEL_UP, down)
            self.wheel += 1
            self.settle(0.03)
        place = widget.mapToGlobal(widget.rect().center())
        under = QApplication.widgetAt(place)
        if under is None or (under is not widget and not widget.isAncestorOf(under)):
            raise RuntimeError(f"{text!r} lies under {under!r} at {place}")

    @staticmethod
    def _area(widget: QWidget) -> QScrollArea | None:
        parent = widget.parentWidget()
        while parent is not None and not isinstance(parent, QScrollArea):
            parent = parent.parentWidget()
        return parent

    def _on_canvas(self, layer: Any, point: Sequence[float]) -> QPoint:
        """Return where on the screen a position of a layer is shown."""
        canvas = self.viewer.window._qt_viewer.canvas
        shown = list(self.viewer.dims.displayed)
        corners = [(0, 0), (100, 0), (0, 100)]
        worlds = [np.asarray(canvas._map_canvas2world(corner, canvas.view))[shown] for corner in corners]
        steps = np.stack([worlds[1] - worlds[0], worlds[2] - worlds[0]], 1) / 100
        world = np.asarray(layer.data_to_world(point))[[k - self.viewer.dims.ndim for k in shown]]
        x, y = np.linalg.solve(steps, world - worlds[0])
        return canvas.native.mapToGlobal(QPoint(round(x), round(y)))
