"""Where TIFFs say that their pictures lie: OME's plane positions, ImageJ's origin, offsets of pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_medseg import io
from napari_medseg.io.movies.reader import read_movie

SIZE = {"PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "um", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "um"}


def planes(unit: str | None = "um", **positions: list[float]) -> dict[str, Any]:
    """Return OME's description of planes at positions along X, Y and Z."""
    found: dict[str, Any] = {f"Position{axis}": values for axis, values in positions.items()}
    if unit is not None:
        found |= {f"Position{axis}Unit": [unit] * len(values) for axis, values in positions.items()}
    return {"Plane": found}


def write_tiles(path: Path, columns: tuple[float, ...], unit: str | None = "um", first: float = 40.0) -> None:
    """Write an OME-TIFF with an image of 6 x 7 pixels at each of some columns."""
    with tifffile.TiffWriter(path, ome=True) as file:
        for k, column in enumerate(columns):
            about = {"axes": "YX", **SIZE, **planes(unit, X=[column], Y=[first]), "Name": f"tile {k}"}
            file.write(np.full((6, 7), k + 1, np.uint8), metadata=about)


@pytest.mark.parametrize(("unit", "um"), [("um", 1.0), ("\u00b5m", 1.0), ("mm", 1e3), ("nm", 1e-3)])
def test_each_image_of_an_ome_tiff_lies_at_the_position_of_its_plane(tmp_path: Path, unit: str, um: float) -> None:
    write_tiles(tmp_path / "scan.ome.tif", (100 / um, 98.25 / um), unit, 40 / um)
    found = [image.affine for image in io.read(tmp_path / "scan.ome.tif")]
    np.testing.assert_allclose(found[0], [[0.5, 0, 40], [0, 0.25, 100], [0, 0, 1]])
    np.testing.assert_allclose(found[1], [[0.5, 0, 40], [0, 0.25, 98.25], [0, 0, 1]])


@pytest.mark.parametrize("unit", [None, "reference frame"])
def test_positions_in_units_of_the_stage_are_said(tmp_path: Path, unit: str | None) -> None:
    """OME model: the unit of a position that states none is the reference frame, which is no length."""
    write_tiles(tmp_path / "a.ome.tif", (100.0,), unit)
    (image,) = io.read(tmp_path / "a.ome.tif")
    assert image.affine is None
    assert "units of the stage" in image.metadata["notes"][0]
    write_tiles(tmp_path / "b.ome.tif", (0.0,), unit, 0.0)
    assert "notes" not in io.read(tmp_path / "b.ome.tif")[0].metadata


def test_a_stack_takes_the_distance_of_planes_from_their_positions(tmp_path: Path) -> None:
    about = {"axes": "ZYX", **SIZE, **planes(X=[5.0] * 3, Y=[6.0] * 3, Z=[10.0, 12.0, 14.0])}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 6, 7), np.uint8), metadata=about)
    (image,) = io.read(tmp_path / "a.ome.tif")
    assert image.scale == (2.0, 0.5, 0.25)
    assert "notes" not in image.metadata
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:-1, -1], (10, 6, 5))
    uneven = {"axes": "ZYX", **SIZE, **planes(X=[5.0] * 3, Y=[6.0] * 3, Z=[10.0, 12.0, 19.0])}
    tifffile.imwrite(tmp_path / "b.ome.tif", np.zeros((3, 6, 7), np.uint8), metadata=uneven)
    assert io.read(tmp_path / "b.ome.tif")[0].units[0] == "pixel"


def test_a_stage_that_moves_during_a_movie_is_said(tmp_path: Path) -> None:
    about = {"axes": "TYX", **SIZE, "TimeIncrement": 0.5, **planes(X=[5.0, 5.0, 7.0], Y=[6.0] * 3)}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((3, 6, 7), np.uint8), metadata=about)
    film = read_movie(tmp_path / "a.ome.tif")
    assert film.affine is not None
    np.testing.assert_allclose(film.affine[:-1, -1], (0, 6, 5))
    assert "up to 8 pixels" in film.metadata["notes"][0]


