"""Decide which frames show nerve: probability cut, hysteresis, majority vote."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from napari_medseg.errors import DataError
from napari_medseg.video.settings import VideoSettings


def p_columns(classes: Sequence[str]) -> list[str]:
    """Name the probability columns by the first word of each class: p_nerve, p_general, p_tendon."""
    short = [name.split()[0].lower() for name in classes]
    long = ["_".join(name.lower().split()) for name in classes]
    return [f"p_{name}" for name in (short if len(set(short)) == len(short) else long)]


class Decision:
    """Turn class probabilities, given in order, into one class per frame.

    A frame is nerve when its probability reaches ``nerve_probability`` (0: when nerve is the likeliest class). With
    ``release_probability`` it stays nerve until the probability falls below that. Then the majority of the ``vote``
    frames around it decides (fewer at both ends; a tie keeps the frame's own answer). Frames that are not nerve get the
    likeliest other class. A decision needs ``vote // 2`` later frames.

    Raises
    ------
    DataError
        If the classifier has no class ``nerve_class``.
    """

    def __init__(self, classes: tuple[str, ...], settings: VideoSettings) -> None:
        by_name = {name.lower(): k for k, name in enumerate(classes)}
        if settings.nerve_class.lower() not in by_name:
            raise DataError(
                f"The classifier knows the classes {', '.join(classes)}, but nerve frames are to be "
                f"{settings.nerve_class!r}. Give one of these as nerve class (--nerve-class), or another model."
            )
        self.nerve = by_name[settings.nerve_class.lower()]
        self._settings, self._half = settings, settings.vote // 2
        self._on = False
        self._flags: deque[bool] = deque(maxlen=settings.vote)
        self._waiting: deque[tuple[int, np.ndarray, bool]] = deque()

    def push(self, number: int, p: np.ndarray) -> list[tuple[int, int]]:
        """Take the probabilities (K,) of frame `number`; return (number, class) of frames decided by it."""
        self._on = self._raw(p)
        self._flags.append(self._on)
        self._waiting.append((number, p, self._on))
        return [self._decide()] if len(self._waiting) > self._half else []

    def flush(self) -> list[tuple[int, int]]:
        """Return the decisions of the last frames, whose later neighbours do not exist."""
        decided = []
        while self._waiting:
            while len(self._flags) > self._half + len(self._waiting):
                self._flags.popleft()
            decided.append(self._decide())
        return decided

    def _raw(self, p: np.ndarray) -> bool:
        s = self._settings
        if self._on and s.release_probability:
            return bool(p[self.nerve] >= s.release_probability)
        if s.nerve_probability:
            return bool(p[self.nerve] >= s.nerve_probability)
        return int(p.argmax()) == self.nerve

    def _decide(self) -> tuple[int, int]:
        number, p, own = self._waiting.popleft()
        votes = 2 * sum(self._flags) - len(self._flags)
        if votes > 0 or (votes == 0 and own):
            return number, self.nerve
        others = p.copy()
        others[self.nerve] = -1
        return number, int(others.argmax())
