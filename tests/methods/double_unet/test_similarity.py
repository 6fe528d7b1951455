from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_medseg.methods.double_unet.similarity import fingerprint, similarity, similarity_groups


def scene(seed: int, size: tuple[int, int] = (120, 150)) -> np.ndarray:
    """Return a grey picture of random structure, brighter at the top as an ultrasound still."""
    noise = np.random.default_rng(seed).normal(size=size)
    texture = ndimage.gaussian_filter(noise, 5)
    shading = np.linspace(1.5, 0.5, size[0])[:, None]
    return np.clip((120 + 40 * texture / texture.std()) * shading, 12, 255).astype(np.uint8)


def relative(picture: np.ndarray, kind: str) -> np.ndarray:
    """Return the same scene recorded differently."""
    if kind == "shifted":
        return picture[6:, 9:]
    if kind == "brighter":
        return np.clip(picture * 1.3 + 10, 0, 255).astype(np.uint8)
    if kind == "mirrored":
        return np.ascontiguousarray(picture[:, ::-1])
    if kind == "larger and in colour":
        return np.repeat(np.kron(picture, np.ones((2, 2), np.uint8))[..., None], 3, 2)
    return np.pad(picture, ((0, 40), (60, 10)))


@pytest.mark.parametrize("kind", ["shifted", "brighter", "mirrored", "larger and in colour", "in a dark frame"])
def test_the_same_scene_is_one_group(kind: str) -> None:
    pictures = [scene(0), scene(1), relative(scene(0), kind), scene(2)]
    groups = similarity_groups(pictures)
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 3


def test_a_chain_of_neighbours_is_one_group() -> None:
    """Frames of a slow pan: the ends show nothing in common, each frame overlaps the next."""
    wide = scene(5, (120, 400))
    frames = [wide[:, start : start + 150] for start in range(0, 240, 15)]
    assert similarity(np.stack([fingerprint(frames[0]), fingerprint(frames[-1])]))[0, 1] < 0.5
    assert len(set(similarity_groups([*frames, scene(7)])[:-1].tolist())) == 1
    assert len(set(similarity_groups([*frames, scene(7)]).tolist())) == 2


def test_similarity_is_a_correlation() -> None:
    found = similarity(np.stack([fingerprint(scene(seed)) for seed in range(6)]))
    np.testing.assert_allclose(np.diag(found), 1, atol=1e-5)
    np.testing.assert_array_equal(found, found.T)
    assert found.max() < 1 + 1e-5
    assert found[~np.eye(6, dtype=bool)].max() < 0.5


def test_blank_pictures_resemble_nothing_and_no_pictures_have_no_groups() -> None:
    blank = np.zeros((20, 30), np.uint8)
    assert not fingerprint(blank).any()
    assert sorted(similarity_groups([blank, scene(0), blank + 7]).tolist()) == [0, 1, 2]
    assert similarity_groups([]).shape == (0,)


@pytest.mark.data
def test_near_duplicates_among_the_stills_are_found(shared_data: object) -> None:
    import imageio.v3 as iio

    folder = shared_data / "nerve" / "ultrasound" / "images"  # type: ignore[operator]
    names = ["0003", "0050", "0014", "0083", "0033", "0140", "0021", "0085"]
    groups = similarity_groups([np.asarray(iio.imread(folder / f"{name}.png")) for name in names])
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert groups[4] == groups[5]
    assert len(set(groups.tolist())) == 5
