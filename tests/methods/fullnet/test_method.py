from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from napari_medseg.errors import DataError, SettingsError
from napari_medseg.evaluate.metrics.objects import aji
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.measure.labels import instances
from napari_medseg.method import Model
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.method import FullNet, FullNetSettings
from napari_medseg.methods.fullnet.tissue import TISSUES
from napari_medseg.samples.histology import nuclei_tile
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.data import Batches, Cases

TINY = FullNetSettings(n_layers=1, growth=2, crop=32)


@pytest.fixture(scope="module")
def tile() -> tuple[Image, Image]:
    return nuclei_tile(0, 128)


def one_hot(classes: np.ndarray) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)


def folder_of(tmp_path: Path, tile: tuple[Image, Image], n: int = 2) -> Path:
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for i in range(n):
        Pillow.fromarray(tile[0].data).save(tmp_path / "images" / f"t{i}.png")
        Pillow.fromarray(tile[1].data).save(tmp_path / "labels" / f"t{i}_label.png")
    return tmp_path


def test_truth_through_target_encoding_and_postprocessing_comes_back(tile: tuple[Image, Image]) -> None:
    image, labels = tile
    method = FullNet()
    encoded = method._encoded(torch.from_numpy(method.target(labels))[None])[0][0].numpy()
    result = method.postprocess(one_hot(encoded), image)
    assert result.kind == "labels"
    assert result.scale == image.scale
    assert result.data.dtype == np.uint16
    assert aji(result.data, labels.data) > 0.95


def test_fixed_encoding_needs_one_growth_less(tile: tuple[Image, Image]) -> None:
    image, labels = tile
    method = FullNet(FullNetSettings(encoding="fixed", grow=1, growth_mode="free"))
    encoded = method._encoded(torch.from_numpy(method.target(labels))[None])[0][0].numpy()
    assert aji(method.postprocess(one_hot(encoded), image).data, labels.data) > 0.97


def test_target_is_the_same_from_instances_and_from_a_ternary_picture(tile: tuple[Image, Image]) -> None:
    labels = tile[1]
    rgb = ternary.to_rgb(ternary.ternary(instances(labels.data)))
    method = FullNet()
    from_rgb = method.target(Image(rgb, "YXC"))
    from_instances = method.target(labels)
    np.testing.assert_array_equal(from_rgb[0], from_instances[0])
    assert np.abs(from_rgb[1] - from_instances[1]).mean() < 0.1


def test_glands_are_resized_and_come_back_in_the_images_size() -> None:
    image, labels = nuclei_tile(0, 300)
    image, labels = image.replace(data=image.data[:260]), labels.replace(data=labels.data[:260])
    method = FullNet(FullNetSettings(tissue="glands", min_area=5))
    assert not method.tiled
    assert method.prepare(image).shape == (3, 208, 240)
    probabilities = np.zeros((3, 208, 240), np.float32)
    probabilities[1, 50:100, 60:120] = 1
    result = method.postprocess(probabilities, image)
    assert result.data.shape == (260, 300)
    assert result.data.max() == 1


def test_glands_that_are_not_resized_look_the_same_in_a_larger_picture() -> None:
    image, _ = nuclei_tile(0, 320)
    method = FullNet(FullNetSettings(tissue="glands", resize=False, n_layers=1, growth=2))
    model, settings = Model(method, method.build_network().eval(), {}), PredictSettings(device="cpu")
    assert method.tiled
    assert method.prepare(image).shape == (3, 320, 320)
    alone = run(predict(model, image.replace(data=image.data[:200]), settings)).probabilities
    inside = run(predict(model, image, settings)).probabilities
    assert alone.shape == (3, 200, 320)
    rows = 200 - method.halo
    assert rows > 50
    np.testing.assert_allclose(alone[:, :rows], inside[:, :rows], atol=1e-5)


@pytest.mark.parametrize("changes", [{"pack": 2}, {"pooling": True}])
def test_whole_pictures_of_any_size_pass_networks_that_need_multiples(changes: dict[str, object]) -> None:
    image, _ = nuclei_tile(0, 320)
    image = image.replace(data=image.data[:211])  # becomes 208 x 315
    method = FullNet(FullNetSettings.parse({"tissue": "glands", "n_layers": 1, "growth": 2, **changes}))
    assert [n % method.size_multiple for n in method.prepare(image).shape[1:]][1] != 0
    found = run(predict(Model(method, method.build_network().eval(), {}), image, PredictSettings(device="cpu")))
    assert found.probabilities.shape == (3, 208, 315)
    assert found.labels.data.shape == (211, 320)


