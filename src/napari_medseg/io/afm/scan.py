"""What all AFM readers share: one scanned channel, its units, and the order in which channels are offered."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import PIXEL, Image, um_per

MICRO_SIGNS = str.maketrans({"~": "u", "µ": "u", "μ": "u", "\u212b": "Å"})
DEGREES = ("°", "º", "degree", "degrees")
AMPERE = "A"  # of a current; elsewhere an angstrom
HEIGHT_RANKS = (  # a sensor measures the height; "Height" alone is the piezo's voltage, with its hysteresis
    r"(measured|sensor|capacitivesensor)height.*|height(measured|sen).*",
    r"z(axis|height|position)?(sensor|detector|lvdt)",
    r"z?height",
    r"topography|topographic|topo|tp|image",
    r".*(height|zsensor|topo).*|z(axis|position|piezo|scanner)?",
)
NO_HEIGHT = re.compile(r"error|setpoint|deflection|amplitude")  # in names of channels that speak of heights too
DIRECTION = re.compile(r"(scan)?((re)?trace|(for|back)wards?|[fb]wd|left|right|up|down)$")
GRAINS = "full_mask_tensor"  # of TopoStats: (Y, X, classes)
BACK = re.compile(r"retrace|backward|bwd|\[<\]")


@dataclass(frozen=True)
class Channel:
    """One channel of a scan, as the file states it.

    Parameters
    ----------
    name
        Name in the file, with ``_retrace`` where it is the way back.
    data
        (Y, X) or (T, Y, X), the first row at the top of the picture.
    unit
        Unit of the values, as the file writes it.
    step
        Size of one pixel along (Y, X) in `step_unit`; not positive where unknown.
    seconds
        Time between two frames, 0 where unknown.
    notes
        Sentences for the user.
    place
        Where the first pixel lies on the sample, (y, x) in `step_unit`, y downwards; (0, 0) where the file states none.
    mask
        What a person or program marked in this channel, of the shape of `data`, above 0 where it is marked.
    """

    name: str
    data: np.ndarray
    unit: str
    step: tuple[float, float]
    step_unit: str = "m"
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    place: tuple[float, float] = (0.0, 0.0)
    mask: np.ndarray | None = None


def normal_unit(unit: str) -> str:
    """Return `unit` with every way of writing micro as ``u``: ``~m``, ``µm`` -> ``um``; degrees as ``deg``."""
    unit = unit.strip().translate(MICRO_SIGNS)
    return "deg" if unit in DEGREES else unit


def nm_per(unit: str) -> float | None:
    """Return how many nanometres a length unit has, ``None`` if it is no known length."""
    unit = normal_unit(unit)
    microns = None if unit == AMPERE else um_per(unit)
    return None if microns is None else microns * 1e3


def place_of(
    centre: tuple[float, float], step: tuple[float, float], shape: Sequence[int], degrees: float = 0.0
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return where the first pixel of a scan lies (`Channel.place`), and what is to be said of it.

    The first pixel is put into the corner of the scan, as Gwyddion does. How a scan that was turned lies on the sample
    depends on conventions that files do not state: it gets no place.

    Parameters
    ----------
    centre
        Of the scan on the sample, (y, x), y upwards, in the unit of `step`.
    step, shape
        Of a pixel and of the picture, (y, x) first.
    degrees
        By which the scan is turned.
    """
    if abs((degrees + 180) % 360 - 180) > 0.01:
        said = f"The scan was turned by {degrees:.4g} degrees on the sample; its place there is not shown."
        return (0.0, 0.0), (said,) if any(centre) else ()
    return (-centre[0] - step[0] * shape[0] / 2, centre[1] - step[1] * shape[1] / 2), ()


def stated_place(
    offsets: Sequence[str], step: tuple[float, float], unit: str, shape: Sequence[int], degrees: float = 0.0
) -> tuple[tuple[float, float], tuple[str, ...]]:
    """Return `place_of` a centre as headers state it, ``("2000 nm", "-1 um")``; none where one is no length."""
    centre = []
    for offset in offsets:
        numbers, own = split_quantity(offset)
        sizes = nm_per(own), nm_per(unit)
        if not numbers or sizes[0] is None or sizes[1] is None:
            return (0.0, 0.0), ()
        centre.append(numbers[0] * sizes[0] / sizes[1])
    return place_of((centre[0], centre[1]), step, shape, degrees)


def header_text(header: bytes) -> str:
    """Return the text of a header: UTF-8, else Latin-1, for some programs write the micro sign in that."""
    try:
        return header.decode("utf-8")
    except UnicodeDecodeError:
        return header.decode("latin-1")


def number(text: str) -> float:
    """Return a number of a header, whose decimal point may be a comma."""
    return float(text.replace(",", "."))


def split_quantity(text: str) -> tuple[tuple[float, ...], str]:
    """Split ``"10 5 ~m"`` into numbers, whose decimal points may be commas, and unit."""
    words = re.findall(r"[-+]?\d+(?:[.,]\d*)?(?:[eE][-+]?\d+)?|\S+", text.strip())
    numbers = []
    for word in words:
        try:
            numbers.append(number(word))
        except ValueError:
            break
    return tuple(numbers), " ".join(words[len(numbers) :])


