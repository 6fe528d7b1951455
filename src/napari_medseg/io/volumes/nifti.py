"""NIfTI-1, NIfTI-2, their pairs (``.hdr`` and ``.img``) and Analyze 7.5: the headers by nibabel, the voxels in full.

A place is taken from the sform, else the qform, as nibabel, FSL and SPM do. What the file says of it is kept in
``metadata["nifti"]``, so that a result on the same grid carries the same qform, sform and codes.
"""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError, one_line
from napari_medseg.image import SECOND, Image
from napari_medseg.io.volumes.space import (
    MICROMETER,
    MILLIMETER,
    RAS_TO_LPS,
    SHEAR_TOLERANCE,
    array_affine,
    extra_axis,
    file_matrix,
    in_unit,
    measured,
    placed,
    skew_of,
    timed,
    with_note,
    without_size,
)
from napari_medseg.io.volumes.stored import LEVEL, head_of, is_gzip, read_voxels, rescaled

SUFFIXES = (".nii", ".nii.gz")
PAIRS = {".hdr": ".img", ".img": ".hdr"}
SIZES = {348: 1, 540: 2}  # bytes of the header: version
HEADER_BYTES = 544
SPACE_UNITS = {1: (MILLIMETER, 1000.0), 2: (MILLIMETER, 1.0), 3: (MICROMETER, 1.0)}
SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}
LABELS_INTENT, VECTOR_INTENT, TIME_INTENT = 1002, 1007, 2001
EXTENSION_FLAG, MOST_AXES = 4, 7
LARGEST_NIFTI1 = 32767
KEPT = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
ROWS = ("srow_x", "srow_y", "srow_z")
DISAGREES = 0.1  # of a voxel


def is_pair(path: Path) -> bool:
    """Whether a file is one of a pair ``.hdr`` and ``.img`` whose header is NIfTI or Analyze, or an ``.img`` alone."""
    suffix = path.suffix.lower()
    if suffix not in PAIRS:
        return False
    header = _other(path) if suffix == ".img" else path
    return _version(header)[0] > 0 if header.is_file() else suffix == ".img"


def voxel_files(path: Path) -> list[Path]:
    """Return the other file of a pair, none for a file that stands alone."""
    return [_other(path)] if path.suffix.lower() in PAIRS else []


def is_second_half(path: Path) -> bool:
    """Whether a file is the ``.img`` of a pair, which its ``.hdr`` stands for."""
    return path.suffix.lower() == ".img" and _other(path).is_file() and is_pair(path)


def read(path: Path, name: str, **metadata: Any) -> Image:
    """Read a volume as ``ZYX``, ``TZYX``, ``CZYX``, ``CTZYX`` or ``ZYXC`` (colours), a picture as ``YX``.

    A picture that does not lie in an axial plane is a volume of one slice, so that it keeps its place.

    Raises
    ------
    ReadError
        If the file is cut or damaged, its other half is missing, or it holds no image of at most 5 axes.
    """
    header_path, data_path = _halves(path)
    header = _header(header_path)
    shape = _shape(header, path)
    dtype = header.get_data_dtype()
    if dtype.names is None and (dtype.kind not in "iuf" or dtype.itemsize > 16):
        raise ReadError(f"{path.name} holds {dtype} values. Give real intensities or labels.")
    packed, notes = is_gzip(data_path), list[str]()
    encoding, offset = "gzip" if packed else "raw", int(header.get_data_offset())
    stored = read_voxels(data_path, dtype, shape[::-1], encoding, offset, packed, notes)
    data, scaling = _values(stored, header)
    metadata |= {"scl_slope": scaling} if scaling else {}
    low, high = float(header["cal_min"]), float(header["cal_max"])
    metadata |= {"window": (low, high)} if np.isfinite([low, high]).all() and low < high else {}
    return with_note(_placed(path, header, data, name, metadata), *notes)


def write(stream: IO[bytes], name: str, image: Image) -> None:
    """Write `image` to an open file, packed if `name` ends in ``.gz``; labels say so by their intent.

    Micrometres stay micrometres, other lengths become millimetres. Without a unit no place and no unit is written.

    Raises
    ------
    WriteError
        If the values or the number of axes have no place in the format.
    """
    if measured(image):
        fine = image.units[-1] == MICROMETER
        image = in_unit(image, MICROMETER if fine else MILLIMETER, "NIfTI")
    try:
        filled = _filled(image)
        if name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed:
                filled.to_stream(packed)
        else:
            filled.to_stream(stream)
    except (TypeError, ValueError) as error:  # nibabel's errors of the header are ValueErrors or bare
        raise WriteError(f"{name} cannot hold {image.data.dtype} values with axes {image.axes}: {error}.") from error


