"""Models to download: a registry file names them, with what a download is checked against."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_medseg import __version__
from napari_medseg.errors import DataError, ReadError, one_line
from napari_medseg.io.files import read_json, replacing
from napari_medseg.io.identity import sha256
from napari_medseg.jobs import Job, Progress
from napari_medseg.models.checkpoint import DEFAULT_FOLDER
from napari_medseg.models.purpose import FIELDS

VARIABLE = "MEDSEG_REGISTRY"  # environment: the registry file of a laboratory
NAME, DIGEST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"), re.compile(r"[0-9a-f]{64}")
SUFFIXES = (".pt", ".onnx", ".zip")
EMPTY = (
    "It names none: every model that this program has was installed with it. A laboratory's own registry is named by "
    "--registry FILE or MEDSEG_REGISTRY."
)
CHUNK, TIMEOUT = 2**18, 30.0


@dataclass(frozen=True)
class Offer:
    """One model of a registry: where it is, the SHA-256 of its file, its licence, field, and what it finds."""

    name: str
    url: str
    sha256: str
    license: str
    field: str
    finds: str = ""

    @property
    def file_name(self) -> str:
        """What its file is called in the model folder."""
        return self.name + Path(urlsplit(self.url).path).suffix.lower()


def read_registry(path: Path | None = None) -> list[Offer]:
    """Return the models of a registry file: of `path`, else of ``MEDSEG_REGISTRY``, else of the package.

    Raises
    ------
    ReadError
        If it is no registry, or what it says of a model cannot be used.
    """
    named = os.environ.get(VARIABLE, "")
    path = path or (Path(named) if named else Path(str(resources.files("napari_medseg") / "models" / "registry.json")))
    content = read_json(path)
    rows = content.get("models") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise ReadError(f"{path} is no registry of models: it has no list 'models'.")
    offers = [_offer(row, path) for row in rows]
    if twice := {offer.name for offer in offers if sum(o.name == offer.name for o in offers) > 1}:
        raise ReadError(f"{path} names {', '.join(sorted(twice))} more than once.")
    return offers


def _offer(row: Any, path: Path) -> Offer:
    known = [field.name for field in fields(Offer)]
    if not isinstance(row, Mapping) or any(not isinstance(row.get(key), str) for key in known[:-1]):
        raise ReadError(f"{path}: each model needs {', '.join(known[:-1])} as text, got {str(row)[:100]}.")
    offer = Offer(**{key: str(row.get(key, "")) for key in known})
    problems = {
        f"name {offer.name!r}": NAME.fullmatch(offer.name) and ".." not in offer.name,
        f"url {offer.url!r} (https or http, ending in {', '.join(SUFFIXES)})": (
            urlsplit(offer.url).scheme in ("https", "http") and offer.file_name.endswith(SUFFIXES)
        ),
        f"sha256 {offer.sha256!r}": DIGEST.fullmatch(offer.sha256),
        f"field {offer.field!r} (one of {', '.join(FIELDS)})": offer.field in FIELDS,
        "license, which is empty": offer.license,
    }
    if wrong := [what for what, right in problems.items() if not right]:
        raise ReadError(f"{path} states for {offer.name!r} a {wrong[0]} that cannot be used.")
    return offer


def fetch(name: str, registry: Path | None = None, folder: Path | None = None) -> Job[Path]:
    """Download a model into the model folder and return its path; one that is there and whole is not asked for again.

    Nothing is kept of a download that was stopped, cut short, or is another file than the registry states.

    Raises
    ------
    DataError
        If the registry does not name it.
    ReadError
        If it cannot be downloaded, or has another SHA-256.
    WriteError
        If the folder cannot be written.
    """
    offers = {offer.name: offer for offer in read_registry(registry)}
    if name not in offers:
        names = f"It names: {', '.join(offers)}." if offers else EMPTY
        raise DataError(f"The registry names no model {name!r}. {names}")
    offer, folder = offers[name], folder or DEFAULT_FOLDER
    path = folder / offer.file_name
    if path.is_file() and sha256(path) == offer.sha256:
        yield Progress(1, 1, f"{path} is there already")
        return path
    yield Progress(0, 1, f"asking {urlsplit(offer.url).hostname}")
    with replacing(path) as part, part.open("wb") as file:
        digest, done = hashlib.sha256(), 0
        try:
            request = urllib.request.Request(offer.url, headers={"User-Agent": f"napari-medseg/{__version__}"})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
                total = int(response.headers.get("Content-Length") or 0)
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
                    done += len(chunk)
                    yield Progress(done, max(total, done), f"{done / 1e6:.1f} of {max(total, done) / 1e6:.1f} MB")
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
            reason = getattr(error, "reason", "") or error
            raise ReadError(
                f"{name} cannot be downloaded from {offer.url} ({one_line(Exception(str(reason)), 120)}). Try again, "
                f"or put the file into {folder}."
            ) from error
        if done < total:
            raise ReadError(f"The download of {name} was cut short: {done:,} of {total:,} bytes came. Try again.")
        if digest.hexdigest() != offer.sha256:
            raise ReadError(
                f"What {offer.url} gives is not the file of the registry (SHA-256 {digest.hexdigest()[:12]}..., stated "
                f"{offer.sha256[:12]}...): it was changed or damaged. It was not kept."
            )
    return path
