"""DICOM series, multi-frame files, segmentations, mosaics: values and places by hand and by GDCM (SimpleITK)."""

from __future__ import annotations

import os
import warnings
from itertools import permutations
from pathlib import Path

import dicom_files as d
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence as Items
from shorthand import notes

from napari_medseg import io
from napari_medseg.batch import list_inputs
from napari_medseg.errors import ReadError
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.io.volumes.dicom import is_dicom, series_of
from napari_medseg.io.volumes.dicom.mosaic import tiles
from napari_medseg.measure import measure
from napari_medseg.preprocessing.volumes import affine_of

RNG = np.random.default_rng(7)
VOLUME = RNG.integers(0, 1000, (4, 6, 5)).astype(np.uint16)


def first_voxels(image) -> list[float]:
    return np.asarray(image.data)[:, 0, 0].tolist()


def test_a_series_is_as_gdcm_reads_it(tmp_path: Path) -> None:
    paths = d.series(tmp_path / "a", VOLUME, 3.0, position=[(3, -4, 3 * k) for k in range(4)])
    image = io.read_one(tmp_path / "a")
    itk = sitk.ReadImage([str(p) for p in paths])
    np.testing.assert_array_equal(image.data, sitk.GetArrayFromImage(itk))
    np.testing.assert_allclose(image.affine, affine_of(itk), atol=1e-6)
    assert (image.scale, image.units) == ((3.0, 0.5, 0.8), ("millimeter",) * 3)
    assert image.data.dtype == np.uint16


def test_oblique_slices_lie_where_their_tags_say(tmp_path: Path) -> None:
    angle = np.radians(20)
    row, column = np.array([np.cos(angle), np.sin(angle), 0]), np.array([-np.sin(angle), np.cos(angle), 0])
    places = [np.array([1.0, 2, 3]) + 2.5 * k * np.cross(row, column) for k in range(4)]
    d.series(tmp_path / "a", VOLUME, position=places, orientation=(*row, *column))
    image = io.read_one(tmp_path / "a")
    for k, i, j in ((0, 0, 0), (3, 5, 4), (2, 1, 3)):
        right = places[k] + row * 0.8 * j + column * 0.5 * i
        np.testing.assert_allclose((image.affine @ [k, i, j, 1])[:3][::-1], right, atol=1e-4)


@pytest.mark.parametrize(
    ("slopes", "intercepts", "whole"),
    [((1, 1, 1, 1), (0, -1024, -1024, -1024), True), ((1, 0.001, 1, 0.001), (0, 0, 0, 0), False),
     ((1, 1, 1.5, 1.5), (0, 0, 0, 0.25), False), ((2, 1, 3, 1), (0, 5, 0, 70000), True)],
)  # fmt: skip
def test_every_slice_has_its_own_scaling(tmp_path: Path, slopes, intercepts, whole: bool) -> None:
    d.series(tmp_path / "a", VOLUME, RescaleSlope=list(slopes), RescaleIntercept=list(intercepts))
    image = io.read_one(tmp_path / "a")
    right = VOLUME * np.reshape(slopes, (4, 1, 1)) + np.reshape(intercepts, (4, 1, 1))
    np.testing.assert_allclose(image.data, right, rtol=1e-6)
    assert (image.data.dtype.kind in "iu") == whole


def test_slices_of_several_pixel_types(tmp_path: Path) -> None:
    for k, dtype in enumerate((np.uint16, np.int16, np.uint16)):
        d.one(
            tmp_path / f"{k}.dcm", np.full((6, 5), 60000 if k == 2 else 7 - 9 * (k == 1)).astype(dtype), (0, 0, 2 * k)
        )
    assert first_voxels(io.read_one(tmp_path)) == [7, -2, 60000]


def test_gantry_tilt_keeps_each_slice_at_its_position(tmp_path: Path) -> None:
    angle = np.radians(14)
    plane = (1, 0, 0, 0, np.cos(angle), -np.sin(angle))
    d.series(tmp_path / "a", VOLUME, position=[(0, 0, 5 * k) for k in range(4)], orientation=plane)
    image = io.read_one(tmp_path / "a")
    np.testing.assert_allclose((image.affine @ [3, 0, 0, 1])[:3], (15, 0, 0), atol=1e-3)
    assert np.linalg.det(image.affine[:3, :3]) == pytest.approx(0.5 * 0.8 * 5 * np.cos(angle), rel=1e-4)
    assert "tilted by 14.0 degrees" in notes(image)


def test_a_slice_beside_the_others_is_named(tmp_path: Path) -> None:
    d.series(tmp_path / "a", VOLUME, position=[(0, 3 * (k == 2), 2 * k) for k in range(4)])
    with pytest.raises(ReadError, match=r"s2\.dcm lies 3\.00 mm beside"):
        io.read(tmp_path / "a")


@pytest.mark.parametrize(
    ("tags", "height", "said"),
    [
        ({"SliceThickness": 5}, 5.0, "SliceThickness"),
        ({"SliceThickness": 5, "SpacingBetweenSlices": 6}, 6.0, "SpacingBetween"),
    ],
)
def test_the_height_of_a_single_slice(tmp_path: Path, tags, height: float, said: str) -> None:
    d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0), **tags)
    image = io.read_one(tmp_path / "a.dcm")
    assert (image.axes, image.scale[0]) == ("ZYX", height)
    assert said in notes(image)


def test_a_slice_of_unknown_height_is_a_picture(tmp_path: Path) -> None:
    d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0))
    image = io.read_one(tmp_path / "a.dcm")
    assert (image.axes, image.scale, image.units) == ("YX", (0.5, 0.8), ("millimeter",) * 2)
    assert "does not state the height" in notes(image)