def to_images(path: Path, channels: Sequence[Channel]) -> list[Image]:
    """Turn the channels of a file into images, the best height channel first.

    Lengths become nanometres (float32), other values keep their unit; the pixel size becomes micrometres,
    or stays ``pixel`` where the file gives none. A scan whose place on the sample is stated lies there. Masks of
    channels follow as labels.

    Raises
    ------
    ReadError
        If there is no channel with pixels.
    """
    if not channels:
        raise ReadError(f"{path.name} holds no image channel. Export the scan as an image, not as curves or volumes.")
    named = _with_pixels(path, _unique_names(channels))
    order = sorted(range(len(named)), key=lambda i: (*_rank(named[i]), i))
    images = [_image(path, named[i]) for i in order]
    masks = [_mask(image, named[i]) for image, i in zip(images, order, strict=True)]
    return [images[0].replace(name=path.stem), *images[1:], *(mask for mask in masks if mask is not None)]


def _mask(image: Image, channel: Channel) -> Image | None:
    """Return the mask of a channel as labels on the grid of its image."""
    if channel.mask is None or channel.mask.shape != channel.data.shape:
        return None
    known = {"source_file": image.metadata["source_file"], "channel": channel.name}
    return image.labels_like((channel.mask > 0).astype(np.uint8), f"{image.name}_mask").replace(metadata=known)


def _with_pixels(path: Path, channels: Sequence[Channel]) -> list[Channel]:
    """Return the channels that hold pixels, each with a note that names the others."""
    empty = [
        f"channel {' '.join(c.name.split())} has no pixels, shape {c.data.shape}" for c in channels if not c.data.size
    ]
    if len(empty) == len(channels):
        raise ReadError(f"{path.name}: {'; '.join(empty)}. Export the scan again.")
    notes = tuple(f"Left out: {problem}." for problem in empty)
    return [replace(channel, notes=(*channel.notes, *notes)) for channel in channels if channel.data.size]


def _image(path: Path, channel: Channel) -> Image:
    factor = nm_per(channel.unit)
    data = np.asarray(channel.data, np.float64) * (factor or 1.0)
    step_nm = nm_per(channel.step_unit)
    known = step_nm is not None and all(np.isfinite(s) and s > 0 for s in channel.step)
    scale: tuple[float, ...] = tuple(s * (step_nm or 1.0) * 1e-3 for s in channel.step) if known else (1.0, 1.0)
    units: tuple[str, ...] = ("micrometer", "micrometer") if known else (PIXEL, PIXEL)
    if data.ndim == 3:
        timed = channel.seconds > 0
        scale, units = (channel.seconds if timed else 1.0, *scale), ("second" if timed else PIXEL, *units)
    affine = None
    if known and any(channel.place) and np.isfinite(channel.place).all():
        affine = np.diag([*scale, 1.0])
        affine[-3:-1, -1] = np.multiply(channel.place, (step_nm or 1.0) * 1e-3)
    said = list(channel.notes)
    if step_nm is None and channel.step_unit and all(np.isfinite(s) and s > 0 for s in channel.step):
        said.append(f"The pixel size is stated in {channel.step_unit!r}, no known length; sizes are in pixels.")
    notes = {"notes": said} if said else {}
    return Image(
        data.astype(np.float32),
        "TYX"[-data.ndim :],
        scale,
        units,
        affine,
        name=f"{path.stem}_{channel.name}",
        channels=(channel.name,),
        value_unit="nm" if factor else normal_unit(channel.unit),
        metadata={"source_file": str(path), "channel": channel.name, **notes},
    )


def _unique_names(channels: Sequence[Channel]) -> list[Channel]:
    seen: dict[str, int] = {}
    named = []
    for channel in channels:
        count = seen[channel.name] = seen.get(channel.name, 0) + 1
        named.append(channel if count == 1 else replace(channel, name=f"{channel.name} {count}"))
    return named


def is_height(channel: str) -> bool:
    """Whether a channel's name is one of heights."""
    return _height_rank(channel) < len(HEIGHT_RANKS)


def _height_rank(channel: str) -> int:
    key = DIRECTION.sub("", re.sub(r"[^a-z]", "", channel.lower()))
    ranks = () if NO_HEIGHT.search(key) else enumerate(HEIGHT_RANKS)
    return next((k for k, pattern in ranks if re.fullmatch(pattern, key)), len(HEIGHT_RANKS))


def _rank(channel: Channel) -> tuple[bool, bool, int, bool]:
    """Rank a channel: heights before the rest, lengths before volts, sensors before piezos, the way there first."""
    rank, back = _height_rank(channel.name), BACK.search(channel.name.lower()) is not None
    return rank == len(HEIGHT_RANKS), nm_per(channel.unit) is None, rank, back


def read_topostats(path: Path) -> list[Channel]:
    """Read the channels of a result of TopoStats, heights in nm, and the mask of its grains."""
    import h5py

    with h5py.File(path, "r") as file:
        names = [name for name in ("image", "image_original") if name in file]
        step = float(file["pixel_to_nm_scaling"][()]) if "pixel_to_nm_scaling" in file else 0.0
        masks = {"image": np.asarray(file[GRAINS])[..., 1:].max(-1)} if GRAINS in file else {}  # first: background
        return [Channel(name, np.asarray(file[name]), "nm", (step, step), "nm", mask=masks.get(name)) for name in names]
