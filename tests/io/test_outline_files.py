"""Outline files as QuPath, ImageScope, HALO and GIS programs write them: every object keeps place, id and meaning."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io import read, read_labels, read_one, write
from napari_medseg.io.geometry import part_of
from napari_medseg.io.outlines.geojson import read_regions, write_regions
from napari_medseg.io.outlines.polygons import boxes_of, objects_of


def square(x: float, y: float, size: float, kind: str = "", **more: Any) -> dict[str, Any]:
    ring = [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]
    properties = {"objectType": kind, **more} if kind else dict(more)
    return {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": properties}


def geojson(path: Path, *features: Any, encoding: str = "utf-8") -> Path:
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}), encoding)
    return path


def xml(path: Path, *regions: str) -> Path:
    path.write_text(
        f"<Annotations><Annotation><Regions>{''.join(regions)}</Regions></Annotation></Annotations>", encoding="utf-8"
    )
    return path


def region(points: list[tuple[float, float]], attributes: str = "", vertex: str = "Vertex") -> str:
    corners = "".join(f'<{vertex} X="{x}" Y="{y}"/>' for x, y in points)
    return f"<Region {attributes}><Vertices>{corners}</Vertices></Region>"


def box(x: float, y: float, size: float) -> list[tuple[float, float]]:
    return [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]


def sizes(image: Image) -> dict[int, int]:
    values, counts = np.unique(image.data, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts, strict=True) if v}


def test_byte_order_mark_null_geometry_and_collections(tmp_path: Path) -> None:
    """RFC 8259, 8.1; RFC 7946, 3.1.8 and 3.2: what has no area is named, the others are drawn."""
    nowhere = {"type": "Feature", "geometry": None, "properties": {"name": "lost"}}
    point = {"type": "Point", "coordinates": [1, 1]}
    mixed = square(40, 40, 10)
    mixed["geometry"] = {"type": "GeometryCollection", "geometries": [mixed["geometry"], point]}
    lonely = {"type": "Feature", "geometry": point, "properties": {}}
    path = geojson(tmp_path / "a.geojson", nowhere, mixed, lonely, square(5, 5, 20), encoding="utf-8-sig")
    image = read_one(path)
    assert sizes(image) == {1: 100, 2: 400}
    assert "2 of 4 outlines have no area: lost (no place), feature 3 (Point)" in image.metadata["notes"][0]


@pytest.mark.parametrize("feature", [None, {"type": "Point", "coordinates": [1, 1]}])
def test_a_file_without_any_area_is_refused(tmp_path: Path, feature: Any) -> None:
    path = geojson(tmp_path / "a.geojson", {"type": "Feature", "geometry": feature, "properties": {}})
    with pytest.raises(ReadError, match="none of its 1 features has an area"):
        read(path)


def test_regions_that_hold_detections_are_no_objects(tmp_path: Path) -> None:
    cells = square(5, 5, 10, "detection"), square(20, 20, 10, "cell")
    alone = square(60, 60, 5, "annotation", name="alone")
    path = geojson(tmp_path / "a.geojson", square(0, 0, 50, "annotation", name="tumour"), *cells, alone)
    image = read_one(path)
    assert sizes(image) == {1: 100, 2: 100, 3: 25}
    assert "1 of 4 outlines hold other objects, no object: tumour" in image.metadata["notes"][0]


def test_classes_that_qupath_ignores_are_no_objects(tmp_path: Path) -> None:
    """A rectangle of class Region* around outlined nuclei would take their pixels."""
    around = square(0, 0, 50, "annotation", classification={"name": "Region*"})
    nuclei = square(5, 5, 10, "annotation"), square(20, 20, 5, "annotation", isLocked=True, classification=None)
    image = read_one(geojson(tmp_path / "a.geojson", around, *nuclei))
    assert sizes(image) == {1: 100, 2: 25}
    assert "1 of 3 outlines are of a class that QuPath ignores" in image.metadata["notes"][0]
    assert sizes(read_one(geojson(tmp_path / "b.geojson", around))) == {1: 2500}, "alone it is what was outlined"


def test_of_a_cell_the_nucleus_is_the_object_and_the_cell_comes_second(tmp_path: Path) -> None:
    cell = square(5, 5, 20, "cell")
    cell["nucleusGeometry"] = square(10, 10, 8)["geometry"]
    nuclei, cells = read(geojson(tmp_path / "a.geojson", cell, square(40, 40, 6, "detection")))
    assert (sizes(nuclei), sizes(cells)) == ({1: 64, 2: 36}, {1: 400, 2: 36})
    assert cells.name == "a_cells"


def test_objects_of_several_planes_are_a_stack(tmp_path: Path) -> None:
    first, second = square(5, 5, 10), square(10, 5, 10)
    second["geometry"]["plane"] = {"c": -1, "z": 2, "t": 0}
    path = geojson(tmp_path / "a.geojson", first, second)
    image = read_one(path)
    assert image.axes == "ZYX"
    assert [int(np.count_nonzero(plane)) for plane in image.data] == [100, 0, 100]
    with pytest.raises(ReadError, match="2 planes"):
        read_labels(path, Image(np.zeros((40, 40)), "YX"))


def test_what_gets_no_pixel_is_named(tmp_path: Path) -> None:
    path = geojson(
        tmp_path / "a.geojson", square(5, 5, 10), square(200, 5, 10, name="far"), square(6, 6, 2, name="under")
    )
    image = read_labels(path, Image(np.zeros((40, 40)), "YX"))
    assert sizes(image) == {1: 100}
    assert "2 of 3 outlines got no pixel: far, under" in image.metadata["notes"][0]


def test_ids_grid_and_facts_come_back(tmp_path: Path) -> None:
    labels = np.zeros((60, 80), np.uint16)
    for row, number in ((2, 7), (20, 9), (40, 300)):
        labels[row : row + 10, 5:15] = number
    facts = {"7": {"class": "Tumor", "id": "3f8e2c1a-0000-4000-8000-000000000001", "measurements": {"Area": 2.5}}}
    image = Image(labels, "YX", (0.5, 0.25), ("micrometer",) * 2, kind="labels", name="a", metadata={"objects": facts})
    path = write(tmp_path / "a.geojson", image)
    back = read_one(path)
    np.testing.assert_array_equal(back.data, labels)
    assert (back.scale, back.units) == (image.scale, image.units)
    assert {key: back.metadata["objects"]["7"][key] for key in facts["7"]} == facts["7"]
    again = json.loads(write(tmp_path / "b.geojson", back).read_text())["features"][0]
    assert again["id"] == facts["7"]["id"]
    assert again["properties"]["classification"] == {"name": "Tumor", "color": [230, 159, 0]}
    assert again["properties"]["measurements"] == {"Area": 2.5}


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ({"name": "Tumor", "color": [1, 2, 3]}, "Tumor"),
        ({"names": ["Tumor", "Positive"], "color": [1, 2, 3]}, "Tumor: Positive"),
        ({"name": "Positive", "colorRGB": -1, "parentClass": {"name": "Tumor", "colorRGB": -2}}, "Tumor: Positive"),
        ("Tumor", "Tumor"), ({"name": None, "colorRGB": -1}, ""), ({}, ""), (None, ""),
    ],
)  # fmt: skip
def test_classes_as_every_version_of_qupath_writes_them(tmp_path: Path, stated: Any, name: str) -> None:
    # qupath PR 1099 (0.4): name or names and a colour, which is required; before, parents; text is read too
    image = read_one(geojson(tmp_path / "a.geojson", square(5, 5, 10, "cell", classification=stated)))
    assert image.metadata["objects"]["1"].get("class", "") == name
    again = json.loads(write(tmp_path / "b.geojson", image).read_text())["features"][0]["properties"]
    written = again.get("classification", {})
    assert ": ".join(written.get("names", [written.get("name", "")])) == name
    assert ("color" in written) == bool(name)


def test_kinds_and_measurements_of_older_versions_of_qupath(tmp_path: Path) -> None:
    # 0.2 wrote the kind as id, 0.3 as object_type, both measurements as a list (qupath PR 698, 1099)
    numbers = [{"name": "Area", "value": 12.5}]
    second = [square(0, 0, 60), *(square(5, y, 10, measurements=numbers) for y in (5, 30))]
    for feature, kind in zip(second, ("PathAnnotationObject", *["PathCellObject"] * 2), strict=True):
        feature["id"] = kind
    third = [
        square(0, 0, 60, object_type="annotation"),
        square(5, 5, 10, object_type="detection", measurements=numbers),
    ]
    for features in (second, third):
        image = read_one(geojson(tmp_path / "a.geojson", *features))
        assert set(sizes(image).values()) == {100}
        again = json.loads(write(tmp_path / "b.geojson", image).read_text())["features"]
        assert len({feature["id"] for feature in again}) == len(features) - 1
        assert again[0]["properties"]["measurements"] == {"Area": 12.5}
        assert again[0]["properties"]["objectType"] in ("cell", "detection")


def test_children_of_objects_are_objects(tmp_path: Path) -> None:
    cells = [square(x, 5, 10, "cell") for x in (5, 30)]
    region = square(1, 1, 50, "annotation", childObjects=cells)
    image = read_one(geojson(tmp_path / "a.geojson", square(0, 0, 60, "tmaCore", childObjects=[region])))
    assert sizes(image) == {1: 100, 2: 100}


@pytest.mark.parametrize("kind", ["MultiPolygon", "GeometryCollection"])
@pytest.mark.parametrize(("shift", "area"), [(5, 150), (0, 100), (20, 200), (10, 200)])
def test_areas_of_one_object_that_overlap_are_united(tmp_path: Path, kind: str, shift: float, area: int) -> None:
    parts = [square(x, 5, 10)["geometry"] for x in (5.25, 5.25 + shift)]
    many = {"geometries": parts} if kind == "GeometryCollection" else {"coordinates": [p["coordinates"] for p in parts]}
    feature = {"type": "Feature", "geometry": {"type": kind, **many}, "properties": {}}
    assert sizes(read_one(geojson(tmp_path / "a.geojson", feature))) == {1: area}
    ring = square(0, 0, 30)["geometry"]["coordinates"] + square(5, 5, 20)["geometry"]["coordinates"]
    island = {"type": "MultiPolygon", "coordinates": [ring, square(10, 10, 5)["geometry"]["coordinates"]]}
    within = geojson(tmp_path / "b.geojson", {"type": "Feature", "geometry": island, "properties": {}})
    assert sizes(read_one(within)) == {1: 900 - 400 + 25}


HOLES = [  # upper left corners and sides of holes in a square of 40 pixels at (0, 0), and the pixels that are left
    ([(5, 5, 10), (10, 10, 10)], 1600 - 175),
    ([(5, 5, 20), (10, 10, 5)], 1600 - 400),
    ([(30, 30, 20)], 1600 - 100),
    ([(5, 5, 10), (10, 5, 10), (30, 30, 5)], 1600 - 150 - 25),
    ([(5, 5, 10), (20, 20, 10)], 1600 - 200),
]


@pytest.mark.parametrize(("holes", "left"), HOLES)
def test_every_interior_ring_is_a_hole_also_where_holes_overlap(
    tmp_path: Path, holes: list[tuple[int, int, int]], left: int
) -> None:
    """RFC 7946, 3.1.6: the rings of a polygon after the first one bound holes. So do ImageScope's negative regions."""
    feature = square(0, 0, 40)
    feature["geometry"]["coordinates"] += [square(*hole)["geometry"]["coordinates"][0] for hole in holes]
    path = geojson(tmp_path / "a.geojson", feature)
    assert sizes(read(path)[0]) == {1: left}
    write_regions(tmp_path / "b.geojson", read_regions(path).regions)
    np.testing.assert_array_equal(read(tmp_path / "b.geojson")[0].data, read(path)[0].data)
    negative = [region(box(*hole), 'NegativeROA="1"') for hole in holes]
    drawn = read(xml(tmp_path / "a.xml", region(box(0, 0, 40)), *negative))[0]
    np.testing.assert_array_equal(drawn.data, read(path)[0].data)


