"""`Image`: an array with its axes, physical size and origin; what every reader returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from napari_medseg.errors import DataError

Kind = Literal["image", "labels"]
LabelKind = Literal["binary", "classes", "instances"]  # what the values of labels mean
PIXEL = "pixel"
SECOND = "second"
FRAME = "picture"  # metadata of a part of a picture: the matrix of the picture in the world of the part's affine
CALIBRATION = "value_line"  # metadata: offset and slope by which the values were made of the numbers of the file
WHITE = "white"  # metadata: the highest number that the file states for its colours
FRAMES = "frames_as_planes"  # metadata: the planes of a stack are frames of a movie, so that it has areas, no volume
ORIENTATION = "orientation"  # metadata: the tag by which the file's pixels were turned upright
REFERENCE = "frame_of_reference"  # metadata: UID of the DICOM world that the place is in
PADDING = "padding"  # metadata: least and largest value by which the file says that nothing was measured
SEGMENT_NAMES = "segments"  # metadata of labels: the name of each label by its number as text
SEGMENT_COLOURS = "segment_colours"  # metadata of labels: red, green and blue (0 to 255) of each by its number as text
FACTS = "objects"  # metadata of labels: what is known of each (class, measurements, ...) by its number as text
OBJECTS = "values_are_objects"  # metadata: each value is one object, also of labels that have only one


@dataclass(frozen=True)
class Image:
    """An n-dimensional image or label map with physical geometry.

    Parameters
    ----------
    data
        Array (numpy, dask or memory-mapped), one dimension per letter of `axes`.
    axes
        One letter per dimension: ``T Z Y X`` and ``C`` for channels, e.g. ``"ZYX"``, ``"YXC"``.
    scale
        Step of each axis except ``C``, in `units`. Default: 1 for each.
    units
        Unit of each axis except ``C`` (``"micrometer"``, ``"millimeter"``, ``"second"``; other spellings become
        these); ``"pixel"`` where the file does not say. Axes of space in several units of length take that of the
        last, an axis of time takes the second.
    affine
        Optional (n+1, n+1) matrix from index to world coordinates of the n axes except ``C``
        (in `units`); it includes the scale.
    kind
        ``"image"`` for intensities, ``"labels"`` for integer label maps (0 = background).
    name
        Short name, normally the file's stem.
    channels
        Names of the channels along ``C``, or of the single channel; may be empty.
    value_unit
        Unit of the intensities (``"nm"`` for AFM height), or an empty string.
    metadata
        Provenance and everything else worth keeping; JSON-serialisable where it is to be saved.

    Raises
    ------
    DataError
        If axes, scale or units do not fit the data.
    """

    data: Any
    axes: str
    scale: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    affine: np.ndarray | None = None
    kind: Kind = "image"
    name: str = ""
    channels: tuple[str, ...] = ()
    value_unit: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.axes.replace("C", ""))
        object.__setattr__(self, "scale", tuple(map(float, self.scale)) or (1.0,) * n)
        object.__setattr__(self, "units", tuple(map(unit_name, self.units)) or (PIXEL,) * n)
        self._validate(n)
        self._share_unit()

    def _share_unit(self) -> None:
        """Convert the axes of space to the unit of the last one, and times to seconds, so that numbers are right."""
        lengths = {unit: size for unit in self.units if (size := um_per(unit))}
        last = next((unit for unit in reversed(self.units) if unit in lengths), "")
        shared = tuple(last if unit in lengths else SECOND if seconds_per(unit) else unit for unit in self.units)
        if shared == self.units:
            return
        factors = [
            lengths[unit] / lengths[last] if unit in lengths else seconds_per(unit) or 1.0 for unit in self.units
        ]
        grown = np.diag([*factors, 1.0])
        frame = np.asarray(self.metadata.get(FRAME, ()), float)
        if frame.shape == grown.shape:
            object.__setattr__(self, "metadata", {**self.metadata, FRAME: (grown @ frame).tolist()})
        if self.affine is not None:
            before = np.asarray(self.affine, float)
            after = grown @ before
            factors = [float(np.linalg.norm(after[:, k]) / np.linalg.norm(before[:, k])) for k in range(len(factors))]
            object.__setattr__(self, "affine", after)
        object.__setattr__(self, "scale", tuple(s * f for s, f in zip(self.scale, factors, strict=True)))
        object.__setattr__(self, "units", shared)

    def _validate(self, n: int) -> None:
        what = f"Image {self.name!r}"
        if len(self.axes) != self.data.ndim or len(set(self.axes)) != len(self.axes):
            raise DataError(f"{what}: axes {self.axes!r} do not fit an array of shape {self.data.shape}.")
        if len(self.scale) != n or len(self.units) != n:
            raise DataError(f"{what}: {n} axes besides C need {n} scales and units, got {self.scale}, {self.units}.")
        if not all(np.isfinite(s) and s > 0 for s in self.scale):
            raise DataError(f"{what}: pixel sizes must be positive, got {self.scale}. Give the true size.")
        if self.affine is not None and np.shape(self.affine) != (n + 1, n + 1):
            raise DataError(f"{what}: affine must be {(n + 1, n + 1)}, got {np.shape(self.affine)}.")

    @property
    def spatial_axes(self) -> str:
        """Axes besides channels, e.g. ``"ZYX"``."""
        return self.axes.replace("C", "")

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Sizes of `spatial_axes`."""
        return tuple(size for size, axis in zip(self.data.shape, self.axes, strict=True) if axis != "C")

    @property
    def n_channels(self) -> int:
        """Length of the channel axis, 1 when there is none."""
        return int(self.data.shape[self.axes.index("C")]) if "C" in self.axes else 1

    @property
    def calibrated(self) -> bool:
        """Whether every axis has a physical unit."""
        return PIXEL not in self.units

    @property
    def steps(self) -> np.ndarray:
        """Matrix (n, n) whose column k is the step along axis k of `spatial_axes` in the world, `scale` long."""
        if self.affine is None:
            return np.diag(self.scale)
        matrix = np.asarray(self.affine, float)[:-1, :-1]
        return np.asarray(matrix / np.linalg.norm(matrix, axis=0) * self.scale)

    @property
    def element_size(self) -> float:
        """Length, area or volume of one element in `units`: the determinant of `steps`."""
        return float(abs(np.linalg.det(self.steps)))

    def channels_first(self) -> Any:
        """Return `data` as (C, *spatial) without copying."""
        if "C" not in self.axes:
            return self.data[None]
        axis = self.axes.index("C")
        return self.data.transpose(axis, *(i for i in range(self.data.ndim) if i != axis))

    def measured(self, values: np.ndarray) -> np.ndarray:
        """Return which of some values of this image were measured, bool of their shape.

        Not so those that are not finite, those that the file calls padding, and the least number of a signed type of 16
        bits or more, which programs fill with.
        """
        kind = values.dtype
        found = np.isfinite(values) if kind.kind == "f" else np.ones(values.shape, bool)
        if kind.kind == "i" and kind.itemsize > 1:
            found &= values != np.iinfo(kind).min
        padding = self.metadata.get(PADDING)
        if padding is not None:
            found &= (values < padding[0]) | (values > padding[1])
        return found

    def replace(self, **changes: Any) -> Image:
        """Return a copy with some fields changed."""
        return replace(self, **changes)

    def labels_like(self, labels: np.ndarray, name: str | None = None, **metadata: Any) -> Image:
        """Return `labels` (*spatial, integer) as a label image with this image's geometry.

        Raises
        ------
        DataError
            If `labels` have another size.
        """
        if np.shape(labels) != self.spatial_shape:
            raise DataError(
                f"The labels are {np.shape(labels)}, the image {self.name!r} is {self.spatial_shape}. "
                "Give one label for each pixel."
            )
        return Image(
            labels,
            self.spatial_axes,
            self.scale,
            self.units,
            self.affine,
            "labels",
            self.name if name is None else name,
            metadata={**self.metadata, **metadata},
        )

    def describe(self) -> str:
        """Say in one line what this is: ``3D, 240x240x155, 1x1x1 mm, 1 channel``."""
        sizes, movie = self.spatial_shape, self.axes.startswith("T")
        frames = f"movie of {sizes[0]} frames, " if movie else ""
        shape = "x".join(map(str, sizes[movie:]))
        steps, unit = steps_as_said(self.scale[movie:], self.units[-1])
        size = "x".join(f"{s:.4g}" for s in steps)
        known = PIXEL not in self.units[movie:]  # the time step does not matter here
        step = f"{size} {unit}" if known else "pixel size not known (results in pixels)"
        n = self.n_channels
        return f"{frames}{len(sizes) - movie}D, {shape}, {step}, {n} channel{'s' if n > 1 else ''}"


