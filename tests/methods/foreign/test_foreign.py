"""Other programs' networks: ONNX files and bioimage.io packages run as models; what is not known is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg.cli.main import main
from napari_medseg.errors import CheckpointError, DataError
from napari_medseg.export.onnx_file import export_onnx
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one, write
from napari_medseg.jobs import run
from napari_medseg.methods import read_foreign
from napari_medseg.models.catalog import entry, load_model
from napari_medseg.settings import PredictSettings

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
yaml = pytest.importorskip("yaml")
CPU = PredictSettings(device="cpu", tile=64)
UM = ("micrometer", "micrometer")


def network(
    path: Path, shape: list[Any], inputs: int = 1, operator: str = "Sigmoid", out: list[Any] | None = None
) -> Path:
    """Write an ONNX file that applies one operator to its input."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    given = [helper.make_tensor_value_info(f"x{k}", kind, shape) for k in range(inputs)]
    answer = helper.make_tensor_value_info("y", kind, out or shape)
    options = {"axis": 1} if operator == "Softmax" else {}
    graph = helper.make_graph([helper.make_node(operator, ["x0"], ["y"], **options)], "g", given, [answer])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def package(path: Path, file: Path, **changes: Any) -> Path:
    """Write a bioimage.io package of model 0.5."""
    axes = [
        {"type": "batch"}, {"type": "channel", "channel_names": ["a"]},
        *({"type": "space", "id": axis, "size": {"min": 16, "step": 8}} for axis in "yx"),
    ]  # fmt: skip
    stated = {
        "type": "model", "format_version": "0.5.3", "name": "spots", "description": "finds spots", "license": "MIT",
        "authors": [{"name": "A. Author"}], "cite": [{"text": "t", "doi": "10.1/x"}],
        "inputs": [{"id": "raw", "axes": axes, "preprocessing": [
            {"id": "ensure_dtype", "kwargs": {"dtype": "float32"}},
            {"id": "zero_mean_unit_variance", "kwargs": {"axes": ["channel", "y", "x"]}}]}],
        "outputs": [{"id": "mask", "axes": [*axes[:2], *({"type": "space", "id": a, "halo": 4} for a in "yx")]}],
        "weights": {"onnx": {"source": "weights.onnx"}},
        **changes,
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rdf.yaml", yaml.safe_dump(stated))
        archive.write(file, "weights.onnx")
    return path


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def test_a_package_runs_as_it_states(tmp_path: Path) -> None:
    path = package(tmp_path / "spots.zip", network(tmp_path / "w.onnx", ["b", 1, "y", "x"]))
    model = load_model(path)
    data = np.random.default_rng(0).integers(0, 900, (90, 75)).astype(np.uint16)
    found = run(predict(model, Image(data, "YX", (0.5, 0.5), UM, name="a"), CPU))
    z = (data - data.mean()) / data.std()
    np.testing.assert_allclose(found.probabilities[0], sigmoid(z), atol=1e-5)
    np.testing.assert_array_equal(found.labels.data, z > 0)
    assert (model.method.size_multiple, model.method.halo) == (8, 4)
    said = entry(path)
    assert (said.card["license"], said.card["authors"], said.card["doi"]) == ("MIT", "A. Author", "10.1/x")
    assert "licence: MIT" in said.describe()


def test_model_0_4_with_classes_and_its_own_words(tmp_path: Path) -> None:
    weights = network(tmp_path / "w.onnx", [1, 3, "y", "x"], operator="Identity")
    inputs = [{
        "name": "raw", "axes": "bcyx", "shape": {"min": [1, 3, 16, 16], "step": [0, 0, 16, 16]},
        "preprocessing": [{"name": "scale_linear", "kwargs": {"gain": [1, 2, 3], "offset": [0, 0, 1], "axes": "yx"}}],
    }]  # fmt: skip
    outputs = [{"name": "p", "axes": "bcyx", "halo": [0, 0, 8, 8], "postprocessing": [{"name": "sigmoid"}]}]
    path = package(tmp_path / "m.zip", weights, inputs=inputs, outputs=outputs, format_version="0.4.9")
    colours = np.random.default_rng(1).random((40, 50, 3)).astype(np.float32)
    found = run(predict(load_model(path), Image(colours, "YXC"), CPU))
    wanted = sigmoid(colours * [1, 2, 3] + [0, 0, 1]).transpose(2, 0, 1)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(found.labels.data, wanted.argmax(0))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("bcyx", [1, 1, 32, 32]), ("byxc", ["b", "y", "x", 1]), ("yx", ["y", "x"]), ("bcxy", ["b", 1, "x", "y"])],
)
def test_axes_in_any_order_and_fixed_sizes(tmp_path: Path, axes: str, shape: list[Any]) -> None:
    file = network(tmp_path / "net.onnx", shape)
    args = ["models", "add", str(file), "--axes", axes, "--normalise", "255", "--folder", str(tmp_path / "kept")]
    assert main(args) == (0 if axes != "bcxy" else 2)
    if axes == "bcxy":
        return
    model = load_model(tmp_path / "kept" / "net.pt")
    for size in ((70, 45), (20, 11)):
        data = np.random.default_rng(2).integers(0, 255, size, np.uint8)
        found = run(predict(model, Image(data, "YX"), PredictSettings(device="cpu")))
        np.testing.assert_allclose(found.probabilities[0], sigmoid(data / 255), atol=1e-5)