def test_unstated_pixel_sizes_stay_pixels(tmp_path: Path) -> None:
    d.one(tmp_path / "a.dcm", VOLUME[0], PixelSpacing=None)
    picture = io.read_one(tmp_path / "a.dcm")
    assert (picture.axes, picture.units) == ("YX", ("pixel", "pixel"))
    assert "does not state its pixel size" in notes(picture)
    d.series(tmp_path / "b", VOLUME, PixelSpacing=None)
    volume = io.read_one(tmp_path / "b")
    assert (volume.axes, set(volume.units), volume.scale) == ("ZYX", {"pixel"}, (1.0, 1.0, 1.0))


def test_radiographs_and_ultrasound(tmp_path: Path) -> None:
    radiograph = {"sop": d.RADIOGRAPH, "modality": "CR"}
    calibrated = d.one(tmp_path / "a.dcm", VOLUME[0], series="1", **radiograph, PixelSpacing=[0.2, 0.1])
    detector = {"PixelSpacing": None, "ImagerPixelSpacing": [0.2, 0.1]}
    magnified = d.one(tmp_path / "b.dcm", VOLUME[0], series="2", **radiograph, **detector)
    image = io.read_one(calibrated)
    assert (image.scale, image.units[0]) == ((0.2, 0.1), "millimeter")
    assert "projection" in notes(image)
    image = io.read_one(magnified)
    assert not image.calibrated
    assert "0.2 x 0.1 mm, ImagerPixelSpacing" in notes(image)
    region = d.item(RegionSpatialFormat=1, PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.02,
                    PhysicalDeltaY=0.03)  # fmt: skip
    echo = d.one(tmp_path / "c.dcm", VOLUME[0], series="3", sop=d.ULTRASOUND, modality="US", PixelSpacing=None,
                 SequenceOfUltrasoundRegions=Items([region]))  # fmt: skip
    np.testing.assert_allclose(io.read_one(echo).scale, (0.3, 0.2))
    finer = d.item(RegionSpatialFormat=1, PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.01,
                   PhysicalDeltaY=0.01)  # fmt: skip
    dual = d.one(tmp_path / "d.dcm", VOLUME[0], series="4", sop=d.ULTRASOUND, modality="US", PixelSpacing=None,
                 SequenceOfUltrasoundRegions=Items([region, finer]))  # fmt: skip
    assert io.read_one(dual).units == ("pixel", "pixel")
    assert "pixels of several sizes: 0.1 x 0.1 mm, 0.3 x 0.2 mm" in notes(io.read_one(dual))


def test_a_film_without_places_is_a_film(tmp_path: Path) -> None:
    path = d.one(
        tmp_path / "a.dcm", VOLUME, sop="1.2.840.10008.5.1.4.1.1.3.1", modality="US", NumberOfFrames=4, FrameTime=40.0
    )
    image = io.read_one(path)
    assert (image.axes, image.scale, image.units) == ("TYX", (0.04, 0.5, 0.8), ("second", "millimeter", "millimeter"))


def test_pictures_without_places_are_no_stack(tmp_path: Path) -> None:
    stills = tmp_path / "stills"
    stills.mkdir()
    for k in range(3):
        d.one(stills / f"{k}.dcm", VOLUME[k], modality="US", sop=d.ULTRASOUND)
    with pytest.raises(ReadError, match="without a position in the patient"):
        io.read(stills)
    image = io.read_one(stills / "1.dcm")
    np.testing.assert_array_equal(image.data, VOLUME[1])
    assert "2 more pictures" in notes(image)
    slices = tmp_path / "slices"
    slices.mkdir()
    for name, number in (("x", 3), ("y", 1), ("z", 2)):
        d.one(slices / f"{name}.dcm", VOLUME[number], InstanceNumber=number)
    image = io.read_one(slices)
    np.testing.assert_array_equal(image.data, VOLUME[1:4])
    assert not image.calibrated
    assert "no position" in notes(image)


@pytest.mark.parametrize(
    ("tag", "values", "axis", "names"),
    [("TemporalPositionIdentifier", (2, 1), "T", ()), ("EchoTime", (10.0, 80.0), "C", ("TE 10 ms", "TE 80 ms")),
     ("DiffusionBValue", (1000.0, 0.0), "C", ("b 0 s/mm2", "b 1000 s/mm2")), ("AcquisitionNumber", (1, 2), "T", ())],
)  # fmt: skip
def test_several_volumes_of_one_series(tmp_path: Path, tag: str, values, axis: str, names) -> None:
    for index, value in enumerate(values):
        d.series(tmp_path / "a", VOLUME + index, prefix=f"v{index}", **{tag: value})
    image = io.read_one(tmp_path / "a")
    assert image.axes == axis + "ZYX"
    assert image.channels == names
    order = np.argsort(values)
    np.testing.assert_array_equal(image.data, np.stack([VOLUME + k for k in order]))


def test_echoes_in_magnitude_and_phase(tmp_path: Path) -> None:
    for n, (echo, kind) in enumerate([(10, "M"), (10, "P"), (80, "M"), (80, "P")]):
        tags = {"EchoTime": float(echo), "ImageType": f"ORIGINAL\\PRIMARY\\{kind}"}
        d.series(tmp_path / "a", VOLUME + n, prefix=f"v{n}", **tags)
    image = io.read_one(tmp_path / "a")
    assert image.channels == ("TE 10 ms, kind M", "TE 10 ms, kind P", "TE 80 ms, kind M", "TE 80 ms, kind P")
    np.testing.assert_array_equal(image.data, np.stack([VOLUME + n for n in range(4)]))


def test_echoes_at_many_times(tmp_path: Path) -> None:
    n = 0
    for t in (2, 10, 1):
        for echo in (80.0, 9.0):
            d.series(
                tmp_path / "a", VOLUME[:2] + 100 * t + int(echo), prefix=f"v{n}", EchoTime=echo, AcquisitionNumber=t
            )
            n += 1
    image = io.read_one(tmp_path / "a")
    right = [(echo, t) for echo in (9, 80) for t in (1, 2, 10)]
    assert image.channels == tuple(f"TE {echo} ms, acquisition {t}" for echo, t in right)
    np.testing.assert_array_equal(image.data, np.stack([VOLUME[:2] + 100 * t + echo for echo, t in right]))


