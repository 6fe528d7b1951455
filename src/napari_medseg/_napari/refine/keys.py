"""Keys of a refinement: bound when it starts, unbound when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# key, name of the action, what it does
KEYS = (
    ("T", "next_class", "next class"),
    ("S", "refine", "refine now"),
    ("U", "undo", "undo a round"),
    ("Shift-U", "redo", "redo"),
    ("A", "accept", "accept the object"),
    ("O", "reopen", "open the accepted object under the mouse again"),
    ("J", "join", "join it to the open object"),
    ("N", "next_place", "next uncertain place"),
    ("D", "disagreement", "largest difference"),
    ("H", "hide", "hold to hide the mask"),
)
NAPARI = (
    "<b>Ctrl+Z</b> take back a stroke · <b>E</b> eraser · <b>[ ]</b> brush size · <b>Space</b> (hold) to move the view"
)


def legend() -> str:
    """Return the keys as rich text."""
    keys = " · ".join(f"<b>{key.replace('-', '+')}</b> {what}" for key, _, what in KEYS)
    return f"{keys}<br>{NAPARI}"


class Keys:
    """Keys of one viewer bound to the `actions` that `KEYS` names; what they did before comes back at the end."""

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[..., None]]) -> None:
        self.viewer = viewer
        self.bound: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        for key, name, _ in KEYS:
            self.bound[key] = _held(actions[name]) if name == "hide" else _pressed(actions[name])
            self.before[key] = viewer.bind_key(key, self.bound[key], overwrite=True)

    def unbind(self) -> None:
        """Give the keys back, except those that someone else has bound since."""
        for key, mine in self.bound.items():
            there = self.viewer.bind_key(key, None)
            back = self.before[key] if there is mine else there
            if back is not None:
                self.viewer.bind_key(key, back)
        self.bound.clear()


def _pressed(action: Callable[..., None]) -> Callable[[Any], None]:
    def press(viewer: Any) -> None:
        action()

    return press


def _held(action: Callable[..., None]) -> Callable[[Any], Any]:
    def hold(viewer: Any) -> Any:
        action(True)
        yield
        action(False)

    return hold
