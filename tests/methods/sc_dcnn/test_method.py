from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from tifffile import imwrite

from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.inference.network import infer, predict
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import get_method
from napari_medseg.methods.sc_dcnn.method import ScDcnn, ScDcnnSettings
from napari_medseg.samples.ccm import ccm_folder, ccm_image
from napari_medseg.settings import PredictSettings
from napari_medseg.training.loop import train

TINY = ScDcnnSettings(width=2)


def labels(values: np.ndarray) -> Image:
    return Image(np.asarray(values), "YX", kind="labels", name="m")


def test_registered_with_the_parameters_of_the_paper() -> None:
    assert get_method("sc-dcnn") is ScDcnn
    assert sum(p.numel() for p in ScDcnn().build_network().parameters()) == 2_161_856
    assert (ScDcnn.training.epochs, ScDcnn.training.batch_size, ScDcnn.training.learning_rate) == (200, 4, 1e-4)
    assert not ScDcnn.training.augment


def test_input_is_the_z_score() -> None:
    data = np.random.default_rng(0).integers(0, 60000, (20, 30)).astype(np.uint16)
    x = ScDcnn().prepare(Image(data, "YX"))
    assert (x.shape, x.dtype) == ((1, 20, 30), np.float32)
    np.testing.assert_allclose(x[0], (data - data.mean()) / data.std(), atol=1e-5)


def test_colour_is_reduced_to_luma() -> None:
    data = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    grey = data @ np.array([0.2989, 0.5870, 0.1140])
    np.testing.assert_allclose(ScDcnn().prepare(Image(data, "YXC"))[0], (grey - grey.mean()) / grey.std(), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (1, 50), (37, 21)])
def test_black_and_tiny_images(shape: tuple[int, int]) -> None:
    image = Image(np.zeros(shape, np.uint8), "YX", (2.0, 2.0), ("micrometer",) * 2)
    method = ScDcnn(TINY)
    assert not method.prepare(image).any()
    result = run(predict(Model(method, method.build_network(), {}), image, PredictSettings(device="cpu"))).labels
    assert (result.spatial_shape, result.scale, result.units) == (shape, image.scale, image.units)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="2D images"):
        ScDcnn().prepare(Image(np.zeros((3, 8, 8)), "ZYX"))
    with pytest.raises(DataError, match="5 channels"):
        ScDcnn().prepare(Image(np.zeros((8, 8, 5)), "YXC"))
    with pytest.raises(DataError, match="NaN"):
        ScDcnn().prepare(Image(np.full((8, 8), np.nan), "YX"))


@pytest.mark.parametrize("top", [1, 255])
def test_masks_are_0_1_or_0_255(top: int) -> None:
    target = ScDcnn().target(labels(np.array([[0, top], [top, 0]], np.uint8)))
    assert target.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("values", [[[0, 1, 255]], [[0, 7, 0]], [[0, 1, 2]]])
def test_every_label_counts_as_nerve(values: list[list[int]]) -> None:
    assert np.array_equal(ScDcnn().target(labels(np.array(values))), np.array(values) > 0)


def test_label_dilation() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[4] = 1
    target = ScDcnn(ScDcnnSettings(dilate_labels=1)).target(labels(mask))
    assert target.sum(0).tolist() == [3] * 9
    assert not ScDcnn(ScDcnnSettings(dilate_labels=1)).target(labels(mask * 0)).any()


def test_mismatch_of_image_and_label(tmp_path: Path) -> None:
    imwrite(tmp_path / "a_org.tif", np.zeros((8, 8), np.uint8))
    imwrite(tmp_path / "a_lab.tif", np.zeros((8, 9), np.uint8))
    method = ScDcnn()
    with pytest.raises(DataError, match="no place says where"):
        method.load_pair(method.find_pairs(tmp_path).pairs[0])


