"""The published methods: a new one is one file here and one line in `METHODS`."""

from __future__ import annotations

import importlib

from napari_medseg.errors import SettingsError
from napari_medseg.method import Method

# name -> module:class; resolved on first use so that listing one method does not import all
METHODS = {
    "afm-unet": "afm_unet:AfmUnet",
}


def get_method(name: str) -> type[Method]:
    """Return the method class called `name`, or raise `SettingsError` listing those there are."""
    if name not in METHODS:
        raise SettingsError(f"There is no method {name!r}. Known methods: {', '.join(METHODS)}.")
    module, attribute = METHODS[name].split(":")
    cls: type[Method] = getattr(importlib.import_module(f"napari_medseg.methods.{module}"), attribute)
    return cls
