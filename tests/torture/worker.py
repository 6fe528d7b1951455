"""Read damaged files in a process of its own and print, for each, what happened as one JSON line.

``python worker.py FOLDER`` takes lines "KIND INDEX"; the first of a kind is answered "ready".
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mutate import mutate
from seeds import SEEDS, dicom_slice, make_seed

from napari_medseg import io
from napari_medseg.errors import MedSegError

FLOOR, FACTOR = 200 * 2**20, 4
ADDRESSES = 12 * 2**30  # keeps the machine alive; the limit proper is FLOOR and FACTOR
LOADED = 2**26
VALID = -1
LONGEST = 700
SUFFIXES = sorted({"".join(Path(name).suffixes) for name in SEEDS})


def status(key: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def look(image: Any, digest: Any) -> int:
    """Read the pixels, of a large lazy image the first and last block only; return the bytes of the image read.

    What was read goes into `digest`.
    """
    digest.update(repr((image.axes, image.scale, image.units, image.data.shape)).encode())
    for array in (image.data, *image.metadata.get("levels", [])):
        if hasattr(array, "dask") and array.nbytes > LOADED:
            for block in (array.blocks[(0,) * array.ndim], array.blocks[(-1,) * array.ndim]):
                if block.nbytes <= LOADED:
                    digest.update(np.ascontiguousarray(block))
        elif array.nbytes <= LOADED:
            digest.update(np.ascontiguousarray(array))
    assert np.isfinite(image.scale).all()
    assert min(image.scale) > 0
    assert image.kind == "image" or np.dtype(image.data.dtype).kind in "uib"
    return min(int(image.data.nbytes), LOADED) if hasattr(image.data, "dask") else int(image.data.nbytes)


def read(path: Path, digest: Any) -> int:
    if path.suffix == ".pt":
        from napari_medseg.models.catalog import load_model

        network = load_model(path).network
        for parameter in network.parameters():
            digest.update(parameter.detach().numpy())
        return sum(p.numel() * p.element_size() for p in network.parameters())
    images = io.read(path.parent if path.suffix == ".dcm" else path)
    assert images
    return sum(look(image, digest) for image in images)


def attempt(path: Path) -> dict[str, Any]:
    """Return outcome ``read``, ``refused`` or ``WRONG`` with the reason, and a digest of what was read."""
    if path.suffix == ".pt":
        import napari_medseg.models.catalog  # noqa: F401  # torch is no memory of the file's
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before, start, need = status("VmRSS"), time.perf_counter(), path.stat().st_size
    outcome, text, digest = "read", "", hashlib.sha256()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            need = max(need, read(path, digest))
        except MedSegError as error:
            outcome, text = "refused", str(error)
            if not text or "\n" in text or len(text) > LONGEST or "Traceback" in text:
                outcome, text = "WRONG", f"message of {len(text)} characters: {text!r}"
        except BaseException as error:
            outcome = "WRONG"
            text = f"{error!r:.300} {''.join(traceback.format_tb(error.__traceback__)[-3:])}"
    rise = status("VmHWM") - before
    quiet = (DeprecationWarning, PendingDeprecationWarning, ResourceWarning)
    notes = [f"{w.category.__name__}: {w.message}" for w in seen if not issubclass(w.category, quiet)]
    if outcome != "WRONG" and notes:
        outcome, text = "WRONG", f"warning {notes[0]}"
    if outcome != "WRONG" and rise > max(FLOOR, FACTOR * need):
        outcome, text = "WRONG", f"memory {rise / 2**20:.0f} MB for {need / 2**20:.1f} MB; {text}"
    content = digest.hexdigest()
    return {
        "outcome": outcome,
        "text": text,
        "seconds": time.perf_counter() - start,
        "memory": rise,
        "content": content,
    }


class Kind:
    """A valid file in memory, and the place where its damaged copies are written."""

    def __init__(self, name: str, folder: Path) -> None:
        seed = make_seed(name, folder)
        self.name, self.data, self.place = name, seed.read_bytes(), folder / "case"
        self.suffix = ".nii.gz" if name.endswith(".nii.gz") else seed.suffix
        seed.unlink()
        self.whole = self.attempt(VALID)["content"]  # what is imported now counts for no file

    def attempt(self, index: int) -> dict[str, Any]:
        """Return what reading damaged file number `index` (-1: the valid one) gives."""
        number = zlib.crc32(self.name.encode())
        damaged, other = (self.data, "") if index < 0 else mutate(self.data, number, index, SUFFIXES)
        self.place.mkdir()
        if self.suffix == ".dcm":
            for k in (0, 2):
                dicom_slice(self.place / f"a{k}.dcm", k)
        path = self.place / f"a1{other or self.suffix}"
        path.write_bytes(damaged)
        answer = attempt(path)
        shutil.rmtree(self.place)
        if index >= 0 and answer["outcome"] == "read" and answer["content"] != self.whole:
            cut = not other and len(damaged) < len(self.data) and self.data.startswith(damaged)
            text = "a file that was cut is read as another"
            answer |= {"outcome": "WRONG", "text": text} if cut and self.tells_its_end else {"outcome": "other"}
        return answer

    @property
    def tells_its_end(self) -> bool:
        """Whether the format says how much there is to come.

        Films say how many frames are missing, series which slice they leave out.
        """
        return self.suffix not in (".swc", ".dcm", ".avi", ".mp4", ".mkv")


def main() -> None:
    folder = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what C libraries print must not mix with the answers
    kind: Kind | None = None
    for line in sys.stdin:
        name, index = line.rsplit(maxsplit=1)
        if kind is None or kind.name != name:
            kind = Kind(name, folder)
            answer: Any = "ready"
        else:
            answer = kind.attempt(int(index))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
