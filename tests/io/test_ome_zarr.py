"""OME-Zarr as NGFF 0.4 and 0.5 describe it and other programs write it: steps, units, places, containers, labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image
from napari_medseg.io import read, read_labels, read_one, write
from napari_medseg.io.geometry import at_level
from napari_medseg.io.grids import moved_notes, on_grid

zarr = pytest.importorskip("zarr")
UM = dict.fromkeys("zyx", "micrometer")


def store(
    path: Path, data: np.ndarray, axes: Sequence[str], scale: list[Any], *, units: dict[str, str] | None = None,
    level: list[dict[str, Any]] | None = None, whole: list[dict[str, Any]] | None = None, version: str = "0.4",
    more: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write one level; `level` and `whole` are further transformations of the level and of the pyramid."""
    units = UM if units is None else units
    described = [{"name": axis, **({"unit": units[axis]} if axis in units else {})} for axis in axes]
    steps = [{"type": "scale", "scale": scale}, *(level or [])]
    pyramid: dict[str, Any] = {"axes": described, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    pyramid |= {"coordinateTransformations": whole} if whole else {}
    described_by = {"multiscales": [{"version": version, **pyramid}], **(more or {})}
    attributes = described_by if version == "0.4" else {"ome": {"version": version, **described_by}}
    group = zarr.create_group(str(path), zarr_format=2 if version == "0.4" else 3, attributes=attributes)
    group.create_array("0", data=data)
    return path


def test_transformations_of_the_pyramid_follow_those_of_a_level(tmp_path: Path) -> None:
    """NGFF 0.4, multiscales: x -> whole(level(x)): (x * 2 + 3) * 0.25 + 10."""
    level = [{"type": "translation", "translation": [3.0, 3.0]}]
    whole = [{"type": "scale", "scale": [0.25, 0.25]}, {"type": "translation", "translation": [10.0, 20.0]}]
    image = read_one(store(tmp_path / "a.zarr", np.zeros((8, 9), np.uint8), "yx", [2.0, 2.0], level=level, whole=whole))
    assert (image.scale, image.units) == ((0.5, 0.5), ("micrometer",) * 2)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine, [[0.5, 0, 10.75], [0, 0.5, 20.75], [0, 0, 1]])


def test_each_level_lies_where_it_says(tmp_path: Path) -> None:
    """Level 1 of means of 4 x 4 pixels, of a pyramid that is cut off at the end: its scale, not its size, says so."""
    path = store(tmp_path / "a.zarr", np.zeros((10, 11), np.uint8), "yx", [0.5, 0.5])
    group = zarr.open_group(str(path), mode="a")
    (pyramid,) = group.attrs["multiscales"]
    steps = [{"type": "scale", "scale": [2.0, 2.0]}, {"type": "translation", "translation": [0.75, 0.75]}]
    group.create_array("1", data=np.zeros((2, 2), np.uint8))
    second = {"path": "1", "coordinateTransformations": steps}
    group.attrs["multiscales"] = [{**pyramid, "datasets": [*pyramid["datasets"], second]}]
    level = at_level(read_one(path), 1)
    assert level.scale == (2.0, 2.0)
    assert level.affine is not None
    np.testing.assert_allclose(level.affine @ (1, 0, 1), (0.5 * (4 + 7) / 2, 0.5 * 3 / 2, 1))  # mean of pixels 4 to 7


@pytest.mark.parametrize(
    ("units", "scale", "right"),
    [
        ({"t": "millisecond", **UM}, [40, 2, 0.25, 0.25], ((0.04, 2, 0.25, 0.25), ("second", *("micrometer",) * 3))),
        (UM, [1, 2, 0.25, 0.25], ((1, 2, 0.25, 0.25), ("pixel", *("micrometer",) * 3))),
        ({"z": "nanometer", "y": "angstrom", "x": "centimeter"}, [1, 300, 2500, 1e-4],
         ((1, 0.3, 0.25, 1), ("pixel", *("micrometer",) * 3))),
        ({"t": "second"}, [0.5, 3, 3, 3], ((0.5, 1, 1, 1), ("second", "pixel", "pixel", "pixel"))),
    ],
)  # fmt: skip
def test_each_axis_states_its_own_unit(tmp_path: Path, units: dict[str, str], scale: list[float], right: Any) -> None:
    image = read_one(store(tmp_path / "a.zarr", np.zeros((2, 3, 8, 9), np.uint8), "tzyx", scale, units=units))
    np.testing.assert_allclose(image.scale, right[0])
    assert image.units == right[1]
    assert bool(image.metadata.get("notes")) == (units == {"t": "second"})