def test_moments_give_the_time_step(tmp_path: Path) -> None:
    for t in (2, 0, 1):
        stamps = [f"1000{2 * t:02}.{k}0" for k in range(4)]
        d.series(
            tmp_path / "a",
            VOLUME + t,
            prefix=f"v{t}",
            AcquisitionTime=stamps,
            AcquisitionDate="20260101",
            InstanceNumber=1,
        )
    image = io.read_one(tmp_path / "a")
    assert (image.axes, image.scale, image.units[0]) == ("TZYX", (2.0, 2.0, 0.5, 0.8), "second")
    np.testing.assert_array_equal(image.data, np.stack([VOLUME + t for t in range(3)]))
    assert image.affine[0, 0] == 2.0


def test_a_volume_without_one_of_its_slices_is_refused(tmp_path: Path) -> None:
    for t in range(3):
        d.series(tmp_path / "a", VOLUME, prefix=f"v{t}", TemporalPositionIdentifier=t)
    (tmp_path / "a" / "v12.dcm").unlink()
    with pytest.raises(ReadError, match=r"2 of 3 volumes have a slice at 4\.00 mm"):
        io.read(tmp_path / "a")


def test_copies_of_a_slice_count_once(tmp_path: Path) -> None:
    paths = d.series(tmp_path / "a", VOLUME)
    (tmp_path / "a" / "copy of s1.dcm").write_bytes(paths[1].read_bytes())
    np.testing.assert_array_equal(io.read_one(tmp_path / "a").data, VOLUME)
    (tmp_path / "a" / "broken copy of s1.dcm").write_bytes(paths[1].read_bytes()[:-20])
    np.testing.assert_array_equal(io.read_one(tmp_path / "a").data, VOLUME)


def test_planning_scans_open_by_orientation(tmp_path: Path) -> None:
    d.series(tmp_path / "a", VOLUME)
    d.series(
        tmp_path / "a",
        VOLUME + 1,
        prefix="c",
        position=[(0, -3 * k, 0) for k in range(4)],
        orientation=(1, 0, 0, 0, 0, -1),
    )
    with pytest.raises(ReadError, match="2 orientations"):
        io.read(tmp_path / "a")
    image = io.read_one(tmp_path / "a" / "c2.dcm")
    assert sorted(first_voxels(image)) == sorted((VOLUME + 1)[:, 0, 0].tolist())
    assert "orientations" in notes(image)


def test_what_is_wrong_elsewhere_does_not_matter(tmp_path: Path) -> None:
    paths = d.series(tmp_path, VOLUME)
    other = d.one(tmp_path / "other.dcm", VOLUME[0], (0, 0, 0), series="9.9")
    other.write_bytes(other.read_bytes()[:-40])
    np.testing.assert_array_equal(io.read_one(paths[2]).data, VOLUME)
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    with pytest.raises(ReadError, match=r"s1\.dcm is cut short"):
        io.read(paths[2])


def test_a_file_of_no_known_series(tmp_path: Path) -> None:
    paths = d.series(tmp_path, VOLUME)
    (tmp_path / "x.dcm").write_bytes(paths[0].read_bytes()[:200])
    with pytest.raises(ReadError, match=r"x\.dcm"):
        io.read(tmp_path)
    image = io.read_one(paths[1])
    np.testing.assert_array_equal(image.data, VOLUME)
    assert "a slice may be missing: x.dcm" in notes(image)
    with pytest.raises(ReadError, match=r"x\.dcm"):
        io.read(tmp_path / "x.dcm")
    (tmp_path / "x.dcm").unlink()
    (tmp_path / "x.dcm").symlink_to(tmp_path / "nothing")
    with pytest.raises(ReadError, match=r"x\.dcm cannot be opened"):
        io.read(tmp_path)


def test_files_without_a_series(tmp_path: Path) -> None:
    for k in range(3):
        data = d.dataset(VOLUME[k], PixelSpacing=[0.5, 0.8], ImagePositionPatient=[0.0, 0, 2 * k])
        data.ImageOrientationPatient = list(map(float, d.AXIAL))
        del data.SeriesInstanceUID
        d.save(tmp_path / f"{k}.dcm", data)
    np.testing.assert_array_equal(io.read_one(tmp_path).data, VOLUME[:3])
    d.series(tmp_path, VOLUME, prefix="other")
    np.testing.assert_array_equal(io.read_one(tmp_path / "1.dcm").data, VOLUME[:3])


def test_what_is_no_picture_is_named(tmp_path: Path) -> None:
    data = d.dataset(VOLUME[0], modality="RTSTRUCT", sop="1.2.840.10008.5.1.4.1.1.481.3")
    for name in ("Rows", "Columns", "PixelData"):
        delattr(data, name)
    with pytest.raises(ReadError, match=r"outlines of structures \(RTSTRUCT\).*not stated"):
        io.read(d.save(tmp_path / "a.dcm", data))


def test_an_empty_slice_of_the_only_series_is_refused(tmp_path: Path) -> None:
    d.series(tmp_path, VOLUME)
    (tmp_path / "IM9").touch()
    with pytest.raises(ReadError, match="IM9 is named as DICOM and is none"):
        io.read(tmp_path)
    (tmp_path / "IM9").unlink()
    (tmp_path / "s9.dcm").touch()
    with pytest.raises(ReadError, match=r"s9\.dcm is named as DICOM and is none"):
        io.read(tmp_path)


