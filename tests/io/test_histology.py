from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from napari_medseg.errors import MissingDependencyError, ReadError
from napari_medseg.io import histology, read, read_one, slide
from napari_medseg.io.outlines import geojson, imagescope
from napari_medseg.io.outlines.beside import grid_beside
from napari_medseg.io.outlines.polygons import Region, fill, outlines, rasterise

SQUARE = [(2.0, 3.0), (2.0, 8.0), (6.0, 8.0), (6.0, 3.0)]  # (row, column)


def xml(regions: list[list[tuple[float, float]]], microns: str = ' MicronsPerPixel="0.252"', head: str = "") -> str:
    body = "".join(
        f'<Region Id="{i}"><Vertices>{"".join(f"""<Vertex X="{x}" Y="{y}" Z="0"/>""" for y, x in points)}'
        "</Vertices></Region>"
        for i, points in enumerate(regions, 1)
    )
    layer = f'<Annotation Id="1" Name="nuclei"><Regions>{body}</Regions></Annotation>'
    return f"{head}<Annotations{microns}>{layer}</Annotations>"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def even_odd(ring: np.ndarray, y: int, x: int) -> bool:
    inside = False
    for (y0, x0), (y1, x1) in zip(ring, np.roll(ring, -1, 0), strict=True):
        if (y0 <= y) != (y1 <= y) and x >= x0 + (y - y0) / (y1 - y0) * (x1 - x0):
            inside = not inside
    return inside


# ---- polygons
@pytest.mark.parametrize("seed", range(6))
def test_fill_follows_the_even_odd_rule(seed: int) -> None:
    ring = np.random.default_rng(seed).uniform(-6, 26, (7, 2))  # crosses itself and leaves the image
    expected = np.array([[even_odd(ring, y, x) for x in range(20)] for y in range(18)])
    mask = np.zeros((18, 20), bool)
    box, part = fill([ring], (18, 20))
    mask[box] = part
    np.testing.assert_array_equal(mask, expected)


def test_neighbouring_polygons_share_no_pixel() -> None:
    left, right = np.array([(0, 0), (0, 5), (9, 5), (9, 0)]), np.array([(0, 5), (0, 9), (9, 9), (9, 5)])
    counts = np.zeros((10, 10), int)
    for ring in (left, right):
        box, part = fill([ring], (10, 10))
        counts[box] += part
    assert counts.max() == 1
    assert counts.sum() == 81


@pytest.mark.parametrize(("overlap", "owner"), [("first", 1), ("last", 2)])
def test_overlaps_have_one_owner(overlap: str, owner: int) -> None:
    regions = [Region((np.array(SQUARE),)), Region((np.array(SQUARE) + 2,))]
    labels = rasterise(regions, (12, 12), overlap)  # type: ignore[arg-type]
    assert labels.dtype == np.uint16
    assert labels[5, 6] == owner


def test_instances_without_pixels_are_dropped_and_ids_are_contiguous() -> None:
    outside = Region((np.array(SQUARE) + 100,))
    regions = [outside, Region((np.array(SQUARE),)), Region((np.array(SQUARE),)), Region((np.array(SQUARE) + 5,))]
    np.testing.assert_array_equal(np.unique(rasterise(regions, (20, 20))), [0, 1, 2])


# ---- ImageScope
def test_xml_becomes_instances(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", xml([SQUARE, [(0, 0), (1, 1)], [(10, 10), (10, 14), (13, 12)]]))
    labels = histology.read_annotation(path, (20, 20))
    assert labels.kind == "labels"
    assert labels.scale == (0.252, 0.252)
    assert labels.units == ("micrometer", "micrometer")
    np.testing.assert_array_equal(np.unique(labels.data), [0, 1, 2])  # two vertices are no region
    np.testing.assert_array_equal(np.argwhere(labels.data == 1).min(0), [2, 3])
    assert (labels.data == 1).sum() == 20


def test_xml_takes_the_size_of_the_picture_beside_it(tmp_path: Path) -> None:
    Pillow.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "a.png")
    assert read_one(write(tmp_path / "a.xml", xml([SQUARE]))).data.shape == (30, 40)
    for folder in ("Annotations", "Tissue Images"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    Pillow.fromarray(np.zeros((31, 41, 3), np.uint8)).save(tmp_path / "set" / "Tissue Images" / "b.png")
    path = write(tmp_path / "set" / "Annotations" / "b.xml", xml([SQUARE]))
    assert read_one(path).data.shape == (31, 41)
    assert grid_beside(path, imagescope.read_regions(path)).scale == (1, 1), (
        "outlines lie on their picture, which states no size"
    )


def test_xml_without_optional_attributes_is_read(tmp_path: Path) -> None:
    text = xml([SQUARE], microns="").replace(' Id="1"', "").replace(' Name="nuclei"', "")
    labels = read_one(write(tmp_path / "a.xml", text))
    assert not labels.calibrated
    assert labels.data.max() == 1


@pytest.mark.parametrize("value", ["", "abc", "nan", "inf"])
def test_vertex_without_coordinate_is_refused_with_its_line(tmp_path: Path, value: str) -> None:
    text = xml([SQUARE]).replace('X="8.0"', f'X="{value}"', 1)
    with pytest.raises(ReadError, match=r"line 1.*region 1"):
        read(write(tmp_path / "a.xml", text))


def test_missing_coordinate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="X=None"):
        read(write(tmp_path / "a.xml", xml([SQUARE]).replace('X="8.0" ', "", 1)))


