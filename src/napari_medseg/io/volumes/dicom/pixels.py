"""The values of DICOM frames: decoded by pydicom, each frame scaled by its own slope and intercept."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.errors import ReadError, one_line
from napari_medseg.io.volumes.dicom import mosaic
from napari_medseg.io.volumes.dicom.files import quiet
from napari_medseg.io.volumes.dicom.frames import Frame, frame_count
from napari_medseg.io.volumes.stored import rescaled

PIXEL_TAGS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
COLOURS = 3
ONE_AT_A_TIME = threading.Lock()
JPEG_KINDS = {f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91)}
SECONDARY_CAPTURES = {n: f"1.2.840.10008.5.1.4.1.1.7.{k}" for n, k in ((1, 2), (2, 3), (COLOURS, 4))}  # by bytes
IMAGE_PIXEL = {
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation",
    *(f"{c}PaletteColorLookupTable{what}" for c in ("Red", "Green", "Blue") for what in ("Descriptor", "Data")),
}  # fmt: skip


def values_of(frames: Sequence[Frame]) -> np.ndarray:
    """Return the values (frames, rows, columns) of frames, or (frames, rows, columns, 3) of colours.

    Whole numbers stay whole if every slope and intercept is.

    Raises
    ------
    ReadError
        If the pixels are cut or damaged, or compressed in a way that cannot be decoded here.
    """
    result: np.ndarray | None = None
    dtype = np.dtype(np.uint8)
    by_path: dict[Path, list[int]] = {}
    for place, frame in enumerate(frames):
        by_path.setdefault(frame.path, []).append(place)
    for path, places in by_path.items():
        stored = _stored(path, frames[places[0]])
        if result is None:
            dtype = _common(stored, frames)
            result = np.empty((len(frames), *stored.shape[1:]), dtype)
        for place in places:
            frame = frames[place]
            if frame.index >= len(stored) or stored[frame.index].shape != result.shape[1:]:
                raise ReadError(f"{path.name} holds other pictures than its header says. It is damaged; copy it again.")
            scaled = rescaled(stored[frame.index], *frame.rescale)
            dtype = np.result_type(dtype, scaled.dtype)
            if dtype != result.dtype:
                result = result.astype(dtype)
            result[place] = scaled
    assert result is not None
    return result


def _stored(path: Path, frame: Frame) -> np.ndarray:
    """Return the stored values (frames, rows, columns[, 3]) of a file; those of a mosaic are its tiles."""
    import pydicom
    from pydicom import pixels

    try:
        with quiet():
            data = pydicom.dcmread(path, force=True)
            if frame_count(data) == 1 and "NumberOfFrames" in data:
                del data.NumberOfFrames  # it may be no number
            if not any(tag in data for tag in PIXEL_TAGS):
                raise ReadError(f"{path.name} is cut short: its pixels are missing. Copy it again.")
            found = _decoded(path, data)
            if data.get("ModalityLUTSequence"):
                found = pixels.apply_modality_lut(found, data)
    except (ReadError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything on damaged pixels
        raise ReadError(
            f"{path.name} has pixels that cannot be decoded ({one_line(error, 120)}). "
            "The file is damaged or cut short; copy it again."
        ) from error
    found = found if frame_count(data) > 1 and found.ndim > 2 else found[None]
    if found.shape[1:3] == frame.size:
        return found
    if len(found) == 1 and found.ndim == 3 and frame.tells.get("frames", 1) > 1:
        return mosaic.tiles(found[0], frame.size)
    raise ReadError(f"{path.name} holds pictures of another size than its header says. It is damaged; copy it again.")


def _decoded(path: Path, data: Any) -> np.ndarray:
    """Return the pixels as they are stored; colours as red, green and blue."""
    from pydicom import pixels, uid

    syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:  # a file without the meta group: as its bytes are
        data.ensure_file_meta()
        implicit = data.original_encoding[0]
        syntax = data.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        )
    if syntax in JPEG_KINDS:
        return _through_gdcm(data)
    shift = _left_aligned(data)
    try:
        pixels.get_decoder(syntax)
    except NotImplementedError:
        raise ReadError(
            f"{path.name} is compressed as {syntax.name}, which is not decoded here. Save it uncompressed "
            "(for example with gdcmconv --raw or dcmdjpeg)."
        ) from None
    return _colours(data, pixels.pixel_array(data) >> shift if shift else pixels.pixel_array(data))


def _left_aligned(data: Any) -> int:
    """Return how many bits lie below the value in its cell (PS3.5 8.1.1, older files); `data` then states no unused
    bits above it.
    """
    shift = int(data.get("HighBit", 0) or 0) + 1 - int(data.get("BitsStored", 0) or 0)
    if "PixelData" not in data or not 0 < shift <= int(data.BitsAllocated) - int(data.BitsStored):
        return 0
    data.BitsStored += shift
    return shift


def _through_gdcm(data: Any) -> np.ndarray:
    """Decode JPEG, JPEG-LS and JPEG 2000 by SimpleITK's GDCM, from a temporary file of nothing but the pixels."""
    import pydicom
    import SimpleITK as sitk  # noqa: N813

    bare = pydicom.Dataset()
    bare.file_meta = pydicom.dataset.FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    colour = int(data.get("SamplesPerPixel", 1)) > 1
    bare.SOPClassUID = SECONDARY_CAPTURES[COLOURS if colour else int(data.BitsAllocated) // 8]
    bare.SOPInstanceUID = bare.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    for element in data.group_dataset(0x0028):
        if element.keyword in IMAGE_PIXEL:
            bare.add(element)
    bare.NumberOfFrames = frame_count(data)
    bare.PixelData = data.PixelData
    bare["PixelData"].is_undefined_length = True
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pixels.dcm")
        bare.save_as(path, enforce_file_format=True)
        with _silent():
            found = sitk.GetArrayFromImage(sitk.ReadImage(path, imageIO="GDCMImageIO"))
    return np.asarray(found if frame_count(data) > 1 else found[0])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep what the decoder prints itself, of every codec that it tries, off the screen."""
    with ONE_AT_A_TIME:
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _colours(data: Any, found: np.ndarray) -> np.ndarray:
    """Look palette colours up; other values as they are."""
    from pydicom.pixels import apply_color_lut

    if data.get("PhotometricInterpretation") != "PALETTE COLOR":
        return found
    colours = apply_color_lut(found, data)
    bits = int(data.RedPaletteColorLookupTableDescriptor[2])
    return np.asarray(colours >> 8 if bits > 8 and colours.dtype.itemsize > 1 else colours, np.uint8)


def _common(stored: np.ndarray, frames: Sequence[Frame]) -> np.dtype:
    """Return the type that the first file's values have once they are scaled."""
    return rescaled(stored[frames[0].index][:1], *frames[0].rescale).dtype
