#!/usr/bin/env bash
# napari-nibabel opens four radiographs of one patient as four layers of the same one.
#
# Files that are opened together, or a folder, become one layer for each DICOM series. A series of several slices is
# stacked right; one of a single image, as in radiography, mammography and scouts, is given the pixels of the file that
# was read last, so that left and right, front and side are all that one, and nothing names the layers. Which file is
# last is the order of the folder's listing. The same files are right one by one: open each alone.
# Seen with napari-nibabel 0.1.0, nibabel 5.4.2, pydicom 3.0.2, numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check \
    "napari-nibabel==0.1.0" "nibabel==5.4.2" "pydicom==3.0.2" "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import numpy as np
from napari_nibabel._reader import napari_get_reader
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

study = generate_uid()


def save_radiograph(path, number, value):
    """Write a radiograph that is a series of its own, of one value, 6 x 8 pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = study, generate_uid()
    image.Modality, image.SeriesNumber, image.InstanceNumber = "DX", number, 1
    image.Rows, image.Columns, image.SamplesPerPixel = 6, 8, 1
    image.PhotometricInterpretation, image.PixelRepresentation = "MONOCHROME2", 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelData = np.full((6, 8), value, np.uint16).tobytes()
    image.save_as(path, enforce_file_format=True)


paths = [f"view{k}.dcm" for k in range(4)]
for k, path in enumerate(paths):
    save_radiograph(path, k + 1, 100 * (k + 1))


def values(opened):
    return [int(layer[0].max()) for layer in napari_get_reader(opened)(opened)]


stored = [int(dcmread(path).pixel_array.max()) for path in paths]
together, one_by_one = values(paths), [values(path)[0] for path in paths]
print("pydicom", version("pydicom"), "reads", stored, "from the four files,", end=" ")
print("napari-nibabel", version("napari-nibabel"), "opens", one_by_one, "one by one and", together, "together")
assert stored == one_by_one == [100, 200, 300, 400], f"this has changed: {stored}, {one_by_one}"
assert together == [400, 400, 400, 400], f"this has changed: {together}"
PY
