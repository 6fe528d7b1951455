"""Methods of other packages: found by their entry points; what fails or clashes is named, the others work."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
from toy import ToyMethod

from napari_medseg import methods
from napari_medseg.cli.main import main
from napari_medseg.errors import CheckpointError, MethodError, SettingsError
from napari_medseg.method import Method
from napari_medseg.methods import METHODS, get_method, known_methods, settings_class, trained_methods, usable_methods
from napari_medseg.models.catalog import entry, load_model
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
    names = usable_methods()
    assert "broken" not in names
    assert set(METHODS) <= set(names)
    assert sum("broken-package" in record.message for record in caplog.records) == 1


class Abstract(Method):
    name = "half"


class Untitled(ToyMethod):
    name = "another-name"


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("toy", "other_package", "expected 'package.module:Class'"),
        ("toy", "other_package:Missing", "has no attribute 'Missing'"),
        ("toy", "other_package:Path", "no subclass of napari_medseg.method.Method"),
        ("half", "other_package:Abstract", "does not define build_network, loss, normalise, postprocess, target"),
        ("toy", "other_package:Untitled", "calls itself 'another-name'"),
    ],
)
def test_what_is_no_method_of_that_name_is_refused_with_the_reason(
    other: None, monkeypatch: pytest.MonkeyPatch, name: str, place: str, reason: str
) -> None:
    vars(sys.modules["other_package"]).update(Path=Path, Abstract=Abstract, Untitled=Untitled)
    offer(monkeypatch, ("their-package", name, place))
    for ask in (get_method, settings_class):
        with pytest.raises(MethodError, match=f"'{name}' of the package their-package") as error:
            ask(name)
        assert reason in str(error.value)
    assert name not in usable_methods()


def test_commands_and_lists_work_beside_a_package_that_fails(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    content = pack(ToyMethod(), ToyMethod().build_network().state_dict())
    write_checkpoint(tmp_path / "x.pt", content | {"method": "broken", "field": "nerve"})
    offer(monkeypatch, ("broken-package", "broken", "no_such_module:Method"))
    assert "'broken' of the package broken-package cannot be used" in entry(tmp_path / "x.pt").problem
    with pytest.raises(MethodError, match="broken-package"):
        load_model(tmp_path / "x.pt")
    assert "broken" not in trained_methods()
    assert main(["methods", "--json"]) == 0
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} == set(usable_methods())
    assert sum("broken-package" in record.message for record in caplog.records) == 1


def test_help_shows_the_schedule_of_a_method_whose_settings_have_none(
    other: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(monkeypatch, ("other", "toy", "other_package:ToyMethod"))
    with pytest.raises(SystemExit):
        main(["train", "toy", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(default: 3) --steps-per-epoch" in shown


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
