"""bioimage.io: a package that its own core library has validated and run."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from napari_medseg import __version__
from napari_medseg.errors import MissingDependencyError, WriteError, require
from napari_medseg.export.network import (
    Exported,
    exported,
    fixed_size,
    left_out,
    normalisation,
    random_input,
    reference,
    sizes,
)
from napari_medseg.export.onnx_file import OPSET, TOLERANCE, check_packages, compare, noted, to_onnx
from napari_medseg.export.settings import PackageInfo
from napari_medseg.io.files import disk_errors, replacing
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Method, Model, RefinementMethod
from napari_medseg.models.checkpoint import save_tensors

TEST_PIXELS = 2**17
NO_AUTHOR = "Author not stated"


def describe(network: Exported, card: dict[str, Any], info: PackageInfo, folder: Path, weights: dict[str, Path]) -> Any:
    """Write the test tensors and the documentation into `folder` and return the model description.

    Raises
    ------
    WriteError
        If a name or licence is none that bioimage.io knows.
    """
    v = require("bioimageio.spec.model.v0_5", "export", "A bioimage.io package")
    method = network.method
    halo = _halo(method)
    shape = sizes(method, 2 * halo + 1)
    known, ndim = _write_tensors(network, shape, folder)
    (folder / "README.md").write_text(_documentation(method, card, known), encoding="utf-8")
    names = [n.strip() for n in (info.authors or str(card.get("authors", ""))).split(",") if n.strip()]
    tolerance = v.ReproducibilityTolerance(relative_tolerance=0, absolute_tolerance=TOLERANCE)
    try:
        return v.ModelDescr(
            name=re.sub(r"[^A-Za-z0-9_+\- ()]", " ", info.name or method.title),
            description=f"{method.title}, trained with napari-medseg {card.get('version', __version__)}.",
            authors=[v.Author(name=name) for name in names or [NO_AUTHOR]],
            cite=[v.CiteEntry(text=method.title, doi=str(card.get("doi") or method.doi))],
            license=info.license or card.get("license") or None,
            documentation=v.FileDescr(source=folder / "README.md"),
            tags=["segmentation", "medical", "napari", method.name],
            inputs=[_input(v, method, folder, known, shape)],
            outputs=[_output(v, method, folder, ndim, halo)],
            weights=_weights(v, method, weights),
            config=v.Config(bioimageio=v.BioimageioConfig(reproducibility_tolerance=[tolerance])),
        )
    except ValidationError as error:
        _check_versions(error)
        lines = [f"{'.'.join(map(str, e['loc'][:2]))}: {e['msg']}" for e in error.errors()[:3]]
        raise WriteError(
            f"bioimage.io does not accept this: {'; '.join(lines)}. Give another --name or --license (SPDX)."
        ) from error


def _write_tensors(network: Exported, shape: tuple[int, ...], folder: Path) -> tuple[dict[str, Any] | None, int]:
    """Write test input and output; return the normalisation other programs know, and the output's dimensions."""
    method = network.method
    raw = np.random.default_rng(0).integers(0, 256, (method.in_channels, *shape)).astype(np.float32)
    known = normalisation(method, raw)
    x = random_input(method, shape, 1) if known is None else raw[None]
    y = reference(network, x if known is None else _apply(known, x))
    np.save(folder / "test_input.npy", x)
    np.save(folder / "test_output.npy", y)
    return known, y.ndim


def _check_versions(error: ValidationError) -> None:
    """Say so where the installed bioimageio.spec and pydantic do not fit together (spec 0.5.12 with pydantic 2.14)."""
    if "index_key" in str(error):
        raise MissingDependencyError(
            "The installed bioimageio.spec does not work with the installed pydantic. "
            'Install one that fits with: pip install "pydantic<2.14"'
        ) from error