METRIC = {  # prefix -> its letter and the micrometres of such a metre
    "femto": ("f", 1e-9), "pico": ("p", 1e-6), "nano": ("n", 1e-3), "micro": ("u", 1.0), "milli": ("m", 1e3),
    "centi": ("c", 1e4), "deci": ("d", 1e5), "": ("", 1e6), "kilo": ("k", 1e9),
}  # fmt: skip
SPELLINGS = {  # name of a length -> every way of writing it, in lower case
    **{f"{p}meter": (f"{letter}m", *(p + m for m in ("meter", "meters", "metre", "metres")))
       for p, (letter, _) in METRIC.items()},
    "angstrom": ("a", "å", "ang", "angstrom", "angstroms"), "inch": ("in", "inch", "inches"),
}  # fmt: skip
SPELLINGS["micrometer"] += ("micron", "microns")
NAMES = {spelling: name for name, spellings in SPELLINGS.items() for spelling in spellings}
UM_PER = {**{f"{p}meter": size for p, (_, size) in METRIC.items()}, "angstrom": 1e-4, "inch": 25_400.0}
ML_PER_MM3 = 1e-3
NO_UNITS = ("", "none", "px", "css_pixel", "pixels", "voxel", "voxels", "dimensionless")  # other words for `PIXEL`; the
# third is how napari calls the second
SECONDS_PER = {
    "ns": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9, "us": 1e-6, "usec": 1e-6, "microsecond": 1e-6,
    "microseconds": 1e-6, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "milliseconds": 1e-3,
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86_400.0, "day": 86_400.0, "days": 86_400.0,
}  # fmt: skip
MICRO_SIGNS = ("\u00b5", "\u03bc")
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")  # how ImageJ writes such signs
SHORT_UNITS = {**{f"{p}meter": f"{letter}m" for p, (letter, _) in METRIC.items()}, SECOND: "s", PIXEL: "px"}
FINE = 0.1  # um: smaller pixels are said in nm, as microscopists do


