"""What a round of strokes costs against an older commit, in turns: ``python -m benchmarks rounds --against COMMIT``.

The strokes of the simulated user of `benchmarks.scribbles` (lines, from nothing), found with the present code on pictures
of the half that chooses constants, are given to both sides in processes of their own: processor time of the rounds of all
pictures of a group, the first two of each and the later ones, the median of the turns. Groups whose data are absent are
left out.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import header
from benchmarks._against import ask, row, sources_of
from benchmarks.scribbles import DATA, Case, cases, nothing, ours, rounds

STROKES = 5
GROUPS = ("nuclei", "nerves", "glands", "hippocampus")
RUN = """
import json, sys, time
import numpy as np
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession
spent = {"first two": [], "later": []}
for turn in range(2):  # the first turn loads what is compiled
    for path in sys.argv[1:]:
        with np.load(path) as file:
            image = Image(file["image"], str(file["axes"]))
            strokes = [file[f"strokes{i}"] for i in range(int(file["count"]))]
        session = RefinementSession(image, proposal=np.zeros(strokes[0].shape, np.uint8))
        run(session.propose())
        for number, marks in enumerate(strokes):
            before = time.process_time()
            run(session.refine(marks))
            if turn:
                spent["first two" if number < 2 else "later"].append(time.process_time() - before)
print(json.dumps({name: 1e3 * float(np.mean(times)) for name, times in spent.items()}))
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser("benchmarks rounds", description=__doc__)
    parser.add_argument("--against", required=True, help="commit to compare with")
    parser.add_argument("--cases", type=int, default=4, help="pictures of each group")
    parser.add_argument("--group", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the real data")
    args = parser.parse_args(argv)
    print(header(f"rounds --against {args.against}", ("numpy", "numba", "torch")))
    print("\n| what | before | now | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as work:
        sources = sources_of(args.against, Path(work))
        for group in args.group:
            chosen = list(cases(args.cases, "choose", groups=[group], data=args.data))
            paths = [write(case, Path(work) / f"{group}{i}.npz") for i, case in enumerate(chosen)]
            if not paths:
                continue
            found = [[ask(source, RUN, *map(str, paths)) for source in sources] for _ in range(args.repeats)]
            for part in ("first two", "later"):
                row(f"{group}: {part} strokes, ms a round", [[side[part] for side in turn] for turn in found])


def write(case: Case, path: Path) -> Path:
    """Write an image and the strokes of a user who answers the present code, all so far after each round."""
    strokes: list[np.ndarray] = []
    tool = ours(case, nothing(case.truth))

    def keep(marks: np.ndarray) -> np.ndarray:
        strokes.append(marks.copy())
        return tool(marks)

    rounds(case, nothing(case.truth), STROKES, keep)
    kept = {f"strokes{i}": marks for i, marks in enumerate(strokes)}
    np.savez(path, image=np.asarray(case.image.data), axes=case.image.axes, count=len(strokes), **kept)
    return path


if __name__ == "__main__":
    main()