def test_bits_above_the_stored_ones_do_not_count(tmp_path: Path) -> None:
    signed = VOLUME[0].astype(int) - 500
    tags = {"BitsStored": 12, "HighBit": 11, "SliceThickness": 2}
    without_sign = d.one(tmp_path / "a.dcm", (signed & 0xFFF).astype(np.int16), (0, 0, 0), series="1", **tags)
    np.testing.assert_array_equal(io.read_one(without_sign).data[0], signed)
    with_overlay = d.one(tmp_path / "b.dcm", VOLUME[0] | 0xF000, (0, 0, 0), series="2", **tags)
    np.testing.assert_array_equal(io.read_one(with_overlay).data[0], VOLUME[0])
    tags = {"BitsStored": 12, "HighBit": 15, "SliceThickness": 2}  # PS3.5 8.1.1: values at the upper end of their cells
    aligned = d.one(tmp_path / "c.dcm", VOLUME[0] << 4 | 0xF, (0, 0, 0), series="3", **tags)
    np.testing.assert_array_equal(io.read_one(aligned).data[0], VOLUME[0])
    cells = (signed.astype(np.int16) << 4).astype(np.int16)
    aligned = d.one(tmp_path / "d.dcm", cells, (0, 0, 0), series="4", **tags)
    np.testing.assert_array_equal(io.read_one(aligned).data[0], signed)


def test_slices_of_a_microscope_are_not_one_place(tmp_path: Path) -> None:
    d.series(tmp_path / "a", VOLUME, 0.005, PixelSpacing=[[0.005, 0.005]] * 4)
    image = io.read_one(tmp_path / "a")
    np.testing.assert_array_equal(image.data, VOLUME)
    np.testing.assert_allclose(image.scale, (0.005,) * 3)


def test_two_stated_pixel_sizes_and_uneven_times_are_said(tmp_path: Path) -> None:
    region = d.item(RegionSpatialFormat=1, PhysicalUnitsXDirection=3, PhysicalUnitsYDirection=3, PhysicalDeltaX=0.01,
                    PhysicalDeltaY=0.02)  # fmt: skip
    film = d.dataset(VOLUME, d.ULTRASOUND, modality="US", NumberOfFrames=4, PixelSpacing=[0.3, 0.3],
                     FrameTimeVector=[0, 40, 400, 40], SequenceOfUltrasoundRegions=Items([region]))  # fmt: skip
    image = io.read_one(d.save(tmp_path / "a.dcm", film))
    assert image.scale == (0.04, 0.3, 0.3)
    assert "0.3 x 0.3 mm (PixelSpacing), which is used, and 0.2 x 0.1 mm" in notes(image)
    assert "40 to 400 ms apart" in notes(image)


def test_nuclear_slices_lie_along_their_detector(tmp_path: Path) -> None:
    detector = d.item(ImagePositionPatient=[1.0, 2, 3], ImageOrientationPatient=list(map(float, d.AXIAL)))
    path = d.one(tmp_path / "a.dcm", VOLUME, modality="NM", sop="1.2.840.10008.5.1.4.1.1.20", NumberOfFrames=4,
                 SpacingBetweenSlices=-3.0, DetectorInformationSequence=Items([detector]))  # fmt: skip
    image = io.read_one(path)
    np.testing.assert_array_equal(image.data, VOLUME[::-1])
    np.testing.assert_allclose(image.affine[:3, 3], (-6, 2, 1))


def nuclear(path: Path, frames: np.ndarray, kind: str, **vectors: list[int]) -> Path:
    """Write frames of nuclear medicine, 3 mm apart, of an image type with the given vectors."""
    detector = d.item(ImagePositionPatient=[1.0, 2, 3], ImageOrientationPatient=list(map(float, d.AXIAL)))
    return d.one(path, frames, modality="NM", sop="1.2.840.10008.5.1.4.1.1.20", NumberOfFrames=len(frames),
                 ImageType=["ORIGINAL", "PRIMARY", kind, "EMISSION"], SpacingBetweenSlices=3.0,
                 DetectorInformationSequence=Items([detector]), **vectors)  # fmt: skip


def test_vectors_of_nuclear_frames_tell_slices_from_windows_and_moments(tmp_path: Path) -> None:
    # PS3.3 C.8.4.8: the vectors give the slice, energy window, time slot ... of each frame
    slices = {"SliceVector": [2, 1, 2, 1]}
    image = io.read_one(nuclear(tmp_path / "a.dcm", VOLUME, "RECON TOMO", EnergyWindowVector=[1, 1, 2, 2], **slices))
    assert (image.axes, image.channels) == ("CZYX", ("energy window 1", "energy window 2"))
    np.testing.assert_array_equal(image.data, VOLUME[[1, 0, 3, 2]].reshape(2, 2, 6, 5))
    np.testing.assert_allclose(image.affine[:3, 3], (0, 2, 1))  # the first frame, slice 2, lies at z = 3
    gated = nuclear(tmp_path / "b.dcm", VOLUME, "RECON GATED TOMO", TimeSlotVector=[1, 1, 2, 2], series="2", **slices)
    assert io.read_one(gated).axes == "TZYX"
    views = nuclear(tmp_path / "c.dcm", VOLUME, "TOMO", AngularViewVector=[1, 2, 3, 4], series="3")
    assert "Z" not in io.read_one(views).axes  # projections are no slices


def test_an_ultrasound_volume_is_a_volume_of_its_probe(tmp_path: Path) -> None:
    own = [{"PlanePositionVolumeSequence": Items([d.item(ImagePositionVolume=[0.0, 0, 1.5 * k])])} for k in range(4)]
    path = d.enhanced(tmp_path / "a.dcm", VOLUME, [(0, 0, 0)] * 4, sop="1.2.840.10008.5.1.4.1.1.6.2", own=own)
    data = pydicom.dcmread(path)
    for frame in data.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    shared = data.SharedFunctionalGroupsSequence[0]
    del shared.PlaneOrientationSequence
    shared.PlaneOrientationVolumeSequence = Items([d.item(ImageOrientationVolume=list(map(float, d.AXIAL)))])
    data.save_as(path)
    image = io.read_one(path)
    assert (image.axes, image.scale) == ("ZYX", (1.5, 0.5, 0.8))
    assert image.affine is None
    assert "of its probe, not of the patient" in notes(image)


