"""The ``medseg`` command: parse, call the library, print.

Exit 0 done, 2 bad input, 130 stopped by Ctrl+C, 143 ended by SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from napari_medseg import __version__
from napari_medseg.cli.commands import COMMANDS
from napari_medseg.cli.output import warn, write
from napari_medseg.errors import MedSegError, SettingsError, printable


class TerminatedError(KeyboardInterrupt):
    """Somebody ended this process (SIGTERM)."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints hold nothing that a terminal would obey."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the words and exit."""
        super().error(printable(message))

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write help or a version; argparse itself takes no notice of a full disk."""
        if message:
            write(message, file or sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        words = [_with_home(word) for word in (sys.argv[1:] if argv is None else argv)]
        parser = build_parser(words)
        arguments = parser.parse_args(words)
        if not hasattr(arguments, "call"):
            parser.print_help()
            return 0
        return int(arguments.call(arguments) or 0)
    except MedSegError as error:
        return _end(str(error), 2)
    except MemoryError:
        return _end("There is not enough memory for this. Close other programs, or take smaller images or tiles.", 2)
    except BrokenPipeError:
        return 0
    except TerminatedError:
        return _end("ended; what was finished is kept.", 143)
    except KeyboardInterrupt:
        return _end("stopped; what was finished is kept.", 130)


def _end(message: str, code: int) -> int:
    with contextlib.suppress(OSError, MedSegError):
        warn(message)
    return code


def _with_home(word: str) -> str:
    """Return a word with ``~`` or ``~user`` as a home folder: not every shell does so behind a ``=`` or ``-o``."""
    flag = word[:2] if word[:1] == "-" and word[2:3] == "~" else ""
    flag = flag or ("".join(word.partition("=")[:2]) if word.startswith("-") else "")
    value = word[len(flag) :]
    if not value.startswith("~"):
        return word
    path = os.path.expanduser(value)
    if path == value and (value == "~" or value.startswith(("~/", "~\\"))):
        raise SettingsError(f"{word}: there is no home folder here. Write the path without ~.")
    return f"{flag}{path}"


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; arguments and flags are those of the command, and of the method, named in `words`."""
    parser = Parser("medseg", description="Medical segmentation: train, predict, refine, measure.")
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text)
        if words[:1] == [name]:
            importlib.import_module(f"napari_medseg.cli.commands.{name}").add(command, words[1:])
    return parser


def entry() -> None:
    """Console entry point; Ctrl+C (also in the background of a script) and SIGTERM stop a job in good order."""
    _open_streams()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminate)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # they would be looked for in every package
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without these letters shows escapes
            stream.reconfigure(errors="backslashreplace")
    try:
        code: Any = main()
    except SystemExit as stopped:  # help, a version, a wrong flag
        code = stopped.code
    sys.exit(_flushed(code))


def _open_streams() -> None:
    """Open what this process was started without (``>&-``, a service), before a file of ours takes its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # which cannot be written, and says so
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def _flushed(code: Any) -> Any:
    """Return `code`, or 2 where standard output could not take everything."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            code = _end(f"The output cannot be written: {error.strerror or error}. Write it elsewhere.", 2)
        with contextlib.suppress(OSError):  # nothing more goes there at the end of Python
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _terminate(*_: object) -> NoReturn:
    raise TerminatedError
