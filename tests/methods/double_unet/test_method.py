from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.image import Image
from napari_medseg.methods.double_unet.method import AUGMENT, DoubleUnet
from napari_medseg.methods.double_unet.settings import AUGMENTATIONS, DoubleUnetSettings
from napari_medseg.samples.video import nerve_video, video_folders


def method(**settings: object) -> DoubleUnet:
    return DoubleUnet(DoubleUnetSettings.parse({"input_size": 32, "encoder_weights": "none", **settings}))


@pytest.fixture(scope="module")
def frame() -> Image:
    movie, _ = nerve_video(0, 6, (60, 72))
    return Image(movie.data[3], "YXC", (0.5, 0.5), ("millimeter",) * 2, name="frame")


def test_input_is_resized_and_median_centred(frame: Image) -> None:
    x = method().prepare(frame)
    assert x.shape == (3, 32, 32)
    assert x.dtype == np.float32
    assert np.median(x) == pytest.approx(127 / 255, abs=1e-6)
    np.testing.assert_array_equal(method().prepare(frame.replace(data=frame.data[..., 0], axes="YX"))[1], x[1])


def test_paper_resizing_equals_opencvs_bilinear() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(1, 64).repeat(64, 0)
    x = method(mode="paper").prepare(Image(grey, "YX"))
    expected = np.arange(0.5, 64, 2) - np.median(np.arange(0.5, 64, 2)) + 127
    np.testing.assert_allclose(x[0, 0] * 255, expected, atol=0.51)  # bytes stay bytes, as in OpenCV
    exact = method(mode="paper").prepare(Image(grey.astype(np.float64), "YX"))
    np.testing.assert_allclose(exact[0, 0] * 255, expected, atol=1e-4)


def test_bad_images_are_refused() -> None:
    with pytest.raises(DataError, match="works on 2D images"):
        method().prepare(Image(np.zeros((3, 8, 8)), "ZYX"))
    with pytest.raises(DataError, match="takes grey or RGB images"):
        method().prepare(Image(np.zeros((8, 8, 5)), "YXC"))
    with pytest.raises(DataError, match="NaN or infinite"):
        method().prepare(Image(np.full((8, 8), np.nan), "YX"))


def test_result_is_the_second_output_on_the_images_grid(frame: Image) -> None:
    probabilities = np.zeros((2, 32, 32), np.float32)
    probabilities[0] = 1
    probabilities[1, :16] = 1
    labels = method().postprocess(probabilities, frame)
    assert labels.kind == "labels"
    assert labels.data.shape == (60, 72)
    assert labels.scale == frame.scale
    assert labels.units == frame.units
    assert labels.data[:29].all()
    assert not labels.data[31:].any()


def test_threshold_is_strict(frame: Image) -> None:
    at = np.full((2, 32, 32), 0.5, np.float32)
    assert not method().postprocess(at, frame).data.any()
    assert method().postprocess(at + 1e-3, frame).data.all()


def test_cleaning_fills_holes_and_drops_small_pieces() -> None:
    mask = np.zeros((12, 12), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[9:11, 9:11] = True
    assert method().clean(mask).sum() == 28
    assert method(fill_holes=True).clean(mask).sum() == 29
    assert method(fill_holes=True, min_area=5).clean(mask).sum() == 25
    assert method(min_area=100).clean(mask).sum() == 0


def reference_dice(p: np.ndarray, y: np.ndarray) -> float:
    return float((2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1))


def test_losses_follow_their_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(2, 2, 8, 8, generator=generator)
    y = (torch.rand(2, 1, 8, 8, generator=generator) > 0.6).float()
    p, two = torch.sigmoid(output).numpy(), y.expand(2, 2, 8, 8).numpy()
    joint = method(mode="paper").loss(output, y, output)["loss"]
    assert float(joint) == pytest.approx(1 - reference_dice(p, two), abs=1e-6)
    single = np.mean([reference_dice(p[b, k], two[b, k]) for b in range(2) for k in range(2)])
    assert float(method().loss(output, y, output)["loss"]) == pytest.approx(1 - single, abs=1e-6)
    bce = -(two * np.log(p) + (1 - two) * np.log(1 - p)).mean()
    both = method(loss="bce_dice").loss(output, y, output)
    assert float(both["loss"]) == pytest.approx(bce + 1 - single, abs=1e-5)
    right = np.where(two == 1, p, 1 - p)
    focal = (-np.where(two == 1, 0.25, 0.75) * (1 - right) ** 2 * np.log(right)).mean()
    assert float(method(loss="focal").loss(output, y, output)["loss"]) == pytest.approx(focal, abs=1e-6)


def test_score_uses_the_last_channel() -> None:
    p = torch.zeros(1, 2, 4, 4)
    p[:, 0] = 1
    p[:, 1, :2] = 1
    y = torch.zeros(1, 1, 4, 4)
    y[..., :3, :] = 1
    assert method().score(p, y) == pytest.approx({"score": 0.8, "dice": 0.8, "iou": 8 / 12})
    assert method().score(torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4))["dice"] == 1


