"""The frames of one DICOM series as an image: placed volumes, segmentations, pictures and movies without a place."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, counted
from napari_medseg.image import PADDING, PIXEL, REFERENCE, Image
from napari_medseg.io.volumes.dicom.files import quiet
from napari_medseg.io.volumes.dicom.frames import Frame, numbers_of
from napari_medseg.io.volumes.dicom.headers import SEGMENTATIONS, ULTRASOUND_VOLUME, Header
from napari_medseg.io.volumes.dicom.pixels import values_of
from napari_medseg.io.volumes.dicom.stack import SIDEWAYS, Stack, by_orientation, described, stacked
from napari_medseg.io.volumes.segments import Segment, labels_of
from napari_medseg.io.volumes.segments import described as described_labels
from napari_medseg.io.volumes.space import MILLIMETER, array_affine, placed, timed, with_note, without_size

OFF_GRID = 0.1  # of a slice step
HALF = 0.5
NO_HEIGHT = "The file does not state the height of its slice; 1 mm is assumed."
SPARSE = (
    "The segments lie on slices {least:g} mm apart of {thickness:g} mm thickness, and the file does not state whether "
    "slices between them are left out; slices {step:g} mm apart are assumed."
)
MOST_SLICES = 20_000


def read_segmentation(header: Header, name: str, **metadata: Any) -> list[Image]:
    """Read a segmentation as one label map, or as one for each segment if they overlap.

    Segments of fractions (probability or occupancy) are the voxels of at least one half, which a note says.

    Raises
    ------
    ReadError
        If its frames do not lie on one regular grid.
    """
    kind, top, names, colours = _about(header.path)
    frames = _placed_frames(header)
    slices, affine, assumed = _grid(header, frames)
    values = values_of(frames)
    shape = int(slices.max()) + 1, *frames[0].size
    grid = placed(np.zeros(shape, np.uint8), "ZYX", affine, (), MILLIMETER, name=name, metadata=metadata, kind="labels")
    grid = with_note(grid, *assumed)
    fractional = kind == "FRACTIONAL"
    if kind == "LABELMAP":
        labels = np.zeros(shape, values.dtype)
        labels[slices] = values
        return [grid.labels_like(labels, **_facts(names, colours))]
    found = []
    for number in sorted({f.segment for f in frames}):
        mask = np.zeros(shape, bool)
        for place, frame in enumerate(frames):
            if frame.segment == number:
                mask[slices[place]] |= values[place] >= (HALF * top if fractional else 1)
        found.append(Segment(max(number, 1), names.get(number, str(number)), mask, colours.get(number, ())))
    images = labels_of(grid, found)
    if not fractional:
        return images
    note = "The segments are stored as fractions; voxels of at least one half belong to them."
    return [with_note(image, note) for image in images]


def _facts(names: dict[int, str], colours: dict[int, list[int]]) -> dict[str, Any]:
    stated = ({str(number): fact for number, fact in facts.items() if number} for facts in (names, colours))
    return described_labels(*stated)  # type: ignore[arg-type]


def _about(path: Path) -> tuple[str, float, dict[int, str], dict[int, list[int]]]:
    """Return the kind of a segmentation, the value of a whole fraction, and the names and colours of the segments."""
    import pydicom

    with quiet():
        data = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        segments = data.get("SegmentSequence", [])
        names = {int(s.SegmentNumber): str(s.get("SegmentLabel", s.SegmentNumber)) for s in segments}
        colours = {int(s.SegmentNumber): _rgb(s.get("RecommendedDisplayCIELabValue")) for s in segments}
        top = float(data.get("MaximumFractionalValue", 255) or 255)
        return str(data.get("SegmentationType", "BINARY")), top, names, colours


def _rgb(stored: Any) -> list[int]:
    """Return red, green and blue (0 to 255) of a colour in CIELab of 16 bits (PS3.3 C.10.7.1.1); empty without one."""
    from skimage.color import lab2rgb

    values = numbers_of(stored, 3)
    if values is None:
        return []
    lightness, a, b = values / 65535
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of colours that no screen shows
        shown = lab2rgb([lightness * 100, a * 255 - 128, b * 255 - 128])
    return [round(float(share) * 255) for share in shown]


def _placed_frames(header: Header) -> Sequence[Frame]:
    frames = header.frames
    if any(f.position is None or f.orientation is None or f.pixel is None for f in frames):
        raise ReadError(
            f"{header.path.name} is a DICOM segmentation (SEG) whose frames have no place in the patient. "
            "Open it in the program that made it and export it as NIfTI or NRRD."
        )
    return frames


def _grid(header: Header, frames: Sequence[Frame]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return the slice number of every frame, the affine of the whole grid, and what was assumed of it."""
    first = frames[0]
    assert first.orientation is not None
    assert first.pixel is not None
    depths = np.array([f.position @ first.normal for f in frames])  # type: ignore[operator]
    places = np.unique(np.round(depths, 3))
    gaps = np.diff(places)
    between, notes = _slice_step(gaps, *header.heights)
    slices = (depths - places[0]) / between
    straight = all(np.allclose(f.orientation, first.orientation, atol=1e-3) and f.size == first.size for f in frames)  # type: ignore[arg-type]
    lowest, highest = frames[int(depths.argmin())], frames[int(depths.argmax())]
    step = first.normal * between
    if slices.max() > HALF:  # also of a gantry that was tilted
        step = (highest.position - lowest.position) / round(slices.max())  # type: ignore[operator]
    aside = [np.abs(f.position - lowest.position - k * step).max() for f, k in zip(frames, slices, strict=True)]  # type: ignore[operator]
    straight = straight and max(aside) <= max(SIDEWAYS * min(first.pixel), OFF_GRID * between)
    if not straight or np.abs(slices - np.round(slices)).max() > OFF_GRID or slices.max() > MOST_SLICES:
        raise ReadError(
            f"{header.path.name} is a DICOM segmentation (SEG) whose frames do not lie on one regular grid. "
            "Export it as NIfTI or NRRD."
        )
    rows, columns = first.pixel
    matrix = np.stack([first.orientation[:3] * columns, first.orientation[3:] * rows, step], axis=1)
    return np.round(slices).astype(int), array_affine(matrix, lowest.position), notes


