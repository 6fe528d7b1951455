"""What a model is made for: its field, and what the images were like that it learnt from; how far another is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np

from napari_medseg.image import Image, mm_per, steps_as_said, um_per

Field = Literal["afm", "cornea", "tissue", "movie", "volume", "ultrasound"]
FIELDS: tuple[Field, ...] = get_args(Field)
TITLES: dict[Field, str] = {
    "afm": "cells on glass (AFM)",
    "cornea": "corneal nerves",
    "tissue": "nuclei and glands in stained tissue",
    "movie": "nerves in movies",
    "volume": "volumes (MR, CT)",
    "ultrasound": "nerves in ultrasound",
}
CORNEAL_PIXEL_UM = 0.8  # corneal microscopes show 400 um on 384 pixels; scans of cells are finer
CORNEAL_FRAME = (384, 384)
HEIGHTS = ("nm", "um", "m")
SMALLEST_CELL_UM = 1.0  # bacteria are about 1 um long, animal cells ten times that
LOOK = 64  # pixels along an edge that are looked at to tell colour from grey
FAR = 1.2  # pixel sizes that differ by more are warned of: 1.3 times finer, `nerve-ridges` falls from F1 .80 to .55
SWAPPED = 1.0  # of skewness beyond that of training images, on the other side of 0; stains of laboratories differ by .8
OUTLIERS = 5, 95  # percentiles of the training images' skewness that are its range
SAMPLED = 2**16  # pixels of an image whose intensities are looked at
ALIKE = 1.02  # pixel sizes that differ by less are not resampled


def likely_field(image: Image) -> Field | None:
    """Return the field that axes, units, pixel size and colours of an image speak for; ``None``: they say nothing."""
    if image.value_unit in HEIGHTS and "Z" not in image.axes:  # a movie of heights is one of cells
        return "afm"
    if "T" in image.axes or "video" in image.metadata:
        return "movie"
    if len(image.spatial_shape) == 3:
        return "volume"
    if image.value_unit:  # a signal in volts, a phase
        return None
    if image.n_channels >= 3 and not _grey(image):
        return "tissue"
    if image.units[-1] == "micrometer" and image.scale[-1] >= CORNEAL_PIXEL_UM:
        return "cornea"
    return "cornea" if image.units[-1] == "pixel" and image.spatial_shape == CORNEAL_FRAME else None


def no_cell_fits(image: Image) -> str:
    """Say that a scan of heights is too small to hold a cell; empty where one fits, or its size is not known."""
    if likely_field(image) != "afm" or (micrometres := um_per(image.units[-1])) is None:
        return ""
    edges = [n * step for n, step in zip(image.spatial_shape[-2:], image.scale[-2:], strict=True)]
    if max(edges) * micrometres >= SMALLEST_CELL_UM:
        return ""
    return f"The whole scan is {size_in_words(edges, image.units[-1])} wide: no cell fits in it."


def _grey(image: Image) -> bool:
    """Whether the colours of a picture are all alike, as where a grey picture was saved as RGB."""
    steps = tuple(slice(None, None, max(1, size // LOOK)) for size in image.spatial_shape)
    colours = np.asarray(image.channels_first()[(slice(0, 3), *steps)])
    return bool((colours == colours[:1]).all())


@dataclass(frozen=True)
class PixelSize:
    """Pixel sizes of training images along each axis besides channels: median, smallest and largest, in `unit`."""

    unit: str
    median: tuple[float, ...]
    smallest: tuple[float, ...]
    largest: tuple[float, ...]

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Self | None:
        """Return what a model's card says; ``None`` where it says nothing of use."""
        said = card.get("pixel_size")
        if not isinstance(said, Mapping):
            return None
        try:
            unit, median = str(said["unit"]), said["median"]
            rows = [tuple(map(float, said.get(name, median))) for name in ("median", "smallest", "largest")]
        except (TypeError, ValueError, KeyError, AttributeError):
            return None
        whole = len(set(map(len, rows))) == 1 and all(0 < step < math.inf for row in rows for step in row)
        return cls(unit, *rows) if whole and mm_per(unit) else None

    @classmethod
    def of_images(cls, sizes: Sequence[tuple[Sequence[float], Sequence[str]]]) -> Self | None:
        """Return what the `scale` and `units` of images have in common; ``None`` where some state no size."""
        if not sizes or len({len(scale) for scale, _ in sizes}) > 1:
            return None
        unit = sizes[0][1][-1]
        steps = [found for scale, units in sizes if (found := _in_unit(scale, units, unit)) is not None]
        if len(steps) < len(sizes):
            return None
        rows = (np.median(steps, 0), np.min(steps, 0), np.max(steps, 0))
        return cls(unit, *(tuple(float(f"{step:.6g}") for step in row) for row in rows))

    def on_card(self) -> dict[str, Any]:
        """Return it as plain values; the range only where there is one."""
        size = {"unit": self.unit, "median": list(self.median)}
        one = self.smallest == self.largest
        return size if one else {**size, "smallest": list(self.smallest), "largest": list(self.largest)}

    def of(self, image: Image) -> tuple[float, ...] | None:
        """Return the pixel size of an image in `unit`; ``None`` if it has none, or other axes."""
        return _in_unit(image.scale, image.units, self.unit) if len(image.scale) == len(self.median) else None

    def factor(self, image: Image) -> float:
        """Return by which factor, at least 1, an image's pixels leave the range of the training images; 1: unknown."""
        steps = self.of(image)
        if steps is None:
            return 1.0
        below = [low / step for low, step in zip(self.smallest, steps, strict=True)]
        above = [step / high for high, step in zip(self.largest, steps, strict=True)]
        return max(1.0, *below, *above)

    def steps_for(self, image: Image) -> tuple[float, ...] | None:
        """Return the steps, in its units, at which the network should see an image; ``None``: as it is."""
        own = self.of(image)
        if own is None or self.factor(image) < ALIKE:
            return None
        return tuple(wanted * step / mine for wanted, step, mine in zip(self.median, image.scale, own, strict=True))

    def __str__(self) -> str:
        size = size_in_words(self.median, self.unit)
        if self.smallest == self.largest:
            return size
        return f"{size} ({size_in_words(self.smallest, self.unit)} to {size_in_words(self.largest, self.unit)})"


