"""Two images meet: one picture stored in other axes, elsewhere, in other units, coarser, or without a place."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.image import FRAME, Image
from napari_medseg.io.geometry import (
    at_level,
    cut_out,
    describe_grid,
    in_order,
    in_picture,
    sized_like,
    upright,
    with_pixel_size,
)
from napari_medseg.io.grids import moved_notes, on_grid, part_under, same_grid, stack_channels, together

MM = ("millimeter",) * 3
STEPS = (3.0, 1.0, 0.5)
TURNS = [(order, flips) for order in permutations(range(3)) for flips in product((1, -1), repeat=3)]


def volume(kind: str = "labels", origin: tuple[float, ...] = (5.0, -7.0, 11.0)) -> Image:
    """A volume of 4 x 5 x 6 voxels with a lopsided object."""
    data = np.zeros((4, 5, 6), np.uint8)
    data[1, 1:4, 2:5] = 1
    data[2, 2, 1] = 2
    affine = np.diag([*STEPS, 1.0])
    affine[:3, 3] = origin
    return Image(data, "ZYX", STEPS, MM, affine, kind, "case")


def stored(image: Image, order: tuple[int, ...], flips: tuple[int, ...]) -> Image:
    """The same picture with its axes in another order and direction; each voxel keeps its place."""
    data = np.asarray(image.data).transpose(order)[tuple(slice(None, None, f) for f in flips)]
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
        matrix[old, new] = flip
        matrix[old, 3] = image.data.shape[old] - 1 if flip < 0 else 0
    scale = tuple(image.scale[k] for k in order)
    return image.replace(data=data, scale=scale, affine=np.asarray(image.affine) @ matrix, name="turned")


def places(image: Image) -> dict[tuple[float, ...], int]:
    """Value by place of every labelled voxel."""
    index = np.argwhere(image.data)
    affine = np.asarray(image.affine)
    world = np.round(index @ affine[:-1, :-1].T + affine[:-1, -1], 6)
    values = np.asarray(image.data)[tuple(index.T)]
    return {tuple(w): int(v) for w, v in zip(world, values, strict=True)}


@pytest.mark.parametrize(("order", "flips"), TURNS)
def test_a_picture_stored_in_other_axes_is_the_same(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    image = volume()
    turned = stored(image, order, flips)
    assert places(turned) == places(image)
    back = on_grid(turned, image)
    np.testing.assert_array_equal(back.data, image.data)
    assert back.scale == image.scale
    np.testing.assert_allclose(back.affine, image.affine)
    same = order == (0, 1, 2) and flips == (1, 1, 1)
    assert same_grid(turned, image) == same
    assert bool(moved_notes(back)) != same
    assert places(upright(turned)) == places(image)  # type: ignore[arg-type]


def test_intensities_are_turned_but_never_resampled() -> None:
    image = volume("image").replace(data=np.random.default_rng(0).random((4, 5, 6)))
    turned = stored(image, (2, 0, 1), (-1, 1, -1))
    np.testing.assert_array_equal(on_grid(turned, image).data, image.data)
    both = stack_channels([image, turned])
    np.testing.assert_array_equal(both.data[0], both.data[1])
    half = np.asarray(image.affine) @ np.diag([1.0, 1.0, 1.0, 1.0])
    half[0, 3] += 1.5
    with pytest.raises(DataError, match="voxels do not coincide"):
        on_grid(image.replace(affine=half), image)
    beside = np.array(image.affine)
    beside[0, 3] += 6
    with pytest.raises(DataError, match="does not cover"):
        on_grid(image.replace(affine=beside), image)


def test_labels_elsewhere_are_refused_with_both_grids() -> None:
    with pytest.raises(DataError, match=r"first voxel at \(105, -7, 11\).*first voxel at \(5, -7, 11\).*lie elsewhere"):
        on_grid(volume(origin=(105.0, -7.0, 11.0)), volume())


def test_a_part_of_a_volume_goes_back_to_its_place() -> None:
    image = volume()
    affine = np.array(image.affine)
    affine[:3, 3] += (3.0, 1.0, 0.5)
    part = image.replace(data=np.asarray(image.data)[1:, 1:, 1:], affine=affine)
    np.testing.assert_array_equal(on_grid(part, image).data, image.data)
    cut = on_grid(image, part)
    np.testing.assert_array_equal(cut.data, part.data)
    (said,) = moved_notes(cut)
    assert "covers another area" in said
    assert "axes" not in said
    smaller = part.replace(data=np.asarray(part.data)[:1])
    assert any("1 of its 10 labelled voxels lie outside" in note for note in moved_notes(on_grid(image, smaller)))


def test_units_are_lengths() -> None:
    image = volume()
    micro = np.diag([1e3, 1e3, 1e3, 1.0]) @ np.asarray(image.affine)
    fine = image.replace(affine=micro, scale=tuple(1e3 * s for s in image.scale), units=("micrometer",) * 3)
    assert same_grid(fine, image)
    assert on_grid(fine, image).units == image.units
    assert not same_grid(image.replace(units=("micrometer",) * 3), image)


def test_labels_of_other_voxels_take_the_nearest() -> None:
    fine = volume().replace(scale=(1.0, 1.0, 1.0), affine=np.diag([1.0, 1, 1, 1]))
    affine = np.diag([2.0, 2, 2, 1])
    affine[:3, 3] = 0.5
    coarse = Image(np.zeros((2, 3, 3)), "ZYX", (2.0,) * 3, MM, affine, name="coarse")
    data = np.zeros((2, 3, 3), np.uint8)
    data[1, 0, 2] = 3
    back = on_grid(coarse.replace(data=data, kind="labels"), fine)
    assert {tuple(i) for i in np.argwhere(back.data == 3)} == set(product((2, 3), (0, 1), (4, 5)))
    assert "resampled by the nearest voxel" in moved_notes(back)[0]
    lost = on_grid(fine, coarse.replace(data=np.zeros((2, 3, 3))))
    assert set(np.unique(lost.data)) <= {0, 1, 2}


def test_rounded_matrices_are_one_grid() -> None:
    image = volume()
    assert same_grid(image.replace(affine=np.round(np.asarray(image.affine) + 4e-4, 3)), image)
    moved = np.array(image.affine)
    moved[2, 3] += 0.2 * STEPS[2]
    assert not same_grid(image.replace(affine=moved), image)


def test_pictures_without_a_place() -> None:
    image = Image(np.zeros((4, 5)), "YX", (0.5, 0.5), name="a")
    assert same_grid(image, Image(np.zeros((4, 5)), "YX", (0.5001, 0.5)))
    assert not same_grid(image, Image(np.zeros((4, 5)), "YX", (0.6, 0.5)))
    assert not same_grid(image, Image(np.zeros((5, 4)), "YX", (0.5, 0.5)))
    placed = image.replace(affine=np.diag([0.5, 0.5, 1.0]))
    assert same_grid(image, placed)
    assert same_grid(placed, image)
    coarse = image.replace(affine=np.diag([2.0, 2.0, 1.0]))  # the affine says another step than the scale
    assert not same_grid(coarse, image)
    assert not same_grid(placed, image.replace(affine=np.array([[0.5, 0, 9], [0, 0.5, 0], [0, 0, 1.0]])))
    with pytest.raises(DataError, match=r"4 x 5 pixels of unknown size.*5 x 4 pixels of unknown size.*no place"):
        on_grid(image, Image(np.zeros((5, 4)), "YX", name="b"))


@pytest.mark.parametrize(("first", "same"), [(0.15, True), (40.0, False)])
def test_coarser_labels_at_a_place_lie_on_the_picture_that_begins_at_the_origin(first: float, same: bool) -> None:
    """As labels in an OME-Zarr do, whose coarser pixels begin between those of the image (NGFF: translation)."""
    image = Image(np.zeros((8, 10)), "YX", (0.3, 0.3), ("micrometer",) * 2)
    place = np.diag([0.6, 0.6, 1.0])
    place[:2, 2] = first
    labels = Image(np.eye(4, 5, dtype=np.uint8), "YX", (0.6, 0.6), ("micrometer",) * 2, place, "labels")
    if not same:
        with pytest.raises(DataError, match="differ in size"):
            on_grid(labels, image)
        return
    np.testing.assert_array_equal(on_grid(labels, image).data, np.kron(labels.data, np.ones((2, 2), np.uint8)))


def test_a_part_knows_its_picture() -> None:
    um = ("micrometer",) * 2
    picture = Image(np.arange(80.0).reshape(8, 10), "YX", (0.5, 0.5), um, name="picture")
    affine = np.array([[0.5, 0, 1.0], [0, 0.5, 2.0], [0, 0, 1]])
    known = {"picture": np.diag([0.5, 0.5, 1.0]).tolist()}
    part = Image(np.ones((3, 4), np.uint8), "YX", (0.5, 0.5), um, affine, "labels", "part", metadata=known)
    _, cut = together(part, picture)
    np.testing.assert_array_equal(cut.data, picture.data[2:5, 4:8])
    whole = on_grid(part, picture)
    assert {tuple(i) for i in np.argwhere(whole.data)} == set(product(range(2, 5), range(4, 8)))
    with pytest.raises(DataError, match="no place"):
        on_grid(part.replace(metadata={}), picture)


@pytest.mark.parametrize(("unit", "factor"), [("micrometer", 1), ("nanometer", 1e3), ("millimeter", 1e-3)])
def test_a_part_or_a_flipped_layer_knows_its_picture_in_any_unit(unit: str, factor: float) -> None:
    """The picture states no place; the other one lies in it, in numbers of another unit."""
    picture = Image(np.arange(80.0).reshape(8, 10), "YX", (0.5, 0.5), ("micrometer",) * 2, name="picture")
    frame = np.diag([0.5 * factor, 0.5 * factor, 1.0])
    flipped = frame @ np.array([[-1, 0, 7], [0, 1, 0], [0, 0, 1.0]])
    inside = (np.asarray(picture.data)[::-1] > 40).astype(np.uint8)
    known = {FRAME: frame.tolist()}
    labels = Image(inside, "YX", (0.5 * factor,) * 2, (unit,) * 2, flipped, "labels", metadata=known)
    np.testing.assert_array_equal(on_grid(labels, picture).data, np.asarray(picture.data) > 40)
    _, image = together(labels, picture)
    np.testing.assert_array_equal(image.data, np.asarray(picture.data)[::-1])


def pyramid(affine: np.ndarray | None = None) -> Image:
    """A picture of 24 x 30 pixels, and a level of the means of every 3 x 3 of them."""
    data = np.arange(24 * 30, dtype=float).reshape(24, 30)
    means = data.reshape(8, 3, 10, 3).mean((1, 3))
    known = {"levels": [data, means], "level_grids": [[[1, 1], [0, 0]], [[3, 3], [1, 1]]]}
    return Image(data, "YX", (0.5, 0.25), ("micrometer",) * 2, affine, name="slide", metadata=known)


@pytest.mark.parametrize("affine", [None, np.array([[0, 0.25, 3.0], [0.5, 0, -4.0], [0, 0, 1]])])
def test_a_pixel_of_a_level_lies_in_the_middle_of_those_it_stands_for(affine: np.ndarray | None) -> None:
    whole = pyramid(affine)
    level = cut_out(at_level(whole, 1), (slice(2, 6), slice(4, 9)))
    matrix = np.diag([0.5, 0.25, 1]) if affine is None else affine
    for (i, j), (rows, columns) in {(0, 0): ((6, 9), (12, 15)), (3, 4): ((15, 18), (24, 27))}.items():
        covered = np.array([(y, x, 1) for y, x in product(range(*rows), range(*columns))], float)
        np.testing.assert_allclose(level.affine @ (i, j, 1), (covered @ matrix.T).mean(0))
        assert level.data[i, j] == whole.data[rows[0] : rows[1], columns[0] : columns[1]].mean()
    np.testing.assert_allclose(level.scale, (1.5, 0.75))
    np.testing.assert_allclose(in_picture(level) @ (0, 0, 1), (7, 13, 1))
    with pytest.raises(DataError, match="levels 0 to 1, not 2"):
        at_level(whole, 2)


def test_a_level_that_states_no_grid_covers_the_same_field() -> None:
    whole = pyramid()
    odd = whole.replace(metadata={"levels": [whole.data, np.zeros((7, 9))]})
    np.testing.assert_allclose(at_level(odd, 1).scale, (0.5 * 24 / 7, 0.25 * 30 / 9))


def test_what_lies_under_labels_is_taken_from_the_level_of_their_pixel_size() -> None:
    whole = pyramid()
    level = cut_out(at_level(whole, 1), (slice(2, 6), slice(4, 9)))
    found = part_under(whole, level.labels_like(np.ones((4, 5), np.uint8)))
    np.testing.assert_array_equal(found.data, level.data)
    assert same_grid(found, level)
    assert found.metadata["part"] == {"level": 1, "box": [[2, 6], [4, 9]], "of": [24, 30]}
    finest = cut_out(at_level(whole, 0), (slice(20, 24), slice(0, 5)))
    np.testing.assert_array_equal(part_under(whole, finest.labels_like(np.ones((4, 5), np.uint8))).data, finest.data)
    away = level.affine + np.array([[0, 0, 1000.0], [0, 0, 0], [0, 0, 0]])
    with pytest.raises(DataError, match="elsewhere"):
        part_under(whole, level.labels_like(np.ones((4, 5), np.uint8)).replace(affine=away))


def test_axes_are_put_in_order() -> None:
    data = np.arange(24).reshape(2, 3, 4)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (7, 8, 9)
    image = in_order(Image(data, "XYZ", (1.0, 2.0, 3.0), MM, affine))
    assert (image.axes, image.scale) == ("ZYX", (3.0, 2.0, 1.0))
    assert image.data[3, 1, 0] == data[0, 1, 3]
    np.testing.assert_allclose(np.asarray(image.affine)[:3, 3], (9, 8, 7))


def test_an_oblique_image_is_not_upright() -> None:
    image = volume()
    turn = np.eye(4)
    turn[1:3, 1:3] = [[0.8, -0.6], [0.6, 0.8]]
    oblique = image.replace(affine=turn @ np.asarray(image.affine))
    assert upright(oblique) is None
    assert "oblique" in describe_grid(oblique)


def test_channels_on_other_grids_are_refused() -> None:
    flair = Image(np.full((2, 3), 1, np.int16), "YX", (2.0, 1.0), name="flair")
    both = Image(np.full((2, 2, 3), 2.5, np.float32), "CYX", (2.0, 1.0), name="t1", channels=("t1", "t1c"))
    stacked = stack_channels([flair, both])
    assert (stacked.axes, stacked.channels) == ("CYX", ("flair", "t1", "t1c"))
    assert stacked.data[:, 0, 0].tolist() == [1, 2.5, 2.5]
    assert stack_channels([flair]) is flair
    with pytest.raises(DataError, match=r"'b' \(3 x 3 .*'flair' \(2 x 3 "):
        stack_channels([flair, Image(np.zeros((3, 3)), "YX", name="b")])
    with pytest.raises(DataError, match="pixel sizes differ"):
        stack_channels([flair, Image(np.zeros((2, 3)), "YX", (1.0, 1.0), name="b")])


def test_a_stated_pixel_size_leaves_time_alone() -> None:
    film = Image(np.zeros((3, 4, 5)), "TYX", (0.1, 1, 1), ("second", "pixel", "pixel"))
    sized = with_pixel_size(film, 0.5)
    assert sized.scale == (0.1, 0.5, 0.5)
    assert sized.units == ("second", "micrometer", "micrometer")
    assert sized_like(film, sized).scale == sized.scale


@pytest.mark.parametrize("placed", [False, True])
def test_labels_of_a_volume_without_a_place_are_said_to_lie_by_their_indices(placed: bool) -> None:
    """Programs keep x, y, z where others keep z, y, x: of a cube nothing else would tell."""
    image = volume("image")
    mask = volume().replace(name="mask") if placed else Image(volume().data, "ZYX", kind="labels", name="mask")
    said = "only 'case' states voxels and a place: the axes are taken to be Z, Y, X"
    notes = [*moved_notes(on_grid(mask, image)), *moved_notes(together(mask, image)[1])]
    assert [said in note for note in notes] == ([] if placed else [True, True])
    flat = Image(np.ones((4, 5), np.uint8), "YX", kind="labels")
    picture = Image(np.ones((4, 5)), "YX", (0.5, 0.5), ("micrometer",) * 2, np.diag([0.5, 0.5, 1.0]))
    assert moved_notes(on_grid(flat, picture)) == ()