def _input(v: Any, method: Method, folder: Path, known: dict[str, Any] | None, shape: tuple[int, ...]) -> Any:
    """Describe the network's input; `v` is the module of the format's version."""
    step = method.size_multiple
    size = shape[0] if fixed_size(method) else v.ParameterizedSize(min=shape[0], step=step)
    return v.InputTensorDescr(
        id="input",
        description="image" if known else f"image as napari-medseg's {method.name} normalises it",
        axes=[
            v.BatchAxis(),
            v.ChannelAxis(channel_names=_names("channel", method.in_channels)),
            *(v.SpaceInputAxis(id=axis, size=size) for axis in "zyx"[3 - method.ndim :]),
        ],
        data=v.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=v.FileDescr(source=folder / "test_input.npy"),
        preprocessing=[_processing(v, method, known)] if known else [],
    )


def _output(v: Any, method: Method, folder: Path, ndim: int, halo: int) -> Any:
    """Describe the network's answer of `ndim` axes, of which `halo` pixels at each border do not count."""
    spatial = "zyx"[3 - method.ndim :] if ndim > 2 else ""
    return v.OutputTensorDescr(
        id="probabilities",
        description="probabilities, sigmoid or softmax included",
        axes=[
            v.BatchAxis(),
            v.ChannelAxis(channel_names=_names("class", method.out_channels)),
            *(_space(v, axis, halo) for axis in spatial),
        ],
        data=v.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
        test_tensor=v.FileDescr(source=folder / "test_output.npy"),
    )


def _space(v: Any, axis: str, halo: int) -> Any:
    size = v.SizeReference(tensor_id="input", axis_id=axis)
    return v.SpaceOutputAxisWithHalo(id=axis, size=size, halo=halo) if halo else v.SpaceOutputAxis(id=axis, size=size)


def _weights(v: Any, method: Method, paths: dict[str, Path]) -> Any:
    """Describe the weights as a state dict, which this package loads, and as ONNX."""
    build = v.ArchitectureFromLibraryDescr(
        import_from="napari_medseg.export",
        callable="load_exported",
        kwargs={"method": method.name, "settings": method.settings.model_dump(mode="json")},
    )
    state = v.PytorchStateDictWeightsDescr(
        source=paths["state"], architecture=build, pytorch_version=torch.__version__.split("+")[0]
    )
    onnx = v.OnnxWeightsDescr(source=paths["onnx"], opset_version=OPSET, parent="pytorch_state_dict")
    return v.WeightsDescr(pytorch_state_dict=state, onnx=onnx)


def _processing(v: Any, method: Method, known: dict[str, Any]) -> Any:
    if known["id"] == "zero_mean_unit_variance":
        axes = list("zyx"[3 - method.ndim :])
        return v.ZeroMeanUnitVarianceDescr(kwargs=v.ZeroMeanUnitVarianceKwargs(axes=axes))
    kwargs = v.ScaleLinearAlongAxisKwargs(axis="channel", gain=known["gain"], offset=known["offset"])
    return v.ScaleLinearDescr(kwargs=kwargs)


def _apply(known: dict[str, Any], x: np.ndarray) -> np.ndarray:
    """Normalise (1, C, *spatial) as the package says."""
    axes = tuple(range(2, x.ndim))
    if known["id"] == "zero_mean_unit_variance":
        return np.asarray((x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 1e-6), np.float32)
    gain, offset = (np.reshape(known[name], (1, -1, *(1 for _ in axes))) for name in ("gain", "offset"))
    return np.asarray(x * gain + offset, np.float32)


def _halo(method: Method) -> int:
    """Return the halo to declare: 0 where the test tensor would have to be too large for it."""
    small = np.prod(sizes(method, 2 * method.halo + 1)) <= TEST_PIXELS
    return method.halo if small and not fixed_size(method) else 0


def _names(word: str, n: int) -> list[str]:
    return [f"{word}{index}" for index in range(n)]


