"""In the headless run napari and Qt really cannot be imported, and the library does not mind."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil

import pytest

import napari_medseg


@pytest.mark.skipif(not os.environ.get("MEDSEG_HEADLESS"), reason="only in the run without napari and Qt")
@pytest.mark.parametrize("name", ["napari", "qtpy", "magicgui"])
def test_gui_packages_are_blocked(name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_every_module_outside_the_window_imports() -> None:
    found = [
        info.name
        for info in pkgutil.walk_packages(napari_medseg.__path__, "napari_medseg.")
        if "_napari" not in info.name and not info.name.endswith("__main__")
    ]
    assert len(found) > 40
    for name in found:
        if not (name.endswith("geodesic._triton") and importlib.util.find_spec("triton") is None):
            importlib.import_module(name)
