"""What an NRRD header states of its axes: which are of space, their steps and units, and where the first voxel is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_medseg.errors import ReadError
from napari_medseg.image import mm_per, seconds_per
from napari_medseg.io.volumes.nrrd_header import Header, number_of
from napari_medseg.io.volumes.space import MILLIMETER, array_affine, extra_axis, length_unit

TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
SPACE_KINDS = {"domain", "space"}
SIDES = "The file does not say which way its axes run in the body; left, posterior and superior are assumed."
UNKNOWN = {"", "none", "???", "nan"}
Place = tuple[np.ndarray | None, list[float], str]  # affine, if one is stated; steps, slowest axis first; their unit


def space_axes(header: Header) -> list[int]:
    """Return the axes of space, fastest first: by their directions, else their kinds, else the first three."""
    n = len(header.sizes)
    directions = header.vectors("space directions")
    if len(directions) == n:
        return [i for i, vector in enumerate(directions) if vector is not None]
    kinds = [k.lower() for k in header.words("kinds")]
    if len(kinds) == n and any(k not in SPACE_KINDS | UNKNOWN for k in kinds):
        return [i for i, k in enumerate(kinds) if k in SPACE_KINDS | UNKNOWN]
    spacings = header.numbers("spacings")
    if n > 3 and len(spacings) == n and sum(np.isfinite(spacings)) == 3:
        return [i for i in range(n) if np.isfinite(spacings[i])]
    return list(range(min(n, 3)))


def other_step(header: Header, axis: int) -> float:
    """Return the time step of an axis in seconds (or in an unknown unit), 0 if it states none."""
    vectors = header.words("space directions")
    if header.timed and len(vectors) > axis and vectors[axis].startswith("("):
        return abs(number_of(vectors[axis].strip("()").split(",")[-1]))
    spacings, units = header.numbers("spacings"), header.words("units")
    step = spacings[axis] if len(spacings) > axis else 0.0
    unit = units[axis] if len(units) > axis else ""
    return (step if np.isfinite(step) else 0.0) * (seconds_per(unit) or 1.0)


def other_axis(header: Header, axis: int, kind: str, step: float) -> str:
    """Return ``T`` or ``C`` for the axis that is not of space: by its kind, else as its size and step suggest."""
    if kind and kind not in UNKNOWN | SPACE_KINDS:
        return "T" if kind == "time" else "C"
    return "T" if header.timed else extra_axis(header.sizes[axis], step)


def place_of(header: Header, spatial: Sequence[int], notes: list[str]) -> Place:
    """Return the affine (or ``None``), the steps (slowest first) and the unit, empty if no size is stated.

    Raises
    ------
    ReadError
        If the header states a voxel size of 0, or directions that do not span its axes.
    """
    directions = header.vectors("space directions")
    if directions and len(directions) == len(header.sizes):
        return _by_directions(header, np.array([directions[i] for i in spatial]).T, notes)
    return _by_spacings(header, spatial, notes)


def _by_directions(header: Header, matrix: np.ndarray, notes: list[str]) -> Place:
    """Do `place_of` by the directions of the axes of space: columns of a matrix (n or 3, n), fastest first."""
    n = matrix.shape[1]
    if len(matrix) not in (n, 3):
        raise ReadError(f"{header.path.name} states directions of {len(matrix)} numbers for {n} axes. It is damaged.")
    space = header.fields.get("space", "").lower().removesuffix("-time").removesuffix("t")
    unit, factor = _unit(header.words("space units")[: len(matrix)], bool(space), notes)
    origin = next(iter(header.vectors("space origin")), None)
    origin = np.zeros(len(matrix)) if origin is None or len(origin) != len(matrix) else origin
    signs = np.array(TO_LPS.get(space, (1, 1, 1))[: len(matrix)], float)
    if n == 3 and space not in TO_LPS:
        notes.append(SIDES)
    factor = np.resize(factor, len(matrix))
    matrix, origin = (signs * factor)[:, None] * matrix, signs * factor * origin
    steps = np.linalg.norm(matrix, axis=0)
    if not (steps > 0).all() or np.linalg.matrix_rank(matrix / steps, tol=1e-3) < n:
        raise ReadError(
            f"{header.path.name} states directions (space directions) that do not span its {n} axes, or a voxel "
            "size of 0. Set the true size in mm (for example in 3D Slicer)."
        )
    if len(matrix) > n and not np.allclose(matrix[n], 0):  # a plane upright in space
        normal = np.cross(matrix[:, 0], matrix[:, 1])
        matrix, n = np.column_stack([matrix, normal / np.linalg.norm(normal)]), n + 1
    return array_affine(matrix[:n, :n], origin[:n]), steps[::-1].tolist(), unit


def _by_spacings(header: Header, spatial: Sequence[int], notes: list[str]) -> Place:
    """Do `place_of` by the spacings alone: the axes run along those of the world."""
    n, spacings = len(spatial), header.numbers("spacings")
    steps = np.array([spacings[i] for i in spatial]) if len(spacings) == len(header.sizes) else np.full(n, np.nan)
    if not np.isfinite(steps).all():
        return None, [1.0] * n, ""
    if not (steps != 0).all():
        raise ReadError(
            f"{header.path.name} gives a voxel size of 0: set the true size in mm (for example in 3D Slicer)."
        )
    stated = header.words("units")
    unit, factor = _unit([stated[i] for i in spatial if len(stated) > i], False, notes)
    origin = _first_voxel(header, spatial, steps)
    steps = steps * factor
    if origin is None and (steps > 0).all():
        return None, steps[::-1].tolist(), unit
    affine = array_affine(np.diag(steps), np.zeros(n) if origin is None else origin * factor)
    return affine, np.abs(steps[::-1]).tolist(), unit


def _first_voxel(header: Header, spatial: Sequence[int], steps: np.ndarray) -> np.ndarray | None:
    """Return the place of the first voxel by ``axis mins``: that of its centre, or, as ITK reads it, of its edge."""
    mins, centerings = header.numbers("axis mins"), header.words("centerings")
    if len(mins) != len(header.sizes) or not np.isfinite([mins[i] for i in spatial]).all():
        return None
    nodes = np.array([len(centerings) > i and centerings[i].lower() == "node" for i in spatial])
    return np.array([mins[i] for i in spatial]) + np.where(nodes, 0.0, steps / 2)


def _unit(words: Sequence[str], anatomical: bool, notes: list[str]) -> tuple[str, np.ndarray]:
    """Return millimetres or micrometres, and the factor to them of each axis or of all (1,), for the stated units."""
    stated = [w.strip('"').strip() for w in words]
    if len(named := set(stated) - UNKNOWN) == 1:  # what is left empty has it too
        stated = list(named)
    if not named:
        if not anatomical:
            notes.append("The file does not state a unit of length; millimetres are assumed.")
        return MILLIMETER, np.ones(1)
    sizes = [mm_per(word) for word in stated]
    known = [size for size in sizes if size]
    if len(known) < len(sizes):
        said = ", ".join(sorted(named))
        notes.append(f"The unit {said} is no unit of length of each axis; sizes and volumes are in voxels.")
        return "", np.ones(1)
    unit, largest = length_unit(max(known))
    return unit, np.array(known) * largest / max(known)
