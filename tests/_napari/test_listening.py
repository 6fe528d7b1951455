"""Events of the viewer reach a widget as long as it lives."""

from __future__ import annotations

from typing import Any

from napari.components import LayerList
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QLabel

from napari_medseg._napari.widgets.listening import listen


class Counter(QLabel):
    def heard(self, event: Any = None) -> None:
        self.setText(f"{self.text()}x")


def test_a_widget_hears_until_it_ends_or_is_deleted(qtbot: Any) -> None:
    layers = LayerList()
    one, two = Counter(), Counter()
    end = listen(layers.events.reordered, one.heard)
    listen(layers.events.reordered, two.heard)
    layers.events.reordered()
    end()
    layers.events.reordered()
    assert (one.text(), two.text()) == ("x", "xx")
    two.deleteLater()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    layers.events.reordered()  # must not reach what Qt has deleted
    assert not isalive(two)


def test_listening_keeps_no_widget_alive(qtbot: Any) -> None:
    layers, heard = LayerList(), []
    widget = Counter()
    widget.destroyed.connect(lambda: heard.append("gone"))
    listen(layers.events.reordered, widget.heard)
    del widget
    assert heard == ["gone"]