def unit_name(unit: object) -> str:
    """Return the one name by which `Image` knows a unit of length in any usual spelling, `PIXEL` for none.

    Other units are returned as they are.
    """
    plain = _plain(unit)
    return NAMES.get(plain, PIXEL if plain in NO_UNITS else str(unit))


def um_per(unit: object) -> float | None:
    """Return the micrometres of a unit of length in any usual spelling, ``None`` if it is none."""
    return UM_PER.get(unit_name(unit))


def mm_per(unit: object) -> float | None:
    """Return the millimetres of a unit of length in any usual spelling, ``None`` if it is none."""
    microns = um_per(unit)
    return None if microns is None else microns / 1e3


def seconds_per(unit: object) -> float | None:
    """Return the seconds of a unit of time in any usual spelling, ``None`` if it is none."""
    return SECONDS_PER.get(_plain(unit))


def _plain(unit: object) -> str:
    text = ESCAPED.sub(lambda found: chr(int(found[1], 16)), str(unit)).strip().strip('"').lower()
    for sign in MICRO_SIGNS:
        text = text.replace(sign, "u")
    return text


def steps_as_said(steps: Sequence[float], unit: str) -> tuple[tuple[float, ...], str]:
    """Return pixel sizes in `unit` and the short name of the unit that people give them in: nm below 0.1 um."""
    if unit == "micrometer" and max(steps) < FINE:
        return tuple(1e3 * step for step in steps), SHORT_UNITS["nanometer"]
    return tuple(steps), SHORT_UNITS.get(unit, unit)
