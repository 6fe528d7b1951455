"""Where a slide lies and how large its pixels are: OME, resolution tags, bounds of SCN; OpenSlide reads it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow
from PIL import ImageOps

from napari_medseg import io
from napari_medseg.errors import ReadError
from napari_medseg.io import read

openslide = pytest.importorskip("openslide")
RGB = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
TILED: dict[str, Any] = {"tile": (256, 256), "photometric": "rgb"}


def test_ome_pyramid_keeps_its_levels_and_its_pixel_size(tmp_path: Path) -> None:
    """Levels lie in SubIFDs (OME-TIFF 6.0), which OpenSlide does not see."""
    path = tmp_path / "slide.ome.tif"
    size = {"PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(RGB, subifds=1, metadata={"axes": "YXS", **size}, **TILED)
        file.write(RGB[::2, ::2], subfiletype=1, metadata=None, **TILED)
    image = read(path)[0]
    assert (image.scale, image.units, image.name) == ((0.5, 0.25), ("micrometer",) * 2, "slide")
    for level, right in zip(image.metadata["levels"], (RGB, RGB[::2, ::2]), strict=True):
        np.testing.assert_array_equal(level.compute(), right)


@pytest.mark.parametrize("per_inch", [72, 96, 300])
def test_resolution_of_a_screen_is_no_pixel_size_of_a_slide(tmp_path: Path, per_inch: int) -> None:
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        options = {**TILED, "resolution": (per_inch, per_inch), "resolutionunit": "INCH", "metadata": None}
        file.write(RGB, **options)
        file.write(RGB[::2, ::2], subfiletype=1, **options)
    assert not read(tmp_path / "slide.tif")[0].calibrated


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_slide_is_upright_as_its_orientation_says(tmp_path: Path, turn: int, below: bool) -> None:
    """As Pillow turns it; OpenSlide turns each tile for itself. Steps go with their axes."""
    options: dict[str, Any] = {
        **TILED,
        "metadata": None,
        "resolution": (40_000, 20_000),
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(RGB, subifds=1 if below else None, extratags=[(274, "H", 1, turn, True)], **options)
        file.write(RGB[::2, ::2], subfiletype=1, **options)
    image = read(tmp_path / "slide.tif")[0]
    for level, stored in zip(image.metadata["levels"], (RGB, RGB[::2, ::2]), strict=True):
        picture = Pillow.fromarray(stored)
        picture.getexif()[274] = turn
        np.testing.assert_array_equal(level.compute(), np.asarray(ImageOps.exif_transpose(picture)))
    assert image.scale == pytest.approx((0.25, 0.5) if turn > 4 else (0.5, 0.25))
    assert ("shown upright" in " ".join(image.metadata.get("notes", ()))) == (turn != 1)


def scn(path: Path, scan: np.ndarray, corner: tuple[int, int], microns: float) -> Path:
    """Write a Leica slide: an overview of the glass, and a scan at `corner` (row, column) of it, in two levels."""
    height, width = scan.shape[:2]
    nm = round(microns * 1000)
    glass = f'sizeX="{2000 * nm}" sizeY="{1600 * nm}"'

    def image(number: int, pixels: str, view: str, objective: float) -> str:
        return (
            f'<image name="i{number}" uuid="urn:uuid:{number}"><creationDate>2020-01-01T00:00:00Z</creationDate>'
            f'<device model="Leica SCN400" version="1"/>{pixels}<view {view} spacingZ="0"/><scanSettings>'
            f"<objectiveSettings><objective>{objective}</objective></objectiveSettings><illuminationSettings>"
            "<numericalAperture>0.5</numericalAperture><illuminationSource>brightfield</illuminationSource>"
            "</illuminationSettings></scanSettings></image>"
        )

    def level(number: int, page: int, size: tuple[int, int]) -> str:
        return f'<dimension sizeX="{size[0]}" sizeY="{size[1]}" r="{number}" ifd="{page}"/>'

    overview = image(0, f'<pixels sizeX="256" sizeY="256">{level(0, 0, (256, 256))}</pixels>',
                     f'{glass} offsetX="0" offsetY="0"', 0.6)  # fmt: skip
    levels = level(0, 1, (width, height)) + level(1, 2, (width // 4, height // 4))
    place = f'offsetX="{corner[1] * nm}" offsetY="{corner[0] * nm}"'
    view = f'sizeX="{width * nm}" sizeY="{height * nm}" {place}'
    main = image(1, f'<pixels sizeX="{width}" sizeY="{height}">{levels}</pixels>', view, 20)
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" uuid="urn:uuid:9">'
        f'<collection name="c" uuid="urn:uuid:8" {glass}><barcode></barcode>{overview}{main}</collection></scn>'
    )
    options: dict[str, Any] = {**TILED, "metadata": None, "compression": "jpeg"}
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(np.full((256, 256, 3), 240, np.uint8), description=xml, **options)
        per_cm = 10_000 / microns
        file.write(scan, resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", **options)
        file.write(scan[::4, ::4], **options)
    return path


def test_only_the_scanned_part_of_a_leica_slide_is_read(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    scan = np.full((384, 512, 3), 230, np.uint8)
    scan[100:140, 200:260] = (160, 80, 170)
    path = scn(tmp_path / "case.scn", scan, (300, 120), 0.5)
    with openslide.OpenSlide(path) as other:
        bounds = [int(other.properties[f"openslide.bounds-{name}"]) for name in ("y", "x", "height", "width")]
        assert bounds == [300, 120, 384, 512]
        right = np.asarray(other.read_region((120, 300), 0, (512, 384)).convert("RGB"))
    image = read(path)[0]
    np.testing.assert_array_equal(image.data.compute(), right)
    np.testing.assert_allclose(image.data.compute(), scan, atol=40)  # JPEG blurs edges
    assert image.scale == pytest.approx((0.5, 0.5))
    assert [level.shape[:2] for level in image.metadata["levels"]] == [(384, 512), (96, 128)]
    assert tuple(image.metadata["slide_corner"]) == (300, 120)


def test_outlines_beside_a_leica_slide_count_from_its_scanned_part(tmp_path: Path) -> None:
    scn(tmp_path / "case.scn", np.full((384, 512, 3), 230, np.uint8), (300, 120), 0.5)
    ring = [[10, 20], [40, 20], [40, 50], [10, 50], [10, 20]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    (tmp_path / "case.geojson").write_text(json.dumps(feature))
    labels = io.read_one(tmp_path / "case.geojson", "labels")
    assert labels.spatial_shape == (384, 512)
    rows, columns = np.nonzero(labels.data)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 49, 10, 39)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_slide_that_lost_its_end_is_refused_wherever_it_was_cut(tmp_path: Path, bigtiff: bool) -> None:
    """A cut in the last directory leaves the first level whole, and the slide libraries drop the others silently."""
    path = tmp_path / "slide.svs"
    text = "Aperio Image Library v11.0\r\n800x600 [0,0 800x600] (256x256) JPEG/RGB Q=70|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for step in (1, 4):
            told = text.replace("(256x256)", "(256x256) -> 200x150") if step > 1 else text
            file.write(RGB[::step, ::step], description=told, metadata=None, resolution=(100, 200), **TILED)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        last = max(sum(pair) for pair in zip(tiff.pages[1].dataoffsets, tiff.pages[1].databytecounts, strict=True))
        begin = min(last, tiff.pages[1].offset)
    assert len(read(path)[0].metadata["levels"]) == 2
    for length in range(begin + 8, len(whole), max(1, (len(whole) - begin) // 60)):
        path.write_bytes(whole[:length])
        with pytest.raises(ReadError):
            read(path)


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_a_slide_that_lost_levels_kept_in_subifds_is_refused(tmp_path: Path, byteorder: str) -> None:
    path = tmp_path / "slide.svs"
    with tifffile.TiffWriter(path, byteorder=byteorder) as file:
        for step in (1, 2, 4):
            file.write(RGB[::step, ::step], subifds=2 if step == 1 else 0, metadata=None, **TILED)
    whole = path.read_bytes()
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        first = max(sum(pair) for pair in zip(page.dataoffsets, page.databytecounts, strict=True))
    assert len(read(path)[0].metadata["levels"]) == 3
    for length in range(first + 8, len(whole), (len(whole) - first) // 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ReadError):
            read(path)


def test_a_slide_with_tiles_that_were_never_written_is_read(tmp_path: Path) -> None:
    """Scanners leave glass out: a byte count of 0, whatever the offset."""
    path = tmp_path / "slide.tif"
    tiles = [RGB[:256, :256], None, None, RGB[256:512, 256:512]]
    with tifffile.TiffWriter(path) as file:
        shape = {"shape": (512, 512, 3), "dtype": np.uint8}
        file.write(iter(tiles), **shape, **TILED)
        file.write(RGB[:256, :256], subfiletype=1, **TILED)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        where = page.tags["TileOffsets"].valueoffset
        assert [n > 0 for n in page.databytecounts] == [True, False, False, True]
        offsets = [start if n else 2**31 for start, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
    with path.open("r+b") as file:
        file.seek(where)
        file.write(np.array(offsets, "<u4").tobytes())
    image = read(path)[0]
    assert image.data.shape == (512, 512, 3)
    np.testing.assert_array_equal(np.asarray(image.data[:256, :256]), RGB[:256, :256])


@pytest.mark.parametrize(("photometric", "mode"), [("separated", "CMYK"), ("ycbcr", "YCbCr")])
def test_a_pyramid_of_other_colours_is_read_as_it_is_shown(tmp_path: Path, photometric: str, mode: str) -> None:
    """Levels in SubIFDs are for a library that takes inks and colour differences for red, green and blue."""
    purple = Pillow.new("RGB", (512, 512), (160, 80, 170))
    numbers = np.asarray(purple.convert(mode))
    options: dict[str, Any] = {**TILED, "photometric": photometric, "metadata": None}
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(numbers, subifds=1, **options)
        file.write(numbers[::2, ::2], subfiletype=1, **options)
    image = read(tmp_path / "slide.tif")[0]
    np.testing.assert_allclose(np.asarray(image.data[300, 300]), (160, 80, 170), atol=2)


def test_an_overview_before_the_slide_is_not_taken_for_it(tmp_path: Path) -> None:
    def written(name: str, *factors: int) -> Path:
        with tifffile.TiffWriter(tmp_path / name, ome=True) as file:
            for factor in factors:
                picture = RGB[::factor, ::factor]
                file.write(picture, subifds=1, metadata={"axes": "YXS", "Name": f"by {factor}"}, **TILED)
                file.write(picture[::2, ::2], subfiletype=1, metadata=None, **TILED)
        return tmp_path / name

    with pytest.raises(ReadError, match=r"by 4.* is smaller than by 1"):
        read(written("overview.ome.tif", 4, 1))
    image = read(written("slide.ome.tif", 1, 4))[0]
    assert image.spatial_shape == (600, 800)
    assert "by 4" in image.metadata["notes"][0]


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha", "unspecified"])
def test_half_transparent_pixels_of_a_slide_lie_on_white(tmp_path: Path, kind: str, below: bool) -> None:
    """TIFF 6.0: associated opacity is multiplied into the colours; a sample of no stated meaning is no opacity."""
    colour, opacity = np.array((160, 80, 170)), 1.0 if kind == "unspecified" else 128 / 255
    stored = colour * opacity if kind == "assocalpha" else colour
    picture = np.full((512, 512, 4), (*np.rint(stored).astype(int), 128), np.uint8)
    options: dict[str, Any] = {**TILED, "extrasamples": [kind], "metadata": None}
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(picture, subifds=1 if below else None, **options)
        file.write(picture[::2, ::2], subfiletype=1, **options)
    for level in read(tmp_path / "slide.tif")[0].metadata["levels"]:
        np.testing.assert_allclose(level[100, 100].compute(), 255 - opacity * (255 - colour), atol=2)


@pytest.mark.parametrize("below", [True, False])
def test_opacity_that_is_nowhere_is_none(tmp_path: Path, below: bool) -> None:
    picture = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    options: dict[str, Any] = {**TILED, "extrasamples": ["unassalpha"], "metadata": None}
    with tifffile.TiffWriter(tmp_path / "slide.tif") as file:
        file.write(picture, subifds=1 if below else None, **options)
        file.write(picture[::2, ::2], subfiletype=1, **options)
    image = read(tmp_path / "slide.tif")[0]
    np.testing.assert_array_equal(image.data, RGB)
    assert "0 everywhere" in image.metadata["notes"][0]
