from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.image import Image
from napari_medseg.method import Model
from napari_medseg.methods.frame_classifier.method import FrameClassifier, FrameClassifierSettings, classify
from napari_medseg.samples.video import video_folders
from napari_medseg.settings import TrainSettings


def method(**settings: object) -> FrameClassifier:
    values = {"input_size": 32, "backbone": "densenet121", "encoder_weights": "none", **settings}
    return FrameClassifier(FrameClassifierSettings.parse(values))


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return method().build_network().eval()


def test_input_is_standardised_as_imagenet() -> None:
    white = method().prepare(Image(np.full((40, 50, 3), 255, np.uint8), "YXC"))
    expected = (1 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    assert white.shape == (3, 32, 32)
    np.testing.assert_allclose(white[:, 5, 5], expected, rtol=1e-5)


def test_phases_freeze_and_unfreeze(network: torch.nn.Module) -> None:
    m, settings = method(head_epochs=2), TrainSettings(learning_rate=1e-3)
    assert [m.phase(epoch, settings) for epoch in range(4)] == [0, 0, 1, 1]
    first = m.optimizer(network, settings, 0).param_groups[0]
    assert (len(first["params"]), first["lr"]) == (2, 1e-3)
    second = m.optimizer(network, settings, 1).param_groups[0]
    assert (len(second["params"]), second["lr"]) == (34, pytest.approx(1e-4))
    assert FrameClassifier.training.epochs == 10 + 21


def test_class_folders_give_index_and_movie(tmp_path: Path) -> None:
    video_folders(tmp_path, videos=2, frames=10, size=(32, 32))
    (tmp_path / "classification/General Field").rename(tmp_path / "classification/Opening Wound")
    found = method().find_pairs(tmp_path / "classification")
    assert len(found.pairs) == 20
    assert {p.subject for p in found.pairs} == {"video00", "video01"}
    assert all(p.label is None for p in found.pairs)
    by_folder = {p.image.parent.name: p.extra["class"] for p in found.pairs}
    assert by_folder == {"Nerve": 0, "Opening Wound": 1, "Tendon": 2}
    x, y = method().load_pair(found.pairs[-1])
    assert x.shape == (3, 32, 32)
    assert y.dtype == np.int64
    assert y.ndim == 0
    assert int(y) == 2


def test_train_and_val_folders_are_both_read(tmp_path: Path) -> None:
    import imageio.v3 as iio

    for part in ("train", "val"):
        for name in ("Nerve", "Tendon"):
            (tmp_path / part / name).mkdir(parents=True)
            iio.imwrite(tmp_path / part / name / f"mouse1_{part}.png", np.zeros((8, 8), np.uint8))
    found = method(classes="Nerve,Tendon").find_pairs(tmp_path)
    assert len(found.pairs) == 4


def test_unknown_class_folders_say_which_flag_helps(tmp_path: Path) -> None:
    video_folders(tmp_path, videos=1, frames=10, size=(32, 32))
    with pytest.raises(DataError, match='--classes "General Field,Nerve,Tendon"'):
        method(classes="Bone,Skin").find_pairs(tmp_path / "classification")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="one folder per class"):
        method().find_pairs(tmp_path / "empty")
    with pytest.raises(SettingsError, match="two different class names"):
        method(classes="Nerve,nerve")


def test_loss_is_cross_entropy_of_logits_and_score_is_accuracy() -> None:
    logits, y = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 0.5]]), torch.tensor([0, 2])
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = -np.log(p[[0, 1], [0, 2]]).mean()
    assert float(method().loss(logits, y, logits)["loss"]) == pytest.approx(expected, abs=1e-6)
    scores = method().score(method().activate(logits), y)
    assert scores["accuracy"] == 0.5


def test_one_step_lowers_the_loss_of_the_head(network: torch.nn.Module) -> None:
    torch.manual_seed(0)
    m = method(head_epochs=5)
    optimizer = m.optimizer(network, TrainSettings(learning_rate=1e-3), 0)
    x, y = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = m.loss(network(x), y, x)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_augmentation_leaves_the_class() -> None:
    x = np.random.default_rng(0).random((3, 16, 16)).astype(np.float32)
    changed, y = method().augment(x, np.array(2), np.random.default_rng(1))
    assert changed.shape == x.shape
    assert int(y) == 2
    assert not np.array_equal(changed, x)


def test_frames_are_classified_in_batches(network: torch.nn.Module) -> None:
    model = Model(method(), network.eval(), {})
    frames = torch.randint(0, 255, (3, 1, 20, 30), dtype=torch.uint8)
    together = classify(model, frames)
    assert together.shape == (3, 3)
    np.testing.assert_allclose(together.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(classify(model, frames[1:2])[0], together[1], atol=1e-5)


def test_a_class_is_no_mask() -> None:
    with pytest.raises(DataError, match="medseg video"):
        method().postprocess(np.ones(3) / 3, Image(np.zeros((8, 8)), "YX"))
    with pytest.raises(DataError, match="class folders"):
        method().target(Image(np.zeros((8, 8), np.uint8), "YX", kind="labels"))


def test_transformers_take_one_size() -> None:
    with pytest.raises(SettingsError, match="takes frames of 224 pixels only"):
        method(backbone="vit_small_patch16_224", input_size=256)
    assert method(backbone="swin_tiny_patch4_window7_224", input_size=224).settings.input_size == 224
