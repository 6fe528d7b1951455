"""``medseg models``: list the models at hand, download one, or take in another program's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, given
from napari_medseg.cli.output import drain, say, show, table


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "get", "add"), metavar="ACTION",
                        help="list (default): what is here and what the registry offers; get NAME: download it; "
                        "add FILE: take in an .onnx file or a bioimage.io package")  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME|FILE", help="models of the registry, or a file")
    parser.add_argument(
        "--registry", type=Path, metavar="FILE", help="registry file (default: MEDSEG_REGISTRY, or ours)"
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="model folder (default: the docks')")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    if words[:1] == ["add"]:
        from napari_medseg.methods import FOREIGN, settings_class

        add_flags(parser, settings_class(next(iter(FOREIGN))))
    parser.set_defaults(call=_call)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.errors import SettingsError

    if arguments.action == "list":
        return _list(arguments)
    if not arguments.names:
        raise SettingsError(
            f"medseg models {arguments.action} needs a {'NAME' if arguments.action == 'get' else 'FILE'}."
        )
    made = [
        _get(name, arguments) if arguments.action == "get" else _add(Path(name), arguments) for name in arguments.names
    ]
    show([str(path) for path in made], arguments.json, "\n".join(f"{path}" for path in made))
    return None


def _list(arguments: argparse.Namespace) -> None:
    from napari_medseg.models.catalog import list_models
    from napari_medseg.models.registry import EMPTY, read_registry

    here: list[dict[str, Any]] = [
        {"name": e.path.stem, "field": e.field or "", "licence": e.card.get("license", ""), "where": _where(e)}
        for e in list_models(arguments.folder)
    ]
    names, offers = {row["name"] for row in here}, read_registry(arguments.registry)
    here += [
        {"name": o.name, "field": o.field, "licence": o.license, "where": "registry: medseg models get " + o.name}
        for o in offers
        if o.name not in names
    ]
    more = "" if offers else f"\n\nThe registry of models to download: {EMPTY[0].lower()}{EMPTY[1:]}"
    show(here, arguments.json, table(here) + more)


def _where(entry: Any) -> str:
    return str(entry.problem) or ("bundled" if entry.bundled else str(entry.path))


def _get(name: str, arguments: argparse.Namespace) -> Path:
    from napari_medseg.models.registry import fetch

    return drain(fetch(name, arguments.registry, arguments.folder), arguments.json)


def _add(path: Path, arguments: argparse.Namespace) -> Path:
    """Write another program's model as a checkpoint into the model folder."""
    from napari_medseg.errors import SettingsError
    from napari_medseg.methods import FOREIGN, FOREIGN_SUFFIXES, read_foreign, settings_class
    from napari_medseg.models.checkpoint import DEFAULT_FOLDER, write_checkpoint

    if path.suffix.lower() not in FOREIGN_SUFFIXES:
        raise SettingsError(
            f"{path.name} is no {' or '.join(FOREIGN_SUFFIXES)} file. Models of this program need no import."
        )
    content = read_foreign(path, given(arguments, settings_class(next(iter(FOREIGN)))))
    target = (arguments.folder or DEFAULT_FOLDER) / f"{path.stem}.pt"
    write_checkpoint(target, content)
    if not arguments.json:
        say(f"{path.name}: {content['settings']['axes']}, {content['settings']['normalise']}, licence "
            f"{content['license'] or 'not stated'}")  # fmt: skip
    return target
