"""Labels in other programs' formats: their own libraries read the same pixels back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg import io
from napari_medseg.cli.main import main
from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.geometry import part_of
from napari_medseg.io.outlines.polygons import fill
from napari_medseg.io.write import write

UM = ("micrometer", "micrometer")


@pytest.fixture
def labels() -> Image:
    """A square with a hole, an object in two parts, a single pixel, an object at the border.

    ::

        1111..2.
        1..1..2.
        1..1....
        1111..2.
        ......2.
        3....444
    """
    rows = ["1111..2.", "1..1..2.", "1..1....", "1111..2.", "......2.", "3....444"]
    data = np.array([[0 if c == "." else int(c) for c in row] for row in rows], np.int32)
    return Image(data, "YX", (0.5, 0.25), UM, kind="labels", name="cells")


def shape_rings(values: np.ndarray) -> list[np.ndarray]:
    """Read ImageJ's path of MOVE x y, LINE x y, CLOSE into rings of (row, column)."""
    rings: list[list[tuple[float, float]]] = []
    position = 0
    while position < len(values):
        kind = int(values[position])
        if kind == 4:
            position += 1
            continue
        if kind == 0:
            rings.append([])
        rings[-1].append((float(values[position + 2]) - 0.5, float(values[position + 1]) - 0.5))
        position += 3
    return [np.array(ring) for ring in rings]


def drawn(rois: Any, shape: tuple[int, int]) -> np.ndarray:
    """Draw regions by pixel centres, as ImageJ fills sub-pixel polygons."""
    out = np.zeros(shape, np.int32)
    for roi in rois:
        composite = roi.multi_coordinates is not None
        rings = shape_rings(roi.multi_coordinates) if composite else [roi.coordinates()[:, ::-1] - 0.5]
        box, mask = fill(rings, shape)
        out[box][mask] = int(roi.name.split("-")[-1])
    return out


def test_imagej_regions_draw_the_same_labels(labels: Image, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra export is not installed")
    path = write(tmp_path / "cells_rois.zip", labels)
    rois = roifile.roiread(path)
    assert [roi.name for roi in rois] == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(drawn(rois, (6, 8)), labels.data)
    write(path, labels.replace(data=labels.data * (labels.data == 3)))
    assert roifile.roiread(path)[0].name == "3"


def test_imagej_regions_of_a_stack_name_their_plane(labels: Image, tmp_path: Path) -> None:
    roifile = pytest.importorskip("roifile", reason="the extra export is not installed")
    stack = Image(np.stack([labels.data * 0, labels.data]), "ZYX", kind="labels")
    rois = roifile.roiread(write(tmp_path / "s_rois.zip", stack))
    assert {roi.position for roi in rois} == {2}
    assert rois[0].name == "0002-0001"
    np.testing.assert_array_equal(drawn(rois, (6, 8)), labels.data)


def test_geojson_reads_back_and_leaves_the_side_car_of_the_tif(labels: Image, tmp_path: Path) -> None:
    write(tmp_path / "cells.tif", labels)
    before = (tmp_path / "cells.json").read_bytes()
    path = write(tmp_path / "cells.geojson", labels)
    assert (tmp_path / "cells.json").read_bytes() == before
    drawn = io.read_one(path, "labels").data
    np.testing.assert_array_equal(drawn, labels.data[: drawn.shape[0], : drawn.shape[1]])
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["cells.geojson", "cells.json", "cells.tif"]
    first = path.read_bytes()
    assert write(path, labels).read_bytes() == first


def test_ome_zarr_has_pyramid_units_and_labels(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", reason="the extra export is not installed")
    data = np.arange(3 * 600 * 300, dtype=np.uint32).reshape(3, 600, 300) % 70_000
    image = Image(data, "ZYX", (2, 0.5, 0.25), ("micrometer",) * 3, kind="labels", name="v")
    for _ in range(2):  # the second replaces the first
        path = write(tmp_path / "v.ome.zarr", image)
    group = zarr.open_group(str(path), mode="r")
    np.testing.assert_array_equal(group["0"][:], data)
    np.testing.assert_array_equal(group["2"][:], data[:, ::4, ::4])
    scales = group.attrs["ome"]["multiscales"][0]
    assert scales["axes"][0] == {"name": "z", "type": "space", "unit": "micrometer"}
    assert scales["datasets"][1]["coordinateTransformations"][0]["scale"] == [2, 1.0, 0.5]
    assert scales["axes"][0]["name"] == group["0"].metadata.dimension_names[0]
    assert group.metadata.zarr_format == 3
    assert group.attrs["ome"]["version"] == "0.5"
    assert "image-label" in group.attrs["ome"]
    assert json.loads((tmp_path / "v.json").read_text())["kind"] == "labels"


def test_another_folder_is_never_replaced(labels: Image, tmp_path: Path) -> None:
    pytest.importorskip("zarr", reason="the extra export is not installed")
    (tmp_path / "x.ome.zarr").mkdir()
    (tmp_path / "x.ome.zarr" / "precious.txt").write_text("keep")
    with pytest.raises(WriteError, match="no Zarr store"):
        write(tmp_path / "x.ome.zarr", labels)
    assert (tmp_path / "x.ome.zarr" / "precious.txt").is_file()


@pytest.mark.parametrize("name", ["x.geojson", "x_rois.zip", "x.ome.zarr"])
def test_an_image_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="for labels"):
        write(tmp_path / name, Image(np.zeros((4, 4), np.uint8), "YX"))


def test_a_volume_is_no_geojson(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="Give a plane"):
        write(tmp_path / "v.geojson", Image(np.zeros((2, 4, 4), np.uint8), "ZYX", kind="labels"))


def test_command_converts_labels(labels: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "cells.tif", labels)
    words = ["export", str(tmp_path / "cells.tif"), "-o", str(tmp_path / "out.geojson"), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["labels"] == 4
    assert len(json.loads((tmp_path / "out.geojson").read_text())["features"]) == 4
    assert main([*words, "--format", "onnx"]) == 2
    assert "suffix" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"multiscales": []}', '{"multiscales": [{"datasets": [{"path": "0"}]}]}']
)
def test_a_damaged_ome_zarr_is_refused(tmp_path: Path, content: str) -> None:
    pytest.importorskip("zarr", reason="the extra slide is not installed")
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / ".zattrs").write_text(content)
    with pytest.raises(ReadError):
        io.read(tmp_path / "x.zarr")


