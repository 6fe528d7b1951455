"""Methods of other packages: found by their entry points; what fails or clashes is named, the others work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
from toy import ToyMethod

from napari_medseg import methods
from napari_medseg.errors import CheckpointError, MethodError, SettingsError
from napari_medseg.methods import METHODS, get_method, known_methods, settings_class, usable_methods
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, write_checkpoint


class Package:
    """A stand-in for an installed distribution."""

    def __init__(self, name: str) -> None:
        self.name = name


def offer(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, str]) -> None:
    """Install packages that each offer a method: (package, name, place)."""
    found = []
    for package, name, place in points:
        point = metadata.EntryPoint(name, place, methods.GROUP)
        object.__setattr__(point, "dist", Package(package))
        vars(point).update(dist=Package(package))
        found.append(point)
    monkeypatch.setattr(methods.metadata, "entry_points", lambda group: found)
    methods._installed.cache_clear()
    methods._say.cache_clear()


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    methods._installed.cache_clear()


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("other_package")
    module.ToyMethod = ToyMethod  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "other_package", module)


def test_another_package_adds_a_method(other: None, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("other", "toy", "other_package:ToyMethod"))
    assert "toy" in known_methods()
    assert get_method("toy") is ToyMethod
    assert settings_class("toy") is ToyMethod.Settings
    assert known_methods().keys() >= METHODS.keys()


def test_a_package_that_fails_is_named_and_the_others_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offer(monkeypatch, ("broken-package", "broken", "no_such_module:Method"))
    with pytest.raises(MethodError, match="'broken' of the package broken-package"):
        get_method("broken")
    names = [name for name, _ in usable_methods()]
    assert "broken" not in names
    assert set(METHODS) <= set(names)
    assert sum("broken-package" in record.message for record in caplog.records) == 1


def test_of_two_methods_of_one_name_ours_counts(
    other: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    offer(
        monkeypatch,
        ("alpha", "fullnet", "other_package:ToyMethod"),
        ("alpha", "toy", "other_package:ToyMethod"),
        ("beta", "toy", "no_such_module:Method"),
    )
    assert get_method("fullnet").__module__.startswith("napari_medseg.")
    assert get_method("toy") is ToyMethod
    said = " ".join(record.message for record in caplog.records)
    assert "alpha offers a method 'fullnet', as napari-medseg does" in said
    assert "beta offers a method 'toy', as alpha does" in said


def test_a_model_of_a_method_that_is_not_installed_says_which(tmp_path: Path) -> None:
    method = ToyMethod()
    torch.manual_seed(0)
    content = pack(method, method.build_network().state_dict()) | {"method": "their-net"}
    write_checkpoint(tmp_path / "x.pt", content)
    with pytest.raises(CheckpointError, match="'their-net', which is not installed"):
        load_model(tmp_path / "x.pt")


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="afm-unet"):
        get_method("unknown")
