"""What a file that is not read probably is, and the way out."""

from __future__ import annotations

import contextlib
from pathlib import Path

SEARCHED = 2**22  # bytes of a file in which words are looked for
KINDS = (
    "It reads pictures (.tif, .png), volumes (.nii, .nrrd, .mha, DICOM), slides (.svs, .ndpi), OME-Zarr, AFM scans "
    "(.gwy, .ibw, .jpk, .spm), films (.mp4, .avi, .mkv), tracings and outlines; save it as one of these."
)
GWYDDION = "Open it in Gwyddion and save it as .gwy, which is read."
CURVES = "It holds force curves, which are no picture. Save a scan, or a height image of the map, instead."
MICROSCOPE = "Open it in Fiji (Bio-Formats) or QuPath and save it as OME-TIFF, which is read."
SCANS = {
    ".nid": "Nanosurf scan",
    ".nhf": "Nanosurf scan",
    ".sxm": "Nanonis scan",
    ".mi": "Keysight (Agilent) scan",
    ".mdt": "NT-MDT scan",
    ".sm4": "RHK scan",
    ".sm3": "RHK scan",
    ".mtrx": "Omicron scan",
    ".ezd": "Nanosurf scan",
    ".bcr": "BCR-STM scan",
    ".bcrf": "BCR-STM scan",
    ".hdz": "Nanoscan scan",
    ".ardf": "Asylum Research scan",
    ".aris": "Asylum Research scan",
    ".psia": "Park scan",
    ".flt": "Shimadzu scan",
    ".par": "Omicron scan",
    ".afm": "scan of an AFM",
    ".stm": "scan of an STM",
    ".sm2": "RHK scan",
    ".int": "Anfatec scan",
    ".spml": "SPML scan",
    ".mul": "Aarhus scan",
    ".wsxm": "WSxM scan",
    ".ch1": "WSxM scan",
    ".xqd": "Quesant scan",
    ".nms": "Nanomagnetics scan",
    ".zmf": "Zygo map",
    ".opd": "Wyko map",
    ".x3p": "surface map",
    ".sur": "surface map",
    ".sdf": "surface map",
    ".plu": "Sensofar map",
    ".plux": "Sensofar map",
    ".al3d": "Alicona map",
    ".lext": "Olympus map",
    ".vk4": "Keyence map",
    ".vk6": "Keyence map",
    ".vk7": "Keyence map",
}
TEXT = (".txt", ".asc", ".csv", ".xyz", ".dat")  # fmt: skip
FORCE_CURVES = (".jpk-force", ".jpk-force-map", ".jpk-qi-data", ".jpk-qi-series", ".pfc", ".ps-ppt")
WEB = {
    ".gif": "A GIF has 256 colours at most. Save the picture as .png; a film: ffmpeg -i film.gif -c:v ffv1 film.mkv",
    **dict.fromkeys(
        (".webp", ".heic", ".heif", ".avif"), "A picture of the web or a phone by its name. Save it as .png."
    ),
}
VOLUMES = {  # whose they are, and what makes NIfTI of them
    ".mnc": ("MINC", "mnc2nii"), ".brik": ("AFNI", "3dAFNItoNIFTI"), ".head": ("AFNI", "3dAFNItoNIFTI"),
    ".rec": ("Philips (PAR/REC)", "dcm2niix"), ".mif": ("MRtrix", "mrconvert"),
    ".vmr": ("BrainVoyager", "BrainVoyager"),
}  # fmt: skip
BEGINNINGS = {  # of files that are known whatever their suffix: whose, and the suffix that they are read by
    b"\\*File list": ("a NanoScope scan", ".spm"),
    b"GWYP": ("a file of Gwyddion", ".gwy"),
    b"WSxM file copyright": ("a WSxM scan", ".stp"),
}
WORDS = {  # in files of a suffix: whose outlines they are
    ".json": ((b'"shapes"', "labelme"), (b'"categories"', "COCO"), (b'"regions"', "VIA")),
    ".xml": ((b"<annotation>", "Pascal VOC"), (b"<svg", "an SVG drawing")),
    ".ndpa": ((b"<ndpviewstate", "NDP.view"),),
}
PACKED_PAIR = (".hdr.gz", ".img.gz")
CONTAINERS = (".czi", ".lif", ".nd2", ".oib", ".oif", ".oir", ".vsi", ".lsm", ".ims", ".dv", ".zvi", ".vsf")


def hint(path: Path) -> str:
    """Return what a file that is not read probably is, and the way out; empty where its suffix says nothing."""
    suffix = path.suffix.lower()
    if path.is_dir() and any((path / name).is_file() for name in (".zarray", ".zgroup", "zarr.json")):
        return "It is Zarr without the description of OME-Zarr (multiscales). Export it as OME-Zarr."
    if whose := _by_beginning(path):
        return whose
    if program := _by_words(path):
        return (
            f"Outlines of {program} by its content. Make a label map (.png, .tif) or GeoJSON of them, which are read."
        )
    if suffix in WEB:
        return WEB[suffix]
    suffix = ".rec" if suffix == ".par" and any(path.with_suffix(s).is_file() for s in (".rec", ".REC")) else suffix
    if suffix in FORCE_CURVES:
        return CURVES
    if suffix in VOLUMES:
        whose, tool = VOLUMES[suffix]
        return f"A volume of {whose} by its name. Make a NIfTI file of it (for example with {tool}), which is read."
    if path.name.lower().endswith(PACKED_PAIR):
        return "Unpack both files of the pair (gunzip), which is then read, or save it as one .nii.gz."
    if suffix in TEXT:
        return (
            "Numbers as text state no unit, and rarely a pixel size. Import heights in Gwyddion and save them as .gwy, "
            "pictures in Fiji (Import > Text Image) and save them as .tif; both are read."
        )
    if suffix.endswith("_mtrx"):
        suffix = ".mtrx"  # Omicron writes the channel before it, .Z_mtrx
    if suffix == ".ome":
        return "It describes an OME-TIFF. Open one of the .ome.tif files beside it, which are read with it."
    if suffix in SCANS:
        return f"A {SCANS[suffix]} by its name. {GWYDDION}"
    return MICROSCOPE if suffix in CONTAINERS else ""


def _by_beginning(path: Path) -> str:
    """Return what to do with a file of a known beginning under another suffix."""
    head = b""
    if path.is_file():
        with contextlib.suppress(OSError), path.open("rb") as file:
            head = file.read(32)
    found = next((known for begins, known in BEGINNINGS.items() if head.startswith(begins)), None)
    return f"It begins as {found[0]} does: give it the suffix {found[1]}, by which it is read." if found else ""


def _by_words(path: Path) -> str:
    """Return the program whose outlines a file of JSON or XML holds by a word in it, empty for none."""
    words = WORDS.get(path.suffix.lower(), ()) if path.is_file() else ()
    content = b""
    if words:
        with contextlib.suppress(OSError), path.open("rb") as file:
            content = file.read(SEARCHED)
    return next((program for word, program in words if word in content), "")