@pytest.mark.parametrize("entity", ['SYSTEM "file:///etc/passwd"', '"aaaaaaaaaa"'])
def test_entities_are_never_resolved(tmp_path: Path, entity: str) -> None:
    head = f'<?xml version="1.0"?><!DOCTYPE Annotations [<!ENTITY x {entity}>]>'
    text = xml([SQUARE], head=head).replace('Name="nuclei"', 'Name="&x;"')
    with pytest.raises(ReadError, match="entity"):
        read(write(tmp_path / "a.xml", text))


def test_truncated_xml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cut short"):
        read(write(tmp_path / "a.xml", xml([SQUARE])[:-40]))


def test_thousands_of_regions(tmp_path: Path) -> None:
    corners = [(y, x) for y in range(0, 500, 8) for x in range(0, 500, 8)]
    path = write(tmp_path / "a.xml", xml([[(y, x), (y, x + 5), (y + 5, x + 5), (y + 5, x)] for y, x in corners]))
    regions = imagescope.read_regions(path).regions
    assert rasterise(regions, (500, 500)).max() == len(corners) > 3000


# ---- GeoJSON
def test_geojson_round_trip_is_exact(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint16)
    labels[2:20, 2:20], labels[5:10, 5:10], labels[6:8, 6:8] = 1, 0, 1  # a hole with an island
    labels[25, 25] = labels[26, 26] = 2  # touching at a corner
    labels[0:3, 40:50] = 3  # at the frame
    labels[30:35, 3:9] = 4
    path = tmp_path / "a.geojson"
    geojson.write_labels(path, labels, group="Nucleus", measurements={1: {"area": 3.5}})
    np.testing.assert_array_equal(rasterise(geojson.read_regions(path).regions, labels.shape), labels)
    feature = json.loads(path.read_text())["features"][0]
    assert feature["properties"]["classification"]["name"] == "Nucleus"
    assert feature["properties"]["measurements"] == {"area": 3.5}
    assert [len(polygon) for polygon in feature["geometry"]["coordinates"]] == [2, 1]


def test_geojson_of_a_square_pixel_block_lies_on_its_corners(tmp_path: Path) -> None:
    square = {"type": "Polygon", "coordinates": [[[3, 2], [8, 2], [8, 6], [3, 6], [3, 2]]]}
    path = write(tmp_path / "a.geojson", json.dumps({"type": "Feature", "geometry": square, "properties": {}}))
    labels = histology.read_annotation(path, (10, 10)).data
    np.testing.assert_array_equal(labels[2:6, 3:8], 1)
    assert labels.sum() == 20


def test_outlines_wind_one_way_for_holes_and_the_other_for_objects() -> None:
    labels = np.ones((9, 9), int)
    labels[4, 4] = 0
    (_, region), *_ = outlines(labels)
    assert len(region.rings) == 2


@pytest.mark.parametrize("text", [
    "{", '{"type": "FeatureCollection", "features": [{"geometry": null}]}', "[1]",
    '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3, null], [4, 5]]]}}',
])  # fmt: skip
def test_bad_geojson_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ReadError):
        read(write(tmp_path / "a.geojson", text))


# ---- slides
@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[Path, np.ndarray]:
    rgb = np.random.default_rng(0).integers(0, 255, (1300, 1500, 3), np.uint8)
    path = tmp_path / "slide.tif"
    options = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, subfiletype=0, resolution=(40000, 40000), **options)
        tiff.write(rgb[::4, ::4], subfiletype=1, resolution=(10000, 10000), **options)
    return path, rgb


@pytest.mark.parametrize("library", ["openslide", "tiffslide"])
def test_slide_is_lazy_multiscale_and_calibrated(
    pyramid: tuple[Path, np.ndarray], library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, rgb = pyramid
    monkeypatch.setattr(slide, "LIBRARIES", tuple(pair for pair in slide.LIBRARIES if pair[0] == library))
    image = slide.read_slide(path)
    assert type(image.data).__module__.startswith("dask")
    assert image.scale == pytest.approx((0.25, 0.25))
    assert [level.shape for level in image.metadata["levels"]] == [(1300, 1500, 3), (325, 375, 3)]
    np.testing.assert_array_equal(image.data[1000:1100, 990:1100].compute(), rgb[1000:1100, 990:1100])
    np.testing.assert_array_equal(image.metadata["levels"][1].compute(), rgb[::4, ::4])


def test_pyramid_goes_to_the_slide_reader_and_a_tile_does_not(pyramid: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    assert "levels" in read_one(pyramid[0]).metadata
    tifffile.imwrite(tmp_path / "tile.tif", pyramid[1][:64, :64], photometric="rgb")
    assert not histology.matches(tmp_path / "tile.tif")


def test_truncated_or_unknown_slide_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.svs"
    path.write_bytes(b"II*\0 this is no slide")
    with pytest.raises(ReadError, match="whole slide"):
        read(path)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.98])
def test_a_slide_that_is_cut_short_is_refused_when_opened_or_read(
    pyramid: tuple[Path, np.ndarray], tmp_path: Path, part: float
) -> None:
    content = pyramid[0].read_bytes()
    (tmp_path / "short.svs").write_bytes(content[: int(part * len(content))])
    with pytest.raises(ReadError, match=r"short\.svs"):
        [np.asarray(level) for level in read_one(tmp_path / "short.svs").metadata["levels"]]


def test_missing_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide, "LIBRARIES", (("no_such_slide_library", "Slide"),))
    path = tmp_path / "a.svs"
    path.write_bytes(b"x")
    with pytest.raises(MissingDependencyError, match=r"napari-medseg\[slide\]"):
        read(path)


def test_empty_glass_is_white() -> None:
    region = np.zeros((2, 2, 4), np.uint8)
    region[0, 0] = (10, 20, 30, 255)
    white = slide._on_white(region)
    assert white[0, 0].tolist() == [10, 20, 30]
    assert white[1, 1].tolist() == [255, 255, 255]
