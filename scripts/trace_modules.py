"""Count how often work passes from one module to another: ``python scripts/trace_modules.py [predict | stroke]``.

``predict`` segments one AFM file with a tiny network, ``stroke`` refines one stroke in a small picture. Printed are the
modules of the package that are passed and the number of different steps from one module into another.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

PACKAGE = "napari_medseg"


def trace(work: Callable[[], Any]) -> Counter[tuple[str, str]]:
    """Run `work` and count the calls from one module of the package into another, import time left out."""
    steps: Counter[tuple[str, str]] = Counter()

    def follow(frame: FrameType, event: str, argument: object) -> None:
        if event != "call" or frame.f_code.co_name == "<module>":
            return
        here, above = frame.f_globals.get("__name__", ""), frame.f_back
        while above is not None and not above.f_globals.get("__name__", "").startswith(PACKAGE):
            above = above.f_back
        there = above.f_globals["__name__"] if above is not None else ""
        if here.startswith(PACKAGE) and there and here != there:
            steps[there, here] += 1

    sys.setprofile(follow)
    try:
        work()
    finally:
        sys.setprofile(None)
    return steps


def predict(folder: Path) -> Callable[[], Any]:
    """Return the work of ``medseg predict`` on one scan."""
    from napari_medseg.cli.main import main
    from napari_medseg.methods import create
    from napari_medseg.models.checkpoint import pack, write_checkpoint
    from napari_medseg.samples.afm import afm_folder

    afm_folder(folder / "data", 1, size=64)
    method = create("afm-unet", {"architecture": "unet2"})
    write_checkpoint(folder / "m.pt", pack(method, method.build_network().state_dict()))
    image = next((folder / "data" / "images").iterdir())
    return lambda: main(["predict", str(folder / "m.pt"), str(image), "-o", str(folder / "out")])


def stroke(folder: Path) -> Callable[[], Any]:
    """Return the work of one stroke."""
    from napari_medseg import Image, run
    from napari_medseg.refinement import RefinementSession

    y, x = np.mgrid[:64, :64]
    picture = ((y - 32) ** 2 + (x - 32) ** 2 < 200).astype(np.float32)
    session = RefinementSession(Image(picture, "YX"))
    scribbles = np.zeros((64, 64), np.uint8)
    scribbles[30:34, 28:36], scribbles[2:4, 2:60] = 2, 1
    return lambda: run(session.refine(scribbles))


def main() -> int:
    """Print the counts."""
    names = sys.argv[1:] or ["predict", "stroke"]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            work = {"predict": predict, "stroke": stroke}[name](Path(folder))
            work()
            for extra in Path(folder).glob("out*"):
                extra.rename(extra.with_name("before"))
            steps = trace(work)
        passed = {module for step in steps for module in step}
        print(f"{name}: {len(passed)} modules, {len(steps)} steps from one into another, {sum(steps.values())} calls")
        for (there, here), n in sorted(steps.items()):
            print(f"  {there.removeprefix(PACKAGE + '.')} -> {here.removeprefix(PACKAGE + '.')} ({n})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
