"""bioimage.io: a package that its own core library has validated and run."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from napari_medseg.errors import WriteError, require
from napari_medseg.export.description import describe
from napari_medseg.export.network import Exported, exported
from napari_medseg.export.onnx_file import compare, to_onnx
from napari_medseg.export.settings import PackageInfo
from napari_medseg.io.atomic import disk_errors, replacing
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Model, RefinementMethod
from napari_medseg.models.checkpoint import save_tensors


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
    return {"file": str(path), "format": "bioimageio", "largest_difference": difference, "validation": summary.status}


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