def test_holes_of_a_large_area_that_do_not_overlap_need_no_pixels(tmp_path: Path) -> None:
    feature = square(0, 0, 100_000)
    feature["geometry"]["coordinates"] += [square(x, 50, 20_000)["geometry"]["coordinates"][0] for x in (50, 30_000)]
    (found,) = read_regions(geojson(tmp_path / "a.geojson", feature)).regions
    assert [len(ring) for ring in found.rings] == [4, 4, 4]
    feature["geometry"]["coordinates"] += [square(60, 60, 20_000)["geometry"]["coordinates"][0]]
    with pytest.raises(ReadError, match="overlap over"):
        read_regions(geojson(tmp_path / "b.geojson", feature))


def test_a_side_car_of_another_drawing_does_not_cut_it(tmp_path: Path) -> None:
    write(tmp_path / "a.geojson", Image(np.eye(9, dtype=np.uint8), "YX", kind="labels", name="a"))
    geojson(tmp_path / "a.geojson", square(20, 30, 10))
    assert sizes(read_one(tmp_path / "a.geojson")) == {1: 100}


def test_a_mask_goes_out_as_the_objects_that_are_measured(tmp_path: Path) -> None:
    mask = np.zeros((60, 40), np.uint8)
    for row in (5, 25, 45):
        mask[row : row + 10, 20:30] = 255
    path = write(tmp_path / "a.geojson", Image(mask, "YX", kind="labels", name="a"))
    assert sorted(sizes(read_one(path)).values()) == [100, 100, 100]
    assert objects_of(Image(np.full((2, 2), 9), "YX", kind="labels")).max() == 9  # one piece keeps its id


