"""Settings that older versions named otherwise are read from files and flags alike."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from napari_medseg import load_model
from napari_medseg.cli.flags import add_flags, given
from napari_medseg.errors import SettingsError
from napari_medseg.methods import create, known_methods, settings_class
from napari_medseg.models.checkpoint import write_checkpoint
from napari_medseg.settings import MethodSettings

EARLIER = [(name, old, now) for name in known_methods() for old, now in settings_class(name).earlier.items()]


def other_value(cls: type[MethodSettings], name: str) -> int | float:
    return 64 if isinstance(getattr(cls(), name), int) else 0.9


def test_some_settings_were_renamed() -> None:
    assert {("sc-dcnn", "cut", "threshold"), ("p-net", "modalities", "channels"), ("r-net", "patch", "crop")} < {
        *EARLIER
    }


@pytest.mark.parametrize(("method", "old", "now"), EARLIER)
def test_earlier_names_mean_what_todays_do(method: str, old: str, now: str) -> None:
    cls = settings_class(method)
    value = other_value(cls, now)
    assert old not in cls.model_fields
    assert cls.parse({old: value}) == cls.parse({now: value}) == cls(**{old: value}) != cls()
    assert cls.parse({old: value, now: getattr(cls(), now)}) == cls()  # today's name counts
    assert old not in cls.parse({old: value}).model_dump()
    with pytest.raises(SettingsError, match=now):
        cls.parse({old: "a word"})


@pytest.mark.parametrize(("method", "old", "now"), EARLIER)
def test_earlier_flags_set_todays_settings(method: str, old: str, now: str) -> None:
    cls = settings_class(method)
    parser = argparse.ArgumentParser()
    add_flags(parser, cls)
    value = other_value(cls, now)
    assert given(parser.parse_args([f"--{old}", str(value)]), cls) == {now: value}


def test_a_model_made_with_earlier_names_says_todays(tmp_path: Path) -> None:
    settings = {"width": 2, "cut": 0.7, "patch": 32}
    method = create("sc-dcnn", settings)
    weights = method.build_network().state_dict()
    write_checkpoint(
        tmp_path / "old.pt", {"format": 1, "method": "sc-dcnn", "settings": settings, "state_dict": weights}
    )
    model = load_model(tmp_path / "old.pt")
    assert model.method.settings == method.settings
    assert model.card["settings"] == {"width": 2, "threshold": 0.7, "crop": 32}
