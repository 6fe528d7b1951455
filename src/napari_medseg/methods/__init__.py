"""The published methods: a new one is one file here and one line in `METHODS`."""

from __future__ import annotations

import importlib
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_medseg.errors import CheckpointError, SettingsError, one_line
from napari_medseg.method import Method, Model
from napari_medseg.models.catalog import find_model
from napari_medseg.models.checkpoint import card, read_checkpoint

# name -> module:class; resolved on first use so that listing one method does not import all
METHODS = {
    "afm-unet": "afm_unet.method:AfmUnet",
    "sc-dcnn": "sc_dcnn.method:ScDcnn",
    "frame-classifier": "frame_classifier.method:FrameClassifier",
    "double-unet": "double_unet.method:DoubleUnet",
    "fullnet": "fullnet.method:FullNet",
    "p-net": "deepigeos.method:PNet",
    "r-net": "deepigeos.method:RNet",
}
# methods that need no training; each is a bundled model of the same name
TRAINING_FREE = {
    "nerve-ridges": "nerve_ridges.method:NerveRidges",
}
KNOWN = ChainMap(TRAINING_FREE, METHODS)


def get_method(name: str) -> type[Method]:
    """Return the method class called `name`, or raise `SettingsError` listing those there are."""
    if name not in KNOWN:
        raise SettingsError(f"There is no method {name!r}. Known methods: {', '.join(KNOWN)}.")
    module, attribute = KNOWN[name].split(":")
    cls: type[Method] = getattr(importlib.import_module(f"napari_medseg.methods.{module}"), attribute)
    return cls


def create(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with validated `settings` (defaults where not given)."""
    cls = get_method(name)
    return cls(cls.Settings.parse(settings or {}))


def load_model(path: str | Path, method: str | None = None) -> Model:
    """Load a checkpoint as a `Model` on the CPU, in evaluation mode.

    Parameters
    ----------
    path
        The ``.pt`` file, or the name of a bundled model.
    method
        Name of the method it must be of, if only one will do.

    Raises
    ------
    CheckpointError
        If the file is unsafe, damaged, newer, or of another method.
    """
    path = find_model(path)
    content = read_checkpoint(path)
    name = str(content["method"])
    if method is not None and name != method:
        raise CheckpointError(f"{path.name} is a {name} model; here a {method} model is needed. Choose another file.")
    try:
        built = create(name, content["settings"])
        network = built.build_network()
        network.load_state_dict(content["state_dict"])
    except (SettingsError, RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path.name} does not fit this version's {name}: {one_line(error)}") from error
    return Model(built, network.eval(), card(content, path))
