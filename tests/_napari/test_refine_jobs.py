"""What a session begins with, without a window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg._napari.refine.jobs import Start, open_session, with_others
from napari_medseg.image import Image
from napari_medseg.jobs import run


def placed(shape: tuple[int, ...], first: float, name: str) -> Image:
    affine = np.eye(len(shape) + 1)
    affine[0, -1] = first
    units = ("micrometer",) * len(shape)
    return Image(np.ones(shape, np.uint8), "ZYX"[-len(shape) :], (1,) * len(shape), units, affine, "labels", name)


def test_objects_that_cannot_be_brought_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part reaches into the image, one lies elsewhere, which is no fault, and one is of another number of axes."""
    image = placed((8, 9), 0, "scan").replace(kind="image", data=np.random.default_rng(0).random((8, 9)))
    others = placed((4, 9), 6, "near"), placed((4, 9), 100, "far"), placed((2, 4, 9), 0, "volume")
    locked, numbers, lost = with_others(Start(image, others=others))
    assert locked is not None
    assert locked.tolist() == [[0] * 9] * 6 + [[1] * 9] * 2
    assert numbers == (1, 2)
    (sentence,) = lost
    assert sentence.startswith("The objects of volume are not locked here: ")
    assert "another number of axes" in sentence
    monkeypatch.setattr("napari_medseg._napari.refine.saves.SESSIONS", tmp_path)
    opened = run(open_session(Start(image, others=others, note="First.")))
    assert opened.note.startswith(f"First. {sentence}")
    assert "1 object accepted on other parts is locked here" in opened.note
