"""MR and other volumes through SimpleITK: NIfTI, NRRD, MetaImage and DICOM series, in mm, geometry kept.

Axes are ``ZYX`` (``YX`` for a picture). A fourth NIfTI axis is time (``TZYX``) when the header gives a time step other
than 0 and 1 or there are more than 16 volumes, else channels (``CZYX``): multi-modal files seldom state a time step.
Notes for the user (a voxel size that the file does not state, NaN voxels) are in ``metadata["notes"]``.
"""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.pairs import file_stem
from napari_medseg.io.sidecar import provenance
from napari_medseg.io.slide import is_dicom_slide
from napari_medseg.io.volumes.dicom import holds_dicom, is_dicom, read_series
from napari_medseg.io.volumes.itk import check_size, from_itk, to_itk, with_note, without_size

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima", "")
PATTERNS = (*("*" + suffix for suffix in SUFFIXES), "*.dcm", "*.ima", "DICOM folder")
MAX_CHANNELS = 16
HEADER_BYTES = 4096
STATED_SIZE = {
    ".mha": rb"ElementSpacing|ElementSize", ".mhd": rb"ElementSpacing|ElementSize",
    ".nrrd": rb"\nspacings:|\nspace directions:", ".nhdr": rb"\nspacings:|\nspace directions:",
}  # fmt: skip


def matches(path: Path) -> bool:
    """Whether this reader takes `path`: a known suffix, a DICOM file, or a folder that holds DICOM files."""
    if path.is_dir():
        return holds_dicom(path)
    if not path.is_file():
        return False
    if path.name.lower().endswith(SUFFIXES):
        return True
    return path.suffix.lower() in DICOM_SUFFIXES and is_dicom(path) and not is_dicom_slide(path)


def read(path: Path) -> list[Image]:
    """Read a volume file, a DICOM series folder, or the series that a DICOM file belongs to.

    Raises
    ------
    ReadError
        If the file is damaged, its voxel size is 0, or a DICOM series is incomplete or mixed.
    """
    path = Path(path)
    image = read_series(path) if path.is_dir() or path.suffix.lower() in DICOM_SUFFIXES else _read_file(path)
    return [_note_nan(image)]


def read_case(paths: Sequence[str | Path]) -> Image:
    """Read the files of one case (one modality each) as the channels of one ``CZYX`` image.

    Raises
    ------
    ReadError
        If the files do not lie on one grid.
    """
    if not paths:
        raise ReadError("A case needs at least one file. Give the files of its modalities.")
    images = [read(Path(p))[0] for p in paths]
    first = images[0]
    for path, image in zip(paths, images, strict=True):
        if image.spatial_axes != first.spatial_axes or not first.same_grid(image):
            raise ReadError(
                f"{Path(path).name} ({image.describe()}) and {Path(paths[0]).name} ({first.describe()}) do not lie on "
                "one grid (size, voxel size or position differ). Resample the modalities onto one of them first."
            )
    data = np.concatenate([np.asarray(image.channels_first()) for image in images])
    stems = [file_stem(Path(p)) for p in paths]
    names = tuple(f"{s}:{c}" if n > 1 else s for s, i in zip(stems, images, strict=True)
                  for n in [i.n_channels] for c in range(n))  # fmt: skip
    common = "".join(c[0] for c in takewhile(lambda c: len(set(c)) == 1, zip(*stems, strict=False))).rstrip("_-. ")
    metadata = {**first.metadata, "source_files": [str(p) for p in paths]}
    return first.replace(data=data, axes="C" + first.spatial_axes, channels=names, name=common or first.name,
                         metadata=metadata)  # fmt: skip


