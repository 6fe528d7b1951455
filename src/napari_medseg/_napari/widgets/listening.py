"""Listen to napari's events for as long as a widget lives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

from qtpy.compat import isalive

PLACE = ("scale", "translate", "rotate", "shear", "affine", "units")  # events of a layer that is moved or resized


def listen(emitter: Any, method: Callable[..., None], **options: Any) -> Callable[[], None]:
    """Call `method` of a widget on each event of `emitter`; return a function that ends it.

    It also ends with the widget: napari up to 0.6 goes on calling widgets that Qt has deleted, and fails.
    `options` are those of napari's ``connect``.
    """
    kept = WeakMethod(method)

    def call(event: Any = None) -> None:
        alive = kept()
        if alive is not None and isalive(alive.__self__):
            alive(event)

    emitter.connect(call, **options)
    return lambda: emitter.disconnect(call)


def hear(layer: Any, names: tuple[str, ...], method: Callable[..., None]) -> Callable[[], None]:
    """Call `method` on those of the events of a layer (or none) that it has; return a function that ends it."""
    events = [] if layer is None else [getattr(layer.events, name) for name in names if hasattr(layer.events, name)]
    ends = [listen(event, method) for event in events]

    def end() -> None:
        while ends:
            ends.pop()()

    return end