@pytest.mark.parametrize("name", ["IM{}", "MR.1.2.840.113.{}", "{}.ima", "{}.dicom", "image-{}.MRDC"])
def test_names_of_files(tmp_path: Path, name: str) -> None:
    for k, path in enumerate(d.series(tmp_path, VOLUME)):
        path.rename(tmp_path / name.format(k + 1))
    for k in range(6):
        (tmp_path / f"a{k}.txt").write_text("notes of the session")
    np.testing.assert_array_equal(io.read_one(tmp_path).data, VOLUME)
    np.testing.assert_array_equal(io.read_one(tmp_path / name.format(3)).data, VOLUME)


def test_files_without_preamble(tmp_path: Path) -> None:
    for path in d.series(tmp_path, VOLUME):
        d.implicit(path)
        assert path.read_bytes()[:2] == b"\x08\0"
    np.testing.assert_array_equal(io.read_one(tmp_path).data, VOLUME)
    (tmp_path / "text.dcm").write_text("\x08 is no element")
    assert not is_dicom(tmp_path / "text.dcm")


def test_frames_of_an_enhanced_file_are_sorted_and_scaled(tmp_path: Path) -> None:
    for order in list(permutations(range(4)))[::5]:
        slopes = [1.0, 2.0, 0.5, 3.0]
        path = d.enhanced(
            tmp_path / "a.dcm", VOLUME[list(order)], [(0, 0, 2 * k) for k in order], slopes=[slopes[k] for k in order]
        )
        image = io.read_one(path)
        np.testing.assert_allclose(image.data, VOLUME * np.reshape(slopes, (4, 1, 1)))
        assert image.scale == (2.0, 0.5, 0.8)


def test_odd_frames_of_an_enhanced_file_are_named(tmp_path: Path) -> None:
    gap = d.enhanced(tmp_path / "gap.dcm", VOLUME, [(0, 0, z) for z in (0, 2, 6, 8)])
    with pytest.raises(ReadError, match=r"1 missing slice between gap\.dcm, frame 2 and gap\.dcm, frame 3"):
        io.read(gap)


def test_orientations_of_one_file_are_images_of_their_own(tmp_path: Path) -> None:
    places = [(0, 0, 0), (0, 0, 2), (7, 5, 1), (7, 8, 1)]
    turned = [d.AXIAL] * 2 + [(1, 0, 0, 0, 0, -1)] * 2
    path = d.enhanced(tmp_path / "t.dcm", VOLUME, places, turned)
    axial, coronal = io.read(path)
    np.testing.assert_array_equal(axial.data, VOLUME[:2])
    np.testing.assert_allclose(axial.affine @ (1, 0, 0, 1), (2, 0, 0, 1))
    np.testing.assert_array_equal(coronal.data, VOLUME[2:])
    for slice_, (x, y, z) in enumerate(places[2:]):
        np.testing.assert_allclose(coronal.affine @ (slice_, 0, 0, 1), (z, y, x, 1), atol=1e-9)
    assert coronal.scale == (3.0, 0.5, 0.8)
    assert "slices of each are an image of their own" in notes(axial)
    assert len(io.read(tmp_path)) == 2


def test_time_points_of_an_enhanced_file(tmp_path: Path) -> None:
    frames = np.concatenate([VOLUME, VOLUME + 1])
    own = [{"FrameContentSequence": Items([d.item(TemporalPositionIndex=2 - t)])} for t in (0, 1) for _ in range(4)]
    path = d.enhanced(tmp_path / "a.dcm", frames, [(0, 0, 2 * k) for k in (0, 1, 2, 3)] * 2, own=own)
    image = io.read_one(path)
    assert image.axes == "TZYX"
    np.testing.assert_array_equal(image.data, np.stack([VOLUME + 1, VOLUME]))


def segmentation(path: Path, masks: np.ndarray, kept: list[tuple[int, int]], **tags) -> Path:
    """Write masks (segments, slices, rows, columns) as SEG with the frames (segment, slice) that are `kept`."""
    frames = np.stack([masks[s, z] for s, z in kept])
    own = [{"SegmentIdentificationSequence": Items([d.item(ReferencedSegmentNumber=s + 1)])} for s, _ in kept]
    segments = Items([d.item(SegmentNumber=s + 1, SegmentLabel=f"part {s + 1}") for s in range(len(masks))])
    d.enhanced(path, frames, [(0, 0, 3 * z) for _, z in kept], sop=d.SEG, own=own, SegmentSequence=segments,
               **{"SegmentationType": "BINARY", **tags})  # fmt: skip
    if tags.get("SegmentationType", "BINARY") == "BINARY":
        data = pydicom.dcmread(path)
        data.BitsAllocated, data.BitsStored, data.HighBit = 1, 1, 0
        packed = np.packbits(frames.ravel().astype(np.uint8), bitorder="little").tobytes()
        data.PixelData = packed + b"\0" * (len(packed) % 2)
        data.save_as(path)
    return path


def test_segments_are_labels_with_names(tmp_path: Path) -> None:
    masks = np.zeros((2, 5, 8, 16), np.uint8)
    masks[0, 1:3, 1:4, 2:6], masks[1, 4, 5:7, 9:14] = 1, 1
    path = segmentation(tmp_path / "a.dcm", masks, [(0, 0), (0, 1), (0, 2), (1, 4)])
    (image,) = io.read(path)
    assert (image.kind, image.axes, image.scale) == ("labels", "ZYX", (3.0, 0.5, 0.8))
    np.testing.assert_array_equal(image.data, masks[0] + 2 * masks[1])
    assert image.metadata["segments"] == {"1": "part 1", "2": "part 2"}
    assert "segment_colours" not in image.metadata


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_segments_have_their_colours(tmp_path: Path, kind: str) -> None:
    masks = np.ones((1, 2, 8, 16), np.uint8)
    path = segmentation(tmp_path / "a.dcm", masks, [(0, 0), (0, 1)], SegmentationType=kind)
    data = pydicom.dcmread(path)
    data.SegmentSequence[0].RecommendedDisplayCIELabValue = [34885, 53485, 50171]  # pure red, as dcmqi writes it
    data.save_as(path)
    (colour,) = io.read_one(path).metadata["segment_colours"].values()
    np.testing.assert_allclose(colour, (255, 0, 0), atol=2)