def test_masks_of_both_conventions_give_one_target() -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:32] = 1
    ones = method().target(Image(mask, "YX", kind="labels"))
    jpeg = mask * 250
    jpeg[40, 40] = 90
    np.testing.assert_array_equal(method().target(Image(jpeg, "YX", kind="labels")), ones)
    assert ones.shape == (1, 32, 32)
    assert set(np.unique(ones)) == {0, 1}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_shape_range_and_correspondence(name: str) -> None:
    rng = np.random.default_rng(0)
    y = np.zeros((1, 32, 32), np.float32)
    y[0, 6:20, 10:26] = 1
    x = np.repeat(y * 0.8 + 0.1, 3, 0)
    assert set(AUGMENT) == set(AUGMENTATIONS)
    x2, y2 = AUGMENT[name](x, y, rng)
    assert x2.shape == x.shape
    assert y2.shape == y.shape
    assert set(np.unique(y2)) <= {0, 1}
    if name != "dropout":
        assert x2[:, y2[0] == 1].mean() > x2[:, y2[0] == 0].mean() + 0.3


def test_unknown_augmentation_is_refused() -> None:
    with pytest.raises(SettingsError, match="unknown augmentation sharpen"):
        method(augmentations="hflip,sharpen")
    x = np.random.default_rng(0).random((3, 16, 16)).astype(np.float32)
    same, _ = method(augmentations="").augment(x, x[:1], np.random.default_rng(0))
    np.testing.assert_array_equal(same, x)


def test_pairs_are_grouped_by_movie(tmp_path: Path) -> None:
    video_folders(tmp_path, videos=2, frames=10, size=(32, 32))
    found = method().find_pairs(tmp_path / "segmentation")
    assert {pair.subject for pair in found.pairs} == {"video00", "video01"}
    x, y = method().load_pair(found.pairs[0])
    assert x.shape == (3, 32, 32)
    assert y.shape == (1, 32, 32)
    assert y.any()


def test_pairs_can_be_grouped_by_likeness(tmp_path: Path) -> None:
    video_folders(tmp_path, videos=3, frames=10, size=(64, 64))
    for path in sorted(tmp_path.glob("segmentation/*/*.png")):
        path.rename(path.with_name(f"{path.stem.replace('video', '').replace('_', '')}.png"))
    by_name = method().find_pairs(tmp_path / "segmentation").pairs
    assert len({pair.subject for pair in by_name}) == len(by_name)
    found = method(group="similarity").find_pairs(tmp_path / "segmentation").pairs
    movies: dict[str, set[str]] = {}
    for pair in found:
        movies.setdefault(pair.stem[:2], set()).add(pair.subject)
    assert {len(scenes) for scenes in movies.values()} == {1}
    assert len(set.union(*movies.values())) == 3


def test_schedule_is_the_papers() -> None:
    assert (DoubleUnet.training.epochs, DoubleUnet.training.batch_size) == (20, 3)
    assert DoubleUnet.training.learning_rate == 1e-4


@torch.no_grad()
def test_mirrored_answers_are_symmetric_and_leave_training_alone() -> None:
    torch.manual_seed(0)
    network = DoubleUnet(DoubleUnetSettings(width=4, mirror=True)).build_network()
    plain = DoubleUnet(DoubleUnetSettings(width=4)).build_network()
    plain.load_state_dict(network.state_dict())
    x = torch.rand(2, 3, 32, 48)
    network.eval()
    torch.testing.assert_close(network(x.flip(-1)), network(x).flip(-1), rtol=1e-4, atol=1e-4)
    expected = (plain.eval()(x) + plain(x.flip(-1)).flip(-1)) / 2
    torch.testing.assert_close(network(x), expected)
    torch.testing.assert_close(network.train()(x), plain.train()(x), rtol=1e-4, atol=1e-4)