def _slice_step(gaps: np.ndarray, stated: float, thickness: float) -> tuple[float, list[str]]:
    """Return the distance of slices in mm, of which those without a segment may be left out, and what was assumed.

    Parameters
    ----------
    gaps
        Between the slices that are there, in mm.
    stated, thickness
        SpacingBetweenSlices and SliceThickness in mm, 0 where they are not stated.
    """
    if not gaps.size:
        return stated or thickness or 1.0, [] if stated or thickness else [NO_HEIGHT]
    least = float(gaps.min())
    if stated and _whole(least / stated):
        return stated, []
    if stated or not thickness or least < 1.5 * thickness or not _whole(gaps / thickness):
        return least, []
    several = gaps.size > 1 and np.ptp(gaps) < OFF_GRID * thickness
    step = least if several else thickness
    return step, [SPARSE.format(least=least, thickness=thickness, step=step)]


def _whole(ratios: Any) -> bool:
    return bool((np.abs(ratios - np.round(ratios)) <= OFF_GRID).all())


SLICED = {"MR", "CT", "PT", "NM"}  # modalities whose pictures of one series are slices of one thing
COLOURS = ("red", "green", "blue")


def images_of(series: list[Header], path: Path) -> list[Image]:
    """Return the images of the files of one series, of which `path` (or its folder) was asked for.

    Raises
    ------
    ReadError
        If slices are missing, doubled or unlike, or some have no place in the patient.
    """
    first = series[0]
    wanted = next((h for h in series if h.path == path), first)
    name = first.description or first.path.stem
    folder = first.path.parent
    metadata: dict[str, Any] = {"source_file": str(folder if len(series) > 1 else first.path), "series": first.series}
    if notes := list(dict.fromkeys(note for header in series for note in header.notes)):
        metadata["notes"] = notes
    if wanted.window is not None:
        metadata["window"] = wanted.window
    if (padding := _padding(series)) is not None:
        metadata[PADDING] = padding
    if wanted.reference:
        metadata[REFERENCE] = wanted.reference
    if wanted.sop in SEGMENTATIONS:
        metadata["source_file"] = str(wanted.path)
        return read_segmentation(wanted, name, **metadata)
    what = described(first.description, folder)
    frames = [frame for header in series for frame in header.frames]
    without = [f for f in frames if f.position is None or f.orientation is None]
    if not without:
        return _placed(series, wanted, frames, what, name, metadata, path)
    if len(without) < len(frames):
        raise ReadError(
            f"{what} has pictures with and without a position: {without[0].called} has none. Move those files away."
        )
    return [_unplaced(series, wanted, what, name, metadata, path)]