def _filled(image: Image) -> Any:
    """Return the nibabel image of an `Image`."""
    import nibabel

    data, axes = np.asarray(image.data), image.axes
    data = data.astype({"b": np.uint8}.get(data.dtype.kind, np.float32 if data.dtype == np.float16 else data.dtype))
    order = [axes.index(a) for a in "CTZYX" if a in axes]
    data = data.transpose(order[::-1])
    for position, axis in ((2, "Z"), (3, "T")):
        if axis not in axes and ("C" in axes or ("T" in axes and axis == "Z")):
            data = np.expand_dims(data, position)
    kind = nibabel.Nifti2Image if max(data.shape) > LARGEST_NIFTI1 else nibabel.Nifti1Image
    made = kind(data, None, dtype=data.dtype)
    header = made.header
    step = dict(zip(image.spatial_axes, image.scale, strict=True))
    seconds = step.get("T", 0.0) if image.units[0] == SECOND else 0.0  # 0: not known
    zooms = [step.get(a, 1.0) for a in "XYZ"] + [seconds, 0.0]
    header.set_zooms(zooms[: data.ndim])
    code = {MICROMETER: "micron", MILLIMETER: "mm"}.get(image.units[-1], "unknown")
    header.set_xyzt_units(code, "sec" if "T" in axes and image.units[0] == "second" else "unknown")
    if image.kind == "labels":
        header.set_intent(LABELS_INTENT)
    elif "C" in axes or "T" in axes:
        header.set_intent(VECTOR_INTENT if "C" in axes else TIME_INTENT)
    if not _restored(header, image) and measured(image):
        _place(header, image)
    return made


def _restored(header: Any, image: Image) -> bool:
    """Take over the place that the source states, if `image` lies on its grid still."""
    known = image.metadata.get("nifti")
    time = int(image.spatial_axes.startswith("T"))
    if not known or not np.allclose(known["scale"], image.scale[time:], rtol=1e-5):
        return False
    affine, kept = image.affine, known["affine"]
    if (affine is None) != (kept is None):
        return False
    if affine is not None:
        affine, kept = np.asarray(affine, float)[time:, time:], np.asarray(kept, float)
        if affine.shape != kept.shape or not np.allclose(affine, kept, rtol=1e-5, atol=1e-4):
            return False
    for key in (*KEPT, *ROWS):
        header[key] = known[key]
    header["pixdim"][:4] = known["pixdim"]
    header["xyzt_units"] = (known["xyz_unit"] & 7) | (int(header["xyzt_units"]) & 0x38)
    return True


def _place(header: Any, image: Image) -> None:
    """State the place of `image` as sform, and as qform too if its axes are at right angles."""
    matrix, origin = file_matrix(image)
    affine = np.eye(4)
    n = len(matrix)
    affine[:n, :n], affine[:n, 3] = matrix, origin
    affine = np.diag([*RAS_TO_LPS, 1.0]) @ affine
    if skew_of(matrix) <= SHEAR_TOLERANCE:
        header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)


def _halves(path: Path) -> tuple[Path, Path]:
    """Return the files of header and voxels."""
    if path.suffix.lower() not in PAIRS:
        return path, path
    other = _other(path)
    if not other.is_file():
        raise ReadError(f"{path.name} is one half of a pair, and {other.name} is not beside it. Copy both files.")
    return (other, path) if path.suffix.lower() == ".img" else (path, other)


def _other(path: Path) -> Path:
    """Return the other file of a pair, with the case of `path`'s suffix."""
    suffix = PAIRS[path.suffix.lower()]
    return path.with_suffix(suffix.upper() if path.suffix.isupper() else suffix)


def _version(path: Path) -> tuple[int, str]:
    """Return 1 or 2 (0: no NIfTI or Analyze header) and the byte order."""
    with path.open("rb") as file:
        start = file.read(4)
    start = head_of(path, 4) if start[:2] == b"\x1f\x8b" else start
    for order in "<>":
        if len(start) == 4 and (size := struct.unpack(order + "i", start)[0]) in SIZES:
            return SIZES[size], order
    return 0, "<"


