#!/usr/bin/env bash
# nibabel gives an enhanced MR image a slice step of zero or of the wrong sign when its frames are not stored in order.
#
# Scanners store frames as acquired: all time points of one slice first, or slices interleaved. nibabel sorts the voxels
# rightly, yet measures the step between two frames that it picks by rank. With time first the affine is singular
# (step 0); with slices 1 3 5 2 4 it runs the wrong way, so that four of five slices lie outside of the patient's stack,
# mirrored about its end. Nothing is raised (importing warns that the DICOM readers are experimental); frames in order are
# right. Seen with nibabel 5.4.2, pydicom 3.0.2, numpy 2.2.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "nibabel==5.4.2" "pydicom==3.0.2" "numpy==2.2.6"
"$work/venv/bin/python" -W ignore - <<'PY'
import nibabel as nib
import numpy as np
from nibabel.nicom.dicomwrappers import wrapper_from_data
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def enhanced_mr(frames):
    """An image with one frame for each (slice, time); the voxels of slice k hold their z in mm, 30 + 2 k."""
    image = item(SOPClassUID=uid.EnhancedMRImageStorage, SOPInstanceUID=uid.generate_uid(), NumberOfFrames=len(frames))
    image.Rows, image.Columns, image.SamplesPerPixel, image.PixelRepresentation = 2, 3, 1, 0
    image.PhotometricInterpretation, image.BitsAllocated, image.BitsStored, image.HighBit = "MONOCHROME2", 16, 16, 15
    image.PixelData = np.repeat([30 + 2 * k for k, _ in frames], 6).astype(np.uint16).tobytes()
    image.file_meta = item(TransferSyntaxUID=uid.ExplicitVRLittleEndian)
    measures = item(PixelSpacing=[0.5, 0.5], SliceThickness=2, SpacingBetweenSlices=2)
    plane = item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    image.SharedFunctionalGroupsSequence = [item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[plane])]
    image.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[10, 20, 30 + 2 * k])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1, t + 1])],
        )
        for k, t in frames
    )
    image.DimensionIndexSequence = Sequence(
        item(DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111) for tag in (0x00209056, 0x00209057, 0x00209128)
    )
    return image


def true_and_stated_z(frames):
    wrapper = wrapper_from_data(enhanced_mr(frames))
    voxels = wrapper.get_data()[0, 0].reshape(wrapper.image_shape[2], -1)[:, 0]
    stated = [float((wrapper.affine @ [0, 0, k, 1])[2]) for k in range(len(voxels))]
    return voxels.tolist(), stated


true, ordered = true_and_stated_z([(k, 0) for k in range(5)])
_, interleaved = true_and_stated_z([(k, 0) for k in (0, 2, 4, 1, 3)])
_, time_first = true_and_stated_z([(k, t) for k in range(5) for t in range(2)])
print("nibabel", nib.__version__, "puts the slices of z =", true, "at")
print("  frames in order:  ", ordered, "\n  slices interleaved:", interleaved, "\n  time points first: ", time_first)
assert true == ordered == [38, 36, 34, 32, 30], f"this has changed: {true} {ordered}"
assert interleaved == [38, 40, 42, 44, 46], f"this has changed: {interleaved}"
assert time_first == [38, 38, 38, 38, 38], f"this has changed: {time_first}"
PY