def write(path: str | Path, image: Image) -> None:
    """Write `image` (``YX``, ``ZYX``, ``TZYX``, with or without ``C``) on its own grid; affine and dtype are kept.

    The suffix decides the format. The file appears under its name only when complete (except ``.mhd``/``.nhdr``).

    Raises
    ------
    WriteError
        If the suffix is unknown, the dtype has no place in such files, or the affine shears.
    """
    import SimpleITK as sitk  # noqa: N813

    path = Path(path)
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise WriteError(f"{path.name}: volumes are written as {', '.join(SUFFIXES)}. Choose one of these suffixes.")
    detached = suffix in {".mhd", ".nhdr"}
    target = path if detached else path.with_name(f".{path.name}.part{suffix}")
    try:
        sitk.WriteImage(to_itk(image), str(target), useCompression=suffix not in {".nii", ".mhd"})
        if not detached:
            target.replace(path)
    except (RuntimeError, TypeError, OSError, KeyError) as error:
        dtype = np.asarray(image.data).dtype
        raise WriteError(
            f"{path} cannot be written ({dtype}, {image.describe()}): {_last_line(error)}. "
            "Check that the folder exists, is writable and has room."
        ) from error
    finally:
        if not detached:
            target.unlink(missing_ok=True)


def _read_file(path: Path) -> Image:
    import SimpleITK as sitk  # noqa: N813

    if path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes). Copy or export the file again.")
    _check_n_axes(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        if path.suffix.lower() not in (".mhd", ".nhdr"):  # these keep their voxels in another file
            check_size(path, reader)
        itk = reader.Execute()
    except RuntimeError as error:
        raise ReadError(f"{path.name} cannot be read: {_last_line(error)}. {_advice(str(error))}") from error
    image = from_itk(itk, name=file_stem(path), metadata={**provenance(path), "source_file": str(path)})
    if image.axes == "TZYX" and not _is_time(image):
        image = Image(image.data, "CZYX", image.scale[1:], image.units[1:], np.asarray(image.affine)[1:, 1:],
                      name=image.name, metadata=image.metadata)  # fmt: skip
    if not _states_size(path, len(image.scale)):
        note = f"{path.name} does not state its voxel size; sizes and volumes are in voxels."
        return without_size(image, note)
    return image


def _check_n_axes(path: Path) -> None:
    """Refuse a MetaImage that declares a number of axes that no image has: it would crash ITK."""
    if path.suffix.lower() not in (".mha", ".mhd"):
        return
    with open(path, "rb") as file:
        stated = re.search(rb"NDims\s*=\s*(-?\d+)", file.read(HEADER_BYTES))
    if stated is not None and not 2 <= int(stated[1]) <= 5:
        raise ReadError(f"{path.name} declares {int(stated[1])} axes; expected 2 to 5. The file is damaged.")


def _is_time(image: Image) -> bool:
    return image.scale[0] not in (0.0, 1.0) or image.data.shape[0] > MAX_CHANNELS


def _states_size(path: Path, n_axes: int) -> bool:
    """Whether the file's header states a positive voxel size for its first axes."""
    opener: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        header: bytes = file.read(HEADER_BYTES)
    if path.suffix.lower() in STATED_SIZE:
        text = header.split(b"\n\n")[0] if path.suffix.lower() == ".nrrd" else header
        return re.search(STATED_SIZE[path.suffix.lower()], text) is not None
    if len(header) < 108:
        return True
    order = "<" if struct.unpack_from("<i", header)[0] == 348 else ">"
    if struct.unpack_from(order + "i", header)[0] != 348:  # NIfTI-2 keeps doubles at 104
        order = "<" if struct.unpack_from("<i", header)[0] == 540 else ">"
        steps = struct.unpack_from(order + "3d", header, 112)
    else:
        steps = struct.unpack_from(order + "3f", header, 80)
    return all(step != 0 for step in steps[: min(n_axes, 3)])


def _note_nan(image: Image) -> Image:
    if image.data.dtype.kind != "f":
        return image
    n = int(image.data.size - np.count_nonzero(np.isfinite(image.data)))
    return with_note(image, f"{n} voxels are not finite (NaN or infinite) and are left out.") if n else image


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__


def _advice(message: str) -> str:
    if "spacing" in message.lower():
        return "Its header gives a voxel size of 0: set the true size in mm (for example in ITK-SNAP or 3D Slicer)."
    if "orthonormal" in message.lower():
        return "Its axes are not at right angles: resample it onto a rectangular grid first."
    return "The file is damaged, cut short or has the wrong suffix."
