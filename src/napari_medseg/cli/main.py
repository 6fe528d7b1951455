"""The ``medseg`` command: parse, call the library, print. Exit 0 done, 2 bad input, 130 stopped by Ctrl+C."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from napari_medseg import __version__
from napari_medseg.cli.commands import COMMANDS
from napari_medseg.errors import MedSegError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = build_parser(words)
        arguments = parser.parse_args(words)
        if not hasattr(arguments, "call"):
            parser.print_help()
            return 0
        return int(arguments.call(arguments) or 0)
    except MedSegError as error:
        print(f"medseg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("\nmedseg: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; arguments and flags are those of the command, and of the method, named in `words`."""
    parser = argparse.ArgumentParser("medseg", description="Medical segmentation: train, predict, refine, measure.")
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if words[:1] == [name]:
            importlib.import_module(f"napari_medseg.cli.commands.{name}").add(command, words[1:])
    return parser


def entry() -> None:
    """Console entry point; Ctrl+C (also in the background of a script) and SIGTERM stop a job in good order."""
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # they would be looked for in every package
    sys.exit(main())
