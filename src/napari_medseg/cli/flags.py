"""Command-line flags generated from Settings classes; only what is given is passed on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic.fields import FieldInfo

from napari_medseg.settings import Settings, plain_type

S = TypeVar("S", bound=Settings)


def add_flags(parser: argparse.ArgumentParser, cls: type[Settings], defaults: Settings | None = None) -> None:
    """Add one flag per field of `cls`; defaults are shown in the help but never filled in."""
    group = parser.add_argument_group(cls.__name__)
    shown = defaults or cls()
    for name, field in cls.model_fields.items():
        names = [name, *(old for old, now in cls.earlier.items() if now == name)]
        flags = ["--" + word.replace("_", "-") for word in names]
        help_text = f"{field.description or field.title or name} (default: {getattr(shown, name)})".replace("%", "%%")
        group.add_argument(*flags, dest=name, default=argparse.SUPPRESS, help=help_text, **_options(field))


def named_method(words: Sequence[str]) -> str | None:
    """Return the method that `words` name, or ``None``."""
    from napari_medseg.methods import known_methods

    return next((word for word in words if word in known_methods()), None)


def method_settings(words: Sequence[str]) -> type[Settings] | None:
    """Return the settings class of the method that `words` name, or ``None``; networks are not imported."""
    from napari_medseg.methods import settings_class

    name = named_method(words)
    return settings_class(name) if name else None


def settings_of(arguments: argparse.Namespace, cls: type[S], start: S | None = None) -> S:
    """Return `start`, or the defaults of `cls`, with the values that were given."""
    return (start or cls()).updated(**given(arguments, cls))


def given(arguments: argparse.Namespace, cls: type[Settings]) -> dict[str, Any]:
    """Return the values that were given for fields of `cls`."""
    return {name: value for name, value in vars(arguments).items() if name in cls.model_fields}


def _options(field: FieldInfo) -> dict[str, Any]:
    kind, optional = plain_type(field.annotation)
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        return {"choices": choices, "type": type(choices[0]), "metavar": "{" + ",".join(map(str, choices)) + "}"}
    if get_origin(kind) is tuple:
        return {"nargs": len(get_args(kind)), "type": get_args(kind)[0], "metavar": "N"}
    metavar = {int: "INT", float: "NUMBER"}.get(kind, "TEXT")
    return {"type": _optional(kind) if optional else kind, "metavar": metavar}


def _optional(kind: type) -> Any:
    def parse(text: str) -> Any:
        return None if text.lower() == "none" else kind(text)

    parse.__name__ = kind.__name__
    return parse
