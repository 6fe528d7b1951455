"""The published methods: a new one is one file here and one line in `METHODS`, or another package's entry point.

Another package adds a method by an entry point of the group ``napari_medseg.methods``:
``name = "package.module:Class"``.
Importing this loads no torch: a method's module is imported on first use, its settings can be had alone.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medseg.errors import MethodError, SettingsError, one_line

if TYPE_CHECKING:
    from napari_medseg.method import Method
    from napari_medseg.settings import Role, Settings, TrainSettings

log = logging.getLogger(__name__)
GROUP = "napari_medseg.methods"
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
    "afm-threshold": "afm_threshold.method:AfmThreshold",
    "nerve-ridges": "nerve_ridges.method:NerveRidges",
}
# runs networks of other programs; its models are made of their files
FOREIGN = {"onnx-network": "foreign.method:ForeignNetwork"}
FOREIGN_SUFFIXES = (".onnx", ".zip")


def known_methods() -> dict[str, str]:
    """Return module:class of every method by its name: ours, then those of other packages."""
    return _ours() | {name: place for name, (place, _) in _installed().items()}


def trained_methods() -> list[str]:
    """Return the names of the usable methods that learn from images and labels."""
    return [name for name in usable_methods() if name not in {**TRAINING_FREE, **FOREIGN}]


def get_method(name: str) -> type[Method]:
    """Return the method class called `name`.

    Raises
    ------
    SettingsError
        If there is no such method; the known ones are listed.
    MethodError
        If what another package offers cannot be imported or is no method of this name.
    """
    cls: type[Method] = _load(name, _place(name))
    return cls


def settings_class(name: str) -> type[Settings]:
    """Return the settings class of a method without importing its network where they lie apart; errors as above."""
    module, _, attribute = _place(name).partition(":")
    apart = f"{module.rpartition('.')[0]}.settings"
    if name in _ours() and module.endswith(".method") and find_spec(apart):
        found: type[Settings] | None = getattr(importlib.import_module(apart), f"{attribute}Settings", None)
        if found is not None:
            return found
    return get_method(name).Settings


def schedule_of(name: str) -> TrainSettings:
    """Return the paper's schedule, from the settings where they have it; errors as above."""
    schedule: TrainSettings | None = getattr(settings_class(name), "training", None)
    return get_method(name).training if schedule is None else schedule


def role_of(name: str) -> Role:
    """Return what a model of the method is for; errors as above."""
    return getattr(settings_class(name), "role", "segment")


def title_of(name: str) -> str:
    """Return the name of a method for people, from the settings where they have it; errors as above."""
    return str(getattr(settings_class(name), "title", "") or get_method(name).title)


def for_movies(name: str) -> bool:
    """Return whether the method is made for the frames of movies; errors as above."""
    return bool(getattr(settings_class(name), "movies", False))


def field_of(name: str) -> str:
    """Return what models of the method are made for, or nothing where only their cards know; errors as above."""
    return str(getattr(settings_class(name), "field", ""))


def usable_methods() -> list[str]:
    """Return the names of the methods; one of another package that fails is named once in the log and left out."""
    names = list(_ours())
    for name in _installed():
        try:
            get_method(name)
            names.append(name)
        except MethodError as error:
            _say(str(error))
    return names


def read_foreign(path: Path, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return another program's model as content of a checkpoint (`foreign.package.read_foreign`)."""
    package = importlib.import_module(f"{__name__}.foreign.package")
    content: dict[str, Any] = package.read_foreign(path, given)
    return content


def create(name: str, settings: Mapping[str, Any] | None = None) -> Method:
    """Return a method with validated `settings` (defaults where not given)."""
    cls = get_method(name)
    return cls(cls.Settings.parse(settings or {}))


def _ours() -> dict[str, str]:
    return {name: f"{__name__}.{place}" for name, place in {**METHODS, **TRAINING_FREE, **FOREIGN}.items()}


@cache
def _installed() -> dict[str, tuple[str, str]]:
    """Return place and package of other packages' methods; of two of one name the first package by name counts."""
    found: dict[str, tuple[str, str]] = {}
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: point.dist.name if point.dist else "")
    for point in points:
        package = point.dist.name if point.dist else "an unknown package"
        taken = "napari-medseg" if point.name in _ours() else found.get(point.name, ("", ""))[1]
        if taken:
            _say(f"{package} offers a method {point.name!r}, as {taken} does; that of {taken} is used. Uninstall one.")
        else:
            found[point.name] = (point.value, package)
    return found


def _place(name: str) -> str:
    place = _ours().get(name) or known_methods().get(name)
    if place is None:
        raise SettingsError(f"There is no method {name!r}. Known methods: {', '.join(known_methods())}.")
    return place


def _load(name: str, place: str) -> Any:
    module, _, attribute = place.partition(":")
    if name in _ours():
        return getattr(importlib.import_module(module), attribute)
    try:
        if not attribute:
            raise ValueError(f"its entry point is {place!r}, expected 'package.module:Class'")
        return _sound(getattr(importlib.import_module(module), attribute), name, place)
    except Exception as error:  # another package's code: whatever it raises, the other methods work
        package = _installed()[name][1]
        raise MethodError(
            f"The method {name!r} of the package {package} cannot be used: {one_line(error)}. "
            f"Update or uninstall {package}; the other methods work."
        ) from error


def _sound(cls: Any, name: str, place: str) -> Any:
    """Return another package's class if it is a whole method called `name`; else say what it lacks."""
    from napari_medseg.method import Method

    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise TypeError(f"{place} is no subclass of napari_medseg.method.Method")
    if lacking := sorted(cls.__abstractmethods__):
        raise TypeError(f"{place} does not define {', '.join(lacking)}")
    if getattr(cls, "name", "") != name:
        raise ValueError(f"{place} calls itself {getattr(cls, 'name', '')!r}; entry point and class need one name")
    return cls


@cache
def _say(text: str) -> None:
    """Log a sentence once."""
    log.warning(text)