def test_large_ids_need_no_memory() -> None:
    labels = np.zeros((64, 64), np.uint32)
    labels[2:12, 2:12], labels[30:45, 30:45] = 300_000_000, 4_000_000_007
    assert [(index, labels[found].shape) for index, found in boxes_of(labels)] == [
        (300_000_000, (10, 10)),
        (4_000_000_007, (15, 15)),
    ]


@pytest.mark.parametrize("kind", ["2", "Ellipse"])
def test_an_ellipse_is_its_box_of_two_corners(tmp_path: Path, kind: str) -> None:
    image = read_one(xml(tmp_path / "a.xml", region([(30, 10), (50, 40)], f'Type="{kind}"')))
    assert sizes(image)[1] == pytest.approx(np.pi * 10 * 15, rel=0.04)
    rows, columns = np.nonzero(image.data)
    assert (rows.mean(), columns.mean()) == pytest.approx((25, 40), abs=0.5)


def test_a_rectangle_of_two_corners(tmp_path: Path) -> None:
    image = read_one(xml(tmp_path / "a.xml", region([(30, 10), (50, 40)], 'Type="Rectangle"', "V")))
    assert sizes(image) == {1: 600}


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_negative_regions_cut_holes_wherever_they_stand(tmp_path: Path, order: tuple[int, int]) -> None:
    both = (
        region(box(5, 5, 30), 'Id="1"'),
        region(box(25, 10, 20), 'Id="2" NegativeROA="1"'),  # reaches beyond the region: no object there
    )
    assert sizes(read_one(xml(tmp_path / "a.xml", *(both[k] for k in order)))) == {1: 900 - 10 * 20}