def _padding(series: Sequence[Header]) -> list[float] | None:
    """Return the least and largest value of padding, if it is one and the same in all scaled frames."""
    found = set()
    for header in series:
        for frame in header.frames:
            slope, intercept = frame.rescale
            found.add(header.padding and tuple(sorted(end * slope + intercept for end in header.padding)))
    one = found.pop() if len(found) == 1 and series[0].sop not in SEGMENTATIONS else None
    return list(one) if one else None


def _placed(
    series: Sequence[Header], wanted: Header, frames: Sequence[Frame], what: str, name: str, metadata: dict[str, Any],
    path: Path,
) -> list[Image]:  # fmt: skip
    """Return the volumes of frames that have a place; one for each orientation of the frames of one file."""
    frames, notes = _of_one_reference(series, wanted, frames, what, path)
    groups = by_orientation(frames)
    if len(groups) > 1:
        mine = [g for g in groups if (path.is_file() or len(series) == 1) and {f.path for f in g} >= {wanted.path}]
        if not mine:
            raise ReadError(
                f"{what} holds slices of {len(groups)} orientations (as planning scans do): "
                f"{'; '.join(f'{g[0].called} and {len(g) - 1} more' for g in groups[:5])} are tilted against each "
                "other. Open one file of the wanted orientation."
            )
        said = f"The series has {len(groups)} orientations; these are the slices along that of {wanted.path.name}."
        if len(mine) > 1:
            said = f"The series has {len(groups)} orientations; the slices of each are an image of their own."
        groups, notes = mine, (*notes, said)
    return [_one_way(wanted, group, what, name, {**metadata, "notes": [*metadata.get("notes", []), *notes]})
            for group in groups]  # fmt: skip


def _one_way(wanted: Header, frames: Sequence[Frame], what: str, name: str, metadata: dict[str, Any]) -> Image:
    """Return the volumes of frames of one orientation."""
    heights = wanted.heights
    stack = stacked(frames, what, heights[0] or heights[1])
    values = values_of([frame for volume in stack.frames for frame in volume])
    image = _shaped(stack, values, name, {**metadata, "notes": [*metadata["notes"], *stack.notes]}, wanted)
    if wanted.sop == ULTRASOUND_VOLUME:
        image = image.replace(affine=None)
    if len(stack.frames[0]) > 1:
        return image
    if not any(heights):
        return _flat(image, f"{wanted.path.name} does not state the height of its slice; it is read as a picture.")
    stated = "SpacingBetweenSlices" if heights[0] else "SliceThickness"
    return with_note(image, f"The height of the single slice, {image.scale[-3]:g} mm, is that of its {stated}.")


def _of_one_reference(
    series: Sequence[Header], wanted: Header, frames: Sequence[Frame], what: str, path: Path
) -> tuple[Sequence[Frame], tuple[str, ...]]:
    """Return the frames whose positions count in one frame of reference, that of a file that was asked for."""
    found = list(dict.fromkeys(header.reference for header in series if header.reference))
    if len(found) < 2:
        return frames, ()
    if not (path.is_file() and wanted.path == path and wanted.reference):
        firsts = [next(h.path.name for h in series if h.reference == uid) for uid in found]
        raise ReadError(
            f"{what} holds slices of {len(found)} frames of reference (first {', '.join(firsts[:5])}), whose positions "
            "have nothing to do with each other. Open one file of the wanted one."
        )
    note = f"The series has {len(found)} frames of reference; these are the slices in that of {path.name}."
    return [f for h in series if h.reference == wanted.reference for f in h.frames], (note,)


