"""``medseg serve``: let other computers compute here."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from napari_medseg.cli.output import say
from napari_medseg.errors import SettingsError, counted


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    meaning = "invitation (.pem) to write, or to use again; who has a copy of it can compute here, and run code"
    parser.add_argument("invitation", type=Path, metavar="INVITATION", help=meaning)
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="number of processes (default: 1)")
    parser.add_argument("--host", default="", help="address of this computer that others reach (default: found)")
    parser.add_argument("--port", type=int, default=8786, metavar="INT", help="port to listen on (default: 8786)")
    parser.set_defaults(call=_call)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.cluster.connection import serve

    if arguments.workers < 1 or not 0 < arguments.port < 2**16:
        raise SettingsError("--workers takes 1 or more, --port 1 to 65535.")
    file = arguments.invitation
    with serve(file, arguments.workers, arguments.host, arguments.port) as address:
        certificates = " ".join(f"--tls-{part} {file.name}" for part in ("ca-file", "cert", "key"))
        say(
            f"{counted(arguments.workers, 'worker')} at {address}, until Ctrl+C. Copy {file} to who may use them, "
            f"and to nobody else:\n  medseg predict MODEL IMAGES -o OUT --scheduler {file.name}\nor name it as Compute "
            f"address in the preferences. More workers, from other computers:\n  dask worker {certificates} {address}"
        )
        while True:
            time.sleep(60)
