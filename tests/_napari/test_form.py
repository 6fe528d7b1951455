"""Forms made from every Settings class give the same settings back."""

from __future__ import annotations

import pytest

from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg.errors import SettingsError
from napari_medseg.methods import METHODS, get_method
from napari_medseg.settings import PredictSettings, TrainSettings


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("name", METHODS)
def test_defaults_to_form_and_back(name: str) -> None:
    cls = get_method(name)
    for settings in (cls.Settings(), cls.training, cls.prediction, TrainSettings(), PredictSettings()):
        assert SettingsForm(settings).value == settings


@pytest.mark.usefixtures("qapp")
def test_small_rates_and_large_numbers_survive() -> None:
    """A float field without a step shows 1e-4 as 0.0; an int field without a limit stops at 999."""
    settings = TrainSettings(learning_rate=1e-4, steps_per_epoch=123_456, weight_decay=5e-4)
    form = SettingsForm(TrainSettings())
    form.value = settings
    assert form.value == settings
    form.reset()
    assert form.value == TrainSettings()


@pytest.mark.usefixtures("qapp")
def test_every_field_has_a_tooltip() -> None:
    form = SettingsForm(PredictSettings())
    assert all(widget.tooltip for widget in form)


def test_a_wrong_entry_is_named_in_plain_words() -> None:
    with pytest.raises(SettingsError, match="learning_rate"):
        TrainSettings.parse({"learning_rate": -1})