@dataclass(frozen=True)
class Traits:
    """What is kept of one training image: its steps, their units and the skewness of its intensities."""

    scale: tuple[float, ...]
    units: tuple[str, ...]
    skewness: float

    @classmethod
    def of(cls, image: Image) -> Self:
        """Look at an image."""
        return cls(image.scale, image.units, skewness(image))


def on_card(traits: Sequence[Traits]) -> dict[str, Any]:
    """Return what a card says of training images: their pixel sizes, where all state one, and range of skewness."""
    size = PixelSize.of_images([(one.scale, one.units) for one in traits])
    known = [one.skewness for one in traits]
    said = {"skewness": [round(float(end), 3) for end in np.percentile(known, OUTLIERS)]} if known else {}
    return {**({"pixel_size": size.on_card()} if size else {}), **said}


def skewness(image: Image) -> float:
    """Return the skewness of a sample of an image's intensities, mean of its colours or channels; 0 if it is flat.

    It is positive for bright things on dark ground, whatever gain and offset.
    """
    step = max(1, math.ceil((math.prod(image.spatial_shape) / SAMPLED) ** (1 / len(image.spatial_shape))))
    part = (slice(0, 3), *(slice(None, None, step),) * len(image.spatial_shape))
    found = []
    for channel in np.asarray(image.channels_first()[part], np.float64):
        values = channel[np.isfinite(channel)]
        spread = values.std() if values.size else 0.0
        found.append(float((((values - values.mean()) / spread) ** 3).mean()) if spread > 0 else 0.0)
    return sum(found) / len(found)


def size_in_words(steps: Sequence[float], unit: str) -> str:
    """Return ``1.04 um``, or ``3 x 1 x 1 mm`` where the axes differ."""
    steps, short = steps_as_said(steps, unit)
    alike = max(steps) < min(steps) * (1 + 1e-3)
    size = f"{steps[0]:.3g}" if alike else " x ".join(f"{step:.3g}" for step in steps)
    return f"{size} {short}"


def _in_unit(scale: Sequence[float], units: Sequence[str], unit: str) -> tuple[float, ...] | None:
    """Return steps in `unit`; ``None`` if one of them is no length."""
    wanted, factors = mm_per(unit), [mm_per(one) for one in units]
    if wanted is None or None in factors:
        return None
    return tuple(step * factor / wanted for step, factor in zip(scale, factors, strict=True) if factor)


def notes_on(image: Image, card: Mapping[str, Any], seen: Image) -> tuple[str, ...]:
    """Say at which pixel size the network saw an image, where it was another than its own or none is stated.

    Parameters
    ----------
    image, card
        The image and the model's card.
    seen
        What the network saw: the image, or the image brought to another pixel size.
    """
    size = PixelSize.of_card(card)
    if size is None or len(image.scale) != len(size.median):
        return ()
    if seen is not image:
        return (
            f"It was segmented at {size_in_words(seen.scale, seen.units[-1])}, the pixel size of the model's training "
            "images, and the result brought back onto its own pixels.",
        )
    return () if size.of(image) else (f"It states no pixel size; the model was trained at {size}.",)


def doubts_on(seen: Image, card: Mapping[str, Any], field: str) -> tuple[str, ...]:
    """Say in a sentence why a model may fail on what its network sees: pixel size, dark for bright, field.

    Parameters
    ----------
    seen
        The image, brought to the model's pixel size if that was asked for.
    card
        The model's card.
    field
        What the model is made for (one of `FIELDS`); may be empty.
    """
    size = PixelSize.of_card(card)
    if size is not None and size.factor(seen) > FAR:
        return (
            f"Its pixels are {size_in_words(seen.scale, seen.units[-1])}, the model was trained at {size}: turn on "
            "resampling (--resample), or look closely at what was found.",
        )
    if swapped := _swapped(seen, card):
        return (swapped,)
    same_size = size is not None and size.of(seen) is not None
    likely = None if same_size else likely_field(seen)
    if field == "afm" and seen.value_unit and seen.value_unit not in HEIGHTS:
        return (f"Its values are {seen.value_unit}, and the model expects heights: choose the height channel.",)
    if field == "afm" and not same_size and (small := no_cell_fits(seen)):
        return (f"{small} The model was made for {TITLES['afm']}: look closely at what was found.",)
    if likely in (None, "movie", field) or field not in FIELDS:
        return ()
    return (
        f"It looks like {TITLES[likely]}, and the model was made for {TITLES[field]}: choose another model, or look "
        "closely at what was found.",
    )


def _swapped(seen: Image, card: Mapping[str, Any]) -> str:
    """Say that dark and bright seem to be swapped; empty where they are not, or nothing is known."""
    try:
        low, high = map(float, card["skewness"])
    except (KeyError, TypeError, ValueError):
        return ""
    own = skewness(seen)
    bright = low + high > 0
    if own >= min(low - SWAPPED, 0) if bright else own <= max(high + SWAPPED, 0):
        return ""
    return (
        f"Dark and bright seem to be swapped (skewness {own:.1f}, of the training images {low:.1f} to {high:.1f}): "
        "invert the image, choose another model, or look closely at what was found."
    )
