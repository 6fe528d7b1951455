#!/usr/bin/env bash
# nii-rs puts a voxel of a brain whose axes run to the right and the front 27 cm beside where it is, outside of the
# head.
#
# Its ijk2xyz, "physical positions (ITK style)", adds index times spacing to the origin and leaves the directions out,
# and xyz2ijk goes the same way back, so that a round trip shows nothing. Volumes that run to the left and the back, as
# DICOM has them, are right; those in the order of the MNI templates are mirrored about their first voxel, and in
# oblique ones each place is off the more, the farther in it lies. get_direction, "ITK style" too, returns directions
# times voxel sizes. Where a file states its place by a qform alone, which is as good by the format, nii-rs takes the
# sizes only, and begins at 0. Voxels and spacing are right in all of them; no word is said.
# Seen with nii-rs 0.1.2, SimpleITK 2.5.7 and nibabel 5.4.2 (the other readers), numpy 2.4.6, Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "nii-rs==0.1.2" "SimpleITK==2.5.7" "nibabel==5.4.2" \
    "numpy==2.4.6"
cd "$work"
venv/bin/python - <<'PY'
from importlib.metadata import version

import nibabel
import nii
import numpy as np
import SimpleITK as sitk

voxels = np.arange(91 * 109 * 91, dtype=np.int16).reshape(91, 109, 91)
sine, cosine = np.sin(np.radians(15)), np.cos(np.radians(15))
turn = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
to_front = np.array([[2.0, 0, 0, -90], [0, 2, 0, -126], [0, 0, 2, -72], [0, 0, 0, 1]])  # as the MNI templates
to_back = np.array([[-2.0, 0, 0, 90], [0, -2, 0, 126], [0, 0, 2, -72], [0, 0, 0, 1]])  # as DICOM
by_qform = nibabel.Nifti1Image(voxels, to_back)
by_qform.set_qform(to_back, 1)
by_qform.set_sform(np.zeros((4, 4)), 0)
images = {
    "to left and back": nibabel.Nifti1Image(voxels, to_back),
    "to right and front": nibabel.Nifti1Image(voxels, to_front),
    "oblique": nibabel.Nifti1Image(voxels, to_back @ turn),
    "qform alone": by_qform,
}
found = {}
print("nii-rs", version("nii-rs"), "place of a voxel in mm by SimpleITK and nibabel, by nii-rs, distance:")
for name, image in images.items():
    nibabel.save(image, "image.nii")
    index = [30, 60, 40]
    place = np.array(sitk.ReadImage("image.nii").TransformIndexToPhysicalPoint(index))
    by_nibabel = (nibabel.load("image.nii").affine @ (*index, 1))[:3] * (-1, -1, 1)  # NIfTI's axes to those of ITK
    assert np.allclose(place, by_nibabel, atol=1e-3), f"this has changed: {place} and {by_nibabel}"
    read = nii.read_image("image.nii", np.int16)
    assert np.array_equal(read.ndarray().T, voxels), "this has changed: voxels"
    given = np.array(read.ijk2xyz(index))
    assert np.allclose(read.xyz2ijk(given.tolist()), index, atol=1e-3), "this has changed: round trip"
    found[name] = [np.round(xyz).astype(int).tolist() for xyz in (place, given)]
    found[name].append(round(float(np.linalg.norm(given - place))))
    print(f"  {name:18}", *found[name])
    if name == "oblique":
        lengths = np.linalg.norm(read.get_direction(), axis=0).round(3).tolist()
        assert lengths == [2, 2, 2], f"this has changed: {lengths}"
assert found["to left and back"] == [[-30, -6, 8], [-30, -6, 8], 0], f"this has changed: {found}"
assert found["to right and front"] == [[30, 6, 8], [150, 246, 8], 268], f"this has changed: {found}"
assert found["oblique"] == [[-63, 5, 8], [-30, -6, 8], 35], f"this has changed: {found}"
assert found["qform alone"] == [[-30, -6, 8], [60, 120, 80], 171], f"this has changed: {found}"
PY
