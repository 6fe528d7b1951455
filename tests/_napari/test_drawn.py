"""What is drawn in a layer of its own is written in the pixels of the picture below; windows of several units."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg._napari.layers import image_from_layer, layer_data
from napari_medseg._napari.outline_shapes import outlines_to_labels
from napari_medseg._napari.refine.outlines import planes_of
from napari_medseg._napari.view import bring_into_view, present_slice
from napari_medseg._napari.world import to_data, to_world
from napari_medseg.errors import WriteError
from napari_medseg.image import Image
from napari_medseg.io import write
from napari_medseg.io.geometry import cut_out
from napari_medseg.io.outlines.tracings import read_tracing

pytestmark = pytest.mark.viewer
SQUARE = np.array([(4.0, 6.0), (4.0, 26.0), (14.0, 26.0), (14.0, 6.0)])  # rows and columns of the picture
UM = ("um", "um")


def ring(path: Path) -> np.ndarray:
    """Return the corners of the one outline of a file as rows and columns, without the closing one."""
    (feature,) = json.loads(path.read_text(encoding="utf-8"))["features"]
    return np.array(feature["geometry"]["coordinates"][0])[:-1, ::-1] - 0.5


@pytest.mark.parametrize(
    ("place", "world"),
    [
        ({"units": UM}, lambda um: um),
        ({"scale": (0.5, 0.5), "units": UM}, lambda um: um / 0.5),  # as napari's own button makes one
        ({"scale": (2, 4), "translate": (-30, 7), "units": ("nm", "nm")}, lambda um: (um * 1e3 - (-30, 7)) / (2, 4)),
        (
            {"affine": np.array([[0, 2, 5], [1, 0, 1], [0, 0, 1]]), "units": UM},
            lambda um: (um - (5, 1))[:, ::-1] / (1, 2),
        ),
    ],
)
def test_outlines_and_paths_of_a_layer_of_its_own(
    make_napari_viewer_proxy: Any, tmp_path: Path, place: dict[str, Any], world: Any
) -> None:
    """A picture of 0.5 um pixels whose first one lies at (10, 20) um; the layer has another place, scale and unit."""
    viewer = make_napari_viewer_proxy()
    affine = np.array([[0.5, 0, 10], [0, 0.5, 20], [0, 0, 1]])
    picture = Image(np.zeros((60, 80)), "YX", (0.5, 0.5), ("micrometer",) * 2, affine, name="picture")
    viewer.add_image(layer_data(picture)[0], **layer_data(picture)[1])
    points = world(SQUARE * 0.5 + (10, 20))
    outlines = viewer.add_shapes([points], shape_type="polygon", name="drawn", **place)
    outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    np.testing.assert_allclose(ring(tmp_path / "a.geojson"), SQUARE, atol=1e-6)
    paths = viewer.add_shapes([points], shape_type="path", name="path", **place)
    paths.save(str(tmp_path / "a.swc"), plugin="napari-medseg")
    found = read_tracing(tmp_path / "a.swc").paths[0]
    np.testing.assert_allclose(found, SQUARE * 0.5, atol=1e-4)  # a tracing is in micrometres from the first pixel


def test_outlines_and_labels_of_a_moved_image_lie_together(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    """Both count the pixels of the image, wherever somebody moved it."""
    viewer = make_napari_viewer_proxy()
    image = viewer.add_image(np.zeros((60, 80)), name="picture", scale=(0.5, 0.5), translate=(10, 20))
    outlines = viewer.add_shapes([(SQUARE - 0.5) * 0.5 + (10, 20)], shape_type="polygon", name="drawn")
    outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    data, kwargs, _ = outlines_to_labels(outlines, image)
    write(tmp_path / "b.geojson", image_from_layer(viewer.add_labels(data, **kwargs)))
    for name in "ab":
        found = ring(tmp_path / f"{name}.geojson")
        np.testing.assert_allclose((found.min(0), found.max(0)), ((3.5, 5.5), (13.5, 25.5)))


def test_the_image_in_view_counts(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_image(np.zeros((60, 80)), name="picture", scale=(2, 2))
    other = viewer.add_image(np.zeros((60, 80)), name="other")
    outlines = viewer.add_shapes([SQUARE * 2], shape_type="polygon", name="drawn")
    with pytest.raises(WriteError, match=r"drawn lies at other pixels of each .*\(other, picture\).*Hide all but"):
        outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    assert not (tmp_path / "a.geojson").exists()
    other.visible = False
    outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    np.testing.assert_allclose(ring(tmp_path / "a.geojson"), SQUARE)


def test_a_part_of_a_picture_counts_the_pixels_of_the_whole(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    whole = Image(np.zeros((60, 80)), "YX", (0.5, 0.5), ("micrometer",) * 2, name="whole")
    data, kwargs, _ = layer_data(cut_out(whole, (slice(3, 50), slice(5, 60))), "part")
    viewer.add_image(data, **kwargs)
    outlines = viewer.add_shapes([SQUARE * 0.5], shape_type="polygon", name="drawn", units=UM)
    outlines.save(str(tmp_path / "a.geojson"), plugin="napari-medseg")
    np.testing.assert_allclose(ring(tmp_path / "a.geojson"), SQUARE)


def test_a_window_of_several_units(make_napari_viewer_proxy: Any) -> None:
    """A volume in mm beside one in um: napari counts in the smaller unit, and each layer in its own."""
    viewer = make_napari_viewer_proxy()
    planes = np.arange(10.0)[:, None, None] * np.ones((10, 8, 8))
    coarse = viewer.add_image(planes, name="coarse", scale=(2, 1, 1), units=("mm",) * 3)
    fine = viewer.add_image(np.ones((10, 8, 8)), scale=(500, 100, 100), units=("um",) * 3)
    for index in (3, 7):
        bring_into_view(viewer, coarse, (index, 4, 4))
        seen = viewer.__wrapped__.layers["coarse"]._data_view  # what napari shows
        assert np.unique(np.asarray(seen)) == [index]
        assert present_slice(viewer, coarse)[0] == index
    np.testing.assert_allclose(to_data(viewer, coarse, to_world(viewer, coarse, (3, 1, 2))), (3, 1, 2))
    np.testing.assert_allclose(to_data(viewer, fine, to_world(viewer, coarse, (1, 0.5, 0.2))), (4, 5, 2))
    box = np.array([(3, 1, 1), (3, 1, 5), (3, 6, 5), (3, 6, 1)], float)  # in the pixels of the volume in mm
    drawn = viewer.add_shapes([box * (2000, 1000, 1000)], shape_type="polygon", ndim=3, units=("um",) * 3)
    ((plane, corners),) = planes_of(drawn, coarse)
    assert plane[0] == 3
    np.testing.assert_allclose(corners, box[:, 1:])
