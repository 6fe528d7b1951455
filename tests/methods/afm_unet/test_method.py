from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from napari_medseg.errors import CheckpointError, DataError, SettingsError
from napari_medseg.evaluate.metrics.compare import mcc
from napari_medseg.image import Image
from napari_medseg.methods.afm_unet.method import THRESHOLDS, AfmUnet, AfmUnetSettings
from napari_medseg.nn.losses import LOSSES


def _method(**settings: Any) -> AfmUnet:
    return AfmUnet(AfmUnetSettings.parse(settings))


def _height(shape: tuple[int, int] = (20, 24)) -> Image:
    data = np.random.default_rng(0).normal(300, 40, shape).astype(np.float32)
    return Image(data, "YX", (0.05, 0.05), ("micrometer",) * 2, name="scan", value_unit="nm")


# ---- network


def test_geometry_follows_the_architecture() -> None:
    found = {
        a: (_method(architecture=a).in_channels, _method(architecture=a).size_multiple, _method(architecture=a).halo)
        for a in ("unet2", "unet5", "vgg16", "vgg19", "xception")
    }
    assert found == {
        "unet2": (1, 2, 10), "unet5": (1, 16, 122), "vgg16": (3, 16, 135), "vgg19": (3, 16, 163),
        "xception": (3, 32, 835),
    }  # fmt: skip


@pytest.mark.parametrize(("settings", "rate"), [
    ({}, 0.5), ({"architecture": "unet3"}, 0.55), ({"dropout": 0.7}, 0.7), ({"dropout": 0.0}, 0.0),
])  # fmt: skip
def test_dropout_is_the_papers_unless_given(settings: dict[str, Any], rate: float) -> None:
    assert _method(**settings).build_network().dropout.p == rate


def test_training_defaults_are_the_papers_and_transfer_is_ten_times_slower() -> None:
    t = AfmUnet.training
    assert (t.epochs, t.steps_per_epoch, t.batch_size, t.learning_rate) == (100, 120, 6, 1e-3)
    assert (t.plateau_patience, t.plateau_factor, t.stop_patience) == (3, 0.1, 5)
    network = torch.nn.Linear(1, 1)
    rates = [
        _method(architecture=a).optimizer(network, t, 0).param_groups[0]["lr"] for a in ("unet5", "vgg19", "xception")
    ]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-4])


def test_encoder_weights_come_from_the_given_file(tmp_path: Path) -> None:
    method = _method(architecture="vgg16", encoder_weights=str(tmp_path / "w.pth"))
    with torch.device("meta"):
        empty = method.build_network()
    network = empty.to_empty(device="cpu")
    torch.save({k: torch.full(v.shape, 0.25) for k, v in network.encoder.state_dict().items()}, tmp_path / "w.pth")
    assert "w.pth" in method.initialise(network)
    assert network.encoder.features[0].weight[0, 0, 0, 0].item() == 0.25
    with pytest.raises(CheckpointError, match=r"none\.pth"):
        _method(architecture="vgg16", encoder_weights=str(tmp_path / "none.pth")).initialise(network)
    assert _method().initialise(_method(architecture="unet2").build_network()) == ""


# ---- input


def test_eight_bit_images_are_divided_by_255() -> None:
    data = np.array([[0, 51], [102, 204]], np.uint8)
    np.testing.assert_allclose(_method().prepare(Image(data, "YX"))[0], [[0, 0.2], [0.4, 0.8]], atol=1e-7)


def test_heights_are_clipped_at_their_percentiles() -> None:
    image = _height()
    low, high = np.percentile(image.data, (0.1, 99.9))
    x = _method().prepare(image)
    np.testing.assert_allclose(x[0], np.clip((image.data - low) / (high - low), 0, 1), atol=1e-6)
    assert x.dtype == np.float32
    paper = _method(scaling="paper").prepare(image)
    np.testing.assert_allclose(paper[0], (image.data - image.data.min()) / np.ptp(image.data), atol=1e-6)


