"""Listen to napari's events for as long as a widget lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from qtpy.compat import isalive


def listen(emitter: Any, method: Callable[..., None], **options: Any) -> Callable[[], None]:
    """Call `method` of a widget on each event of `emitter`; return a function that ends it.

    It also ends with the widget: napari up to 0.6 goes on calling widgets that Qt has deleted, and fails.
    `options` are those of napari's ``connect``.
    """
    kept = WeakMethod(method)

    def hear(event: Any = None) -> None:
        alive = kept()
        if alive is not None and isalive(alive.__self__):
            alive(event)

    emitter.connect(hear, **options)
    return lambda: emitter.disconnect(hear)