def test_a_segmentation_beside_its_slices_is_left_out_of_them(tmp_path: Path) -> None:
    d.series(tmp_path, VOLUME)
    masks = np.ones((1, 2, 8, 16), np.uint8)
    segmentation(tmp_path / "seg.dcm", masks, [(0, 0), (0, 1)], SeriesInstanceUID="7.7")
    image = io.read_one(tmp_path)
    np.testing.assert_array_equal(image.data, VOLUME)
    assert "Segmentations beside the slices are left out: seg.dcm" in notes(image)
    assert io.read_one(tmp_path / "seg.dcm").kind == "labels"
    d.series(tmp_path, VOLUME, prefix="other", series="9.9")
    with pytest.raises(ReadError, match="mixes 3 DICOM series"):
        io.read(tmp_path)


def test_segments_of_a_tilted_gantry_keep_their_places(tmp_path: Path) -> None:
    angle = np.radians(14)
    path = segmentation(tmp_path / "a.dcm", np.ones((1, 4, 8, 16), np.uint8), [(0, z) for z in (0, 1, 3)])
    data = pydicom.dcmread(path)
    plane = data.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    plane.ImageOrientationPatient = [1, 0, 0, 0, round(np.cos(angle), 6), -round(np.sin(angle), 6)]
    data.save_as(path)
    image = io.read_one(path)
    assert image.data.shape == (4, 8, 16)
    np.testing.assert_allclose((image.affine @ [3, 0, 0, 1])[:3], (9, 0, 0), atol=1e-3)
    data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [4, 0, 3]
    data.save_as(path)
    with pytest.raises(ReadError, match="do not lie on one regular grid"):
        io.read(path)


def test_segments_that_overlap_come_apart(tmp_path: Path) -> None:
    masks = np.zeros((2, 2, 8, 16), np.uint8)
    masks[0, :, 1:6, 2:9], masks[1, :, 4:8, 5:14] = 1, 1
    path = segmentation(tmp_path / "a.dcm", masks, [(0, 0), (0, 1), (1, 0), (1, 1)])
    images = io.read(path)
    np.testing.assert_array_equal([np.asarray(i.data) > 0 for i in images], masks)
    with pytest.raises(ReadError, match="2 segments that overlap"):
        io.read_labels(path)


def test_segments_of_fractions(tmp_path: Path) -> None:
    masks = np.zeros((1, 2, 8, 16), np.uint8)
    masks[0, :, 1:6, 2:9], masks[0, :, 1:6, 9] = 100, 49
    tags = {
        "SegmentationType": "FRACTIONAL",
        "MaximumFractionalValue": 100,
        "SegmentationFractionalType": "PROBABILITY",
    }
    path = segmentation(tmp_path / "a.dcm", masks, [(0, 0), (0, 1)], **tags)
    (image,) = io.read(path)
    np.testing.assert_array_equal(image.data, masks[0] >= 50)
    assert "fractions" in notes(image)


@pytest.mark.parametrize(
    ("places", "step", "shape", "said"),
    [
        ([1, 5], 2.0, (5, 8, 16), True),  # those between are left out, as empty slices may be
        ([1, 5, 9], 8.0, (3, 8, 16), True),  # thin slices far apart
        ([1, 2, 5], 2.0, (5, 8, 16), False),
        ([1], 2.0, (1, 8, 16), False),
    ],
)
def test_slices_without_a_segment_may_be_left_out(tmp_path: Path, places, step, shape, said: bool) -> None:
    """The voxel is 2 mm thick and the file states no distance of slices."""
    masks = np.zeros((1, 10, 8, 16), np.uint8)
    masks[0, places, 2:4, 3:6] = 1
    path = segmentation(tmp_path / "a.dcm", masks, [(0, z) for z in places])
    data = pydicom.dcmread(path)
    for group, z in zip(data.PerFrameFunctionalGroupsSequence, places, strict=True):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 2 * z]
    data.save_as(path)
    (image,) = io.read(path)
    assert (image.scale[0], image.data.shape, int(image.data.sum())) == (step, shape, 6 * len(places))
    assert ("slices between them are left out" in notes(image)) is said


def test_positions_of_two_frames_of_reference_make_no_volume(tmp_path: Path) -> None:
    places = [(0, 0, 0), (0, 0, 2), (0, 0, 0), (0, 0, 2)]
    d.series(tmp_path / "a", VOLUME, FrameOfReferenceUID=["1.1", "1.1", "1.2", "1.2"], position=places)
    with pytest.raises(ReadError, match="2 frames of reference"):
        io.read(tmp_path / "a")
    image = io.read_one(tmp_path / "a" / "s1.dcm")
    np.testing.assert_array_equal(image.data, VOLUME[:2])
    labels = image.labels_like((np.asarray(image.data) > 0).astype(np.uint8))
    other = io.read_one(tmp_path / "a" / "s3.dcm")
    assert "different frames of reference" in moved_notes(on_grid(labels, other))[0]
    assert moved_notes(on_grid(labels, image)) == ()


def test_label_maps_of_segments(tmp_path: Path) -> None:
    labels = RNG.integers(0, 3, (1, 3, 8, 16)).astype(np.uint8)
    path = segmentation(tmp_path / "a.dcm", labels, [(0, 2), (0, 0), (0, 1)], SegmentationType="LABELMAP")
    (image,) = io.read(path)
    np.testing.assert_array_equal(image.data, labels[0])


@pytest.mark.parametrize("implicit", [False, True])
def test_a_grid_of_united_imaging_is_refused(tmp_path: Path, implicit: bool) -> None:
    data = d.dataset(VOLUME[0], Manufacturer="UIH", PixelSpacing=[0.5, 0.8], ImagePositionPatient=[0.0, 0, 0],
                     ImageOrientationPatient=list(map(float, d.AXIAL)))  # fmt: skip
    data.private_block(0x0065, "Image Private Header", create=True).add_new(0x50, "DS", "20")
    syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian
    with pytest.raises(ReadError, match="grid of United Imaging"):
        io.read(d.save(tmp_path / "a.dcm", data, syntax))


