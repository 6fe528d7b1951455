"""*Save report ...* of the Measure dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_medseg._napari.layers import layer_data
from napari_medseg.samples import load_sample

pytestmark = pytest.mark.viewer
Wait = Callable[[Callable[[], bool]], None]


def test_a_measured_case_is_saved_as_a_page(
    open_dock: Callable[[str], tuple[Any, Any]], wait: Wait, tmp_path: Path
) -> None:
    image, labels = load_sample("afm")[:2]
    viewer, dock = open_dock("Measure")
    for item in (image, labels):
        data, options, kind = layer_data(item)
        getattr(viewer, f"add_{kind}")(data, **options)
    assert not dock.report_button.isEnabled()
    dock.run_bar.start()
    wait(dock.report_button.isEnabled)
    dock.report_button.save(str(tmp_path / "case.html"))
    assert "area (um^2)" in (tmp_path / "case.html").read_text("utf-8")
    assert "case.html" in dock.run_bar.message.text()
    dock.report_button.save(str(tmp_path / "case.txt"))
    assert ".html or .pdf" in dock.run_bar.message.text()
    dock.report_button.take(dock.report_button.measured._replace(image=None))
    dock.report_button.save(str(tmp_path / "other.pdf"))
    assert "choose it above" in dock.run_bar.message.text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.html"]