def test_a_negative_region_cuts_no_object_of_another_layer(tmp_path: Path) -> None:
    """Necrosis is outlined in the hole of the tumour; a layer of negative regions alone cuts every layer."""
    hole, necrosis = region(box(10, 10, 10), 'NegativeROA="1"'), region(box(11, 11, 8))
    layers = [
        f"<Annotation><Regions>{text}</Regions></Annotation>" for text in (region(box(5, 5, 30)) + hole, necrosis)
    ]
    (tmp_path / "a.xml").write_text(f"<Annotations>{''.join(layers)}</Annotations>")
    assert sizes(read_one(tmp_path / "a.xml")) == {1: 800, 2: 64}
    layers = [f"<Annotation><Regions>{text}</Regions></Annotation>" for text in (region(box(5, 5, 30)), hole)]
    (tmp_path / "b.xml").write_text(f"<Annotations>{''.join(layers)}</Annotations>")
    assert sizes(read_one(tmp_path / "b.xml")) == {1: 800}


def part(first: tuple[int, int]) -> Image:
    """Return 50 x 50 pixels of 0.5 um that begin at `first` of a slide, with an object at (10, 10) of 10 x 10."""
    labels = np.zeros((50, 50), np.uint16)
    labels[10:20, 10:20] = 1
    return part_of(Image(labels, "YX", (0.5, 0.5), ("micrometer",) * 2, kind="labels", name="s"), first)


