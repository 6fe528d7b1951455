"""A model knows the pixel size it was trained at, warns of another one and can see an image at its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy import Identity, ToyMethod, write_cases

from napari_medseg.evaluate.metrics.tolerance import tolerance_f1
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.write import write
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.models.catalog import entry, list_models, load_model
from napari_medseg.models.purpose import PixelSize, doubts_on, likely_field
from napari_medseg.samples.ccm import ccm_image
from napari_medseg.samples.histology import nuclei_tile
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.training.loop import train

UM, MM = ("micrometer",) * 2, ("millimeter",) * 3
CPU, RESAMPLE = PredictSettings(device="cpu"), PredictSettings(device="cpu", resample=True)
SETTINGS = TrainSettings(epochs=1, batch_size=2, device="cpu")


def identity(ndim: int, **size: Any) -> Model:
    method = Identity()
    return Model(method, method.build_network().eval(), {"pixel_size": size} if size else {})


def test_training_records_the_pixel_sizes_of_its_images(tmp_path: Path) -> None:
    folder = write_cases(tmp_path / "data", 4)
    for index, path in enumerate(sorted((folder / "images").glob("*.png"))):
        data = np.random.default_rng(index).integers(0, 255, (16, 16), np.uint8)
        write(path.with_suffix(".tif"), Image(data, "YX", (0.5 + 0.1 * index, 0.5), UM))
        path.unlink()
    model = run(train(ToyMethod(), folder, tmp_path / "run", SETTINGS.updated(validation_fraction=0)))
    size = PixelSize.of_card(model.card)
    assert size == PixelSize("micrometer", (0.65, 0.5), (0.5, 0.5), (0.8, 0.5))
    assert str(size) == "0.65 x 0.5 um (0.5 um to 0.8 x 0.5 um)"


def test_training_images_without_pixel_size_say_nothing(tmp_path: Path) -> None:
    model = run(train(ToyMethod(), write_cases(tmp_path / "data", 3), tmp_path / "run", SETTINGS))
    assert "pixel_size" not in model.card
    assert model.card["skewness"][0] <= model.card["skewness"][1]


def test_cards_of_bundled_models_state_sizes_with_units() -> None:
    known = {e.path.stem: PixelSize.of_card(e.card) for e in list_models() if e.bundled}
    assert known["ccm_generated"] == known["nerve-ridges"] == PixelSize("micrometer", *((1.0417, 1.0417),) * 3)
    assert known["hippocampus_pnet"] == PixelSize("millimeter", *((1.0, 1.0, 1.0),) * 3)
    assert all("pixel size: " in e.describe() for e in list_models() if e.bundled and known[e.path.stem])
    assert PixelSize.of_card(load_model("nuclei_dsb2018").card) == known["nuclei_dsb2018"]


@pytest.mark.parametrize(
    ("step", "expected"), [(0.25, "nuclei_dsb2018"), (0.6, "stained_glands"), (None, "nuclei_dsb2018")]
)
def test_of_two_models_of_a_field_the_one_for_such_pixels_is_nearer(step: float | None, expected: str) -> None:
    image = nuclei_tile(0, 96)[0].replace(scale=(step or 1.0,) * 2, units=("micrometer" if step else "pixel",) * 2)
    assert likely_field(image) == "tissue"
    known = [e for e in list_models() if e.bundled and e.field == "tissue"]
    assert len(known) == 2
    assert min(known, key=lambda e: e.distance(image)).path.stem == expected


@pytest.mark.parametrize(
    "said",
    ["1.04 um", None, 3, {}, {"unit": "um"}, {"unit": "px", "median": [1]}, {"unit": "um", "median": [0, 1]},
     {"unit": "um", "median": [1, 1], "smallest": [1]}, {"unit": "um", "median": ["a"]}, {"unit": "um", "median": 1}],
)  # fmt: skip
def test_other_words_on_a_card_are_no_pixel_size(said: object) -> None:
    assert PixelSize.of_card({"pixel_size": said}) is None


def test_a_card_of_an_earlier_file_does_not_describe_this_one(tmp_path: Path) -> None:
    source = entry(load_path("nerve-ridges")).path
    (tmp_path / "a.pt").write_bytes(source.read_bytes() + b"\0")
    (tmp_path / "a.json").write_text(source.with_suffix(".json").read_text("utf-8"), "utf-8")
    assert "pixel_size" not in load_model(tmp_path / "a.pt").card


def load_path(name: str) -> Path:
    return Path(load_model(name).card["file"])


@pytest.mark.parametrize("name", ["ccm_generated", "nerve-ridges"])
def test_nerves_stored_at_half_the_pixel_size_are_the_same_nerves(name: str) -> None:
    image, _ = ccm_image(3)
    fine = np.kron(np.asarray(image.data), np.ones((2, 2), np.uint8))
    stored = image.replace(data=fine, scale=tuple(s / 2 for s in image.scale), name="fine")
    model = load_model(name)
    whole = run(predict(model, image, CPU))
    assert whole.doubts == ()
    found, as_it_is = run(predict(model, stored, RESAMPLE)), run(predict(model, stored, CPU))
    assert (found.labels.spatial_shape, found.labels.scale) == ((768, 768), stored.scale)
    assert found.probabilities.shape[1:] == (768, 768)
    mask, wanted = np.asarray(found.labels.data)[::2, ::2] > 0, np.asarray(whole.labels.data) > 0
    assert tolerance_f1(mask, wanted) > 0.97
    assert found.doubts == ()
    assert "It was segmented at 1.04 um, the pixel size of the model's training" in found.labels.metadata["notes"][-1]
    (doubt,) = as_it_is.doubts
    assert doubt.startswith("Its pixels are 0.521 um, the model was trained at 1.04 um: turn on resampling")
    assert doubt in as_it_is.labels.metadata["notes"]


def test_a_volume_of_thick_slices_is_seen_at_a_millimetre() -> None:
    z, y, x = np.ogrid[:36, :48, :40]
    truth = ((z - 18) / 9.0) ** 2 + ((y - 24) / 12.0) ** 2 + ((x - 20) / 10.0) ** 2 < 1
    grey = np.where(truth, 220, 40).astype(np.uint8)
    affine = np.array([[-3.0, 0, 0, 50], [0, 0, 1.0, 2], [0, 1.0, 0, 9], [0, 0, 0, 1]])
    thick = Image(grey[1::3], "ZYX", (3.0, 1.0, 1.0), MM, affine, name="thick")
    seen = []

    class Volumes(Identity):
        ndim = 3

        def build_network(self) -> Any:
            import torch

            return torch.nn.Conv3d(1, 1, 1)

        def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
            seen.append(image)
            return image.labels_like((np.asarray(image.data) > 130).astype(np.uint8) * 5)

    method = Volumes()
    model = Model(method, method.build_network().eval(), {"pixel_size": {"unit": "um", "median": [1000] * 3}})
    found = run(predict(model, thick, RESAMPLE))
    assert (seen[0].spatial_shape, seen[0].scale) == ((36, 48, 40), (1.0, 1.0, 1.0))
    np.testing.assert_allclose(np.asarray(seen[0].affine) @ (1, 0, 0, 1), affine @ (0, 0, 0, 1))
    assert set(np.unique(found.labels.data)) == {0, 5}
    np.testing.assert_array_equal(found.labels.data > 0, np.asarray(thick.data) > 130)
    np.testing.assert_array_equal(found.labels.affine, affine)


def test_sizes_in_range_unknown_and_of_other_units() -> None:
    model = identity(2, unit="micrometer", median=[1.0, 1.0], smallest=[0.5, 0.5], largest=[2.0, 2.0])
    data = np.full((12, 12), 9, np.uint8)
    for scale, unit, doubts in ((0.45, "micrometer", 0), (0.4, "micrometer", 1), (2e-3, "millimeter", 0)):
        image = Image(data, "YX", (scale, scale), (unit,) * 2)
        assert len(run(predict(model, image, CPU)).doubts) == doubts
        assert run(predict(model, image, RESAMPLE)).labels.spatial_shape == (12, 12)
    unknown = run(predict(model, Image(data, "YX"), RESAMPLE))
    assert unknown.doubts == ()
    assert unknown.labels.metadata["notes"] == [
        "It states no pixel size; the model was trained at 1 um (0.5 um to 2 um)."
    ]
    assert "notes" not in run(predict(identity(2), Image(data, "YX"), RESAMPLE)).labels.metadata


def test_objects_that_get_no_pixel_are_counted() -> None:
    class Spots(Identity):
        def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
            return image.labels_like(
                np.arange(image.spatial_shape[0] * image.spatial_shape[1]).reshape(image.spatial_shape)
            )

    method = Spots()
    card = {"pixel_size": {"unit": "um", "median": [0.25, 0.25]}}
    image = Image(np.zeros((4, 4), np.uint8), "YX", (1.0, 1.0), UM)
    found = run(predict(Model(method, method.build_network().eval(), card), image, RESAMPLE))
    assert found.labels.metadata["notes"][-1] == "239 of 255 objects got no pixel."


@pytest.mark.parametrize("gain", [1, 250])
def test_bright_and_dark_swapped_is_said(gain: int) -> None:
    image, _ = ccm_image(2)
    data = np.asarray(image.data).astype(np.uint16) * gain
    model = load_model("ccm_generated")
    assert doubts_on(image.replace(data=data), model.card, "cornea") == ()
    (doubt,) = doubts_on(image.replace(data=255 * gain - data), model.card, "cornea")
    assert doubt.startswith("Dark and bright seem to be swapped (skewness -")
    assert doubts_on(image.replace(data=np.zeros_like(data)), model.card, "cornea") == ()


def test_images_of_another_field_are_doubted_once() -> None:
    colour = Image(np.arange(4800).reshape(40, 40, 3).astype(np.uint8), "YXC")
    (doubt,) = doubts_on(colour, {}, "cornea")
    assert doubt.startswith(
        "It looks like nuclei and glands in stained tissue, and the model was made for corneal nerves"
    )
    volts = Image(np.zeros((40, 40)), "YX", value_unit="V")
    assert doubts_on(volts, {}, "afm") == (
        "Its values are V, and the model expects heights: choose the height channel.",
    )
    assert doubts_on(volts, {}, "") == ()
    assert doubts_on(colour, {}, "tissue") == ()


@pytest.mark.parametrize("value", [torch.zeros(3), torch.tensor(1.0), "0.25", [0.25], {"unit": "um"}, {"median": 1}, 5])
def test_a_card_with_another_pixel_size_says_nothing(value: object) -> None:
    assert PixelSize.of_card({"pixel_size": value}) is None