def test_axes_of_space_may_have_any_name(tmp_path: Path) -> None:
    """NGFF 0.4, axes: the names are free, the type says what an axis is; their order is z, y, x."""
    described = [{"name": "echo", "type": "channel"}, *({"name": n, "type": "space", "unit": "micrometer"}
                 for n in ("depth", "height", "width"))]  # fmt: skip
    path = store(tmp_path / "a.zarr", np.zeros((2, 3, 8, 9), np.uint8), "czyx", [1, 2, 0.5, 0.25])
    group = zarr.open_group(str(path))
    group.attrs["multiscales"] = [{**group.attrs["multiscales"][0], "axes": described}]
    image = read_one(path)
    assert (image.axes, image.scale, image.units) == ("CZYX", (2, 0.5, 0.25), ("micrometer",) * 3)


@pytest.mark.parametrize(
    ("units", "scale", "said"),
    [({"y": "furlong", "x": "furlong"}, [1, 2, 2], "2 furlong, no known unit"),
     ({"y": "mm", "x": "mm"}, [1, 2, 2], "planes"), (UM, [1, 2, 2], "")],
)  # fmt: skip
def test_what_is_not_known_of_steps_is_said(
    tmp_path: Path, units: dict[str, str], scale: list[float], said: str
) -> None:
    image = read_one(store(tmp_path / "a.zarr", np.zeros((3, 8, 9), np.uint8), "zyx", scale, units=units))
    assert said in " ".join(image.metadata.get("notes", []))
    assert bool(image.metadata.get("notes")) == bool(said)
    group = zarr.open_group(str(tmp_path / "a.zarr"))
    group.attrs["multiscales"] = [*group.attrs["multiscales"]] * 2
    assert "2 images; the first is read" in read_one(tmp_path / "a.zarr").metadata["notes"][-1]


def test_a_unit_without_a_scale_is_no_pixel_size(tmp_path: Path) -> None:
    path = store(tmp_path / "a.zarr", np.zeros((8, 9), np.uint8), "yx", [1.0, 1.0])
    group = zarr.open_group(str(path), mode="a")
    (pyramid,) = group.attrs["multiscales"]
    group.attrs["multiscales"] = [{**pyramid, "datasets": [{"path": "0"}]}]
    image = read_one(path)
    assert (image.scale, image.units) == ((1.0, 1.0), ("pixel", "pixel"))
    assert "no scale" in image.metadata["notes"][0]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_axes_of_length_one_are_left_out(tmp_path: Path, version: str) -> None:
    data = np.arange(3 * 8 * 9).reshape(1, 3, 1, 8, 9).astype(np.uint8)
    more = {"omero": {"channels": [{"label": name} for name in ("red", "green", "blue")]}}
    path = store(tmp_path / "a.zarr", data, "tczyx", [1, 1, 1, 0.5, 0.25], version=version, more=more)
    image = read_one(path)
    assert (image.axes, image.scale, image.channels) == ("CYX", (0.5, 0.25), ("red", "green", "blue"))
    np.testing.assert_array_equal(np.asarray(image.data), data[0, :, 0])