def test_normalisation_is_that_of_the_tissue(tile: tuple[Image, Image]) -> None:
    x = FullNet().prepare(tile[0])
    tissue = TISSUES["nuclei"]
    expected = (tile[0].data[5, 7] / 255 - np.array(tissue.mean)) / np.array(tissue.std)
    np.testing.assert_allclose(x[:, 5, 7], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stain", ["macenko", "reinhard"])
def test_colour_normalisation_of_blocks_equals_that_of_the_whole(tile: tuple[Image, Image], stain: str) -> None:
    method = FullNet(FullNetSettings(stain=stain))
    statistics = method.statistics(tile[0])
    block = method.normalise(tile[0].data[:40, 30:90].transpose(2, 0, 1), statistics)
    np.testing.assert_allclose(method.prepare(tile[0])[:, :40, 30:90], block, atol=1e-5)


def test_rgba_and_16_bit_give_the_same_input(tile: tuple[Image, Image]) -> None:
    rgb = tile[0].data
    rgba = np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], 2)
    wide = tile[0].replace(data=rgb.astype(np.uint16) * 257)
    method = FullNet()
    for other in (tile[0].replace(data=rgba, channels=()), wide):
        np.testing.assert_array_equal(method.prepare(other), method.prepare(tile[0]))


def test_grey_image_is_refused_in_plain_words() -> None:
    with pytest.raises(DataError, match="colour image"):
        FullNet().prepare(Image(np.zeros((9, 9), np.uint8), "YX", name="grey"))