def test_an_image_whose_file_is_missing_shifts_no_pixel_size_or_place(tmp_path: Path) -> None:
    """tifffile passes over such an image; the next one is described by its own element."""
    parts = [
        f'<Image ID="Image:{k}" Name="tile {k}"><Pixels ID="Pixels:{k}" DimensionOrder="XYZCT" Type="uint16" SizeX="7" '
        f'SizeY="6" SizeC="1" SizeZ="1" SizeT="1" PhysicalSizeX="{k + 1}" PhysicalSizeY="{k + 1}">'
        f'<Channel ID="Channel:{k}:0" SamplesPerPixel="1"/><TiffData IFD="0" PlaneCount="1"><UUID FileName="{k}.ome.'
        f'tif">urn:uuid:{k:08}-0000-0000-0000-000000000000</UUID></TiffData><Plane TheC="0" TheT="0" TheZ="0" '
        f'PositionX="{10 * k}" PositionY="3" PositionXUnit="um" PositionYUnit="um"/></Pixels></Image>'
        for k in range(3)
    ]
    xml = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:00000002-0000-0000-0000-'
    xml += f'000000000000">{"".join(parts)}</OME>'
    tifffile.imwrite(tmp_path / "2.ome.tif", np.zeros((6, 7), np.uint16), description=xml, metadata=None)
    (image,) = io.read(tmp_path / "2.ome.tif")
    assert image.scale == (3.0, 3.0)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:-1, -1], (3, 20))


def test_the_origin_of_an_imagej_file_is_its_place(tmp_path: Path) -> None:
    """ImageJ (Calibration.getX): x = (column - xorigin) * width; a crop has the origin outside of it."""
    about = {"axes": "ZYX", "unit": "um", "xorigin": -20.0, "yorigin": 8.0, "zorigin": -1.0, "spacing": 3.0}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 6, 7), np.uint8), imagej=True, resolution=(4, 2), metadata=about)
    (image,) = io.read(tmp_path / "a.tif")
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:-1, -1], (3, -4, 5))


@pytest.mark.parametrize(("unit", "um"), [("CENTIMETER", 10_000), ("INCH", 25_400)])
def test_offsets_of_a_page_are_its_place(tmp_path: Path, unit: str, um: int) -> None:
    """TIFF 6.0: XPosition and YPosition count ResolutionUnits; without a pixel size they say nothing."""
    tags = [(286, "2I", 1, (3, 2), True), (287, "2I", 1, (1, 4), True)]
    options: Any = {"metadata": None, "extratags": tags, "resolutionunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((6, 7), np.uint8), resolution=(um / 0.25, um / 0.5), **options)
    (image,) = io.read(tmp_path / "a.tif")
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, [[0.5, 0, um / 4], [0, 0.25, 1.5 * um], [0, 0, 1]])
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((6, 7), np.uint8), resolution=(1, 1), **options)
    assert io.read(tmp_path / "b.tif")[0].affine is None


def test_a_placed_slide_its_outlines_and_its_labels_lie_on_each_other(tmp_path: Path) -> None:
    about = {"axes": "YXS", **SIZE, **planes(X=[100.0], Y=[40.0])}
    colour = np.full((64, 48, 3), 200, np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(colour, subifds=1, tile=(16, 16), photometric="rgb", metadata=about)
        file.write(colour[::2, ::2], subfiletype=1, tile=(16, 16), photometric="rgb", metadata=None)
    square = [[[3, 5], [13, 5], [13, 25], [3, 25], [3, 5]]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": square}, "properties": {}}
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")
    (image,), (labels,) = io.read(tmp_path / "a.ome.tif"), io.read(tmp_path / "a.geojson")
    assert image.affine is not None
    assert labels.affine is not None
    np.testing.assert_allclose(image.affine, [[0.5, 0, 40], [0, 0.25, 100], [0, 0, 1]])
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert np.argwhere(labels.data).min(0).tolist() == [5, 3]
    again = io.read(io.write(tmp_path / "b.geojson", labels))[0]
    np.testing.assert_array_equal(again.data, labels.data)
    np.testing.assert_array_equal(again.affine, image.affine)