@pytest.mark.parametrize("by", ["qupath", "here", "on the part"])
def test_outlines_and_a_part_of_their_picture_meet_where_they_lie(tmp_path: Path, by: str) -> None:
    """Outlines of the slide count its pixels; those that another program drew on the part alone count the part's."""
    path = tmp_path / "s.geojson"
    if by == "here":
        write(path, part((100, 200)))
    else:
        geojson(path, square(10, 10, 10) if by == "on the part" else square(210, 110, 10), square(10, 30, 4))
    drawn = read_labels(path, part((100, 200)))
    np.testing.assert_array_equal(np.argwhere(np.asarray(drawn.data) == 1).min(0), (10, 10))
    assert sizes(drawn)[1] == 100
    assert any("count the pixels of" in note for note in drawn.metadata["notes"])
    again = json.loads(write(tmp_path / "again.geojson", drawn).read_text())["features"][0]["geometry"]["coordinates"]
    assert np.min(again[0], 0).tolist() == [210, 110], "the part knows its place in the slide"


def test_outlines_of_another_pixel_size_lie_where_they_lie_in_um(tmp_path: Path) -> None:
    """Drawn on a slide of 0.25 um per pixel, used on a copy of half its size: 40 pixels are 20."""
    options: Any = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER", "photometric": "rgb"}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((100, 100, 3), np.uint8), **options)
    path = xml(tmp_path / "a.xml", region(box(40, 60, 40)))
    path.write_text(path.read_text().replace("<Annotations>", '<Annotations MicronsPerPixel="0.25">'))
    for drawn in (read_one(path), read_labels(path, read_one(tmp_path / "a.tif"))):
        rows, columns = np.nonzero(drawn.data)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (30, 49, 20, 39)
        assert "0.25 um" in drawn.metadata["notes"][0]
    path.write_text(path.read_text().replace("0.25", "0.4968"))  # two calibrations of one level
    assert sizes(read_one(path)) == {1: 1600}


def test_outlines_beyond_a_smaller_copy_of_their_picture_are_said(tmp_path: Path) -> None:
    Pillow.new("RGB", (100, 100)).save(tmp_path / "a.png")
    path = geojson(tmp_path / "a.geojson", square(10, 10, 10), square(80, 80, 40, name="over"), square(90, 5, 12))
    assert "1 of 3 outlines reach beyond the picture of 100 x 100 pixels: over" in read_one(path).metadata["notes"][0]


def test_outlines_lie_on_the_largest_picture_of_their_name_as_it_is_shown(tmp_path: Path) -> None:
    Pillow.new("RGB", (40, 30)).save(tmp_path / "a.png")
    turned = {"extratags": [(274, "H", 1, 6, True)], "resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((60, 100, 3), np.uint8), photometric="rgb", **turned)
    labels, picture = read_one(geojson(tmp_path / "a.geojson", square(10, 70, 20))), read_one(tmp_path / "a.tif")
    assert labels.spatial_shape == picture.spatial_shape == (100, 60)
    assert labels.scale == picture.scale == (0.5, 0.25)
    assert sizes(labels) == {1: 400}
    assert "drawn on a.tif, which is larger than a.png" in labels.metadata["notes"][0]


def test_vertices_of_halo_and_lines(tmp_path: Path) -> None:
    path = xml(tmp_path / "a.xml", region(box(5, 5, 30), 'Type="Polygon"', "V"), region([(0, 0), (9, 9)], 'Id="ruler"'))
    image = read_one(path)
    assert sizes(image) == {1: 900}
    assert "1 of 2 outlines enclose nothing: region ruler" in image.metadata["notes"][0]
    with pytest.raises(ReadError, match="none of its 1 regions encloses anything"):
        read(xml(tmp_path / "b.xml", region([(0, 0), (9, 9)])))


def test_a_picture_of_any_size_beside_outlines_is_asked_only_for_its_size(tmp_path: Path) -> None:
    edge = 13_500

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    labels = read_one(geojson(tmp_path / "a.geojson", square(2, 2, 10)))
    assert (labels.spatial_shape, sizes(labels)) == ((edge, edge), {1: 100})
    assert Pillow.MAX_IMAGE_PIXELS is not None


def test_outlines_take_the_pixel_size_of_the_picture_beside(tmp_path: Path) -> None:
    options: Any = {"resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER", "metadata": None}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((50, 60), np.uint8), ome=False, **options)
    labels = read_one(geojson(tmp_path / "a.geojson", square(2, 2, 10)))
    assert labels.spatial_shape == (50, 60)
    np.testing.assert_allclose(labels.scale, (0.25, 0.5))


def test_a_size_that_nothing_states_is_said(tmp_path: Path) -> None:
    path = geojson(tmp_path / "a.geojson", square(5, 5, 10, "detection"))
    assert "does not state the size of its picture" in read_one(path).metadata["notes"][0]
    Pillow.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "a.png")
    image = read_one(path)
    assert image.spatial_shape == (40, 50)
    assert "notes" not in image.metadata


