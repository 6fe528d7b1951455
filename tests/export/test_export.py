"""Models given away: the file answers as the network does, or is refused in plain words."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy import ToyMethod

from napari_medseg.cli.main import main
from napari_medseg.errors import WriteError
from napari_medseg.export import PackageInfo, export_bioimageio, export_onnx, load_exported
from napari_medseg.export.network import left_out, normalisation
from napari_medseg.export.onnx_file import axes_of, start_session
from napari_medseg.image import Image
from napari_medseg.inference.network import infer
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.settings import PredictSettings

pytest.importorskip("onnxruntime", reason="the extra export is not installed")
SMALL = [
    ("afm-unet", {"architecture": "unet2"}),
    ("sc-dcnn", {"width": 4}),
    ("sc-dcnn", {"width": 4, "ndim": 3}),
    ("p-net", {"width": 4, "modern": True, "downsample": 2}),
    ("p-net", {"width": 4, "ndim": 3}),
    ("r-net", {"width": 4}),
]


def model(name: str, settings: dict[str, Any]) -> Model:
    torch.manual_seed(0)
    method = create(name, settings)
    return Model(method, method.build_network().eval(), {"sha256": "abc", "license": "BSD-3-Clause", "version": "1"})


@pytest.mark.parametrize(("name", "settings"), SMALL)
def test_onnx_answers_as_the_network_at_another_size(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """The oracle is `infer`, which the exporter does not use."""
    given = model(name, settings)
    method = given.method
    result = run(export_onnx(given, tmp_path / "m.onnx"))
    assert result["largest_difference"] <= 1e-4
    shape = tuple((3 + i) * max(8, method.size_multiple) for i in range(method.ndim))
    x = np.random.default_rng(1).standard_normal((method.in_channels, *shape)).astype(np.float32)
    x[-1] *= name != "r-net"
    expected = run(infer(given, x, PredictSettings(device="cpu", tile=512 if method.ndim == 2 else 128)))
    session = start_session((tmp_path / "m.onnx").read_bytes())
    answer = session.run(None, {"input": x[None]})[0][0]
    np.testing.assert_allclose(answer, expected, atol=1e-4)


def test_onnx_says_where_it_comes_from(tmp_path: Path) -> None:
    run(export_onnx(model("sc-dcnn", {"width": 4}), tmp_path / "m.onnx"))
    content = (tmp_path / "m.onnx").read_bytes()
    kept = start_session(content).get_modelmeta().custom_metadata_map
    assert kept["method"] == "sc-dcnn"
    assert kept["checkpoint_sha256"] == "abc"
    assert json.loads(kept["settings"])["width"] == 4
    assert axes_of(content) == {"input": ["batch", 1, "y", "x"], "probabilities": ["batch", 2, "y", "x"]}


class _Network(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.weight = kind, nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "depends on values":
            return x * self.weight * float(x.amax())
        return torch.linalg.eigvals(x @ x.mT).real[..., None] * self.weight


class _Odd(ToyMethod):
    kind = ""

    def build_network(self) -> nn.Module:
        return _Network(self.kind)


@pytest.mark.parametrize(
    ("kind", "reason"), [("depends on values", "differs by"), ("no such operator", "no ONNX form")]
)
def test_what_onnx_cannot_hold_is_refused_in_one_sentence(kind: str, reason: str, tmp_path: Path) -> None:
    method = _Odd()
    method.kind = kind
    with pytest.raises(WriteError, match=reason) as caught:
        run(export_onnx(Model(method, method.build_network(), {}), tmp_path / "m.onnx"))
    assert len(str(caught.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_what_a_file_cannot_do_is_said_in_result_and_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="the extra export is not installed")
    for given, words in (
        (load_model("nuclei_dsb2018"), "statistics of training"),
        (model("sc-dcnn", {"width": 4, "flips": True}), "flips and turns"),
        (model("sc-dcnn", {"width": 4}), ""),
    ):
        result = run(export_onnx(given, tmp_path / "m.onnx"))
        kept = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
        assert result.get("note") == kept.get("note")
        assert words in kept["note"] if words else "note" not in kept


def test_what_is_left_out_follows_the_model() -> None:
    assert left_out(create("fullnet", {"adapt": 0}), {}) == ""
    assert "statistics of training" in left_out(create("fullnet", {"adapt": 1}), {})
    assert "0.5" in left_out(create("afm-unet"), {"pixel_size": {"median": [0.5, 0.5], "unit": "micrometer"}})


def test_a_network_that_needs_scribbles_is_no_bioimageio_model(tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.core", reason="the extra export is not installed")
    with pytest.raises(WriteError, match="scribbles"):
        run(export_bioimageio(model("r-net", {"width": 4}), tmp_path / "m.zip"))


@pytest.mark.parametrize(
    ("name", "settings", "expected"),
    [
        ("sc-dcnn", {}, "zero_mean_unit_variance"),
        ("p-net", {"clip": 0, "nonzero": False, "channels": 2}, "zero_mean_unit_variance"),
        ("fullnet", {}, "scale_linear"),
        ("p-net", {}, None),
        ("afm-unet", {}, None),
        ("double-unet", {}, None),
    ],
)
def test_normalisation_that_others_know(name: str, settings: dict[str, Any], expected: str | None) -> None:
    method = create(name, settings)
    raw = np.random.default_rng(0).integers(0, 256, (method.in_channels, 48, 48)).astype(np.float32)
    found = normalisation(method, raw)
    assert (found["id"] if found else None) == expected
    if name == "fullnet" and found:
        image = Image(raw.astype(np.uint8).transpose(1, 2, 0), "YXC")
        x = raw * np.reshape(found["gain"], (3, 1, 1)) + np.reshape(found["offset"], (3, 1, 1))
        np.testing.assert_allclose(method.prepare(image), x, atol=1e-4)


def test_bioimageio_package_passes_its_core_library(tmp_path: Path) -> None:
    core = pytest.importorskip("bioimageio.core", reason="the extra export is not installed")
    given = model("afm-unet", {"architecture": "unet2"})
    info = PackageInfo(name="Cells: AFM", authors="A. Author, B. Author")
    result = run(export_bioimageio(given, tmp_path / "m.zip", info))
    assert result["validation"] == "passed"
    assert result["largest_difference"] <= 1e-4
    with zipfile.ZipFile(tmp_path / "m.zip") as package:
        assert {"rdf.yaml", "weights.onnx", "weights.pt", "test_input.npy", "README.md"} <= set(package.namelist())
        assert "Not for diagnosis" in package.read("README.md").decode()
    description = core.load_model_description(tmp_path / "m.zip", perform_io_checks=False)
    assert [a.name for a in description.authors] == ["A. Author", "B. Author"]
    assert str(description.license) == "BSD-3-Clause"
    with pytest.raises(WriteError, match="license"):
        run(export_bioimageio(given, tmp_path / "n.zip", PackageInfo(license="free for friends")))
    assert not (tmp_path / "n.zip").exists()


def test_state_dict_fits_the_network_that_the_package_names() -> None:
    given = model("afm-unet", {"architecture": "unet2"})
    built = load_exported("afm-unet", {"architecture": "unet2"})
    built.network.load_state_dict(given.network.state_dict())
    x = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(built.eval()(x), torch.sigmoid(given.network(x)))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = model("sc-dcnn", {"width": 4})
    write_checkpoint(tmp_path / "m.pt", pack(given.method, given.network.state_dict()))
    words = ["export", str(tmp_path / "m.pt"), "-o", str(tmp_path / "m.onnx")]
    assert main([*words, "--format", "onnx", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["largest_difference"] <= 1e-4
    assert main(words) == 2
    assert "--format" in capsys.readouterr().err
