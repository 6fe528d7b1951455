"""What to do with files that are not read, by their suffix."""

from __future__ import annotations

from pathlib import Path

GWYDDION = "Open it in Gwyddion and save it as .gwy, which is read."
CURVES = "It holds force curves, which are no picture. Save a scan, or a height image of the map, instead."
MICROSCOPE = "Open it in Fiji (Bio-Formats) or QuPath and save it as OME-TIFF, which is read."
SCANS = {
    ".nid": "Nanosurf scan", ".nhf": "Nanosurf scan", ".sxm": "Nanonis scan", ".mi": "Keysight (Agilent) scan",
    ".mdt": "NT-MDT scan", ".sm4": "RHK scan", ".sm3": "RHK scan", ".mtrx": "Omicron scan", ".ezd": "Nanosurf scan",
    ".bcr": "BCR-STM scan", ".bcrf": "BCR-STM scan", ".hdz": "Nanoscan scan", ".ardf": "Asylum Research scan",
    ".aris": "Asylum Research scan", ".psia": "Park scan", ".flt": "Shimadzu scan", ".par": "Omicron scan",
}  # fmt: skip
FORCE_CURVES = (".jpk-force", ".jpk-force-map", ".jpk-qi-data", ".jpk-qi-series", ".pfc", ".ps-ppt")
CONTAINERS = (".czi", ".lif", ".nd2", ".oib", ".oif", ".oir", ".vsi", ".lsm", ".ims", ".dv", ".zvi", ".vsf")


def hint(path: Path) -> str:
    """Return what a file that is not read probably is, and the way out; empty where its suffix says nothing."""
    suffix = path.suffix.lower()
    if suffix in FORCE_CURVES:
        return CURVES
    if suffix in SCANS:
        return f"A {SCANS[suffix]} by its name. {GWYDDION}"
    return MICROSCOPE if suffix in CONTAINERS else ""