def _header(path: Path) -> Any:
    """Read the header as NIfTI-1, NIfTI-2 or Analyze; refuse a damaged one."""
    import nibabel

    raw = head_of(path, HEADER_BYTES)
    version, order = _version(path)
    single = path.suffix.lower() != ".hdr"
    if version == 0:
        raise ReadError(f"{path.name} is no NIfTI volume: its header is not 348 or 540 bytes long. It may be damaged.")
    if version == 2:
        kind, size = (nibabel.Nifti2Header if single else nibabel.nifti2.Nifti2PairHeader), 540
    elif raw[344:347] in (b"n+1", b"ni1"):
        kind, size = (nibabel.Nifti1Header if raw[344:347] == b"n+1" else nibabel.nifti1.Nifti1PairHeader), 348
    else:
        kind, size = nibabel.spm99analyze.Spm99AnalyzeHeader, 348
    try:
        header = kind(raw[:size], order, check=False)
        header.get_data_dtype()
        offset = int(header.get_data_offset())
    except Exception as error:  # nibabel's own kinds of error
        raise ReadError(f"{path.name} has a damaged header ({one_line(error)}). Copy it again.") from error
    least = size + EXTENSION_FLAG if single else 0
    if offset == 0 < least:  # some writers leave it out
        header.set_data_offset(least)
    if 0 < offset < least or offset < 0 or not 1 <= int(header["dim"][0]) <= MOST_AXES:
        raise ReadError(f"{path.name} has a damaged header: no place or no size of its voxels. Copy it again.")
    header["pixdim"] = np.abs(header["pixdim"]) * np.where(np.arange(8) == 0, np.sign(header["pixdim"]), 1)
    if header["pixdim"][0] not in (-1, 1):
        header["pixdim"][0] = 1  # as the standard says of 0
    return header


def _shape(header: Any, path: Path) -> tuple[int, ...]:
    """Return the shape, fastest axis first, without the axes of length 1 behind the third."""
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if not 2 <= len(shape) <= 5:
        raise ReadError(
            f"{path.name} has {len(shape)} dimensions ({'x'.join(map(str, shape))}); an image has 2 to 5: x, y, z, "
            "time, components. Split it, or export the part that is an image."
        )
    return shape


def _values(stored: np.ndarray, header: Any) -> tuple[np.ndarray, float]:
    """Return the scaled values and the slope (0 if there is none); a slope of 0 means no scaling at all."""
    if stored.dtype.names:  # colours
        return stored.view(np.uint8).reshape(*stored.shape, len(stored.dtype.names)), 0.0
    stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    if stored.dtype.itemsize > 8:
        stored = stored.astype(np.float64)
    slope, inter = header.get_slope_inter() if hasattr(header, "get_slope_inter") else (None, None)
    slope, inter = (1.0 if slope is None else float(slope)), (0.0 if inter is None else float(inter))
    return rescaled(stored, slope, inter), 0.0 if (slope, inter) == (1.0, 0.0) else slope


def _placed(path: Path, header: Any, data: np.ndarray, name: str, metadata: dict[str, Any]) -> Image:
    """Give the values their axes, steps, units and place."""
    colour = data.shape[-1:] if data.ndim > len(_shape(header, path)) else ()
    spatial = data.ndim - len(colour)
    pixdim = np.abs(np.asarray(header["pixdim"], float))
    known, notes = _stated_place(header, spatial)
    unit, factor = _unit(header, known, pixdim, notes)
    if spatial == 2 and known is not None and not _axial(known):
        data, spatial = data[None], 3
    timed_by_intent = _intent(header) in (TIME_INTENT, LABELS_INTENT)  # labels have no channels
    fourth = "T" if timed_by_intent else extra_axis(data.shape[0], pixdim[4])
    axes = {2: "YX", 3: "ZYX", 4: fourth + "ZYX", 5: "CTZYX"}[spatial]
    if spatial == 5 and data.shape[1] == 1:
        data, axes = data[:, 0], "CZYX"
    affine, steps = None, pixdim[1 : 1 + min(spatial, 3)][::-1]
    if known is not None:
        n = min(spatial, 3)
        affine = array_affine(known[:n, :n] * factor, known[:n, 3] * factor)
    if not unit:
        steps = np.ones(len(steps))
    kind = "labels" if "get_intent" in dir(header) and _intent(header) == LABELS_INTENT else "image"
    image = placed(
        data, axes + "C" * len(colour), affine, steps * factor, unit or MILLIMETER,
        name=name, metadata={**metadata, **({"notes": notes} if notes else {})}, kind=kind if not colour else "image",
        channels=("red", "green", "blue", "alpha")[: colour[0]] if colour else (),
    )  # fmt: skip
    if "T" in axes:
        units = int(header["xyzt_units"]) & 0x38 if "xyzt_units" in header.keys() else 0  # noqa: SIM118
        image = timed(image, pixdim[4] * SECONDS.get(units, 1.0)) if units in (0, *SECONDS) else image
        if units == 0 and image.units[0] == SECOND:
            image = with_note(
                image, f"The file does not state a unit of time; {pixdim[4]:g} seconds a step are assumed."
            )
    if not unit:
        image = without_size(image, f"{path.name} does not state its voxel size; sizes and volumes are in voxels.")
    return image.replace(metadata={**image.metadata, **_kept(header, image)})


