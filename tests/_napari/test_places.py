"""Layers keep their place: what a layer shows is what a file holds and what is measured, or writing is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer
from ome_files import ome_of, write_parts

from napari_medseg import Image, read
from napari_medseg._napari.belonging import set_pixel_size, take_place
from napari_medseg._napari.layers import (
    geometry,
    image_from_layer,
    layer_data,
    like,
)
from napari_medseg._napari.parts import Followed, add_part, add_time_point
from napari_medseg._napari.readers import read_layers
from napari_medseg._napari.world import moved_to, world_of
from napari_medseg._napari.writers import write_labels
from napari_medseg.errors import WriteError
from napari_medseg.io import read_one, write
from napari_medseg.io.geometry import in_order, matrix_of
from napari_medseg.io.grids import on_grid
from napari_medseg.io.volumes.space import at_time
from napari_medseg.measure import measure

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
UM, MM = "micrometer", "millimeter"
TURN = np.deg2rad(30)
TURNED = [[np.cos(TURN), -np.sin(TURN)], [np.sin(TURN), np.cos(TURN)]]
ROTATED_3D = np.eye(3)
ROTATED_3D[1:, 1:] = TURNED
OBLIQUE_3D = np.array([[np.cos(TURN), 0, -np.sin(TURN)], [0, 1, 0], [np.sin(TURN), 0, np.cos(TURN)]])

PLACES: dict[str, dict[str, Any]] = {
    "translate": {"scale": (0.5, 0.5), "translate": (10, 20), "units": (UM,) * 2},
    "translate off the pixels": {"scale": (0.5, 0.5), "translate": (10.2, 20.1), "units": (UM,) * 2},
    "rotate": {"scale": (0.5, 0.5), "rotate": TURNED, "translate": (4, 3), "units": (UM,) * 2},
    "shear": {"scale": (0.5, 0.5), "shear": [0.3], "units": (UM,) * 2},
    "negative scale": {"scale": (-0.5, 0.5), "translate": (8, 0), "units": (UM,) * 2},
    "negative scale before the origin": {"scale": (-0.5, 0.5), "units": (UM,) * 2},
    "anisotropic": {"scale": (2.0, 0.25), "units": (UM,) * 2},
    "affine": {"affine": [[2.0, 0, 6], [0, 2, 8], [0, 0, 1]], "units": (MM,) * 2},
    "no unit": {"scale": (0.5, 0.5), "translate": (10, 20)},
    "plain": {},
}
VOLUMES: dict[str, dict[str, Any]] = {
    "translate": {"scale": (3, 1, 1), "translate": (30, 20, 10), "units": (MM,) * 3},
    "rotate": {"scale": (3, 1, 0.5), "rotate": ROTATED_3D, "translate": (4, 3, -2), "units": (MM,) * 3},
    "negative scale": {"scale": (-3, -1, -1), "translate": (87, 49, 39), "units": (MM,) * 3},
    "anisotropic": {"scale": (5, 0.3, 0.7), "units": (MM,) * 3},
    "voxel size in the affine": {"affine": np.diag([3.0, 1, 1, 1]), "units": (MM,) * 3},
    "oblique": {"scale": (3, 1, 1), "rotate": OBLIQUE_3D, "translate": (1, 2, 3), "units": (MM,) * 3},
    "micrometres": {"scale": (3, 1, 1), "translate": (30, 20, 10), "units": (UM,) * 3},
    "other order of axes": {"scale": (1, 2, 3), "translate": (5, 6, 7), "units": (MM,) * 3,
                            "axis_labels": ("x", "y", "z")},
    "no unit": {"scale": (3, 1, 1), "translate": (30, 20, 10)},
}  # fmt: skip
MM_OF = {"pixel": 1.0, UM: 1e-3, MM: 1.0}


def flat() -> np.ndarray:
    """Two lopsided objects, in the corners that show mirroring."""
    data = np.zeros((9, 12), np.uint8)
    data[1:3, 2:7] = 1
    data[1, 2] = 0
    data[5:8, 8:10] = 2
    return data


def solid() -> np.ndarray:
    data = np.zeros((5, 9, 12), np.uint8)
    data[1] = flat()
    data[3, 2, 3] = 2
    return data


def centres(image: Image, unit: float = 1.0) -> dict[tuple[float, ...], int]:
    """Value by place of the labelled voxels, in mm, time and depth first."""
    image = in_order(image)
    index = np.argwhere(np.asarray(image.data))
    matrix = matrix_of(image)
    world = (index @ matrix[:-1, :-1].T + matrix[:-1, -1]) * [unit * MM_OF[u] for u in image.units]
    values = np.asarray(image.data)[tuple(index.T)]
    return {tuple(place): int(value) for place, value in zip(world, values, strict=True)}


def assert_same_places(found: Image, wanted: Image) -> None:
    """Voxel centres agree within 1e-4 of a voxel, and labels with them."""
    a, b = centres(found), centres(wanted)
    assert len(a) == len(b)
    step = min(wanted.scale) * MM_OF[wanted.units[-1]]
    places = np.array(list(a))
    for place, value in b.items():
        distance = np.linalg.norm(places - place, axis=1)
        assert distance.min() < 1e-4 * step
        assert list(a.values())[int(distance.argmin())] == value


def save(path: Path, layer: Layer) -> str:
    """Write a layer as the window does; the reason, if it is refused."""
    data, attributes, _ = layer.as_layer_data_tuple()
    try:
        write_labels(str(path), data, attributes)
    except WriteError as error:
        return str(error)
    return ""


def reopened(path: Path) -> Image:
    """What the window shows of a file, as an image."""
    (data, kwargs, kind), *_ = read_layers(str(path))
    return image_from_layer(Layer.create(data, kwargs, kind))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy", ".nii.gz", ".nrrd", ".mha", ".ome.zarr", ".geojson"])
@pytest.mark.parametrize("place", PLACES)
def test_a_picture_comes_back_to_its_place(tmp_path: Path, place: str, suffix: str) -> None:
    layer = Labels(flat(), name="a", **PLACES[place])
    path = tmp_path / f"a_labels{suffix}"
    reason = save(path, layer)
    if reason:
        assert any(word in reason for word in ("picture", "oblique", "shear", "unit", "axes")), reason
        assert suffix not in (".tif", ".png", ".npy")
        assert not path.exists()
        return
    wanted = image_from_layer(layer)
    assert_same_places(read_one(path, "labels"), wanted)
    if suffix != ".geojson":  # opens as outlines
        assert_same_places(reopened(path), wanted)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".nii.gz", ".nii", ".nrrd", ".mha", ".ome.zarr"])
@pytest.mark.parametrize("place", VOLUMES)
def test_a_volume_comes_back_to_its_place(tmp_path: Path, place: str, suffix: str) -> None:
    layer = Labels(solid(), name="a", **VOLUMES[place])
    path = tmp_path / f"a_labels{suffix}"
    reason = save(path, layer)
    if reason:
        assert any(word in reason for word in ("oblique", "unit", "axes")), reason
        assert not path.exists()
        return
    wanted = image_from_layer(layer)
    assert_same_places(read_one(path, "labels"), wanted)
    assert_same_places(reopened(path), wanted)


@pytest.mark.parametrize("place", ["translate", "negative scale", "rotate", "oblique", "voxel size in the affine"])
def test_another_reader_agrees(tmp_path: Path, place: str) -> None:
    layer = Labels(solid(), name="a", **VOLUMES[place])
    assert not save(tmp_path / "a.nii.gz", layer)
    volume = nibabel.load(tmp_path / "a.nii.gz")
    index = np.argwhere(np.asarray(volume.dataobj))
    world = index @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    found = {tuple(np.round(w * [-1, -1, 1], 3)[::-1]) for w in world}  # x, y, z to the right, front, top
    mine = {tuple(np.round(layer.data_to_world(i), 3)) for i in np.argwhere(layer.data)}
    assert found == mine


def test_outlines_count_the_pixels_of_the_picture(tmp_path: Path) -> None:
    import json

    roifile = pytest.importorskip("roifile")
    layer = Labels(flat(), name="a", **PLACES["translate"])
    assert not save(tmp_path / "a.geojson", layer)
    ring = json.loads((tmp_path / "a.geojson").read_text())["features"][1]["geometry"]["coordinates"][0]
    assert np.min(ring, 0).tolist() == [48, 25]  # column 8 and row 5 of a part that begins at (20, 40)
    assert not save(tmp_path / "a_rois.zip", layer)
    roi = roifile.roiread(tmp_path / "a_rois.zip")[1]
    assert (roi.left, roi.top) == (48, 25)


def test_a_corrected_voxel_size_counts_everywhere(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = (5, 6, 7)
    write(tmp_path / "case_labels.nii", Image(solid(), "ZYX", (1,) * 3, (MM,) * 3, affine, "labels"))
    (data, kwargs, kind), *_ = read_layers(str(tmp_path / "case_labels.nii"))
    layer = Layer.create(data, kwargs, kind)
    layer.scale = (3, 1, 1)
    assert not save(tmp_path / "saved.nii.gz", layer)
    assert tuple(nibabel.load(tmp_path / "saved.nii.gz").header.get_zooms()) == (1, 1, 3)
    column = "volume (mm^3)"
    shown = measure("volume", image_from_layer(layer))
    table = measure("volume", read_one(tmp_path / "saved.nii.gz", "labels"))
    name = next(c for c in table if c.startswith("volume"))
    assert table[name].tolist() == shown[name].tolist(), column
    assert not save(tmp_path / "saved.geojson", Labels(flat(), scale=(2, 2), metadata={"medseg_image": {
        "affine": np.diag([1.0, 1, 1]), "axes": "YX"}}))  # fmt: skip


def test_a_part_is_saved_and_measured_in_its_place(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    picture = ImageLayer(rgb, scale=(0.5, 0.5), units=(UM,) * 2, name="p")
    placed = like(picture)
    placed["translate"] = moved_to(picture, (10, 20))
    part = Labels(flat(), name="part", **placed)
    labels = image_from_layer(part)
    frame = measure("nuclei", labels, image_from_layer(picture))
    whole = on_grid(labels, image_from_layer(picture))
    assert np.argwhere(whole.data == 2).min(0).tolist() == [15, 28]
    assert whole.data.shape == (40, 50)
    here, there = frame.filter(like="centroid"), measure("nuclei", whole).filter(like="centroid")
    np.testing.assert_allclose(here, there)
    assert not save(tmp_path / "part.geojson", part)
    assert_same_places(read(tmp_path / "part.geojson")[0], labels)


def test_a_part_of_a_turned_layer() -> None:
    layer = ImageLayer(np.zeros((40, 50)), **PLACES["rotate"])
    placed = like(layer)
    placed["translate"] = moved_to(layer, (10, 20))
    part = Labels(flat(), **placed)
    np.testing.assert_allclose(part.data_to_world((2, 3)), layer.data_to_world((12, 23)))


def test_results_on_a_stage_position_count_the_pixels_of_their_picture(tmp_path: Path) -> None:
    import json

    layer = ImageLayer(np.zeros((9, 12)), scale=(0.5, 0.5), translate=(5032.37, 811.9), units=(UM,) * 2)
    assert not save(tmp_path / "a.geojson", Labels(flat(), **like(layer)))
    ring = json.loads((tmp_path / "a.geojson").read_text())["features"][1]["geometry"]["coordinates"][0]
    assert np.min(ring, 0).tolist() == [8, 5]


def test_an_oblique_volume_is_shown_along_its_own_axes() -> None:
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE_3D @ np.diag([3.0, 1, 1])
    affine[:3, 3] = (7, 8, 9)
    image = Image(solid(), "ZYX", (3, 1, 1), (MM,) * 3, affine, "labels", "a")
    assert "affine" not in geometry(image)
    layer = Layer.create(*layer_data(image))
    np.testing.assert_allclose(image_from_layer(layer).affine, affine)
    layer.scale = (2, 1, 1)  # the size was wrong in the file
    steps = np.linalg.norm(np.asarray(image_from_layer(layer).affine)[:3, :3], axis=0)
    np.testing.assert_allclose(steps, (2, 1, 1))
    np.testing.assert_allclose(world_of(layer), np.diag([2.0, 1, 1, 1]))


def test_images_of_one_ome_tiff_opened_together_are_there_once_each(tmp_path: Path) -> None:
    names = ["p0.ome.tif", "p1.ome.tif"]
    write_parts(tmp_path, names, ome_of(names, 'SizeZ="1" SizeT="1"', images=2).replace('FirstT="1"', 'FirstT="0"'))
    paths = [str(tmp_path / name) for name in names]
    for order in (paths, paths[::-1]):
        layers = read_layers(order)
        assert sorted(int(np.asarray(data)[0, 0]) for data, _, _ in layers) == [0, 1]


@pytest.mark.parametrize("how", ["in the layer", "where a pixel size is entered"])
@pytest.mark.parametrize("of", ["part", "time point"])
def test_a_part_follows_what_it_is_a_part_of(of: str, how: str) -> None:
    """Of an oblique volume too, which a window shows along its own axes."""
    c, s = np.cos(0.3), np.sin(0.3)
    affine = np.eye(5)
    affine[1:4, 1:4] = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) @ np.diag([3.0, 2, 1])
    affine[1:4, 4] = 30, 20, 10
    data = np.arange(2 * 4 * 5 * 6, dtype=np.uint8).reshape(2, 4, 5, 6)
    movie = Image(data, "TZYX", (1, 3, 2, 1), ("pixel", *("millimeter",) * 3), affine, name="a")
    image = movie if of == "time point" else at_time(movie, 0)
    viewer = ViewerModel()
    values, kwargs, _ = layer_data(image)
    layer = viewer.add_image(values, **kwargs)
    begin = (0, 0, 0) if of == "time point" else (1, 2, 3)
    part = (
        add_time_point(viewer, layer, 1)
        if of == "time point"
        else add_part(viewer, layer, tuple(slice(k, 4) for k in begin))
    )
    followed = Followed(layer)
    if how == "in the layer":
        layer.scale, layer.translate = np.array(layer.scale) * 2, np.array(layer.translate) + 7
    else:
        set_pixel_size(viewer, layer, (1500.0, 800.0, 900.0), "micrometer")
    followed.lead(part)
    whole, cut = image_from_layer(layer), image_from_layer(part)
    assert (cut.units, cut.scale) == (whole.units[-3:], pytest.approx(whole.scale[-3:]))
    wanted = matrix_of(whole)[-4:, -4:]
    np.testing.assert_allclose(matrix_of(cut)[:3, :3], wanted[:3, :3], atol=1e-9)
    np.testing.assert_allclose(matrix_of(cut) @ [0, 0, 0, 1], wanted @ [*begin, 1], atol=1e-9)
    shown = [one.data_to_world(at)[-3:] for one, at in ((part, (0, 0, 0)), (layer, (1,) * (layer.ndim - 3) + begin))]
    np.testing.assert_allclose(*shown, atol=1e-9)


def test_layers_of_a_picture_in_colours_are_not_named_by_its_first_colour(tmp_path: Path) -> None:
    """A palette is read as colours and as numbers; channels of a scan have names, red of a picture is none."""
    picture = PIL.Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).convert("P")
    picture.putpalette([k * 7 % 256 for k in range(768)])
    picture.save(tmp_path / "tissue.png")
    assert [kwargs["name"] for _, kwargs, _ in read_layers(str(tmp_path / "tissue.png"))] == [
        "tissue",
        "tissue_numbers",
    ]


@pytest.mark.parametrize("mask_first", [True, False])
def test_a_mask_of_pages_is_put_onto_its_film(tmp_path: Path, mask_first: bool) -> None:
    """A mask of another program states no axes: read as a volume, it is the film's, frame by frame."""
    film, step = solid(), (2.0, 0.5, 0.25)
    write(tmp_path / "film.ome.tif", Image(film, "TYX", step, ("second", UM, UM)))
    tifffile.imwrite(tmp_path / "film_labels.tif", film)
    viewer = ViewerModel()
    for name in sorted(("film.ome.tif", "film_labels.tif"), reverse=mask_first):
        for parts in read_layers(str(tmp_path / name)):
            viewer.add_layer(Layer.create(*parts))
    mask = next(layer for layer in viewer.layers if isinstance(layer, Labels))
    assert image_from_layer(mask).axes == "ZYX"
    said = take_place(viewer, mask, image_from_layer(mask))
    assert "first axis: T" in said
    found = image_from_layer(mask)
    assert (found.axes, found.scale, found.units) == ("TYX", step, ("second", UM, UM))
    assert take_place(viewer, mask, found) == ""


def test_a_mask_of_frames_is_put_onto_its_volume() -> None:
    viewer = ViewerModel()
    viewer.add_image(solid(), name="scan", scale=(3, 1, 0.5), translate=(1, 2, 3), units=(MM,) * 3)
    mask = viewer.add_labels(solid(), name="mask", axis_labels=("t", "y", "x"))
    assert "first axis: Z" in take_place(viewer, mask, image_from_layer(mask))
    np.testing.assert_allclose(world_of(mask), world_of(viewer.layers["scan"]))
    assert (image_from_layer(mask).axes, image_from_layer(mask).units) == ("ZYX", (MM,) * 3)


@pytest.mark.parametrize("labels", ["xyz", "yxz", "xzy"])
def test_no_size_is_taken_from_an_image_with_another_order_of_axes(labels: str) -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((6, 6, 6)), name="scan", scale=(1, 2, 3), units=(MM,) * 3, axis_labels=tuple(labels))
    mask = viewer.add_labels(np.ones((6, 6, 6), int), name="mask", axis_labels=("z", "y", "x"))
    assert take_place(viewer, mask, image_from_layer(mask)) == ""
    np.testing.assert_allclose(world_of(mask), np.eye(4))
