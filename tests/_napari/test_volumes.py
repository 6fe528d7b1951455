"""Volumes in the window: a DICOM series is one layer however it is opened, one volume of many keeps its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dicom_files as d
import nibabel
import numpy as np
import pandas as pd
import pytest
from napari.layers import Labels, Layer
from napari.layers.utils.stack_utils import stack_to_images
from npe2 import PluginManager
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest

from napari_medseg._napari.docks.measure import keep_objects
from napari_medseg._napari.layers import image_from_layer
from napari_medseg._napari.planes import Marks, PlaneButtons, acquired, body_axes
from napari_medseg._napari.readers import get_reader, get_volume_reader, read_layers
from napari_medseg._napari.world import world_of
from napari_medseg._napari.writers import write_labels
from napari_medseg.image import Image
from napari_medseg.io import read, read_one, write

pytestmark = pytest.mark.viewer
VOLUME = np.random.default_rng(1).integers(0, 1000, (4, 6, 5)).astype(np.uint16)


@pytest.mark.parametrize("stack", [False, True])
def test_all_slices_open_one_layer(make_napari_viewer_proxy: Any, tmp_path: Path, stack: bool) -> None:
    paths = [str(path) for path in d.series(tmp_path / "a", VOLUME)]
    viewer = make_napari_viewer_proxy()
    viewer.open(paths, stack=stack, plugin="napari-medseg")
    viewer.open(paths[1], plugin="napari-medseg")
    (layer,) = viewer.layers
    np.testing.assert_array_equal(layer.data, VOLUME)
    result = viewer.add_labels(np.zeros(VOLUME.shape, int), metadata={**layer.metadata, "medseg": {"method": "p-net"}})
    viewer.layers.remove(layer)
    viewer.open(paths[2], plugin="napari-medseg")
    assert len(viewer.layers) == 2
    viewer.layers.remove(result)
    other = [str(path) for path in d.series(tmp_path / "b", VOLUME, series="9.9")]
    viewer.open(other[0], plugin="napari-medseg")
    assert len(viewer.layers) == 2


def test_pictures_of_one_series_open_each(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    for k in range(3):
        d.one(tmp_path / f"{k}.dcm", VOLUME[k], modality="US", sop=d.ULTRASOUND)
    viewer.open([str(tmp_path / f"{k}.dcm") for k in range(3)], plugin="napari-medseg")
    np.testing.assert_array_equal([layer.data for layer in viewer.layers], VOLUME[:3])


@pytest.mark.parametrize("name", ["IM0003", "I1000001", "MR.1.2.840.113.3", "scan.17", "a.hdr", "a.DICOM", "DICOMDIR"])
def test_the_plugin_offers_itself_for_files_without_a_suffix_of_pictures(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    manager = PluginManager.instance()
    manager.discover()
    assert "napari-medseg" in {r.plugin_name for r in manager.iter_compatible_readers([str(tmp_path / name)])}
    assert get_reader(str(tmp_path / name)) is None  # it is empty


def test_one_volume_of_a_film_is_saved_at_its_place(tmp_path: Path) -> None:
    affine = np.diag([1.0, 2, 3, 1])
    affine[:3, 3] = (-10, 20, 5)
    source = nibabel.Nifti1Image(np.ones((9, 8, 6, 3), np.int16), affine)
    source.header.set_zooms((1, 2, 3, 2.5))
    source.to_filename(tmp_path / "scan.nii")
    from napari.layers import Layer

    film = Layer.create(*read_layers(str(tmp_path / "scan.nii"))[0])
    one = stack_to_images(film, 0)[1]
    kept = {name: getattr(one, name) for name in ("scale", "translate", "affine", "units", "metadata")}
    mask = Labels(np.ones(one.data.shape, np.uint8), **kept)
    PluginManager.instance().discover()  # as a window does, and here there is none
    mask.save(str(tmp_path / "mask.nii.gz"), plugin="napari-medseg")
    saved = nibabel.load(tmp_path / "mask.nii.gz")
    assert saved.shape == (9, 8, 6)
    np.testing.assert_allclose(saved.affine, affine)
    assert read_one(tmp_path / "mask.nii.gz").units == ("millimeter",) * 3


HEAD = np.zeros((4, 5, 6), np.int16)  # right to left, posterior to anterior, inferior to superior
HEAD[-1], HEAD[:, -1], HEAD[:, :, -1] = 1, 2, 3  # the left ear, the nose, the top of the head


def head(path: Path, codes: str, tilt: float = 0.0) -> Path:
    """Write the head in the axes that `codes` names, tilted by so many degrees."""
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("LAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    affine = np.diag([-2.0, 2, 2, 1])
    angle = np.radians(tilt)
    affine[1:3, 1:3] = affine[1:3, 1:3] @ np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nibabel.Nifti1Image(HEAD, affine).as_reoriented(turn).to_filename(path)
    return path


def picture(viewer: Any, layer: Any) -> np.ndarray:
    """Return what the screen shows of a volume's middle slice, the top first."""
    order, at = list(viewer.dims.order), [n // 2 for n in layer.data.shape]
    at[order[0]] = np.s_[:]
    turned = np.transpose(layer.data, order)[layer.data.shape[order[0]] // 2]
    for axis, sense, forwards in zip((0, 1), viewer.camera.orientation2d, ("down", "right"), strict=True):
        step = (
            layer.data_to_world(np.eye(3)[order[1 + axis]])[order[1 + axis]]
            - layer.data_to_world(np.zeros(3))[order[1 + axis]]
        )
        if (step > 0) != (str(sense) == forwards):
            turned = np.flip(turned, axis)
    return turned


@pytest.mark.parametrize("tilt", [0.0, 8.0])
@pytest.mark.parametrize("codes", ["LAS", "RAS", "LPI", "PIR", "ASL", "IPR", "SRA"])
def test_volumes_are_upright_in_each_plane(
    make_napari_viewer_proxy: Any, tmp_path: Path, codes: str, tilt: float
) -> None:
    viewer = make_napari_viewer_proxy()
    (layer,) = viewer.open(str(head(tmp_path / "head.nii.gz", codes, tilt)), plugin="napari-medseg")
    assert acquired(layer) == {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}.get(codes[2], "sagittal")
    np.testing.assert_allclose(
        nibabel.load(tmp_path / "head.nii.gz").affine[:3, :3],
        np.diag([-1, -1, 1]) @ np.asarray(image_from_layer(layer).affine)[:3, :3][::-1, ::-1],
        atol=1e-5,
    )
    buttons = PlaneButtons(viewer)
    buttons.suit(layer)
    letters = {"axial": ("A", "P", "R", "L"), "coronal": ("S", "I", "R", "L"), "sagittal": ("S", "I", "A", "P")}
    for plane, button in buttons.buttons.items():
        button.click()
        assert Marks.of(viewer).letters() == letters[plane], plane
        shown = picture(viewer, layer)
        if plane == "axial":
            assert (shown[0] == 2).all()  # the nose
            assert (shown[1:, -1] == 1).all()  # the left ear at the right
        else:
            assert (shown[0] == 3).all()  # the top of the head
        if plane == "coronal":
            assert (shown[1:, -1] == 1).all()
        if plane == "sagittal":
            assert (shown[1:, 0] == 2).all()
    viewer.dims.ndisplay = 3
    assert not any(Marks.of(viewer).letters())
    viewer.layers.clear()
    assert not any(Marks.of(viewer).letters())


def test_the_planes_go_through_the_point_that_was_clicked(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    (layer,) = viewer.open(str(head(tmp_path / "head.nii.gz", "RAS", 8.0)), plugin="napari-medseg")
    buttons = PlaneButtons(viewer)
    buttons.suit(layer)
    canvas = viewer.__wrapped__.window._qt_viewer.canvas.native

    def click() -> np.ndarray:
        """Click beside the middle of the picture and return the place under the mouse in voxels."""
        place = QPoint(canvas.width() // 2 - 90, canvas.height() // 2 + 90)
        QTest.mouseMove(canvas, place)
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
        return np.asarray(layer.world_to_data(viewer.cursor.position))

    def point() -> tuple[int, ...]:
        return tuple(np.round(layer.world_to_data(viewer.dims.point)).astype(int))

    def cross() -> tuple[int, ...]:
        """Return the voxel where the lines meet."""
        starts = viewer.layers["point of the planes"].data[:, 0]
        return tuple(int(starts[(axis + 1) % 3, axis]) for axis in range(3))

    before, ranges = point(), [tuple(one) for one in viewer.dims.range]
    click()
    assert point() == before  # no plane was asked for yet
    assert [one.name for one in viewer.layers] == [layer.name]
    buttons.buttons["axial"].click()
    clicked, wanted = click(), point()
    assert [tuple(one) for one in viewer.dims.range] == ranges
    assert wanted != before
    np.testing.assert_allclose(wanted, clicked, atol=0.51)  # the nearest slices
    for plane in ("coronal", "sagittal", "axial"):
        buttons.buttons[plane].click()
        assert point() == wanted, plane
        assert cross() == wanted
    viewer.dims.set_current_step(viewer.dims.order[0], 0)
    assert point() != wanted
    assert cross() == point()
    assert viewer.layers.selection.active.name == layer.name
    viewer.layers.remove(layer.name)
    viewer.dims.set_current_step(viewer.dims.order[0], 1)


def test_the_cross_lies_on_its_volume_wherever_that_is(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer_proxy()
    first, second = (
        viewer.open(str(head(tmp_path / f"{codes}.nii.gz", codes, 0.0)), plugin="napari-medseg")[0]
        for codes in ("RAS", "PIR")
    )
    buttons = PlaneButtons(viewer)
    for layer in (first, second):
        buttons.suit(layer)
        buttons.buttons["axial"].click()
        mark = viewer.layers["point of the planes"]
        np.testing.assert_allclose(world_of(mark), world_of(layer))
    second.scale = second.scale * 2
    second.translate = np.array([3.0, 4.0, 5.0])
    np.testing.assert_allclose(world_of(mark), world_of(second))
    first.scale = first.scale * 3  # it is no longer the cross's
    np.testing.assert_allclose(world_of(mark), world_of(second))


def test_what_is_no_volume_of_a_body_has_no_planes(make_napari_viewer_proxy: Any) -> None:
    viewer = make_napari_viewer_proxy()
    stack = viewer.add_image(np.zeros((4, 8, 8)))
    buttons = PlaneButtons(viewer)
    buttons.suit(stack)
    assert body_axes(stack) is body_axes(None) is acquired(stack) is None
    assert buttons.isHidden()


def test_a_volume_is_shown_in_the_window_of_its_file(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(100, 10, (20, 20, 20)).astype(np.float32)
    data[0, 0, 0] = 30_000  # one hot voxel
    image = nibabel.Nifti1Image(data, np.eye(4))
    image.to_filename(tmp_path / "a.nii")
    low, high = read_layers(str(tmp_path / "a.nii"))[0][1]["contrast_limits"]
    np.testing.assert_allclose((low, high), np.percentile(data, (0.5, 99.5)), rtol=1e-5)
    image.header["cal_min"], image.header["cal_max"] = 40, 160
    image.to_filename(tmp_path / "b.nii")
    assert read_layers(str(tmp_path / "b.nii"))[0][1]["contrast_limits"] == (40, 160)
    d.series(tmp_path / "c", VOLUME, WindowCenter=500, WindowWidth=401)
    assert read_layers(str(tmp_path / "c"))[0][1]["contrast_limits"] == (299.5, 699.5)


@pytest.mark.parametrize("name", ["scan.nii.gz", "IM0003", "folder"])
def test_the_reader_of_volumes_takes_what_holds_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        d.series(path, VOLUME)
    elif name == "IM0003":
        d.one(path, VOLUME[0])
    else:
        nibabel.Nifti1Image(VOLUME.T, np.eye(4)).to_filename(path)
    manager = PluginManager.instance()
    manager.discover()
    offered = {r.command for r in manager.iter_compatible_readers([str(path)])}
    assert {"napari-medseg.read", "napari-medseg.read_volumes"} <= offered
    for reader in (get_reader, get_volume_reader):
        found = reader(str(path))
        assert found is not None
        assert found(str(path))[0][0].shape[-2:] in ((6, 5), (5, 6))


def test_a_folder_that_holds_no_image_is_refused_in_a_sentence(make_napari_viewer_proxy: Any, tmp_path: Path) -> None:
    from napari.utils.notifications import notification_manager

    (tmp_path / "broken.nii").write_bytes(b"nothing")
    viewer = make_napari_viewer_proxy()
    notification_manager.records.clear()
    assert viewer.open(str(tmp_path / "broken.nii"), plugin="napari-medseg") == []
    assert not viewer.layers
    said = [str(record.message) for record in notification_manager.records]
    assert any("broken.nii" in sentence for sentence in said)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("nothing")
    assert get_reader(str(tmp_path / "notes")) is None


def test_labels_are_shown_and_saved_in_the_colours_of_their_file(tmp_path: Path) -> None:
    data = np.zeros((4, 6, 8), np.uint8)
    data[1, 2:4, 2:5], data[2, 1, 1], data[3, 3, 3] = 1, 4, 9
    facts = {"segments": {"1": "liver", "4": "lesion"}, "segment_colours": {"1": [221, 130, 101], "4": [255, 0, 0]}}
    image = Image(data, "ZYX", (3, 1, 1), ("millimeter",) * 3, kind="labels", name="organs", metadata=facts)
    write(tmp_path / "organs.seg.nrrd", image)
    ((shown, kwargs, kind),) = read_layers(str(tmp_path / "organs.seg.nrrd"))
    layer = Layer.create(shown, kwargs, kind)
    for label, colour in ((1, (221, 130, 101)), (4, (255, 0, 0)), (9, (187, 187, 187))):
        np.testing.assert_allclose(layer.get_color(label)[:3], np.array(colour) / 255, atol=1e-6)
    assert layer.get_color(0) is None or layer.get_color(0)[3] == 0
    write_labels(str(tmp_path / "again.seg.nrrd"), layer.data, layer.as_layer_data_tuple()[1])
    again = read(tmp_path / "again.seg.nrrd")[0]
    assert {key: again.metadata[key]["4"] for key in facts} == {key: facts[key]["4"] for key in facts}
    keep_objects(layer, np.where(data == 4, 1, 0))
    renumbered = image_from_layer(layer)
    assert not facts.keys() & renumbered.metadata.keys()


def test_what_ome_zarr_says_of_labels_is_their_table_and_is_saved_again(tmp_path: Path) -> None:
    facts = {"1": {"name": "a", "class": "tumour", "measurements": {"area": 4.0}}, "3": {"note": "torn"}}
    data = np.diag([1, 0, 3]).astype(np.uint8)
    image = Image(data, "YX", kind="labels", name="cells", metadata={"objects": facts})
    ((shown, kwargs, kind),) = read_layers(str(write(tmp_path / "cells.ome.zarr", image)))
    layer = Layer.create(shown, kwargs, kind)
    assert layer.features[["index", "class", "note"]].fillna("").to_numpy().tolist() == [
        [1, "tumour", ""],
        [3, "", "torn"],
    ]
    layer.features = pd.DataFrame({"index": [1, 3], "area": [5.0, 6.0]})  # as measured
    (written, *_) = write_labels(str(tmp_path / "b.ome.zarr"), layer.data, layer.as_layer_data_tuple()[1])
    known = read(written)[0].metadata["objects"]
    assert known["1"] == {**facts["1"], "measurements": {"area": 5.0}}
    assert known["3"] == {"note": "torn", "measurements": {"area": 6.0}}
