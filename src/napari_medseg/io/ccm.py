"""Corneal confocal microscopy: ``<name>_org`` pictures with their known field, their masks, and nerve tracings.

Plain pictures stay with the plain reader; ``<name>_lab`` beside ``<name>_org`` takes its pixel size. A tracing (SWC,
NeuronJ) is read as a label image with its paths in ``metadata["paths"]`` and ``metadata["classes"]``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.image import Image, um_per
from napari_medseg.io import plain
from napari_medseg.io.outlines import tracings
from napari_medseg.io.pictures import PICTURES

PATTERNS = (*(f"*_org{suffix}" for suffix in PICTURES), *(f"*{suffix}" for suffix in tracings.SUFFIXES))
LUMA = np.array([0.2989, 0.5870, 0.1140])
FIELD_UM, FIELD_PX = 400.0, 384  # Heidelberg HRT3 with Rostock Cornea Module
SITES = "central|whorl|inferior|superior|nasal|temporal"
CCM_NAME = re.compile(rf"^(?P<subject>.+)_(?P<eye>OD|OS)(?:_(?P<site>{SITES}))?_(?P<frame>\d+)$", re.IGNORECASE)
FUNDUS_NAME = re.compile(r"^(?P<subject>.*\d)(?P<eye>[LR])$")
KNOWN = ("subject", "eye", "site", "frame", "notes")
EYES = {"L": "OS", "R": "OD"}


def matches(path: Path) -> bool:
    """Whether `path` is a picture called ``*_org``, the ``*_lab`` of one, or a tracing."""
    suffix = path.suffix.lower()
    named = path.stem.lower().endswith("_org") and suffix in PICTURES
    return path.is_file() and (named or suffix in tracings.SUFFIXES or _picture_of(path) is not None)


def read(path: Path) -> list[Image]:
    """Read a CCM picture as grey ``YX`` in micrometres where its size is the instrument's, or its mask or tracing."""
    path = Path(path)
    if path.suffix.lower() in tracings.SUFFIXES:
        return [_read_tracing(path)]
    picture = _picture_of(path)
    if picture is None:
        return [with_field(as_grey(image)) for image in plain.read(path)]
    mask, image = plain.read(path)[0], read(picture)[0]
    if mask.spatial_shape != image.spatial_shape or mask.calibrated:
        return [mask]
    known = {**mask.metadata, **{key: image.metadata[key] for key in KNOWN if key in image.metadata}}
    return [mask.replace(scale=image.scale, units=image.units, metadata=known)]


def _picture_of(path: Path) -> Path | None:
    """Return the ``*_org`` picture beside a mask ``*_lab``, or ``None``."""
    if path.suffix.lower() not in PICTURES or not path.stem.lower().endswith("_lab"):
        return None
    places = (path.with_name(path.stem[:-4] + "_org" + suffix) for suffix in (path.suffix, *PICTURES))
    return next((place for place in places if place.is_file()), None)


def with_field(image: Image) -> Image:
    """Set 400 x 400 um on a 384 x 384 CCM image that stores no pixel size, and say so in ``metadata["notes"]``."""
    metadata: dict[str, Any] = {**image.metadata, **parse_name(re.sub(r"_org$", "", image.name, flags=re.IGNORECASE))}
    others = image.metadata.get("notes", ())
    if image.calibrated:
        note = "pixel size read from the file"
        return image.replace(metadata={**metadata, "notes": [note, *others]})
    if image.spatial_shape != (FIELD_PX, FIELD_PX):
        size = "x".join(map(str, image.spatial_shape))
        note = f"{size} is not the HRT3-RCM size of 384x384 and the file stores no pixel size: results are in pixels"
        return image.replace(metadata={**metadata, "notes": [note, *others]})
    note = "400x400 um assumed: 384x384 is the HRT3-RCM size; the file stores no pixel size"
    step = FIELD_UM / FIELD_PX
    return image.replace(scale=(step,) * 2, units=("micrometer",) * 2, metadata={**metadata, "notes": [note, *others]})


def as_grey(image: Image) -> Image:
    """Reduce a colour image to its luma, in the same dtype; grey images pass."""
    if image.n_channels not in (3, 4):
        return image
    dtype = np.asarray(image.data).dtype
    grey = to_grey(np.asarray(image.channels_first()))
    grey = np.round(grey).astype(dtype) if dtype.kind in "ui" else grey.astype(dtype)
    return image.replace(data=grey, axes=image.spatial_axes, channels=())


def to_grey(channels: np.ndarray) -> np.ndarray:
    """Reduce (C, *spatial) to (*spatial): luma of red, green, blue, or the single channel as it is."""
    if channels.shape[0] == 1:
        return np.asarray(channels[0])
    return np.asarray(np.tensordot(LUMA, channels[:3].astype(np.float64), 1))


def parse_name(stem: str) -> dict[str, str]:
    """Read subject, eye (OD, OS), site and frame from a name that states them, else return an empty mapping.

    Understood: ``<subject>_<OD|OS>_<frame>``, ``<subject>_<OD|OS>_<site>_<frame>`` and, for fundus pictures,
    ``<subject number><L|R>``.
    """
    found = CCM_NAME.match(stem) or FUNDUS_NAME.match(stem)
    if found is None:
        return {}
    parts = {name: value for name, value in found.groupdict().items() if value}
    return {**parts, "eye": EYES.get(parts["eye"], parts["eye"].upper())}


def _read_tracing(path: Path) -> Image:
    """Draw the paths, 1 pixel wide, on the grid of the picture beside the tracing if there is one."""
    tracing = tracings.read_tracing(path)
    beside = [path.with_name(path.stem + end + suffix) for end in ("_org", "") for suffix in PICTURES]
    picture = next((p for p in beside if p.is_file()), None)
    image = (read if matches(picture) else plain.read)(picture)[0] if picture is not None else None
    tracing, step, notes = _on_pixels(path, tracing, image)
    known: dict[str, Any] = {"paths": [p.tolist() for p in tracing.paths], "classes": list(tracing.classes)}
    known |= {"source_file": str(path)} | ({"notes": notes} if notes else {})
    if image is not None:
        return image.labels_like(tracings.draw(tracing.paths, image.spatial_shape), path.stem, **known)
    extent = np.max([p.max(0) for p in tracing.paths], axis=0) if tracing.paths else np.zeros(2)
    shape = tuple(max(FIELD_PX, int(np.ceil(n)) + 1) for n in extent)
    units = () if step is None else ("micrometer",) * 2
    drawn = tracings.draw(tracing.paths, shape)
    return Image(drawn, "YX", step or (), units, kind="labels", name=path.stem, metadata=known)


def _on_pixels(
    path: Path, tracing: tracings.Tracing, image: Image | None
) -> tuple[tracings.Tracing, tuple[float, float] | None, list[str]]:
    """Return a tracing in pixels, the size (y, x) of one in micrometres if it is known, and what had to be assumed."""
    step = tracing.step
    if image is not None and image.calibrated:
        factors = [um_per(unit) or 1.0 for unit in image.units[-2:]]
        step = (image.scale[-2] * factors[0], image.scale[-1] * factors[1])
    if tracing.unit == tracings.PIXEL:
        return tracing, step, [*tracing.said]
    if step is None:
        why = "states no pixel size" if tracing.unit else "states no unit"
        note = f"{path.name} {why}, nor does a picture beside it: its numbers are taken for pixels."
        return tracing, None, [note, *tracing.said]
    stated = [] if tracing.unit else [f"{path.name} states no unit: its numbers are micrometres, as SWC defines them."]
    return tracing.in_pixels(step), step, [*stated, *tracing.said]