def test_a_mosaic_is_unfolded_as_nibabel_does(tmp_path: Path) -> None:
    import gzip

    source = Path(nibabel.__file__).parent / "nicom" / "tests" / "data" / "siemens_dwi_0.dcm.gz"
    if not source.exists():
        pytest.skip("this nibabel comes without its test files")
    (tmp_path / "a.dcm").write_bytes(gzip.decompress(source.read_bytes()))
    sheet = pydicom.dcmread(tmp_path / "a.dcm")
    image = io.read_one(tmp_path / "a.dcm")
    assert image.axes == "ZYX"
    np.testing.assert_array_equal(image.data[8], sheet.pixel_array[128:256, 128:256])
    corner = np.array(sheet.ImagePositionPatient, float) + (896 - 128) / 2 * np.array(sheet.PixelSpacing, float)[0] * (
        np.array(sheet.ImageOrientationPatient[:3], float) + np.array(sheet.ImageOrientationPatient[3:], float)
    )
    np.testing.assert_allclose(image.affine[:3, 3][::-1], corner, atol=1e-3)


def test_a_mosaic_without_its_private_header_is_refused(tmp_path: Path) -> None:
    d.one(
        tmp_path / "a.dcm", np.zeros((40, 40), np.uint16), (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    )
    with pytest.raises(ReadError, match="Siemens mosaic"):
        io.read(tmp_path / "a.dcm")
    np.testing.assert_array_equal(tiles(np.arange(16).reshape(4, 4), (2, 2))[1], [[2, 3], [6, 7]])


def test_dose_grids_have_offsets_and_grays(tmp_path: Path) -> None:
    tags = {"GridFrameOffsetVector": [0, 2.5, 5, 7.5], "DoseGridScaling": 0.01, "DoseUnits": "GY", "NumberOfFrames": 4}
    sop = "1.2.840.10008.5.1.4.1.1.481.2"
    dose = d.one(tmp_path / "a.dcm", VOLUME, (0, 0, 10), sop=sop, modality="RTDOSE", **tags)
    image = io.read_one(dose)
    assert (image.scale[0], image.affine[0, 3], image.value_unit) == (2.5, 10.0, "Gy")
    np.testing.assert_allclose(image.data, VOLUME * 0.01, rtol=1e-6)


def test_directory_of_a_medium(tmp_path: Path) -> None:
    root = tmp_path / "medium"
    paths = d.series(
        tmp_path / "a", VOLUME, PatientID="p", StudyDate="20260101", StudyTime="100000", StudyID="1", SeriesNumber=1
    )
    fileset = FileSet()
    for path in paths:
        fileset.add(path)
    fileset.copy(root)
    np.testing.assert_array_equal(io.read_one(root / "DICOMDIR").data, VOLUME)
    fileset.add(d.one(tmp_path / "other.dcm", VOLUME[0], (0, 0, 0), series="9.9", PatientID="p", StudyDate="20260101",
                      StudyTime="100000", StudyID="1", SeriesNumber=2, InstanceNumber=1))  # fmt: skip
    root = tmp_path / "other"
    fileset.copy(root)
    with pytest.raises(ReadError, match=r"directory of 2 series: MR \(4 files in "):
        io.read(root / "DICOMDIR")


def test_compressed_pixels(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 1000, (64, 48)).astype(np.uint16)
    plain = sitk.ReadImage(str(d.one(tmp_path / "a.dcm", pixels, (0, 0, 0), SliceThickness=2)))
    for k in range(2):
        sitk.WriteImage(plain, str(tmp_path / f"{k}.dcm"), useCompression=True, compressor="JPEG2000" if k else "JPEG")
        data = pydicom.dcmread(tmp_path / f"{k}.dcm")
        data.SeriesInstanceUID = f"1.{k}"
        data.save_as(tmp_path / f"{k}.dcm")
        assert data.file_meta.TransferSyntaxUID.is_compressed
        np.testing.assert_array_equal(np.squeeze(io.read_one(tmp_path / f"{k}.dcm").data), pixels)
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG4HP41
    data.SeriesInstanceUID = "1.9"
    data.save_as(tmp_path / "film.dcm")
    with pytest.raises(ReadError, match="compressed as MPEG-4"):
        io.read(tmp_path / "film.dcm")


def test_monochrome1_and_padding_are_said(tmp_path: Path) -> None:
    d.one(
        tmp_path / "a.dcm",
        VOLUME[0],
        (0, 0, 0),
        SliceThickness=2,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
    )
    image = io.read_one(tmp_path / "a.dcm")
    np.testing.assert_array_equal(image.data[0], VOLUME[0])
    assert "MONOCHROME1" in notes(image)
    assert "padding" in notes(image)


@pytest.mark.parametrize(("value", "limit"), [(-2000, None), (63536, None), (-2000, -1900)])  # 63536 is -2000 unsigned
def test_padding_is_not_measured(tmp_path: Path, value: int, limit: int | None) -> None:
    pixels = np.array([[[-2000, -2000, -1900], [10, 20, 30]]] * 2, np.int16)
    tags = {} if limit is None else {"PixelPaddingRangeLimit": limit}
    data = d.series(tmp_path / "a", pixels, sop=d.CT, modality="CT", RescaleSlope=2, RescaleIntercept=-1024, **tags)
    for path in data:
        one = pydicom.dcmread(path)
        one.add_new("PixelPaddingValue", "US" if value > 0 else "SS", value)
        one.save_as(path)
    image = io.read_one(tmp_path / "a")
    kept = [10, 20, 30] if limit else [-1900, 10, 20, 30]
    assert image.data[image.measured(image.data)].tolist() == 2 * [2 * v - 1024 for v in kept]
    labels = image.labels_like(np.ones(image.data.shape, np.uint8))
    mean = measure("volume", labels, image)["mean intensity (HU)"].tolist()
    assert mean == [pytest.approx(np.mean([2 * v - 1024 for v in kept]))]


def test_signed_values_and_units(tmp_path: Path) -> None:
    signed = (VOLUME.astype(np.int32) - 500).astype(np.int16)
    d.series(tmp_path / "a", signed, modality="CT", sop=d.CT, RescaleSlope=1, RescaleIntercept=-1024)
    image = io.read_one(tmp_path / "a")
    np.testing.assert_array_equal(image.data, signed.astype(int) - 1024)
    assert image.value_unit == "HU"


@pytest.mark.parametrize(("kind", "unit"), [("HU", "HU"), ("US", ""), ("ED", ""), ("MGML", "mg/mL")])
def test_numbers_of_ct_are_hounsfield_units_unless_the_file_says_otherwise(
    tmp_path: Path, kind: str, unit: str
) -> None:
    tags = {"RescaleSlope": 1.0, "RescaleIntercept": -1024.0, "RescaleType": kind}  # PS3.3 C.8.2.1
    alone = d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0), sop=d.CT, modality="CT", SliceThickness=2, **tags)
    own = [{"PixelValueTransformationSequence": Items([d.item(**tags)])}] * 4
    places = [(0, 0, 2 * k) for k in range(4)]
    sop = "1.2.840.10008.5.1.4.1.1.2.1"
    frames = d.enhanced(tmp_path / "b.dcm", VOLUME, places, sop=sop, own=own, modality="CT", series="2")
    assert [io.read_one(path).value_unit for path in (alone, frames)] == [unit, unit]


