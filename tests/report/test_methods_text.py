"""The paragraph for a methods section."""

from __future__ import annotations

import numpy as np

from napari_medseg import __version__
from napari_medseg.image import Image
from napari_medseg.report.case import methods_paragraph

LABELS = Image(np.ones((8, 8), np.uint8), "YX", (0.5, 0.5), ("micrometer",) * 2, kind="labels")


def test_method_model_settings_and_size_are_named() -> None:
    facts = {
        "method": "fullnet", "checkpoint": "/somewhere/nuclei.pt", "checkpoint_sha256": "abcdef0123456789",
        "settings": {"preset": "light", "crop": 208, "device": "auto", "tta": True},
        "version": "0.1.0", "device": "CPU",
    }  # fmt: skip
    text = methods_paragraph(LABELS, facts, measured_as="nuclei", objects=1234)
    assert "10.1007/978-3-030-32239-7_42" in text
    assert "nuclei.pt (SHA-256 abcdef012345...)" in text
    assert "preset = light" in text
    assert "tta = True" in text
    assert "device = auto" not in text
    assert "/somewhere" not in text
    assert "0.5" in text
    assert "um" in text
    assert "measured as nuclei; 1,234 rows" in text


def test_what_is_not_known_is_said() -> None:
    text = methods_paragraph(LABELS, {})
    assert f"napari-medseg {__version__}" in text
    assert "no record of how was kept" in text
    assert "geodesic" in methods_paragraph(LABELS, {"method": "geodesic"})


def test_a_network_that_helped_strokes_is_told() -> None:
    for helped in (False, True):
        text = methods_paragraph(LABELS, {"method": "geodesic", "settings": {"network": helped}})
        assert ("network for strokes" in text) == helped