def test_a_volume_on_the_command_line_keeps_its_grid(tmp_path: Path) -> None:
    file = network(tmp_path / "net.onnx", ["b", 1, "z", "y", "x"])
    assert (
        main(["models", "add", str(file), "--axes", "bczyx", "--normalise", "zscore", "--folder", str(tmp_path)]) == 0
    )
    data = np.random.default_rng(3).integers(0, 99, (12, 20, 16)).astype(np.int16)
    affine = np.array([[2.0, 0, 0, 5], [0, 0, 1, -3], [0, 1, 0, 7], [0, 0, 0, 1]])
    write(tmp_path / "scan.nii", Image(data, "ZYX", (2.0, 1, 1), ("millimeter",) * 3, affine))
    words = [
        "predict",
        str(tmp_path / "net.pt"),
        str(tmp_path / "scan.nii"),
        "-o",
        str(tmp_path / "out"),
        "--device",
        "cpu",
    ]
    assert main(words) == 0
    labels = read_one(tmp_path / "out" / "scan_labels.nii.gz", "labels")
    np.testing.assert_array_equal(labels.data, data > data.mean())
    np.testing.assert_allclose(labels.affine, affine)


def test_this_programs_onnx_is_prepared_as_its_checkpoint(tmp_path: Path) -> None:
    model = load_model("ccm_generated")
    run(export_onnx(model, tmp_path / "ccm.onnx"))
    again = load_model(tmp_path / "ccm.onnx")
    image = Image(np.random.default_rng(4).integers(0, 255, (96, 80), np.uint8), "YX")
    first, second = (run(predict(m, image, CPU)) for m in (model, again))
    np.testing.assert_allclose(second.probabilities, first.probabilities, atol=1e-3)  # batch norm is folded in one
    assert again.method.label_kind == model.method.label_kind
    assert again.method.measure == model.method.measure


def test_an_onnx_file_that_cannot_adapt_says_so_on_every_result(tmp_path: Path) -> None:
    model = load_model("nuclei_dsb2018")
    run(export_onnx(model, tmp_path / "nuclei.onnx"))
    image, exact = (
        Image(np.random.default_rng(4).integers(0, 255, (64, 80, 3), np.uint8), "YXC"),
        CPU.updated(precision="float32"),
    )
    first, second = (
        run(predict(m, image, settings))
        for m, settings in ((model, exact.updated(adapt=False)), (load_model(tmp_path / "nuclei.onnx"), exact))
    )
    np.testing.assert_allclose(second.probabilities, first.probabilities, atol=1e-3)  # batch norm is folded in one
    assert any("statistics of training" in note for note in second.labels.metadata["notes"])
    assert not any("statistics of training" in note for note in first.labels.metadata.get("notes", ()))