def test_pairs_bring_weight_maps_and_colour_statistics(tmp_path: Path, tile: tuple[Image, Image]) -> None:
    folder = folder_of(tmp_path, tile)
    (folder / "weight_maps").mkdir()
    Pillow.fromarray(np.full((128, 128), 60, np.uint8)).save(folder / "weight_maps" / "t0_weight.png")
    (folder / "mean_std.json").write_text(json.dumps({"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}))
    (folder / "prepare.json").write_text(json.dumps({"settings": {"tissue": "nuclei"}, "patches": False}))
    given = FullNet()
    method, found = given.adapted_to(folder), given.find_pairs(folder)
    assert not any(given.settings.mean)
    assert [pair.stem for pair in found.pairs] == ["t0", "t1"]
    assert method.settings.mean == (0.1, 0.2, 0.3)
    np.testing.assert_array_equal(method.load_pair(found.pairs[0])[1][1], 3)
    assert method.load_pair(found.pairs[1])[1][1].max() > 5
    kept = FullNet(FullNetSettings(mean=(0.4, 0.4, 0.4), std=(1.0, 1.0, 1.0)))
    assert kept.adapted_to(folder).settings.mean == (0.4, 0.4, 0.4)


def test_folder_prepared_for_the_other_tissue_is_refused(tmp_path: Path, tile: tuple[Image, Image]) -> None:
    folder = folder_of(tmp_path, tile)
    (folder / "prepare.json").write_text(json.dumps({"settings": {"tissue": "glands"}}))
    with pytest.raises(SettingsError, match="glands"):
        FullNet().adapted_to(folder)


def test_label_of_another_size_is_refused(tmp_path: Path, tile: tuple[Image, Image]) -> None:
    folder = folder_of(tmp_path, tile, 1)
    Pillow.fromarray(tile[1].data[:100]).save(folder / "labels" / "t0_label.png")
    with pytest.raises(DataError, match="no place says where"):
        FullNet().load_pair(Pair(folder / "images" / "t0.png", folder / "labels" / "t0_label.png"))


@pytest.mark.parametrize(
    ("size", "augmentation", "window"), [(16, "fixed", 39), (128, "fixed", 56), (128, "paper", 39)]
)
def test_samples_have_the_crop_size_whatever_the_image(size: int, augmentation: str, window: int) -> None:
    image, labels = nuclei_tile(1, size)
    method = FullNet(TINY.updated(augmentation=augmentation))
    x, y = method.prepare(image), method.target(labels)
    rng = np.random.default_rng(0)
    sample = method.sample(x, y, rng)
    assert sample[0].shape == (3, window, window)
    assert method.augment(*sample, rng)[1].shape == (2, 32, 32)
    assert [part.shape for part in method.complete(*sample, rng)] == [(3, 32, 32), (2, 32, 32)]


def test_batches_have_the_crop_size_with_and_without_augmentation(tmp_path: Path, tile: tuple[Image, Image]) -> None:
    method = FullNet(TINY)
    cases = Cases(method, method.find_pairs(folder_of(tmp_path, tile)).pairs)
    for augment in (True, False):
        x, y = next(Batches(cases, TrainSettings(batch_size=2, augment=augment)).epoch(0))
        assert (x.shape, y.shape) == ((2, 3, 32, 32), (2, 2, 32, 32))


def test_batch_without_instances_has_a_finite_loss() -> None:
    method = FullNet(TINY)
    target = torch.stack([torch.zeros(2, 32, 32), torch.ones(2, 32, 32)], 1)
    target[:, 0] = 0
    output = torch.randn(2, 3, 32, 32, requires_grad=True)
    terms = method.loss(output, target, output)
    terms["loss"].backward()
    assert torch.isfinite(terms["loss"])
    assert float(terms["var"]) == 0


def test_score_is_the_iou_of_the_insides() -> None:
    method = FullNet(FullNetSettings(encoding="fixed"))
    target = torch.zeros(1, 2, 4, 4)
    target[0, 0, :2] = 1
    probabilities = torch.zeros(1, 3, 4, 4)
    probabilities[0, 1, 1:3] = 1
    assert method.score(probabilities, target)["score"] == pytest.approx(4 / 12)


def test_validation_sample_is_the_centre() -> None:
    method = FullNet(FullNetSettings(validation_size=20))
    x = np.arange(3 * 50 * 60, dtype=np.float32).reshape(3, 50, 60)
    part, _ = method.validation_sample(x, x[:2], np.random.default_rng(0))
    np.testing.assert_array_equal(part, x[:, 15:35, 20:40])


def test_tiles_give_the_same_result_as_the_whole(tile: tuple[Image, Image]) -> None:
    torch.manual_seed(0)
    method = FullNet(FullNetSettings(n_layers=1, growth=2, hybrid=False))
    model = Model(method, method.build_network().eval(), {})
    settings = method.prediction.updated(device="cpu", tile=112, overlap=-1)
    assert 4 * 2 * method.halo / 3 < 112
    tiled = run(predict(model, tile[0], settings))
    whole = run(predict(model, tile[0], settings.updated(tile=128)))
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, atol=1e-5)


def test_defaults_are_the_papers_but_for_larger_tiles() -> None:
    assert (FullNet.prediction.tile, FullNet.prediction.overlap) == (400, 80)
    assert FullNet().halo == 218
    optimizer = FullNet().optimizer(FullNet(TINY).build_network(), FullNet.training, 0)
    assert optimizer.defaults["betas"] == (0.9, 0.99)
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (1e-3, 1e-4)


def test_outlines_are_prepared_first(tmp_path: Path) -> None:
    for name in ("Tissue Images/a.tif", "Annotations/a.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="medseg prepare fullnet"):
        FullNet().find_pairs(tmp_path)


def test_constants_that_suit_are_chosen() -> None:
    method = FullNet(FullNetSettings(preset="light"))
    labels = np.zeros((120, 120), np.int32)
    for k, (y, x) in enumerate(np.ndindex(4, 4), 1):
        labels[10 + 27 * y : 26 + 27 * y, 10 + 27 * x : 26 + 27 * x] = k
    target = method.target(Image(labels, "YX", kind="labels"))
    inside = target[0] == ternary.INSIDE
    unsure = np.zeros((3, 120, 120), np.float32)
    unsure[1] = np.where(inside, 0.45, 0.05)
    unsure[0] = 1 - unsure[1]  # background is likelier everywhere: only a threshold below .45 finds nuclei
    chosen = method.choose([(unsure, target)])
    assert chosen["threshold"] in (0.3, 0.4)
    assert chosen["grow"] == 1
    better = FullNet(method.settings.updated(**chosen))
    assert int(better.objects(unsure).max()) == 16


def test_specks_of_a_size_that_suits_glands_are_dropped() -> None:
    """A gland of 80 x 80 pixels among twenty specks of 15 x 15, in probabilities that are sure of both."""
    method = FullNet(FullNetSettings(preset="light", tissue="glands", resize=False))
    labels = np.zeros((200, 200), np.int32)
    labels[100:180, 100:180] = 1
    target = method.target(Image(labels, "YX", kind="labels"))
    found = np.zeros((3, 200, 200), np.float32)
    found[1] = target[0] == ternary.INSIDE
    for k in range(20):
        y, x = 5 + 20 * (k // 10), 5 + 19 * (k % 10)
        found[1, y : y + 15, x : x + 15] = 1
    found[0] = 1 - found[1]
    chosen = method.choose([(found, target)])
    assert 225 < chosen["min_area"] < 6400
    assert int(FullNet(method.settings.updated(**chosen)).objects(found).max()) == 1
