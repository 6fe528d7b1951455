"""Say how much the counts of nerves hang on each constant: ``python scripts/vary_nerve_constants.py --data FOLDER``.

FOLDER holds traced corneal images (``<number>_org.tif``, ``<number>_lab.tif``) of 1.0417 um a pixel; odd ones count.
The constants of `napari_medseg.measure.skeleton` are halved and doubled one by one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.geometry import with_pixel_size
from napari_medseg.io.pairs import find_pairs
from napari_medseg.measure import skeleton, summarise

CONSTANTS = ("TANGENT_PX", "FAR_PX", "ALIKE_DEGREES", "BRIDGE_PX", "CROSSING_PX", "FORK_DEGREES")
MEASURES = ("CNFL", "CNFD", "CNBD")
PIXEL_UM = 1.0417


def counts(tracings: list[Image]) -> np.ndarray:
    """Return CNFL, CNFD and CNBD (n, 3) of the tracings."""
    rows = [summarise("nerve", labels).iloc[0] for labels in tracings]
    return np.array([[next(row[c] for c in row.index if c.startswith(m)) for m in MEASURES] for row in rows], float)


def main() -> None:
    """Print for each constant and factor how many images change, and by how many percent the means do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    pairs = [pair for pair in find_pairs(parser.parse_args().data).pairs if int(pair.stem) % 2]
    tracings = [with_pixel_size(read_one(pair.label, "labels"), PIXEL_UM) for pair in pairs if pair.label]
    base = counts(tracings)
    for name in CONSTANTS:
        value = getattr(skeleton, name)
        for factor in (0.5, 2):
            setattr(skeleton, name, int(value * factor))
            found = counts(tracings)
            setattr(skeleton, name, value)
            changed = (np.abs(found - base) > 1e-9).sum(0)
            percent = 100 * (found.mean(0) / base.mean(0) - 1)
            said = ", ".join(
                f"{m} {n} of {len(base)} {p:+.1f} %" for m, n, p in zip(MEASURES, changed, percent, strict=True)
            )
            print(f"{name} {value} x {factor:g}: {said}", flush=True)


if __name__ == "__main__":
    main()
