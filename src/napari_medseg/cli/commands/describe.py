"""``medseg describe``: describe one method under given settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from napari_medseg.cli.flags import add_flags, given, method_settings
from napari_medseg.cli.output import show


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    cls = method_settings(words)
    if cls:
        add_flags(parser, cls)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import create, get_method

        method = create(arguments.method, given(arguments, get_method(arguments.method).Settings))
        total, trainable = count_parameters(method.build_network())
        settings = method.settings.model_dump(mode="json")
        value = {"name": method.name, "parameters": total, "trainable_parameters": trainable, "settings": settings}
        paper = f", doi:{method.doi}" if method.doi else ""
        text = [f"{method.title} ({method.name}){paper}", f"{total:,} parameters, {trainable:,} trainable"]
        show(value, arguments.json, "\n".join(text + [f"  {k} = {v}" for k, v in settings.items()]))

    parser.set_defaults(call=call)