def test_what_is_not_known_is_refused_in_a_sentence(tmp_path: Path) -> None:
    plain = network(tmp_path / "plain.onnx", ["b", 1, "y", "x"])
    five = network(tmp_path / "five.onnx", ["b", 1, "y", "x"], inputs=5)
    other = [{"id": "raw", "axes": [{"type": "batch"}, {"type": "index"}], "preprocessing": []}]
    strange = [{"id": "raw", "axes": "bcyx", "preprocessing": [{"id": "custom"}]}]
    (tmp_path / "cut.onnx").write_bytes(plain.read_bytes()[:20])
    (tmp_path / "none.zip").write_bytes(b"PK\3\4none")
    torch_only = {"weights": {"torchscript": {"source": "w.pt"}}}
    cases = [
        (plain, {}, "does not state its axes and intensities. Say them once: medseg models add plain.onnx"),
        (plain, {"axes": "bczyx"}, "has 4 axes"),
        (plain, {"axes": "bcyq"}, "are no axes of an image"),
        (five, {"axes": "bcyx"}, r"takes 5 inputs \(x0, x1, x2, x3, x4\); only networks of one image"),
        (tmp_path / "cut.onnx", {"axes": "bcyx"}, "cannot read this network"),
        (tmp_path / "none.zip", {}, "no sound bioimage.io package"),
        (tmp_path / "absent.onnx", {}, "There is no model"),
        (package(tmp_path / "a.zip", plain, inputs=other), {}, "are no axes of an image"),
        (package(tmp_path / "b.zip", plain, inputs=strange), {}, "asks for 'custom' of intensities"),
        (package(tmp_path / "c.zip", plain, **torch_only), {}, "no ONNX weights, only torchscript"),
        (package(tmp_path / "d.zip", plain, type="dataset"), {}, "describes no model"),
        (package(tmp_path / "e.zip", plain, inputs=[]), {}, "takes 0 inputs"),
        (package(tmp_path / "f.zip", plain, outputs=[{"axes": 7}]), {}, "in an unknown way"),
        (package(tmp_path / "g.zip", plain, weights={"onnx": {"source": "w"}}), {}, "does not hold its weights"),
    ]  # fmt: skip
    for path, given, words in cases:
        with pytest.raises(CheckpointError, match=words):
            read_foreign(path, given)
        assert entry(path).problem or given


def test_answers_of_another_size_and_other_channels_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    pooled = network(tmp_path / "flat.onnx", ["b", 2, "y", "x"], operator="GlobalAveragePool", out=["b", 2, 1, 1])
    assert main(["models", "add", str(pooled), "--axes", "bcyx", "--normalise", "none", "--folder", str(folder)]) == 0
    model = load_model(folder / "flat.pt")
    with pytest.raises(DataError, match="answers with"):
        run(predict(model, Image(np.zeros((2, 40, 40), np.float32), "CYX"), CPU))
    with pytest.raises(DataError, match=r"takes 2 channel\(s\)"):
        run(predict(model, Image(np.zeros((40, 40), np.float32), "YX"), CPU))


def test_a_kept_model_is_a_checkpoint_like_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = network(tmp_path / "net.onnx", ["b", 1, "y", "x"])
    words = [
        "models",
        "add",
        str(file),
        "--axes",
        "bcyx",
        "--normalise",
        "percentile",
        "--folder",
        str(tmp_path),
        "--json",
    ]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == [str(tmp_path / "net.pt")]
    assert main(["models", "--folder", str(tmp_path), "--json"]) == 0
    places = [row["where"] for row in json.loads(capsys.readouterr().out) if row["name"] == "net"]
    assert places == [entry(file).problem, str(tmp_path / "net.pt")]
