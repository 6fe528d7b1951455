"""Command-line flags generated from Settings classes; only what is given is passed on."""

from __future__ import annotations

import argparse
import types
import typing
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from napari_medseg.settings import Settings


def add_flags(parser: argparse.ArgumentParser, cls: type[Settings], defaults: Settings | None = None) -> None:
    """Add one flag per field of `cls`; defaults are shown in the help but never filled in."""
    group = parser.add_argument_group(cls.__name__)
    shown = defaults or cls()
    for name, field in cls.model_fields.items():
        flag = "--" + name.replace("_", "-")
        help_text = f"{field.description or field.title or name} (default: {getattr(shown, name)})".replace("%", "%%")
        group.add_argument(flag, dest=name, default=argparse.SUPPRESS, help=help_text, **_options(field))


def given(arguments: argparse.Namespace, cls: type[Settings]) -> dict[str, Any]:
    """Return the values that were given for fields of `cls`."""
    return {name: value for name, value in vars(arguments).items() if name in cls.model_fields}


def as_flags(settings: Settings, defaults: Settings | None = None) -> list[str]:
    """Return the flags that reproduce `settings` from `defaults` (or the class defaults)."""
    defaults = defaults or type(settings)()
    words: list[str] = []
    for name, value in settings.model_dump(mode="json").items():
        if value == defaults.model_dump(mode="json")[name]:
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        else:
            words += [f"{flag}={'none' if value is None else value}"]
    return words


def plain_type(annotation: Any) -> tuple[Any, bool]:
    """Return the annotation without ``| None``, and whether ``None`` was allowed."""
    if get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [a for a in get_args(annotation) if a is not type(None)]
        return inner[0], len(inner) < len(get_args(annotation))
    return annotation, False


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
