"""MR and other volumes: NIfTI, NRRD, MetaImage, MGH and DICOM series, each value at its place, in its unit.

Axes are ``ZYX`` (``YX`` for a picture). A fourth axis is time (``TZYX``) when the file says so, when it gives a time
step other than 0 and 1, or when there are more than 16 volumes; else channels (``CZYX``): multi-modal files seldom
state one.
What is not stated, not used or odd (a voxel size, a unit, NaN voxels) is said in ``metadata["notes"]``.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image, mm_per
from napari_medseg.io.files import file_stem, quiet, replacing
from napari_medseg.io.sidecar import load, provenance
from napari_medseg.io.slide import is_dicom_slide
from napari_medseg.io.volumes import metaimage, mgh, nifti, nrrd
from napari_medseg.io.volumes.dicom import files_of_series, holds_dicom, is_dicom, read_series
from napari_medseg.io.volumes.space import with_note, without_size

SUFFIXES = (*nifti.SUFFIXES, *nrrd.SUFFIXES, *metaimage.SUFFIXES, *mgh.SUFFIXES)
SMALLEST, LARGEST = 1e-8, 1e5  # mm: a tenth of an atom, a hundred metres
PATTERNS = (*("*" + suffix for suffix in SUFFIXES), "*.hdr", "*.img", "*.dcm", "*.ima", "DICOM folder")


def matches(path: Path) -> bool:
    """Whether this reader takes `path`: a known suffix, a DICOM file, or a folder that holds DICOM files."""
    if path.is_dir():
        return holds_dicom(path)
    if not path.is_file():
        return False
    if path.name.lower().endswith(SUFFIXES) or nifti.is_pair(path):
        return True
    return is_dicom(path) and not is_dicom_slide(path)


def is_volume(image: Image) -> bool:
    """Whether an image is a volume that belongs in a volume file: it has a place, or it comes from such a file."""
    source = str(image.metadata.get("source_file", "")).lower()
    known = image.affine is not None or "series" in image.metadata or source.endswith((*SUFFIXES, *nifti.PAIRS))
    return image.axes.endswith("ZYX") and known


def source_files(path: Path) -> list[Path]:
    """Return every file that the volume of a file is read from: its own, its voxels, the slices of its series."""
    found = [path]
    name = path.name.lower()
    module = nifti if name.endswith(tuple(nifti.PAIRS)) else None
    module = next((m for m in (nrrd, metaimage) if name.endswith(m.SUFFIXES)), module)
    if module is not None:
        with suppress(ReadError, OSError):  # reading says what is wrong with it
            found += module.voxel_files(path)
    elif path.is_file():
        found += files_of_series(path)
    return list(dict.fromkeys(found))


def read(path: Path) -> list[Image]:
    """Read a volume file, a DICOM series folder, or the series that a DICOM file belongs to.

    Raises
    ------
    ReadError
        If the file is cut or damaged, its voxel size is 0, or a DICOM series is incomplete or mixed.
    """
    path = Path(path)
    with quiet("nibabel.global"):
        images = [_note_nan(_possible(path, image)) for image in _read(path)]
    written = load(path) if len(images) == 1 and path.is_file() else None
    if written is None or written.get("kind") != "labels" or images[0].data.dtype.kind not in "biu":
        return images
    return [images[0].replace(kind="labels", channels=())] if "C" not in images[0].axes else images


def write(path: str | Path, image: Image) -> None:
    """Write `image` (``YX``, ``ZYX``, ``TZYX``, with or without ``C``) on its own grid, affine and dtype kept.

    The suffix decides the format. The file appears under its name only when complete. A result on the grid of a NIfTI
    file carries that file's qform, sform and their codes.

    Raises
    ------
    WriteError
        If the suffix is unknown, or the dtype, the unit or a shear has no place in such files.
    """
    path = Path(path)
    suffix = next((s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise WriteError(f"{path.name}: volumes are written as {', '.join(SUFFIXES)}. Choose one of these suffixes.")
    module = next(m for m in (nifti, nrrd, metaimage, mgh) if suffix in m.SUFFIXES)
    data = np.asarray(image.data)
    if data.dtype.kind not in "buif" or data.dtype.itemsize > 8:
        raise WriteError(f"{path.name} cannot be written: {data.dtype} values have no place in a volume file.")
    if not path.parent.is_dir():
        raise WriteError(f"{path} cannot be written: its folder does not exist. Make it, or choose another.")
    with replacing(path) as part, part.open("wb") as stream:
        module.write(stream, path.name, image)


def _read(path: Path) -> list[Image]:
    if path.is_dir() or not (path.name.lower().endswith(SUFFIXES) or nifti.is_pair(path)):
        return read_series(path)
    if path.stat().st_size == 0:
        raise ReadError(f"{path} is empty (0 bytes). Copy or export the file again.")
    about = {**provenance(path), "source_file": str(path)}
    name = file_stem(path)
    if path.name.lower().endswith(nrrd.SUFFIXES):
        return nrrd.read(path, name, **about)
    module = next((m for m in (metaimage, mgh) if path.name.lower().endswith(m.SUFFIXES)), nifti)
    return [module.read(path, name, **about)]


def _possible(path: Path, image: Image) -> Image:
    """Take a voxel size that no instrument has for one that is not stated, with a note."""
    edges = [step * (mm_per(unit) or 1.0) for step, unit in zip(image.scale, image.units, strict=True) if mm_per(unit)]
    if not edges or (min(edges) >= SMALLEST and max(edges) <= LARGEST):
        return image
    stated = " x ".join(f"{step:g}" for step in image.scale[int(image.spatial_axes.startswith("T")) :])
    note = f"{path.name} states voxels of {stated} {image.units[-1]}, which cannot be; sizes and volumes are in voxels."
    return without_size(image, note)


def _note_nan(image: Image) -> Image:
    if image.data.dtype.kind != "f":
        return image
    n = int(image.data.size - np.count_nonzero(np.isfinite(image.data)))
    return with_note(image, f"{n} voxels are not finite (NaN or infinite) and are left out.") if n else image
