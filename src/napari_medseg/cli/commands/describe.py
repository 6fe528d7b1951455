"""``medseg describe``: describe one method under given settings."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from napari_medseg.cli.commands import method_class, show
from napari_medseg.cli.flags import add_flags, given


def add(commands: Any, words: Sequence[str]) -> None:
    """Add the command; `words` are the command line's, to find the method."""
    parser = commands.add_parser("describe", help="describe one method under given settings")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    cls = method_class(words) if words[:1] == ["describe"] else None
    if cls:
        add_flags(parser, cls.Settings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import create, get_method

        method = create(arguments.method, given(arguments, get_method(arguments.method).Settings))
        total, trainable = count_parameters(method.build_network())
        settings = method.settings.model_dump(mode="json")
        value = {"name": method.name, "parameters": total, "trainable_parameters": trainable, "settings": settings}
        text = [f"{method.title} ({method.name}), doi:{method.doi}", f"{total:,} parameters, {trainable:,} trainable"]
        show(value, arguments.json, lambda: "\n".join(text + [f"  {k} = {v}" for k, v in settings.items()]))

    parser.set_defaults(call=call)