def test_outlines_of_a_level_count_the_pixels_of_full_resolution(tmp_path: Path) -> None:
    """Of a level of means of 4 x 4 pixels they are those of full resolution, corners cut over half a pixel."""
    roifile = pytest.importorskip("roifile")
    small = np.zeros((5, 6), np.uint8)
    small[1:4, 2:5] = 1
    small[3, 4] = 0
    um, frame = ("micrometer",) * 2, {"picture": np.diag([0.5, 0.5, 1.0]).tolist()}

    def placed(data: np.ndarray, step: float, begin: float, **known: object) -> Image:
        affine = np.array([[step, 0, begin], [0, step, begin], [0, 0, 1]])
        return Image(data, "YX", (step, step), um, affine, "labels", "s", metadata={**frame, **known})

    level = placed(small, 2.0, 0.5 * (8 + 1.5), level=2)  # begins at pixel 8
    full = placed(np.kron(small, np.ones((4, 4), np.uint8)), 0.5, 0.5 * 8)
    for name, image in (("level", level), ("full", full)):
        write(tmp_path / f"{name}.geojson", image)
        write(tmp_path / f"{name}_rois.zip", image)
    mine, theirs = (io.read_one(tmp_path / f"{name}.geojson") for name in ("level", "full"))
    corners, cut = 10, 3  # pixels of full resolution that each loses or gains
    assert 0 < np.count_nonzero(mine.data != theirs.data) <= corners * cut
    for axis in (0, 1):
        assert [f(np.nonzero(mine.data)[axis]) for f in (np.min, np.max)] == [
            8 + 4 * (1 + axis),
            8 + 4 * (4 + axis) - 1,
        ]
    assert mine.scale == theirs.scale == (0.5, 0.5)
    rois = [roifile.roiread(tmp_path / f"{name}_rois.zip") for name in ("level", "full")]
    (first,), (second,) = ([one] if not isinstance(one, list) else one for one in rois)
    for extreme in (np.min, np.max):
        np.testing.assert_array_equal(extreme(first.coordinates(), 0), extreme(second.coordinates(), 0))


def test_regions_of_a_part_beyond_the_reach_of_imagej_are_refused(tmp_path: Path) -> None:
    """Its coordinates end at 60,535, wherever on a slide a small part lies."""
    pytest.importorskip("roifile", reason="the extra export is not installed")
    labels = Image(np.eye(4, dtype=np.uint8), "YX", kind="labels", name="far")
    for first, fits in (((40_000, 0), True), ((70_000, 0), False)):
        part = part_of(labels, first)
        if fits:
            assert write(tmp_path / "near_rois.zip", part).exists()
        else:
            with pytest.raises(WriteError, match="reach to row 70004"):
                write(tmp_path / "far_rois.zip", part)