def test_containers_and_inner_labels(tmp_path: Path) -> None:
    """bioformats2raw.layout 3; NGFF 0.4, labels; a folder counts by its metadata, not by its name."""
    outer = tmp_path / "slides"
    (outer / "OME").mkdir(parents=True)
    (outer / ".zgroup").write_text('{"zarr_format": 2}')
    (outer / ".zattrs").write_text(json.dumps({"bioformats2raw.layout": 3}))
    for number, edge in enumerate((8, 6)):
        store(outer / str(number), np.zeros((edge, edge), np.uint8), "yx", [0.5, 0.5])
    labels = np.eye(8, dtype=np.uint8)
    (outer / "0" / "labels").mkdir()
    (outer / "0" / "labels" / ".zgroup").write_text('{"zarr_format": 2}')
    (outer / "0" / "labels" / ".zattrs").write_text(json.dumps({"labels": ["nuclei"]}))
    inner = store(outer / "0" / "labels" / "nuclei", labels, "yx", [0.5, 0.5], more={"image-label": {}})
    images = read(outer)
    assert [(i.kind, i.spatial_shape) for i in images] == [("image", (8, 8)), ("image", (6, 6)), ("labels", (8, 8))]
    for path in (outer, outer / "0", inner):
        np.testing.assert_array_equal(read_one(path, "labels").data, labels)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_names_colours_and_properties_of_labels_come_and_go(tmp_path: Path, version: str) -> None:
    """NGFF, "labels" metadata: colors and properties are lists of entries with a label-value."""
    labels = np.diag([0, 1, 2, 7]).astype(np.uint16)
    colours = [{"label-value": k, "rgba": [10 * k, 2, 3, 128]} for k in (0, 1, 7)]
    properties = [
        {"label-value": 1, "name": "nucleus a", "area (pixels)": 12.5, "note": "torn"},
        {"label-value": 7, "class": "tumour"},
    ]
    more = {"image-label": {"version": version, "colors": colours, "properties": properties}}
    image = read_one(store(tmp_path / "a.zarr", labels, "yx", [0.5, 0.5], version=version, more=more))
    assert image.metadata["segments"] == {"1": "nucleus a", "7": "tumour"}
    assert image.metadata["segment_colours"] == {"1": [10, 2, 3], "7": [70, 2, 3]}
    facts = {"1": {"name": "nucleus a", "note": "torn", "measurements": {"area (pixels)": 12.5}}}
    assert image.metadata["objects"] == {**facts, "7": {"class": "tumour"}}
    written = write(tmp_path / "b.ome.zarr", image)
    stated = zarr.open_group(str(written), mode="r").attrs["ome"]["image-label"]
    assert stated["properties"] == properties
    assert stated["colors"] == [{**colour, "rgba": [*colour["rgba"][:3], 255]} for colour in colours[1:]]
    for path in (written, write(tmp_path / "c.tif", image)):
        again = read_one(path)
        assert {key: again.metadata[key] for key in ("segments", "segment_colours", "objects")} == {
            key: image.metadata[key] for key in ("segments", "segment_colours", "objects")
        }


@pytest.mark.parametrize("stated", [None, [], {"colors": 3}, {"properties": [3, {"label-value": "x"}], "colors": [{}]}])
def test_damaged_descriptions_of_labels_leave_the_labels(tmp_path: Path, stated: Any) -> None:
    labels = np.eye(8, dtype=np.uint8)
    image = read_one(store(tmp_path / "a.zarr", labels, "yx", [0.5, 0.5], more={"image-label": stated}))
    np.testing.assert_array_equal(image.data, labels)
    assert not {"segments", "segment_colours", "objects"} & image.metadata.keys()


def test_labels_without_the_translation_of_their_image_are_said(tmp_path: Path) -> None:
    moved = [{"type": "translation", "translation": [10.0, 20.0]}]
    image = read_one(store(tmp_path / "a.zarr", np.zeros((4, 5), np.uint8), "yx", [0.5, 0.5], level=moved))
    mask = np.eye(4, 5, dtype=np.uint8)
    for level, said in ((moved, False), ([], True)):
        found = on_grid(
            read_labels(store(tmp_path / f"m{said}.zarr", mask, "yx", [0.5, 0.5], level=level), image), image
        )
        np.testing.assert_array_equal(found.data, mask)
        assert any("only 'a' states a place" in note for note in moved_notes(found)) == said


