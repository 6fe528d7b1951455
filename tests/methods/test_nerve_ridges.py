"""Corneal nerves without training: filters, thresholds, and the way a model without weights takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_medseg.cli.main import main
from napari_medseg.errors import DataError, SettingsError
from napari_medseg.evaluate.metrics.tolerance import tolerance_f1
from napari_medseg.image import Image
from napari_medseg.inference import predict
from napari_medseg.io import read_one
from napari_medseg.jobs import run
from napari_medseg.measure.lines import keep_lines
from napari_medseg.methods import METHODS, TRAINING_FREE, create
from napari_medseg.methods.nerve_ridges.method import LineFilter, line_kernels, receptive_radius
from napari_medseg.models.catalog import entry, list_models, load_model
from napari_medseg.models.checkpoint import bundled
from napari_medseg.preprocessing.ground import continued, unseen
from napari_medseg.samples.ccm import CornealRanges, ccm_folder, ccm_image
from napari_medseg.settings import PredictSettings
from napari_medseg.training import train

NAME = "nerve-ridges"


def test_filters_answer_to_lines_and_not_to_even_ground() -> None:
    kernels = line_kernels(2.0, 6.0, 16)
    np.testing.assert_allclose(kernels.sum((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose((kernels**2).sum((1, 2, 3)), 1, rtol=1e-5)
    picture = torch.zeros(1, 1, 96, 96)
    picture[..., 48] = 1.0  # a vertical line
    answers = torch.nn.functional.conv2d(picture, kernels)[0]
    assert answers.amax((1, 2)).argmax() == 8  # of 16 directions from 0 (along x) to pi


@pytest.mark.parametrize(("turns", "flip"), [(1, False), (0, True), (3, True)])
def test_the_filter_turns_with_the_picture(turns: int, flip: bool) -> None:
    network, x = LineFilter(2.0, 6.0, 12.0), torch.from_numpy(ccm_image(0, 96)[0].data).float()[None, None]

    def turned(t: torch.Tensor) -> torch.Tensor:
        return torch.rot90(t.flip(-1) if flip else t, turns, (-2, -1))

    torch.testing.assert_close(network(turned(x)), turned(network(x)), atol=2e-3, rtol=1e-3)


def test_brightness_and_gain_do_not_matter() -> None:
    image, _ = ccm_image(1, 128)
    model = load_model(NAME)
    plain = run(predict(model, image)).labels.data
    other = run(predict(model, image.replace(data=image.data.astype(np.float32) * 7 + 1000))).labels.data
    assert (plain != other).mean() < 1e-3


@pytest.mark.parametrize("name", [NAME, "ccm_generated"])
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("pads", [((0, 28), (0, 0)), ((16, 16), (16, 16)), ((0, 0), (0, 200))])
def test_a_border_or_caption_bar_makes_no_nerves(
    pads: tuple[tuple[int, int], tuple[int, int]], value: int, name: str
) -> None:
    """The edge of a plain part was taken for a nerve: up to 60 % more of them."""
    image, _ = ccm_image(1, 256)
    framed = np.pad(np.asarray(image.data), pads, constant_values=value)
    for row in range(8, 20, 2):
        framed[-28 + row, 10:16] = 255 - value if pads[0] == (0, 28) else framed[-28 + row, 10:16]  # letters
    alone, found = (run(predict(load_model(name), Image(data, "YX"))).labels.data for data in (image.data, framed))
    inside = tuple(slice(before, before + 256) for before, _ in pads)
    assert found.sum() == found[inside].sum()
    assert abs(int(found[inside].sum()) - int(alone.sum())) < 0.04 * alone.sum()
    assert (found[inside] > alone).sum() < 0.03 * alone.sum()


def test_what_was_not_seen_is_continued_by_mirroring() -> None:
    picture = np.arange(12.0).reshape(1, 12)
    outside = picture >= 9
    assert continued(picture, outside)[0, 6:].tolist() == [6, 7, 8, 7, 6, 5]
    assert continued(picture, outside | (picture < 8))[0].tolist() == [8] * 12  # no picture is wide enough to mirror
    halves = np.repeat(np.array([0, 255], np.uint8), 50)[None].repeat(60, 0)
    assert not unseen(halves).any()  # a picture of plain parts alone


def test_nerves_on_plain_ground_were_seen() -> None:
    """A drawing, or a nerve through a part that the camera has cut off at 0."""
    drawing = np.zeros((200, 200), np.uint8)
    drawing[98:101, 20:180] = 255
    assert not unseen(drawing).any()
    found = run(predict(load_model(NAME), Image(drawing, "YX"))).labels.data
    assert found[99, 30:170].all()
    half = np.asarray(ccm_image(0, 200)[0].data).copy()
    half[:, 100:] = 0
    assert unseen(half)[:, 100:].all()
    half[60:64, 100:180] = 200
    assert not unseen(half).any()


def test_tiles_give_the_same_answer() -> None:
    image, _ = ccm_image(2, 256)
    model = load_model(NAME)
    whole = run(predict(model, image)).probabilities
    tiled = run(predict(model, image, PredictSettings(tile=192, device="cpu"))).probabilities
    assert receptive_radius(2.0, 6.0, 8.0) == model.method.halo
    np.testing.assert_allclose(whole, tiled, atol=1e-4)


def test_it_finds_generated_nerves_and_dark_ones_where_told() -> None:
    image, truth = ccm_image(4, 256, CornealRanges(brightness=(4.0, 9.0), thin_fibres=(0.0, 0.0), streaks=(0.0, 0.0)))
    assert tolerance_f1(np.asarray(run(predict(load_model(NAME), image)).labels.data), truth.data) > 0.5
    dark = create(NAME, {"dark": True})
    model = load_model(NAME)
    model.method = dark
    inverted = image.replace(data=255 - image.data)
    assert tolerance_f1(np.asarray(run(predict(model, inverted)).labels.data), truth.data) > 0.5
    model.method = create(NAME)
    assert tolerance_f1(np.asarray(run(predict(model, inverted)).labels.data), truth.data) < 0.4


@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (33, 5)])
def test_flat_and_tiny_images_hold_no_nerve(shape: tuple[int, int]) -> None:
    labels = run(predict(load_model(NAME), Image(np.full(shape, 9, np.uint8), "YX"))).labels
    assert labels.spatial_shape == shape
    assert not labels.data.any()


def test_images_it_cannot_take_are_refused_in_a_sentence() -> None:
    model = load_model(NAME)
    with pytest.raises(DataError, match="2D"):
        run(predict(model, Image(np.zeros((4, 8, 8), np.uint8), "ZYX")))
    with pytest.raises(DataError, match="NaN"):
        run(predict(model, Image(np.full((8, 8), np.nan, np.float32), "YX")))


def test_lines_start_strong_go_on_weak_and_are_long() -> None:
    evidence = np.zeros((20, 60))
    evidence[5, 5:50] = 0.6
    evidence[5, 20] = 0.9  # strong somewhere
    evidence[10, 5:50] = 0.6  # nowhere
    evidence[15, 5:15] = 0.9  # too short
    found = keep_lines(evidence, 0.5, 0.8, 20)
    assert found.sum() == 45
    assert found[5, 5:50].all()
    assert keep_lines(evidence, 0.5, 0.0, 0).sum() == 100
    assert not keep_lines(evidence * 0, 0.5, 0.8, 20).any()


def test_every_training_free_method_is_a_model_with_its_defaults() -> None:
    for name in TRAINING_FREE:
        model = load_model(name, name)
        assert model.method.settings == create(name).settings
        assert not list(model.network.parameters())
        assert name not in METHODS
        assert entry(bundled(name)) in list_models(Path("/nowhere"))
        assert "needs no training" in entry(bundled(name)).describe()


@pytest.mark.parametrize("name", TRAINING_FREE)
def test_training_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"predict {name}"):
        run(train(create(name), tmp_path, tmp_path / "run", create(name).training))


def test_the_command_line_runs_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ccm_folder(tmp_path / "data", 2, 96)
    assert main(["predict", NAME, str(folder / "S01_OD_1_org.tif"), "-o", str(tmp_path / "out")]) == 0
    (found,) = (tmp_path / "out").glob("*_labels.tif")
    assert read_one(found, "labels").spatial_shape == (96, 96)
    for words in (["methods"], ["describe", NAME, "--weak", "4"]):
        assert main(words) == 0
        assert NAME in capsys.readouterr().out
    assert main(["train", NAME, str(folder), "-o", str(tmp_path / "run")]) == 2
    assert "needs no training" in capsys.readouterr().err
