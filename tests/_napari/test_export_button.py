"""*Export ...*: what the next tool reads, read back by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from shorthand import Open, Wait

from napari_medseg._napari.layers import layer_data
from napari_medseg.samples import load_sample

pytestmark = pytest.mark.viewer


def measured(open_dock: Open, wait: Wait) -> tuple[Any, Any]:
    viewer, dock = open_dock("Measure")
    for item in load_sample("afm")[:2]:
        data, options, kind = layer_data(item)
        getattr(viewer, f"add_{kind}")(data, **options)
    assert not dock.export_button.isEnabled()
    dock.run_bar.start()
    wait(dock.export_button.isEnabled)
    return viewer, dock


def test_a_measured_case_is_saved_as_a_page(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = measured(open_dock, wait)
    dock.export_button.save(str(tmp_path / "case.html"))
    assert "area (um^2)" in (tmp_path / "case.html").read_text("utf-8")
    assert "case.html" in dock.run_bar.message.text()
    dock.export_button.take(dock.export_button.measured._replace(image=None))
    dock.export_button.save(str(tmp_path / "other.pdf"))
    assert "choose it above" in dock.run_bar.message.text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["case.html"]


def test_outlines_carry_the_measurements_and_tables_the_rows(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = measured(open_dock, wait)
    table = dock.export_button.measured.table
    for name in ("cells.geojson", "cells.csv", "cells.xlsx", "methods.txt"):
        dock.export_button.save(str(tmp_path / name))
        assert name in dock.run_bar.message.text()
    features = json.loads((tmp_path / "cells.geojson").read_text("utf-8"))["features"]
    areas = {int(f["properties"]["name"]): f["properties"]["measurements"]["area (um^2)"] for f in features}
    assert areas == pytest.approx(dict(zip(table["label"], table["area (um^2)"], strict=True)))
    np.testing.assert_allclose(pd.read_csv(tmp_path / "cells.csv")["area (um^2)"], table["area (um^2)"])
    book = pd.read_excel(tmp_path / "cells.xlsx", sheet_name=None)
    assert len(book["objects"]) == len(table)
    assert len(book["summary"]) == 1
    text = (tmp_path / "methods.txt").read_text("utf-8")
    assert "napari-medseg" in text
    assert f"measured as afm; {len(table):,} rows" in text


def test_what_cannot_be_written_is_said(open_dock: Open, wait: Wait, tmp_path: Path) -> None:
    _, dock = measured(open_dock, wait)
    dock.export_button.save(str(tmp_path / "cells.unknown"))
    assert "Choose one of these suffixes" in dock.run_bar.message.text()
    dock.export_button.take(None)
    dock.export_button.save(str(tmp_path / "cells.csv"))
    assert "measure the objects first" in dock.run_bar.message.text()
    (tmp_path / "file").write_text("")
    dock.export_button.save(str(tmp_path / "file" / "cells.tif"))
    assert "file" in dock.run_bar.message.text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]