def test_systems_of_axes_and_sequences_are_read(tmp_path: Path) -> None:
    """As version 0.6 writes them: (x * 2 + 3) of the sequence, in the units of the first system of coordinates."""
    level = [{"type": "scale", "scale": [2.0, 2.0]}, {"type": "translation", "translation": [3.0, 3.0]}]
    axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "yx"]
    pyramid = {
        "coordinateSystems": [{"name": "physical", "axes": axes}],
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "sequence", "transformations": level}]},
        ],
    }
    about = {"ome": {"version": "0.6", "multiscales": [pyramid]}}
    zarr.create_group(str(tmp_path / "a.zarr"), zarr_format=3, attributes=about).create_array(
        "0", data=np.zeros((4, 5), np.uint8)
    )
    image = read_one(tmp_path / "a.zarr")
    assert (image.scale, image.units) == ((2.0, 2.0), ("micrometer",) * 2)
    assert image.affine is not None
    np.testing.assert_allclose(image.affine[:2, 2], (3, 3))


def test_what_is_no_ome_zarr_is_said(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "plain.zarr"), shape=(4, 5), dtype="u1")
    with pytest.raises(ReadError, match="without the description of OME-Zarr"):
        read(tmp_path / "plain.zarr")
    with pytest.raises(ReadError, match="an axis called 'angle'"):
        read(store(tmp_path / "a.zarr", np.zeros((2, 4, 5), np.uint8), ["angle", "y", "x"], [1, 1, 1]))


def test_a_plate_is_refused_with_the_way_out(tmp_path: Path) -> None:
    group = {"plate": {"wells": [{"path": "B/3"}]}}
    zarr.create_group(str(tmp_path / "p.zarr"), zarr_format=2, attributes=group)
    with pytest.raises(ReadError, match=r"plate of 1 wells.*p\.zarr/B/3/0"):
        read(tmp_path / "p.zarr")


@pytest.mark.parametrize(
    ("scale", "more"),
    [([None, None], []), ([0, 1], []), ([1], []), ([1, 1], [{"type": "affine", "affine": [[1, 0, 0], [0, 1, 0]]}])],
)
def test_what_cannot_be_placed_is_refused(tmp_path: Path, scale: list[Any], more: list[Any]) -> None:
    path = store(tmp_path / "a.zarr", np.zeros((8, 9), np.uint8), "yx", scale, level=more)
    with pytest.raises(ReadError, match="no complete OME-Zarr pyramid"):
        read(path)


@pytest.mark.parametrize(
    ("scale", "units"),
    [((0.04, 1, 1), ("second", "pixel", "pixel")), ((1, 0.5, 0.25), ("pixel", "micrometer", "micrometer"))],
)
def test_what_is_known_of_one_axis_is_written_and_read(
    tmp_path: Path, scale: tuple[float, ...], units: tuple[str, ...]
) -> None:
    labels = Image(np.ones((3, 16, 16), np.uint8), "TYX", scale, units, kind="labels")
    image = read_one(write(tmp_path / "a.ome.zarr", labels))
    assert (image.scale, image.units) == (scale, units)


def test_a_place_is_written_and_axes_that_run_backwards_are_turned(tmp_path: Path) -> None:
    data = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.array([[2.0, 0, 0, 5], [0, -0.5, 0, 7], [0, 0, 0.25, -3], [0, 0, 0, 1]])
    labels = Image(data, "ZYX", (2, 0.5, 0.25), ("micrometer",) * 3, affine, "labels")
    image = read_one(write(tmp_path / "a.ome.zarr", labels))
    assert image.affine is not None
    for index in np.ndindex(data.shape):
        world = affine @ [*index, 1]
        found = np.rint(np.linalg.solve(image.affine, world)[:3]).astype(int)
        np.testing.assert_allclose(image.affine @ [*found, 1], world, atol=1e-9)
        assert np.asarray(image.data)[tuple(found)] == data[index]


def test_oblique_labels_are_refused(tmp_path: Path) -> None:
    affine = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    labels = Image(np.ones((4, 4), np.uint8), "YX", (1, 1), ("micrometer",) * 2, affine, "labels")
    with pytest.raises(WriteError, match=r"no place for axes.*nii\.gz"):
        write(tmp_path / "a.ome.zarr", labels)