def _intent(header: Any) -> int:
    return int(header["intent_code"]) if "intent_code" in header.keys() else 0  # noqa: SIM118


def _stated_place(header: Any, spatial: int) -> tuple[np.ndarray | None, list[str]]:
    """Return the affine (4, 4) from x, y, z to LPS in the file's unit, or ``None`` if none is stated or usable."""
    notes: list[str] = []
    if not hasattr(header, "get_sform"):
        return None, ["Analyze files do not state left and right; check the sides of the patient."]
    forms = {}
    for kind, getter in (("sform", header.get_sform), ("qform", header.get_qform)):
        code = int(header[f"{kind}_code"])
        try:
            matrix = getter(coded=True)[0] if code > 0 else None
        except Exception:  # a quaternion that is none
            matrix = None
        if code > 0 and (matrix is None or not _usable(matrix)):
            notes.append(f"The {kind} (code {code}) of the file is no place in space and is not used.")
        elif matrix is not None:
            forms[kind] = np.asarray(matrix, float)
    if not forms:
        return None, notes
    shape = np.array([*header.get_data_shape(), 1, 1][:3])
    best = forms.get("sform", forms.get("qform"))
    if len(forms) == 2 and (said := _disagreement(forms["sform"], forms["qform"], shape)):
        notes += said
    elif "sform" in forms:
        notes += _other_steps(forms["sform"], np.abs(header["pixdim"][1 : 1 + min(spatial, 3)]))
    return np.diag([*RAS_TO_LPS, 1.0]) @ best, notes


def _usable(matrix: np.ndarray) -> bool:
    steps = np.linalg.norm(matrix[:3, :3], axis=0)
    return bool(np.isfinite(matrix).all() and (steps > 0).all() and abs(np.linalg.det(matrix[:3, :3] / steps)) > 1e-3)


def _disagreement(sform: np.ndarray, qform: np.ndarray, shape: np.ndarray) -> list[str]:
    corners = np.array([[0, 0, 0, 1], *([*row, 1] for row in np.diag(shape - 1)), [*(shape - 1), 1]], float)
    apart = np.abs(corners @ (sform - qform).T).max()
    if apart <= DISAGREES * np.linalg.norm(sform[:3, :3], axis=0).min():
        return []
    return [f"qform and sform differ by up to {apart:.3g} mm; the sform is used."]


def _other_steps(sform: np.ndarray, pixdim: np.ndarray) -> list[str]:
    steps = np.linalg.norm(sform[:3, :3], axis=0)[: len(pixdim)]
    if np.allclose(steps, pixdim, rtol=1e-2):
        return []
    said = ["x".join(f"{s:.4g}" for s in sizes) for sizes in (pixdim, steps)]
    return [f"The header's voxel size (pixdim {said[0]}) is not that of its sform ({said[1]}); the sform is used."]


def _unit(header: Any, known: Any, pixdim: np.ndarray, notes: list[str]) -> tuple[str, float]:
    """Return the unit of length and what to multiply with; an empty unit if the file states no size."""
    n = min(len(header.get_data_shape()), 3)
    steps = pixdim[1 : 1 + n]
    code = int(header["xyzt_units"]) & 7 if "xyzt_units" in header.keys() else 0  # noqa: SIM118
    if known is None and (
        not (np.isfinite(steps) & (steps > 0)).all() or (code not in SPACE_UNITS and (steps == 1).all())
    ):
        return "", 1.0
    if known is None:
        notes.append("The file does not state where it lies in space; it begins at 0 and its sides are not known.")
    if code not in SPACE_UNITS:
        notes.append("The file does not state a unit of length; millimetres are assumed.")
    return SPACE_UNITS.get(code, (MILLIMETER, 1.0))


def _axial(matrix: np.ndarray) -> bool:
    """Whether the first two axes lie in the plane of the world's first two."""
    plane = matrix[:3, :2] / np.linalg.norm(matrix[:3, :2], axis=0)
    return bool(np.allclose(plane[2], 0, atol=1e-4))


def _kept(header: Any, image: Image) -> dict[str, Any]:
    """Return what a result on the same grid states again."""
    if "sform_code" not in header.keys():  # noqa: SIM118
        return {}
    time = int(image.spatial_axes.startswith("T"))
    affine = None if image.affine is None else np.asarray(image.affine)[time:, time:].tolist()
    kept = {key: header[key].item() for key in KEPT} | {key: header[key].tolist() for key in ROWS}
    pixdim = [float(v) for v in header["pixdim"][:4]]
    unit = int(header["xyzt_units"])
    return {"nifti": {**kept, "pixdim": pixdim, "xyz_unit": unit, "affine": affine, "scale": list(image.scale[time:])}}