def _shaped(stack: Stack, values: np.ndarray, name: str, metadata: dict[str, Any], header: Header) -> Image:
    """Return the values (frames, rows, columns[, colours]) of a stack as an image with its axes and place."""
    colour = values.ndim > 3
    data = values.reshape(len(stack.frames), len(stack.frames[0]), *values.shape[1:])
    axes = stack.axis + "ZYX" + "C" * colour
    if not stack.axis:
        data = data[0]
    elif stack.axis == "C" and colour:
        axes = "TZYXC"
    metadata = {k: v for k, v in metadata.items() if k != "notes" or v}
    image = placed(
        data, axes, stack.affine, (), MILLIMETER, name=name, metadata=metadata, value_unit=header.value_unit,
        channels=COLOURS if colour else stack.names,
    )  # fmt: skip
    image = timed(image, stack.step) if "T" in axes else image
    if stack.frames[0][0].pixel is None:
        image = without_size(
            image, f"{header.path.name} does not state its pixel size; sizes and volumes are in voxels."
        )
    return image


def _flat(image: Image, note: str) -> Image:
    """Return the only slice of a volume as a picture with its pixel size, without a place."""
    axis = image.axes.index("Z")
    keep = [i for i, a in enumerate(image.spatial_axes) if a != "Z"]
    flat = image.replace(
        data=image.data.take(0, axis), axes=image.axes.replace("Z", ""), affine=None,
        scale=tuple(image.scale[i] for i in keep), units=tuple(image.units[i] for i in keep),
    )  # fmt: skip
    return with_note(flat, note)


def _unplaced(
    series: list[Header], wanted: Header, what: str, name: str, metadata: dict[str, Any], path: Path
) -> Image:
    """Return a picture or a movie without a place; slices of a scanner that lost it, in the order of their numbers."""
    notes = []
    if len(series) > 1 and wanted.modality not in SLICED:
        if path.is_dir():
            raise ReadError(
                f"{what} holds {counted(len(series), 'picture')} without a position in the patient "
                "(ImagePositionPatient), which make no volume. Open them one by one."
            )
        notes.append(f"{len(series) - 1} more pictures of this series are not read: they have no position either.")
        series, metadata = [wanted], {**metadata, "source_file": str(wanted.path)}
    frames = sorted((f for header in series for f in header.frames), key=lambda f: (f.number, f.path.name))
    if any(f.size != frames[0].size for f in frames):
        raise ReadError(f"{what} holds pictures of several sizes without a position. Open them one by one.")
    values = values_of(frames)
    colour = values.ndim > 3
    axes = "YX" if len(frames) == 1 else ("ZYX" if len(series) > 1 else "TYX")
    pixel = frames[0].pixel
    steps = pixel or (1.0, 1.0)
    image = placed(
        values if len(axes) > 2 else values[0], axes + "C" * colour, None,
        (1.0,) * (len(axes) - 2 - ("T" in axes)) + steps, MILLIMETER, name=name, metadata=metadata,
        channels=COLOURS if colour else (), value_unit=wanted.value_unit,
    )  # fmt: skip
    if axes == "TYX":
        image = timed(image, wanted.frame_time)
    if axes == "ZYX":
        notes.append("The slices state no position in the patient; they are in the order of their numbers.")
        return with_note(without_size(image, "The distance of the slices is not stated; sizes are in voxels."), *notes)
    if pixel is None:
        n = image.spatial_axes
        unknown = image.replace(
            scale=image.scale, units=tuple(u if a == "T" else PIXEL for a, u in zip(n, image.units, strict=True))
        )
        return with_note(unknown, f"{wanted.path.name} does not state its pixel size; sizes are in pixels.", *notes)
    return with_note(image, *notes)
