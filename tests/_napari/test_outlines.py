"""Outlines of other programs in the viewer: Shapes in and out, labels on demand; slides as multiscale layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from PIL import Image as Pillow

from napari_medseg._napari.docks.segment import MOST, VIEW, WHOLE, ExtentChooser
from napari_medseg._napari.layers import layer_data
from napari_medseg._napari.outline_shapes import outlines_to_labels
from napari_medseg._napari.readers import read_layers
from napari_medseg._napari.view import CONTEXT
from napari_medseg._napari.world import in_other, world_of
from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.io.histology import read_annotation
from napari_medseg.io.outlines import geojson

pytestmark = pytest.mark.viewer
XML = (
    '<Annotations MicronsPerPixel="0.25"><Annotation Name="nuclei"><Regions><Region Id="7"><Vertices>'
    '<Vertex X="3" Y="2"/><Vertex X="9" Y="2"/><Vertex X="9" Y="8"/><Vertex X="3" Y="8"/>'
    "</Vertices></Region></Regions></Annotation></Annotations>"
)


@pytest.fixture
def labels() -> np.ndarray:
    found = np.zeros((40, 50), np.uint16)
    found[2:20, 2:20], found[8:14, 8:14], found[25:33, 30:44] = 1, 0, 2  # the first has a hole
    return found


def test_imagescope_opens_as_shapes_with_its_pixel_size(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML)
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(str(tmp_path / "a.xml"), plugin="napari-medseg")
    assert type(layer).__name__ == "Shapes"
    np.testing.assert_array_equal(layer.scale, (0.25, 0.25))
    np.testing.assert_array_equal(layer.data[0], [(2, 3), (2, 9), (8, 9), (8, 3)])
    assert layer.features[["object", "name", "class"]].values.tolist() == [[1, "7", "nuclei"]]


def test_the_dock_draws_outlines_as_labels_or_says_what_is_missing(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    _, dock = viewer.window.add_plugin_dock_widget("napari-medseg", "Outlines to labels")
    said: list[str] = []
    listener = notification_manager.notification_ready.connect(lambda event: said.append(str(event.message)))
    try:
        dock()
        viewer.add_image(np.zeros((20, 30), np.uint8), name="picture")
        path = viewer.add_shapes([np.array([(2, 2), (2, 9)])], shape_type="path", name="path")
        dock.reset_choices()
        dock()
        viewer.layers.remove(path)
        viewer.add_shapes([np.array([(2, 3), (2, 9), (8, 9), (8, 3)])], shape_type="polygon", name="drawn")
        dock.reset_choices()
        dock()
    finally:
        notification_manager.notification_ready.disconnect(listener)
    assert "Open outlines" in said[0]
    assert "path holds paths" in said[1]
    assert len(said) == 2
    labels = viewer.layers["drawn · labels"].data
    assert labels.shape == (20, 30)
    assert labels[5, 6] == 1


def test_geojson_opens_saves_and_becomes_labels_with_holes(
    make_napari_viewer_proxy: Any, tmp_path: Path, labels: np.ndarray
) -> None:
    geojson.write_labels(tmp_path / "a.geojson", labels, group="Gland")
    Pillow.fromarray(np.zeros((*labels.shape, 3), np.uint8)).save(tmp_path / "a.png")
    viewer = make_napari_viewer_proxy()
    (outlines,) = viewer.open(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    (image,) = viewer.open(str(tmp_path / "a.png"), plugin="napari-medseg")
    assert len(outlines.data) == 3
    data, kwargs, kind = outlines_to_labels(outlines, image)
    assert kind == "labels"
    np.testing.assert_array_equal(data, labels)
    assert viewer.add_labels(data, **kwargs).data.shape == labels.shape
    outlines.save(str(tmp_path / "b.geojson"), plugin="napari-medseg")
    np.testing.assert_array_equal(read_annotation(tmp_path / "b.geojson", labels.shape).data, labels)
    classes = [f["properties"]["classification"] for f in json.loads((tmp_path / "b.geojson").read_text())["features"]]
    assert classes == [{"color": [230, 159, 0], "name": "Gland"}] * 2


def test_drawn_shapes_are_saved_and_lines_are_refused(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    layer = viewer.add_shapes(ndim=2, name="drawn")
    layer.add_rectangles(np.array([(2, 3), (2, 9), (8, 9), (8, 3)]))
    layer.add_ellipses(np.array([(10, 10), (10, 30), (22, 30), (22, 10)]))
    layer.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    found = read_annotation(tmp_path / "a.geojson", (40, 40)).data
    assert (found == 1).sum() == 36
    assert (found == 2).sum() == pytest.approx(np.pi * 6 * 10, rel=0.05)
    layer.add_paths(np.array([(0, 0), (5, 5)]))
    with pytest.raises(WriteError, match="paths or lines"):
        layer.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")


def test_an_annotation_without_outlines_opens_as_labels(tmp_path: Path) -> None:
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": []}')
    assert read_layers(str(tmp_path / "a.geojson"))[0][2] == "labels"


def test_a_slide_is_multiscale_and_its_view_comes_first(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (1024, 1280, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        for step in (1, 4):
            tiff.write(rgb[::step, ::step], tile=(256, 256), photometric="rgb", subfiletype=int(step > 1))
    viewer = make_napari_viewer_proxy(show=True)
    (layer,) = viewer.open(str(tmp_path / "s.tif"), plugin="napari-medseg")
    assert layer.multiscale
    assert [level.shape for level in layer.data] == [(1024, 1280, 3), (256, 320, 3)]
    chooser = ExtentChooser(viewer)
    chooser.suit(layer)
    assert chooser.currentText() == VIEW
    layer.data_level, layer.corner_pixels = 1, np.array([[10, 20], [59, 79]])
    image, offset = chooser.cut(layer)
    assert offset == (0, 80 - CONTEXT)
    assert image.spatial_shape == (237 + CONTEXT, 237 + 2 * CONTEXT)
    np.testing.assert_array_equal(np.asarray(image.data), rgb[: 237 + CONTEXT, 80 - CONTEXT : 317 + CONTEXT])
    chooser.setCurrentText(WHOLE)
    assert chooser.cut(layer)[0].spatial_shape == (1024, 1280)
    chooser.setCurrentText(VIEW)
    viewer.camera.center = (0, 0, -9000)
    with pytest.raises(DataError, match="Nothing of s is in view"):
        chooser.cut(layer)


def test_labels_of_a_slide_open_as_multiscale_labels(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    labels = np.repeat(np.arange(600, dtype=np.uint32)[:, None], 500, 1)
    write(tmp_path / "s_labels.ome.zarr", Image(labels, "YX", (0.5, 0.5), ("micrometer",) * 2, kind="labels", name="s"))
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(str(tmp_path / "s_labels.ome.zarr"), plugin="napari-medseg")
    assert type(layer).__name__ == "Labels"
    assert layer.multiscale
    np.testing.assert_array_equal(layer.scale, (0.5, 0.5))
    np.testing.assert_array_equal(np.asarray(layer.data[1]), labels[::2, ::2])


def test_a_slide_too_large_for_the_window_is_refused(
    make_napari_viewer_proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = make_napari_viewer_proxy()
    levels = [np.zeros((64 >> k, 64 >> k, 3), np.uint8) for k in range(2)]
    layer = viewer.add_image(levels, multiscale=True, rgb=True)
    monkeypatch.setattr("napari_medseg._napari.docks.segment.MOST", 1000)
    chooser = ExtentChooser(viewer)
    with pytest.raises(DataError, match="Batch dock"):
        chooser.cut(layer)
    assert MOST > 1000


def test_outlines_become_labels_where_they_are_seen(make_napari_viewer_proxy: Any) -> None:
    """A square of 10 um, drawn in a layer of its own whose pixels are 1 um, over a picture that begins elsewhere."""
    viewer = make_napari_viewer_proxy()
    place = {"scale": (0.5, 0.5), "translate": (2, 4), "units": ("um", "um")}
    image = viewer.add_image(np.zeros((60, 60)), **place)
    square = np.array([(9.9, 9.9), (9.9, 19.9), (19.9, 19.9), (19.9, 9.9)])
    outlines = viewer.add_shapes([square], shape_type="polygon", units=("um", "um"))
    data, kwargs, _ = outlines_to_labels(outlines, image)
    layer = viewer.add_labels(data, **kwargs)
    corners = [layer.data_to_world(place) for place in (np.argwhere(data).min(0), np.argwhere(data).max(0))]
    np.testing.assert_allclose(corners, [(10, 10), (19.5, 19.5)])
    outlines.rotate = 30
    expected = [image.world_to_data(outlines.data_to_world(point)) for point in square]
    np.testing.assert_allclose(in_other(outlines, square, image), expected, atol=1e-9)


def test_outlines_of_several_slices_stay_in_them(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    """Squares in slices 1 and 3 of a volume that is placed by its affine, drawn in a layer of the world."""
    viewer = make_napari_viewer_proxy()
    affine = np.diag([3.0, 0.5, 0.5, 1.0])
    affine[:3, 3] = -7, 10, 20
    volume = Image(np.zeros((5, 30, 40)), "ZYX", (3, 0.5, 0.5), ("millimeter",) * 3, affine, name="head")
    data, kwargs, _ = layer_data(volume)
    image = viewer.add_image(data, **kwargs)
    square = np.array([(3.6, 5.6), (3.6, 9.4), (8.4, 9.4), (8.4, 5.6)])  # rows 4 to 8, columns 6 to 9
    corners = [np.insert(square + 4 * k, 0, z, axis=1) for k, z in enumerate((1, 3))]
    drawn = [one @ affine[:3, :3].T + affine[:3, 3] for one in corners]
    outlines = viewer.add_shapes(drawn, shape_type="polygon", ndim=3, units=("mm",) * 3, name="drawn")
    labels, place, _ = outlines_to_labels(outlines, image)
    expected = np.zeros((5, 30, 40), int)
    expected[1, 4:9, 6:10], expected[3, 8:13, 10:14] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(world_of(viewer.add_labels(labels, **place)), world_of(image))
    outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    planes = [f["geometry"]["plane"]["z"] for f in json.loads((tmp_path / "a.geojson").read_text())["features"]]
    assert planes == [1, 3]
    found = np.asarray(read_annotation(tmp_path / "a.geojson").data) > 0
    np.testing.assert_array_equal(found, expected[:4, :14, :15] > 0)
    flat = viewer.add_shapes([square * 0.5 + (10, 20)], shape_type="polygon", ndim=2, units=("mm",) * 2)
    picture, place, _ = outlines_to_labels(flat, image)
    np.testing.assert_array_equal(picture, expected[1])
    np.testing.assert_allclose(world_of(viewer.add_labels(picture, **place)), affine[1:, 1:])
    outlines.add_polygons(drawn[0] + np.array([[0], [0], [3], [3]]) * (1, 0, 0))
    with pytest.raises(WriteError, match="reaches through several planes"):
        outlines_to_labels(outlines, image)
