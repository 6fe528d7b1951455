"""Which field an image seems to be of, by axes, units, pixel size and colours."""

from __future__ import annotations

import numpy as np
import pytest

from napari_medseg.image import Image
from napari_medseg.models.catalog import entry, list_models
from napari_medseg.models.checkpoint import bundled
from napari_medseg.models.purpose import FIELDS, doubts_on, likely_field, no_cell_fits

GREY, COLOUR = np.zeros((40, 40), np.uint8), np.arange(4800).reshape(40, 40, 3).astype(np.uint8)
UM = ("micrometer", "micrometer")
IMAGES = [
    (Image(np.zeros((4, 8, 8)), "TYX", units=("second", *UM)), "movie"),
    (Image(np.zeros((4, 8, 8)), "ZYX"), "volume"),
    (Image(GREY, "YX", value_unit="nm"), "afm"),
    (Image(COLOUR, "YXC"), "tissue"),
    (Image(np.repeat(GREY[..., None], 3, 2), "YXC", scale=(1.04, 1.04), units=UM), "cornea"),
    (Image(np.zeros((384, 384), np.uint8), "YX"), "cornea"),
    (Image(GREY, "YX", scale=(0.02, 0.02), units=UM), None),
    (Image(GREY, "YX"), None),
    (Image(np.zeros((384, 384)), "YX", value_unit="V"), None),
]


@pytest.mark.parametrize(("image", "field"), IMAGES)
def test_the_field_is_recognised_or_nothing_is_said(image: Image, field: str | None) -> None:
    assert likely_field(image) == field


def test_bundled_models_are_proposed_for_their_field_alone() -> None:
    models = [model for model in list_models() if model.bundled]
    assert {model.field for model in models if not model.demo} <= {*FIELDS, None}
    for image, field in IMAGES:
        for model in models:
            assert not model.made_for(image) or (model.field == field and not model.demo), model.title
    generated = Image(GREY, "YX", value_unit="nm", metadata={"generated": True})
    assert any(model.made_for(generated) for model in models)


@pytest.mark.parametrize(
    ("shape", "scale", "unit", "fits"),
    [
        ((36, 50, 36), 1.0, "millimeter", True),
        ((72, 100, 72), 0.5, "millimeter", True),
        ((160, 192, 160), 1.0, "millimeter", False),
        ((36, 50, 36), 1.0, "pixel", False),
    ],
)
def test_hippocampus_model_is_proposed_for_volumes_of_its_size_alone(
    shape: tuple[int, ...], scale: float, unit: str, fits: bool
) -> None:
    image = Image(np.zeros(shape, np.uint8), "ZYX", (scale,) * 3, (unit,) * 3)
    assert entry(bundled("hippocampus_pnet")).made_for(image) == fits


@pytest.mark.parametrize(
    ("pixels", "step", "unit", "fits"),
    [(256, 1.277e-3, "micrometer", False), (512, 0.9766, "nanometer", False), (128, 0.2, "micrometer", True)],
)
def test_no_cells_are_looked_for_in_a_scan_that_cannot_hold_one(
    pixels: int, step: float, unit: str, fits: bool
) -> None:
    scan = Image(np.zeros((pixels, pixels)), "YX", (step, step), (unit, unit), value_unit="nm")
    model = entry(bundled("afm-threshold"))
    assert model.made_for(scan) == fits
    said = no_cell_fits(scan)
    assert bool(said) != fits
    assert fits or said in doubts_on(scan, model.card, "afm")[0]
    own = {"pixel_size": {"unit": unit, "median": [step, step]}}
    assert not doubts_on(scan, own, "afm"), "a model that learnt from such scans knows what is on them"
    assert not no_cell_fits(scan.replace(units=("pixel", "pixel")))