@pytest.mark.parametrize(("units", "unit"), [("BQML", "Bq/mL"), ("GML", "g/mL"), ("CNTS", "counts"), ("NONE", "")])
def test_units_of_nuclear_medicine(tmp_path: Path, units: str, unit: str) -> None:
    d.series(tmp_path / "a", VOLUME, modality="PT", Units=units, RescaleSlope=0.5, RescaleIntercept=0)
    assert io.read_one(tmp_path / "a").value_unit == unit


@pytest.mark.parametrize(("slope", "said"), [(0.001, True), (2.0, False)])
def test_real_world_values_that_are_not_applied_are_said(tmp_path: Path, slope: float, said: bool) -> None:
    """Stored numbers of another mapping than the rescale, as of diffusion; the same one needs no word."""
    unit = d.item(CodeValue="mm2/s", CodingSchemeDesignator="UCUM", CodeMeaning="mm2/s")
    mapping = d.item(RealWorldValueSlope=slope, RealWorldValueIntercept=0.0, MeasurementUnitsCodeSequence=Items([unit]))
    tags = {"RescaleSlope": 2.0, "RescaleIntercept": 0.0, "RealWorldValueMappingSequence": Items([mapping])}
    path = d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0), SliceThickness=2, **tags)
    image = io.read_one(path)
    np.testing.assert_array_equal(image.data[0], VOLUME[0].astype(int) * 2)
    assert any("in mm2/s (slope 0.001" in note for note in image.metadata["notes"]) == said


def test_drawings_over_a_picture_are_said_to_be_left_out(tmp_path: Path) -> None:
    path = d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0), SliceThickness=2)
    said = "drawings over its picture"
    assert said not in " ".join(io.read_one(path).metadata["notes"])
    data = pydicom.dcmread(path)
    for element, kind, value in ((0x10, "US", 4), (0x11, "US", 5), (0x3000, "OW", bytes(4))):
        data.add_new((0x6002, element), kind, value)
    data.save_as(path)
    assert said in " ".join(io.read_one(path).metadata["notes"])


def test_a_segmentation_of_a_slide_is_called_so(tmp_path: Path) -> None:
    """It names the class of slides where it refers to one; it is none itself."""
    slide = d.item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.6", ReferencedSOPInstanceUID="1.2.3")
    tags = {"sop": d.SEG, "modality": "SEG", "PixelSpacing": None, "NumberOfFrames": 1}
    path = d.one(tmp_path / "a.dcm", VOLUME[0].astype(np.uint8), ReferencedImageSequence=Items([slide]), **tags)
    with pytest.raises(ReadError, match="SEG"):
        io.read(path)


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = d.series(tmp_path, VOLUME, PatientName="Ä" * 80, StudyDate="no date")
    io.read(paths[0])
    paths[1].write_bytes(paths[1].read_bytes()[:600])
    with pytest.raises(ReadError):
        io.read(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_series_of_a_file(tmp_path: Path) -> None:
    path = d.one(tmp_path / "a.dcm", VOLUME[0], (0, 0, 0), series="1.7")
    assert series_of(path).split()[0] == "1.7"
    assert series_of(Path(os.devnull)) == ""


@pytest.mark.parametrize("tag", ["PatientID", "StudyInstanceUID"])
def test_two_patients_under_one_series_uid_are_two_series(tmp_path: Path, tag: str) -> None:
    """As a program leaves them that hides names: their slices lie between each other's."""
    volumes = np.arange(48, dtype=np.uint16).reshape(2, 2, 3, 4)
    for k, volume in enumerate(volumes):
        places = [(0, 0, 4 * n + 2 * k) for n in range(2)]
        d.series(tmp_path / "scan", volume, prefix=f"p{k}_", position=places, **{tag: f"1.{k}"})
    with pytest.raises(ReadError, match=r"mixes 2 DICOM series: .*first p0_0\.dcm.*first p1_0\.dcm"):
        io.read(tmp_path / "scan")
    for k, volume in enumerate(volumes):
        (image,) = io.read(tmp_path / "scan" / f"p{k}_1.dcm")
        np.testing.assert_array_equal(np.sort(image.data, axis=None), np.sort(volume, axis=None))
        assert image.scale[0] == pytest.approx(4)
    found, _ = list_inputs([tmp_path / "scan" / f"p{k}_{n}.dcm" for k in range(2) for n in range(2)])
    assert [path.name for path in found] == ["p0_0.dcm", "p1_0.dcm"]
