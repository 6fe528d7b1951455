"""The transform against Dijkstra's algorithm, its properties and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.errors import DataError, DeviceError, MedSegError, SettingsError
from napari_medseg.geodesic import geodesic_distance, geodesic_distances
from tests.geodesic.oracle import dijkstra_distance


def scene(shape: tuple[int, ...], seed: int = 0, n_seeds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    seeds = np.zeros(shape, bool)
    seeds.flat[rng.choice(seeds.size, n_seeds, replace=False)] = True
    return rng.random(shape).astype(np.float32), seeds


def agree(got: np.ndarray, expected: np.ndarray) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("metric", ["linear", "harmonic", "product"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((21, 50), 1.0), ((33, 16), (0.5, 2.0)), ((9, 11, 37), 1.0), ((12, 7, 15), (4.0, 0.78, 0.8))],
)
def test_equals_dijkstra(shape: tuple[int, ...], spacing: float | tuple, weight: float, metric: str) -> None:
    image, seeds = scene(shape)
    expected = dijkstra_distance(image, seeds, spacing, weight, metric)
    agree(geodesic_distance(image, seeds, spacing=spacing, weight=weight, metric=metric), expected)


@pytest.mark.parametrize("metric", ["linear", "harmonic"])
@pytest.mark.parametrize("shape", [(14, 40), (6, 9, 20)])
def test_channels_use_the_l2_difference(shape: tuple[int, ...], metric: str) -> None:
    image = np.random.default_rng(1).random((3, *shape)).astype(np.float32)
    seeds = scene(shape)[1]
    agree(geodesic_distance(image, seeds, metric=metric), dijkstra_distance(image, seeds, metric=metric))


@pytest.mark.parametrize("shape", [(1, 40), (40, 1), (1, 1), (1, 1, 30), (5, 1, 30), (7, 30, 1), (1, 9, 1), (17, 3, 2), (4, 5, 16), (3, 4, 31)])  # fmt: skip # noqa: E501
def test_thin_axes(shape: tuple[int, ...]) -> None:
    image, seeds = scene(shape, n_seeds=1)
    spacing = tuple(np.linspace(0.5, 2, len(shape)))
    agree(geodesic_distance(image, seeds, spacing=spacing), dijkstra_distance(image, seeds, spacing))


@pytest.mark.parametrize("weight", [0.9, 1.0])
def test_smooth_image_with_plateaus(weight: float) -> None:
    image = np.zeros((12, 30, 50))
    image[3:9, 8:20, 10:30] = 0.4
    image[:, :, 40:] = np.linspace(0.5, 1, 10)
    seeds = np.zeros(image.shape, bool)
    seeds[0, 0, :5] = seeds[-1, -1, -1] = seeds[5, 12, 15] = True
    agree(geodesic_distance(image, seeds, weight=weight), dijkstra_distance(image, seeds, weight=weight))


def test_constant_image_gives_the_chamfer_distance() -> None:
    seeds = np.zeros((20, 33), bool)
    seeds[0, 0] = True
    y, x = np.indices(seeds.shape)
    chamfer = np.abs(x - y) + np.minimum(x, y) * np.sqrt(2)
    agree(geodesic_distance(np.full(seeds.shape, 7), seeds, weight=0.25), 0.75 * chamfer)
    assert not geodesic_distance(np.full(seeds.shape, 7), seeds, weight=1).any()


def test_raw_intensities_of_any_type() -> None:
    image = np.random.default_rng(2).integers(-1000, 3000, (15, 40)).astype(np.int16)
    seeds = scene(image.shape)[1]
    agree(geodesic_distance(image, seeds), dijkstra_distance(image, seeds))
    agree(geodesic_distance(image[:, ::-1].astype(float), seeds), dijkstra_distance(image[:, ::-1], seeds))
    agree(geodesic_distance(image > 0, seeds), dijkstra_distance(image > 0, seeds))


def test_no_seeds_and_all_seeds() -> None:
    image = scene((8, 9, 10))[0]
    assert np.isposinf(geodesic_distance(image, np.zeros(image.shape, bool))).all()
    assert not geodesic_distance(image, np.ones(image.shape, bool)).any()


def test_zero_exactly_at_seeds() -> None:
    image, seeds = scene((30, 40), n_seeds=20)
    assert ((geodesic_distance(image, seeds) == 0) == seeds).all()


def test_more_seeds_never_increase_the_distance() -> None:
    image, seeds = scene((10, 20, 30), n_seeds=5)
    more = seeds | scene(seeds.shape, 7, 5)[1]
    assert (geodesic_distance(image, more) <= geodesic_distance(image, seeds) + 1e-6).all()


def test_symmetry_of_two_points() -> None:
    image, seeds = scene((25, 30), n_seeds=2)
    i, j = np.argwhere(seeds)
    one, other = np.zeros_like(seeds), np.zeros_like(seeds)
    one[tuple(i)] = other[tuple(j)] = True
    there, back = geodesic_distances(image, [one, other])
    assert there[tuple(j)] == pytest.approx(back[tuple(i)], rel=1e-5)


def test_several_maps_equal_single_ones() -> None:
    image, foreground = scene((8, 30, 30))
    background = scene(foreground.shape, 3, 50)[1]
    maps = geodesic_distances(image, [foreground, background, np.zeros_like(foreground)], weight=1)
    agree(maps[0], dijkstra_distance(image, foreground, weight=1))
    agree(maps[1], dijkstra_distance(image, background, weight=1))
    assert np.isinf(maps[2]).all()
    assert geodesic_distances(image, []) == []


def test_region_of_interest() -> None:
    image, seeds = scene((20, 40), n_seeds=30)
    roi = slice(3, 17), slice(5, 30)
    got = geodesic_distance(image, seeds, roi=roi)
    agree(got[roi], dijkstra_distance(image[roi], seeds[roi]))
    got[roi] = np.inf
    assert np.isinf(got).all()
    with pytest.raises(DataError, match="holds no voxel"):
        geodesic_distance(image, seeds, roi=(slice(30, 40), slice(0, 5)))


def test_the_inputs_are_left_alone() -> None:
    image, seeds = scene((20, 40))
    before = image.copy(), seeds.copy()
    geodesic_distance(image, seeds)
    assert (image == before[0]).all()
    assert (seeds == before[1]).all()


@pytest.mark.parametrize(
    ("image", "seeds", "options", "error", "message"),
    [
        (np.full((4, 4), np.nan), np.eye(4), {}, DataError, "NaN"),
        (np.full((4, 4), np.inf), np.eye(4), {}, DataError, "infinite"),
        (np.zeros((4, 4)), np.eye(5), {}, DataError, r"\(5, 5\).*\(4, 4\)"),
        (np.zeros((4, 4, 2)), np.eye(4), {}, DataError, "do not fit"),
        (np.zeros(4), np.ones(4), {}, DataError, "2D or 3D"),
        (np.zeros((0, 4)), np.ones((0, 4)), {}, DataError, "not empty"),
        (np.zeros((4, 4), complex), np.eye(4), {}, DataError, "real numbers"),
        (np.zeros((4, 4)), np.eye(4) * np.nan, {}, DataError, "seeds hold NaN"),
        (np.zeros((4, 4)), np.eye(4), {"spacing": 0}, DataError, "positive"),
        (np.zeros((4, 4)), np.eye(4), {"spacing": (1, -2)}, DataError, "positive"),
        (np.zeros((4, 4)), np.eye(4), {"spacing": (1, 1, 1)}, DataError, "2 of them"),
        (np.zeros((4, 4)), np.eye(4), {"weight": 1.1}, SettingsError, "from 0"),
        (np.zeros((4, 4)), np.eye(4), {"weight": float("nan")}, SettingsError, "from 0"),
        (np.zeros((4, 4)), np.eye(4), {"metric": "cubic"}, SettingsError, "linear, harmonic, product"),
        (np.zeros((4, 4)), np.eye(4), {"engine": "abacus"}, SettingsError, "numba"),
    ],
)
def test_bad_input(image: np.ndarray, seeds: np.ndarray, options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        geodesic_distance(image, seeds, **options)


def test_devices_without_a_kernel_fall_back() -> None:
    image, seeds = scene((12, 20))
    with pytest.warns(UserWarning, match="computed on the CPU"):
        got = geodesic_distance(image, seeds, device="mps")
    agree(got, dijkstra_distance(image, seeds))
    agree(geodesic_distance(image, seeds, device="auto", engine="numba"), dijkstra_distance(image, seeds))


def test_cuda_must_be_there() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match="device='cpu'"):
        geodesic_distance(np.zeros((4, 4)), np.eye(4), device="cuda")


def test_calls_with_changing_channels_and_metrics_do_not_mix() -> None:
    """Compiled functions are chosen anew by each call; numba before 0.61 chose wrongly now and then."""
    shapes = [(12, 20), (5, 9, 18)]
    for turn in range(60):
        channels, metric, shape = turn % 4, ("linear", "harmonic", "product")[turn % 3], shapes[turn % 2]
        image = np.random.default_rng(turn).random((channels, *shape) if channels else shape).astype(np.float32)
        seeds = scene(shape, turn)[1]
        agree(geodesic_distance(image, seeds, metric=metric), dijkstra_distance(image, seeds, metric=metric))


@pytest.mark.parametrize(
    ("named", "part"),
    [
        ({"weight": "0.5"}, "weight"), ({"weight": None}, "weight"), ({"weight": True}, "weight"),
        ({"spacing": None}, "Spacing"), ({"spacing": "1"}, "Spacing"),
        ({"seeds": np.full((4, 5), "a")}, "seeds"),
        ({"roi": (0, 1)}, "one slice for each"), ({"roi": (slice(None),)}, "one slice for each"),
        ({"roi": (slice(None), slice(None, None, 2))}, "step of 1"),
        ({"roi": (slice("a"), slice(None))}, "whole numbers"),
    ],
)  # fmt: skip
def test_arguments_of_a_wrong_kind_are_named(named: dict[str, object], part: str) -> None:
    seeds = np.eye(4, 5, dtype=bool)
    with pytest.raises(MedSegError, match=part):
        geodesic_distance(np.arange(20.0).reshape(4, 5), **{"seeds": seeds, **named})


def test_one_slice_that_was_flipped_is_the_same_for_every_engine() -> None:
    volume = np.flip(np.arange(20, dtype=np.float32).reshape(1, 4, 5), 0)
    seeds = np.zeros((1, 4, 5), bool)
    seeds[0, 0, 0] = True
    one = geodesic_distance(volume, np.flip(seeds, 0), engine="torch")
    np.testing.assert_allclose(one, geodesic_distance(volume, seeds), rtol=1e-5)


@pytest.mark.parametrize("factor", [1e300, 1e30, -1e30, 2.0**60])
def test_values_whose_squares_are_infinite_are_refused_and_end(factor: float) -> None:
    image = np.arange(20.0).reshape(4, 5) * factor
    with pytest.raises(DataError, match="too large to be squared"):
        geodesic_distance(image, np.eye(4, 5, dtype=bool))


def test_large_values_are_measured() -> None:
    seeds = np.zeros((1, 5), bool)
    seeds[0, 0] = True
    found = geodesic_distance(np.arange(5.0)[None] * 1e17, seeds, weight=1.0)
    np.testing.assert_allclose(found, np.arange(5.0)[None] * 1e17, rtol=1e-4)


def test_a_device_is_a_name() -> None:
    with pytest.raises(SettingsError, match="must be a name"):
        geodesic_distance(np.ones((4, 5)), np.eye(4, 5, dtype=bool), device=5)  # type: ignore[arg-type]