@pytest.mark.parametrize("largest", [70_000, 2**31 + 5, 2**32 - 1])
def test_ids_of_any_size_come_back(tmp_path: Path, largest: int) -> None:
    labels = np.zeros((12, 14), np.uint32)
    labels[2:5, 2:6], labels[7:10, 8:12] = largest, 3
    path = write(tmp_path / "a.geojson", Image(labels, "YX", kind="labels"))
    assert np.unique(read_one(path, "labels").data).tolist() == [0, 3, largest]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_outlines_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    nowhere = {"type": "Feature", "properties": {"name": "lost"}}  # without the member geometry
    image = read_one(geojson(tmp_path / "a.geojson", square(2, 3, 10, name="\u00e4"), nowhere, encoding=encoding))
    assert sizes(image) == {1: 100}
    assert "lost (no place)" in image.metadata["notes"][0]
    about = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>'
    text = xml(tmp_path / "a.xml", region(box(2, 3, 10))).read_text("utf-8").replace('"2"', '"2,0"')
    (tmp_path / "a.xml").write_text(about + text, encoding=encoding)
    assert sizes(read_one(tmp_path / "a.xml")) == {1: 100}


def test_annotations_of_asap(tmp_path: Path) -> None:
    corners = "".join(f'<Coordinate Order="{k}" X="{x}" Y="{y}"/>' for k, (x, y) in enumerate(box(2, 3, 10)))
    area = (
        f'<Annotation Name="one" Type="Polygon" PartOfGroup="Tumor"><Coordinates>{corners}</Coordinates></Annotation>'
    )
    dot = (
        '<Annotation Name="two" Type="Dot"><Coordinates><Coordinate Order="0" X="1" Y="1"/></Coordinates></Annotation>'
    )
    path = tmp_path / "a.xml"
    path.write_text(f"<ASAP_Annotations><Annotations>{area}{dot}</Annotations><AnnotationGroups/></ASAP_Annotations>")
    image = read_one(path)
    assert sizes(image) == {1: 100}
    assert np.argwhere(image.data).min(0).tolist() == [3, 2]
    assert image.metadata["objects"] == {"1": {"name": "one", "class": "Tumor"}}
    assert "region two" in image.metadata["notes"][0]


def test_regions_of_imagej_come_back(tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile")
    labels = np.zeros((20, 30), np.uint8)
    labels[2:9, 3:12], labels[4:6, 5:7], labels[12:18, 20:29] = 7, 0, 3  # one with a hole
    path = write(tmp_path / "a_rois.zip", Image(labels, "YX", kind="labels"))
    np.testing.assert_array_equal(read_labels(path, Image(labels, "YX")).data, labels)
    oval, line = (roifile.ImagejRoi.frompoints(np.array([[4, 2], [14, 12]])) for _ in range(2))
    oval.roitype, oval.left, oval.top, oval.right, oval.bottom = roifile.ROI_TYPE.OVAL, 4, 2, 14, 12
    oval.integer_coordinates, oval.n_coordinates = None, 0
    line.roitype = roifile.ROI_TYPE.POLYLINE
    roifile.roiwrite(tmp_path / "b.zip", [oval, line], mode="w")
    image = read_one(tmp_path / "b.zip")
    assert abs(sizes(image)[1] - np.pi * 25) < 3
    assert "1 of 2 outlines enclose nothing" in image.metadata["notes"][0]
    line.tofile(tmp_path / "c.roi")
    with pytest.raises(ReadError, match="none of its 1 regions encloses anything"):
        read(tmp_path / "c.roi")


@pytest.mark.parametrize(
    ("name", "content", "program"),
    [
        ("a.json", '{"version": "5", "shapes": [], "imageHeight": 60}', "labelme"),
        ("a.json", '{"images": [], "annotations": [], "categories": []}', "COCO"),
        ("a.xml", "<annotation><object></object></annotation>", "Pascal VOC"),
        ("a.ndpa", '<annotations><ndpviewstate id="1"/></annotations>', "NDP.view"),
    ],
)
def test_outlines_of_other_programs_are_called_so(tmp_path: Path, name: str, content: str, program: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ReadError, match=f"Outlines of {program}.*label map"):
        read(tmp_path / name)
