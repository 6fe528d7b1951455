"""Outlines of structures (RTSTRUCT) as labels, against masks drawn by hand."""

from __future__ import annotations

from pathlib import Path

import dicom_files as d
import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence as Items
from shorthand import notes

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.measure import measure

VOLUME = np.random.default_rng(2).integers(0, 900, (4, 9, 10)).astype(np.uint16)


def structures(path: Path, *drawn: tuple[str, list[tuple[str, list]]], series: str = "1.2.3") -> Path:
    """Write outlines as RTSTRUCT: (name, outlines), each outline its kind and its points (x, y, z) in mm."""
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", pydicom.uid.generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2", "8.8", "RTSTRUCT"
    data.StructureSetLabel = "plan A"
    of_series = d.item(RTReferencedSeriesSequence=Items([d.item(SeriesInstanceUID=series)]))
    data.ReferencedFrameOfReferenceSequence = Items([d.item(RTReferencedStudySequence=Items([of_series]))])
    data.StructureSetROISequence = Items([d.item(ROINumber=3 * k + 1, ROIName=n) for k, (n, _) in enumerate(drawn)])
    data.ROIContourSequence = Items([
        d.item(
            ReferencedROINumber=3 * k + 1, ROIDisplayColor=[255, 0, k],
            ContourSequence=Items([
                d.item(ContourGeometricType=kind, NumberOfContourPoints=len(points),
                       ContourData=[float(v) for point in points for v in point])
                for kind, points in outlines
            ]),
        )
        for k, (_, outlines) in enumerate(drawn)
    ])  # fmt: skip
    return d.save(path, data)


def ring(x: tuple[float, float], y: tuple[float, float], z: float, kind: str = "CLOSED_PLANAR") -> tuple[str, list]:
    return kind, [(x[0], y[0], z), (x[1], y[0], z), (x[1], y[1], z), (x[0], y[1], z)]


@pytest.mark.parametrize("place", ["same folder", "folder beside"])
def test_outlines_of_structures_are_labels_on_their_slices(tmp_path: Path, place: str) -> None:
    d.series(tmp_path / "ct", VOLUME)  # 4 slices 2 mm apart, rows 0.5 mm, columns 0.8 mm
    folder = tmp_path / ("ct" if place == "same folder" else "rt")
    folder.mkdir(exist_ok=True)
    square = [ring((0.4, 2.8), (0.6, 2.1), z) for z in (2, 4)]  # columns 1 to 3, rows 2 to 4
    hole = ring((1.2, 2.0), (1.1, 1.9), 4)  # column 2, row 3
    point = ("POINT", [(1, 1, 2)])
    path = structures(folder / "rs.dcm", ("liver", [*square, hole, point]), ("lesion", [ring((3, 6), (0, 1.6), 0)]))
    (labels,) = io.read(path)
    right = np.zeros(VOLUME.shape, np.uint8)
    right[1:3, 2:5, 1:4], right[2, 3, 2], right[0, :4, 4:8] = 1, 0, 4
    np.testing.assert_array_equal(labels.data, right)
    assert (labels.kind, labels.name, labels.scale) == ("labels", "plan A", (2.0, 0.5, 0.8))
    assert labels.metadata["segments"] == {"1": "liver", "4": "lesion"}
    assert labels.metadata["segment_colours"] == {"1": [255, 0, 0], "4": [255, 0, 1]}
    assert "1 points and open lines" in notes(labels)
    np.testing.assert_allclose(labels.affine, io.read_one(tmp_path / "ct" / "s0.dcm").affine)
    table = measure("volume", io.read_labels(path), io.read_one(tmp_path / "ct" / "s0.dcm"))
    assert table.set_index("name").loc["liver", "volume (mL)"] == pytest.approx(17 * 0.8e-3)


def test_outlines_lie_where_a_turned_volume_does(tmp_path: Path) -> None:
    plane = (0, 1, 0, 0, 0, -1)
    d.series(tmp_path / "mr", VOLUME, position=[(3 * k, 10, 20) for k in range(4)], orientation=plane)
    image = io.read_one(tmp_path / "mr")
    corners = np.array([(2, 1.6, 0.7), (2, 1.6, 5.4), (2, 6.2, 5.4), (2, 6.2, 0.7), (2, 3, 0.7)])
    world = corners @ image.affine[:3, :3].T + image.affine[:3, 3]
    path = structures(tmp_path / "mr" / "rs.dcm", ("a", [("CLOSED_PLANAR", world[:, ::-1].tolist())]))
    right = np.zeros(VOLUME.shape, np.uint8)
    right[2, 2:7, 1:6] = 1
    np.testing.assert_array_equal(io.read_one(path).data, right)


def test_what_outlines_leave_open_is_said(tmp_path: Path) -> None:
    d.series(tmp_path / "ct", VOLUME)
    between = [ring((0, 3), (0, 3), z) for z in (0, 4.9, 40)]
    path = structures(tmp_path / "ct" / "rs.dcm", ("a", between), ("b", [ring((1, 2), (1, 2), 0)]))
    images = io.read(path)
    assert [image.metadata["overlapping"] for image in images] == [2, 2]
    said = notes(images[0])
    assert "a: 1 of its outlines lie above or below the images" in said
    assert "a: 1 of its outlines lie between slices; the nearest is taken" in said
    assert "a: 1 slices between its first and its last have no outline" in said
    lone = structures(tmp_path / "ct" / "other.dcm", ("a", between), series="5.5")
    with pytest.raises(ReadError, match=r"outlines of structures \(RTSTRUCT\).*series 5\.5\) are not beside it"):
        io.read(lone)
    nothing = structures(tmp_path / "ct" / "points.dcm", ("a", [("POINT", [(1, 1, 2)])]))
    with pytest.raises(ReadError, match="no outline with an area"):
        io.read(nothing)