def _documentation(method: Method, card: dict[str, Any], known: dict[str, Any] | None) -> str:
    best = ", ".join(f"{k} {v:.4g}" for k, v in card.get("best", {}).items() if isinstance(v, float))
    lines = [
        f"# {method.title}",
        f"Trained with napari-medseg {card.get('version', __version__)}; paper: https://doi.org/{method.doi}.",
        "**Not for diagnosis.**",
        "## Input and output",
        "The input is the raw image; normalisation is part of the package." if known else
        f"The input must be normalised as napari-medseg does it: `create({method.name!r}, settings).prepare(image)`.",
        f"Sizes are multiples of {method.size_multiple}. Tiles should overlap by {2 * method.halo} pixels: the outer "
        f"{method.halo} pixels of a tile depend on what lies beyond it.",
        "The output holds probabilities, activation included.",
        *filter(None, [left_out(method, card)]),
        "## Validation",
        f"Scores of the held-out cases in training: {best or 'not recorded'}.",
        f"Trained on: {card.get('trained_on', 'not recorded')}. SHA-256 of the checkpoint: {card.get('sha256', '')}",
        "## Settings",
        *(f"- {key}: {value}" for key, value in method.settings.model_dump(mode="json").items()),
    ]  # fmt: skip
    return "\n\n".join(lines) + "\n"


def export_bioimageio(model: Model, path: Path, info: PackageInfo | None = None) -> Job[dict[str, Any]]:
    """Write `model` as a bioimage.io package (model 0.5) with ONNX and PyTorch weights, and test it.

    Its input is the raw image where other programs know the method's normalisation (see `normalisation`), else the
    normalised one; the package says which. ``bioimageio.core`` validates the description without network access and
    reproduces the test tensors with both weights to 1e-4.

    Raises
    ------
    WriteError
        If the network cannot be exported, needs scribbles, or the package does not pass.
    MissingDependencyError
        If onnx, onnxruntime or bioimageio.core is not installed.
    """
    path, info = Path(path), info or PackageInfo()
    if isinstance(model.method, RefinementMethod):
        raise WriteError(
            f"{model.method.title} needs scribbles, and bioimage.io has no place for them. Use --format onnx."
        )
    core = require("bioimageio.core", "export", "A bioimage.io package")
    check_packages()
    yield Progress(0, 4, "translating the network")
    network = exported(model)
    content = to_onnx(network, model.card)
    yield Progress(1, 4, "comparing with the network")
    difference = compare(network, content)
    with disk_errors(path), tempfile.TemporaryDirectory(prefix="medseg-") as folder, _offline(core):
        yield Progress(2, 4, "writing the package")
        weights = _write_weights(Path(folder), network, content)
        with replacing(path) as part:
            _package(describe(network, model.card, info, Path(folder), weights), part)
            yield Progress(3, 4, "testing the package with bioimageio.core")
            summary = core.test_model(part)
            if summary.status != "passed":
                raise WriteError(f"bioimageio.core refuses the package of {path.name}: {_problems(summary)}.")
    result = {"file": str(path), "format": "bioimageio", "largest_difference": difference, "validation": summary.status}
    return {**result, **noted(model.method, model.card)}


@contextmanager
def _offline(core: Any) -> Iterator[None]:
    """Validate without asking the network, and keep the libraries' log lines away."""
    spec = require("bioimageio.spec", "export", "A bioimage.io package")
    core.logger.disable("bioimageio")
    try:
        with warnings.catch_warnings(), spec.ValidationContext(perform_io_checks=False, log_warnings=False):
            warnings.simplefilter("ignore")
            yield
    finally:
        core.logger.enable("bioimageio")


def _write_weights(folder: Path, network: Exported, content: bytes) -> dict[str, Path]:
    paths = {"onnx": folder / "weights.onnx", "state": folder / "weights.pt"}
    paths["onnx"].write_bytes(content)
    save_tensors(paths["state"], network.state_dict())
    return paths


def _package(description: Any, path: Path) -> None:
    spec = require("bioimageio.spec", "export", "A bioimage.io package")
    spec.save_bioimageio_package(description, output_path=path)


def _problems(summary: Any) -> str:
    found: Sequence[Any] = [error for detail in summary.details for error in detail.errors]
    return "; ".join(str(error.msg).splitlines()[0] for error in found[:3]) or str(summary.status)