def test_identical_images_share_a_subject(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for stem in ("1", "2", "P1_OD_1", "P1_OS_2"):
        imwrite(tmp_path / f"{stem}_org.tif", generator.integers(0, 255, (8, 8)).astype(np.uint8))
        imwrite(tmp_path / f"{stem}_lab.tif", np.zeros((8, 8), np.uint8))
    shutil.copy(tmp_path / "1_org.tif", tmp_path / "9_org.tif")
    shutil.copy(tmp_path / "1_lab.tif", tmp_path / "9_lab.tif")
    shutil.copy(tmp_path / "P1_OS_2_org.tif", tmp_path / "2_org.tif")
    subjects = {p.stem: p.subject for p in ScDcnn().find_pairs(tmp_path).pairs}
    assert subjects["1"] == subjects["9"]
    assert subjects["2"] == subjects["P1_OD_1"] == subjects["P1_OS_2"] != subjects["1"]


def test_real_images_14_and_17_stay_together(shared_data: Path) -> None:
    pairs = ScDcnn().find_pairs(shared_data / "ccm" / "nottingham").pairs
    subjects = {p.stem: p.subject for p in pairs}
    assert len(pairs) == 20
    assert len(set(subjects.values())) == 19
    assert subjects["14"] == subjects["17"]


def test_evened_input_does_not_see_the_light_and_dark_lines_are_bright() -> None:
    """An uneven gain and offset leave the evened picture as it was; a negative turned by ``dark`` too."""
    rng = np.random.default_rng(0)
    grey = rng.normal(100, 10, (96, 128))
    y, x = np.mgrid[:96, :128] / 100
    method, dark = (ScDcnn(ScDcnnSettings(surroundings=12, dark=d)) for d in (False, True))
    plain = method.prepare(Image(grey, "YX"))
    lit = method.prepare(Image(grey * (1 + 0.5 * x) + 30 * y, "YX"))
    assert np.corrcoef(plain.ravel(), lit.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(dark.prepare(Image(500 - grey, "YX")), plain, atol=1e-3)
    assert not method.prepare(Image(np.full((40, 40), 7.0), "YX")).any()
    for shape in ((1, 1), (3, 50)):
        assert method.prepare(Image(np.ones(shape), "YX")).shape == (1, *shape)
    grey[3, 4] = np.nan
    with pytest.raises(DataError, match="NaN"):
        method.prepare(Image(grey, "YX"))


def test_evened_pictures_are_the_same_in_tiles() -> None:
    image, _ = ccm_image(5, 192)
    method = ScDcnn(ScDcnnSettings(width=2, surroundings=12))
    model = Model(method, method.build_network().eval(), {})
    whole, tiled = (run(predict(model, image, PredictSettings(device="cpu", precision="float32", tile=t)))
                    for t in (0, 160))  # fmt: skip
    np.testing.assert_allclose(whole.probabilities, tiled.probabilities, atol=1e-4)


def test_the_chosen_cuts_are_the_best_of_the_grid() -> None:
    """Faint clutter below .9, a nerve that fades to .8 and rises to .97, and a bright speck: one setting finds it."""
    truth = np.zeros((64, 64), np.int64)
    truth[10, 2:62] = 1
    nerve = np.full((64, 64), 0.1)
    nerve[10, 2:62], nerve[10, 20:30] = 0.85, 0.98
    nerve[30, 2:50] = nerve[45, 2:50] = 0.85
    nerve[55, 5:20] = 0.98
    chosen = ScDcnn(ScDcnnSettings()).choose([(np.stack([1 - nerve, nerve]), truth)])
    mask = ScDcnn(ScDcnnSettings.parse(chosen)).postprocess(np.stack([1 - nerve, nerve]), Image(nerve, "YX")).data
    assert np.array_equal(mask, truth)
    assert chosen["threshold"] < 0.85 < chosen["strong"] < 0.98


def test_flips_are_averaged_where_the_model_says_so() -> None:
    image, _ = ccm_image(5, 64)
    torch.manual_seed(0)
    network = ScDcnn(TINY).build_network().eval()
    plain = Model(ScDcnn(TINY), network, {})
    own = Model(ScDcnn(TINY.updated(flips=True)), network, {})
    quiet = PredictSettings(device="cpu", precision="float32")
    asked = run(predict(plain, image, quiet.updated(tta=True))).probabilities
    np.testing.assert_array_equal(run(predict(own, image, quiet)).probabilities, asked)
    assert not np.allclose(run(predict(plain, image, quiet)).probabilities, asked)


def test_both_eyes_of_a_child_stay_together(shared_data: Path) -> None:
    pairs = ScDcnn().find_pairs(shared_data / "ccm" / "chasedb1").pairs
    assert len(pairs) == 20
    assert len({p.subject for p in pairs}) == 10
    x, y = ScDcnn().load_pair(pairs[0])
    assert x.shape[1:] == y.shape
    assert 0.03 < y.mean() < 0.15


def test_plain_parallel_folders(tmp_path: Path) -> None:
    for folder, suffix in (("images", "png"), ("labels", "png")):
        (tmp_path / folder).mkdir()
        Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / folder / f"a.{suffix}")
    assert len(ScDcnn().find_pairs(tmp_path).pairs) == 1


@pytest.mark.parametrize("shape", [(384, 384), (500, 401), (20, 30), (1, 1)])
def test_samples_have_the_size_of_the_patch(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    y = generator.integers(0, 2, shape)
    x, cut = ScDcnn().sample(y[None].astype(np.float32), y, generator)
    assert (x.shape, cut.shape) == ((1, 384, 384), (384, 384))
    assert np.array_equal(x[0], cut)


def test_augmentation_moves_image_and_label_alike() -> None:
    generator = np.random.default_rng(0)
    y = (generator.random((16, 16)) > 0.8).astype(np.int64)
    for _ in range(20):
        x, moved = ScDcnn().augment(y[None].astype(np.float32), y, generator)
        assert np.array_equal(x[0] > 0, moved > 0)
        assert x.mean() == pytest.approx(0, abs=1e-5)


def test_volumes() -> None:
    method = ScDcnn(ScDcnnSettings(ndim=3, width=1, crop=16))
    image = Image(np.random.default_rng(0).random((9, 17, 20)).astype(np.float32), "ZYX")
    x = method.prepare(image)
    output = method.build_network()(torch.from_numpy(method.sample(x, x[0], np.random.default_rng(0))[0])[None])
    terms = method.loss(output, torch.zeros(1, 32, 32, 32), torch.zeros(1, 1, 32, 32, 32))
    assert torch.isfinite(terms["loss"])
    result = run(predict(Model(method, method.build_network(), {}), image, PredictSettings(device="cpu")))
    assert result.labels.spatial_shape == (9, 17, 20)


def test_tiled_equals_whole() -> None:
    torch.manual_seed(0)
    method = ScDcnn(TINY)
    model = Model(method, method.build_network(), {})
    x = method.prepare(Image(np.random.default_rng(0).random((700, 64)), "YX"))
    whole = run(infer(model, x, PredictSettings(device="cpu", precision="float32", tile=1024)))
    tiled = run(infer(model, x, PredictSettings(device="cpu", precision="float32", tile=512)))
    np.testing.assert_allclose(tiled, whole, atol=1e-4)


def test_small_pieces_can_be_dropped() -> None:
    p = np.zeros((2, 20, 20), np.float32)
    p[0] = 0.5
    p[1, 3, 2:18] = p[1, 10, 10] = 0.6
    image = Image(np.zeros((20, 20)), "YX")
    assert ScDcnn().postprocess(p, image).data.sum() == 17
    assert ScDcnn(ScDcnnSettings(min_size=5)).postprocess(p, image).data.sum() == 16


def test_cut_makes_masks_thinner() -> None:
    p = np.zeros((2, 5, 9), np.float32)
    p[1, 1:4], p[1, 2] = 0.6, 0.95
    p[0] = 1 - p[1]
    image = Image(np.zeros((5, 9)), "YX")
    assert ScDcnn().postprocess(p, image).data.sum() == 27
    assert ScDcnn(ScDcnnSettings(threshold=0.9)).postprocess(p, image).data.sum() == 9


def test_the_total_loss_selects_as_in_the_paper() -> None:
    assert ScDcnn().selects_by_loss
    assert not ScDcnn(ScDcnnSettings(select="f1_3px")).selects_by_loss


@pytest.mark.parametrize("select", ["loss", "f1_3px"])
def test_the_selected_epoch_is_kept(tmp_path: Path, select: str) -> None:
    method = ScDcnn(ScDcnnSettings(width=1, crop=32, select=select))
    folder = ccm_folder(tmp_path / "data", 4, 48)
    settings = method.training.updated(epochs=3, batch_size=2, learning_rate=0.01, device="cpu")
    best = run(train(method, folder, tmp_path / "run", settings)).card["best"]
    with (tmp_path / "run" / "history.csv").open() as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    values = [-row["val_loss"] if select == "loss" else row["val_score"] for row in rows]
    assert best["epoch"] == 1 + int(np.argmax(values))
    assert best["score"] == pytest.approx(max(values))


def test_score_is_the_three_pixel_f1() -> None:
    truth = torch.zeros(1, 20, 40, dtype=torch.long)
    truth[0, 8] = 1
    shifted = torch.nn.functional.one_hot(truth.roll(3, 1), 2).permute(0, 3, 1, 2).float()
    assert ScDcnn().score(shifted, truth) == {"score": 1.0, "f1_3px": 1.0, "dice": 0.0}