@pytest.mark.parametrize("scaling", ["auto", "paper", "percentile"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_constant_image_becomes_zeros(scaling: str, dtype: type) -> None:
    x = _method(scaling=scaling).prepare(Image(np.full((6, 6), 7, dtype), "YX"))
    np.testing.assert_array_equal(x, np.zeros((1, 6, 6)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("level", [False, True])
def test_heights_that_are_not_finite_are_refused_with_their_number(value: float, level: bool) -> None:
    image = _height()
    image.data[3, 4:6] = value
    with pytest.raises(DataError, match=r"2 of 480 values.*Fill or crop"):
        _method(level=level).prepare(image)


def test_colour_becomes_luma_or_three_channels_and_gray_is_repeated() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (4, 5, 4), np.uint8)
    image = Image(colour, "YXC", channels=("red", "green", "blue", "alpha"))
    luma = colour[..., :3] @ np.array([0.299, 0.587, 0.114]) / 255
    np.testing.assert_allclose(_method().prepare(image)[0], luma, atol=1e-6)
    three = _method(channels=3).prepare(image)
    np.testing.assert_allclose(three, np.moveaxis(colour[..., :3], -1, 0) / 255, atol=1e-6)
    gray = _method(channels=3).prepare(Image(colour[..., 0], "YX"))
    np.testing.assert_array_equal(gray, np.repeat(gray[:1], 3, 0))


def test_channels_that_do_not_fit_are_listed() -> None:
    image = Image(np.zeros((4, 4, 3), np.float32), "YXC", channels=("Height", "Deflection", "Friction"))
    with pytest.raises(DataError, match=r"3 channels \(Height, Deflection, Friction\).*Choose one"):
        _method().prepare(image)
    assert _method(channels=3).prepare(image).shape == (3, 4, 4)
    with pytest.raises(DataError, match="2 channels"):
        _method(channels=3).prepare(Image(np.zeros((2, 4, 4)), "CYX"))
    with pytest.raises(DataError, match="works on 2D images"):
        _method().prepare(Image(np.zeros((2, 4, 4)), "ZYX"))


def test_encoders_get_their_own_normalisation_only_with_imagenet_weights() -> None:
    image = Image(np.full((2, 2), 255, np.uint8) * np.eye(2, dtype=np.uint8), "YX")
    plain = np.repeat(np.eye(2)[None], 3, 0)
    mean, sd = (np.reshape(v, (3, 1, 1)) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    cases = [
        ({"architecture": "vgg16"}, (plain - mean) / sd),
        ({"architecture": "vgg16", "encoder_weights": "none"}, plain),
        ({"architecture": "vgg16", "normalisation": "paper"}, plain),
        ({"architecture": "vgg16", "encoder_weights": "none", "normalisation": "imagenet"}, (plain - mean) / sd),
        ({"architecture": "xception"}, plain * 2 - 1),
        ({"architecture": "unet2", "channels": 3, "normalisation": "imagenet"}, plain),
    ]
    for settings, expected in cases:
        np.testing.assert_allclose(_method(**settings).prepare(image), expected, atol=1e-6)


def test_blocks_are_normalised_as_the_whole() -> None:
    image = _height()
    method = _method(architecture="vgg16")
    statistics = method.statistics(image)
    block = method.normalise(image.channels_first()[:, 5:12, 3:9], statistics)
    np.testing.assert_array_equal(block, method.prepare(image)[:, 5:12, 3:9])


def test_statistics_of_a_large_image_come_from_a_subsample() -> None:
    image = Image(np.random.default_rng(0).random((2100, 2100), dtype=np.float32), "YX")
    found = _method().statistics(image)
    np.testing.assert_allclose([found.low.item(), found.high.item()], [0.001, 0.999], atol=2e-4)


def test_levelling_removes_tilt_and_bowl_before_scaling() -> None:
    row, column = np.mgrid[-1:1:64j, -1:1:80j]
    noise = np.random.default_rng(0).normal(0, 1, row.shape)
    cell = 200.0 * ((row**2 + column**2) < 0.1)
    tilted = Image((cell + noise + 300 * row + 150 * column**2).astype(np.float32), "YX")
    plain = _method().prepare(tilted)[0]
    levelled = _method(level=True).prepare(tilted)[0]
    assert levelled[cell == 0].max() < levelled[cell > 0].min()
    assert plain[cell == 0].max() > plain[cell > 0].max()


# ---- training


@pytest.mark.parametrize("foreground", [1, 255])
def test_masks_of_1_and_255_are_the_same_target(foreground: int) -> None:
    labels = Image(np.array([[0, foreground]], np.uint8), "YX", kind="labels")
    target = _method().target(labels)
    np.testing.assert_array_equal(target, [[0, 1]])
    assert target.dtype == np.float32


def test_label_without_foreground_is_legal() -> None:
    method = _method(architecture="unet2")
    target = method.target(Image(np.zeros((4, 4), np.uint8), "YX", kind="labels"))
    output = torch.zeros(1, 1, 4, 4, requires_grad=True)
    for loss in LOSSES:
        terms = _method(loss=loss).loss(output, torch.from_numpy(target)[None], output)
        assert torch.isfinite(terms["loss"])


@pytest.mark.parametrize(("crop", "shape", "expected"), [
    (0, (20, 33), (32, 48)), (0, (32, 16), (32, 16)), (16, (40, 50), (16, 16)), (64, (40, 90), (64, 64)),
    (20, (100, 100), (32, 32)),
])  # fmt: skip
def test_samples_have_sizes_the_network_divides(crop: int, shape: tuple[int, int], expected: tuple[int, int]) -> None:
    y = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    x, sampled = _method(crop=crop).sample(y[None], y, np.random.default_rng(0))
    assert sampled.shape == expected
    np.testing.assert_array_equal(x[0], sampled)


def test_crops_differ_and_repeat_with_the_seed() -> None:
    y = np.arange(10_000, dtype=np.float32).reshape(100, 100)
    corners = [_method(crop=16).sample(y[None], y, np.random.default_rng(s))[1][0, 0] for s in (1, 1, 2)]
    assert corners[0] == corners[1] != corners[2]


@pytest.mark.parametrize("augmentation", ["paper", "fixed"])
def test_augmentation_moves_image_and_mask_alike(augmentation: str) -> None:
    y = np.zeros((64, 64), np.float32)
    y[20:50, 10:40] = 1
    method = _method(augmentation=augmentation)
    moved = [method.augment(y[None], y, np.random.default_rng(s)) for s in range(5)]
    for x, mask in moved:
        assert set(np.unique(mask)) == {0, 1}
        assert ((x[0] > 0.5) == mask).mean() > 0.98
    assert len({mask.tobytes() for _, mask in moved}) == 5


def test_papers_augmentation_wraps_and_ours_mirrors() -> None:
    """Above the bright half a periodic border brings in the dark one: more edges."""
    y = np.zeros((64, 64), np.float32)
    y[:32] = 1
    masks = {
        kind: [_method(augmentation=kind).augment(y[None], y, np.random.default_rng(s))[1] for s in range(8)]
        for kind in ("paper", "fixed")
    }

    def jumps(mask: np.ndarray) -> int:
        return int(np.abs(np.diff(mask, axis=0)).sum() + np.abs(np.diff(mask, axis=1)).sum())

    assert sum(map(jumps, masks["paper"])) > 1.2 * sum(map(jumps, masks["fixed"]))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_chosen_loss_is_really_used(loss: str) -> None:
    torch.manual_seed(0)
    output, target = torch.randn(2, 1, 8, 8), (torch.rand(2, 8, 8) > 0.5).float()
    terms = _method(loss=loss).loss(output, target, output)
    expected = LOSSES[loss](output.sigmoid(), target[:, None])
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(terms["dice"], 1 - LOSSES["dice"](output.sigmoid(), target[:, None]))
    others = [LOSSES[name](output.sigmoid(), target[:, None]) for name in LOSSES if name != loss]
    assert all(abs(other - terms["loss"]) > 1e-3 for other in others)


def test_pairs_can_be_grouped_by_the_date_in_the_name(tmp_path: Path) -> None:
    names = ["cj_24h_14jun11_003", "cj_24h_14jun11_004", "cj_24h_1aug11_001", "plain"]
    for folder, suffix in (("afmheight", "hi"), ("labels", "label")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}_{suffix}.png").touch()
    by_date = {p.subject for p in _method(group="date").find_pairs(tmp_path).pairs}
    assert by_date == {"14jun11", "1aug11", "plain"}
    assert len({p.subject for p in _method().find_pairs(tmp_path).pairs}) == 4


# ---- output


def test_postprocess_thresholds_and_keeps_the_geometry() -> None:
    image = _height((2, 2))
    labels = _method().postprocess(np.array([[[0.4, 0.5], [0.51, 1.0]]], np.float32), image)
    np.testing.assert_array_equal(labels.data, [[0, 0], [1, 1]])
    assert labels.data.dtype == np.uint8
    assert (labels.kind, labels.scale, labels.units) == ("labels", image.scale, image.units)


def test_small_objects_and_gaps_go_only_when_asked() -> None:
    p = np.zeros((1, 12, 12), np.float32)
    p[0, 1:7, 1:7] = 1
    p[0, 3, 3:5] = 0  # a gap of 2
    p[0, 10, 10] = p[0, 9, 9] = 1  # an object of 2, connected by its corner
    image = _height((12, 12))
    np.testing.assert_array_equal(_method().postprocess(p, image).data, p[0])
    assert _method(min_area=2).postprocess(p, image).data.sum() == p.sum()
    assert _method(min_area=3).postprocess(p, image).data.sum() == p.sum() - 2
    assert _method(fill_holes=2).postprocess(p, image).data.sum() == p.sum()
    assert _method(fill_holes=3, min_area=3).postprocess(p, image).data.sum() == 36


# ---- settings


def test_settings_refuse_what_is_not_known() -> None:
    with pytest.raises(SettingsError, match="architecture"):
        AfmUnetSettings.parse({"architecture": "unet6"})
    with pytest.raises(SettingsError, match="Known settings: architecture"):
        AfmUnetSettings.parse({"depth": 5})


def test_every_number_of_the_form_has_what_the_form_needs() -> None:
    for name, field in AfmUnetSettings.model_fields.items():
        assert field.title, name
        assert field.description, name
        if field.annotation is float:
            assert json.dumps(field.json_schema_extra).count("step") == 1, name


# ---- the labelled data


@pytest.mark.data
def test_published_files_are_read_as_cases(shared_data: Path) -> None:
    method = _method(group="date")
    found = method.find_pairs(shared_data / "afm" / "astrocytes" / "valid")
    assert len(found.pairs) == 12
    assert found.unpaired == ()
    x, y = method.load_pair(found.pairs[0])
    assert x.shape == (1, 512, 512)
    assert (x.min(), x.max()) == (0, 1)
    assert 0 < y.mean() < 0.6


def test_line_offsets_and_scars_are_removed_where_asked() -> None:
    y, x = np.mgrid[:64, :64]
    clean = np.sin(x / 9.0).astype(np.float32)
    lines = clean + np.random.default_rng(0).normal(0, 3, (64, 1)).astype(np.float32)
    aligned = _method(align_lines=True).preprocess(Image(lines, "YX")).data[0]
    np.testing.assert_allclose(aligned - aligned.mean(), clean - clean.mean(), atol=1e-5)
    scarred = clean + np.where((y == 30) & (x > 10) & (x < 50), 40, 0) + np.where(y % 2, 0.01, 0)
    assert np.abs(_method(remove_scars=True).preprocess(Image(scarred, "YX")).data[0] - clean).max() < 1


def seen_at(edges: Sequence[float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return probabilities rising along a row, and where the cells of each image begin."""
    row = np.tile(np.linspace(0, 1, 101, dtype=np.float32), (4, 1))
    return [(row[None], (row > edge).astype(np.float32)) for edge in edges]


def test_a_threshold_that_is_clearly_better_is_chosen() -> None:
    assert AfmUnet().choose(seen_at([0.8, 0.8, 0.8])) == {"threshold": 0.8}
    assert AfmUnet().choose(seen_at([0.31]))["threshold"] == pytest.approx(0.3)


def test_where_images_do_not_tell_thresholds_apart_the_papers_is_kept() -> None:
    """The mean MCC of 0.9 is .15 above that of 0.5, less than the standard error over images that disagree."""
    found = seen_at([0.5, 0.9, 0.95])
    means = {t: np.mean([mcc(p[0] > t, y > 0.5) for p, y in found]) for t in THRESHOLDS}
    assert max(means, key=lambda t: means[t]) == 0.9
    assert means[0.9] - means[0.5] == pytest.approx(0.152, abs=0.001)
    assert AfmUnet().choose(found) == {"threshold": 0.5}
