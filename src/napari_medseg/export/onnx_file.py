"""ONNX: one file that onnxruntime and other programs run, compared with the network before it is kept."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medseg import __version__
from napari_medseg.errors import WriteError, require
from napari_medseg.export.network import (
    Exported,
    exported,
    fixed_size,
    left_out,
    other_sizes,
    random_input,
    reference,
    sizes,
)
from napari_medseg.io.files import replacing
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Method, Model

OPSET = 17
TOLERANCE = 1e-4
SPREADS = (1.0, 0.3)  # two ranges of intensities: a range that was frozen into the file would show
LIMIT = 2**31 - 2**20  # bytes of one protobuf message


def export_onnx(model: Model, path: Path) -> Job[dict[str, Any]]:
    """Write `model` as ONNX and return where it is, its axes, the largest difference seen, and what it leaves out.

    The input ``"input"`` float32 (batch, C, *spatial) is what `Method.normalise` returns, the output
    ``"probabilities"`` includes the activation. Batch and spatial axes are free where the network takes any size;
    sizes must be multiples of the method's `size_multiple`. Provenance is in the file's metadata, and under ``note``
    what this program does around the network and the file does not (`left_out`).

    Raises
    ------
    WriteError
        If the network cannot be expressed in ONNX, or onnxruntime's answer differs by more than 1e-4.
    MissingDependencyError
        If onnx or onnxruntime is not installed.
    """
    path = Path(path)
    check_packages()
    yield Progress(0, 2, "translating the network")
    network = exported(model)
    content = to_onnx(network, model.card)
    yield Progress(1, 2, "comparing with the network")
    difference = compare(network, content)
    with replacing(path) as part:
        part.write_bytes(content)
    return {
        "file": str(path),
        "format": "onnx",
        "opset": OPSET,
        "axes": axes_of(content),
        "size_multiple": model.method.size_multiple,
        "largest_difference": difference,
        **noted(model.method, model.card),
    }


def check_packages() -> None:
    """Raise `MissingDependencyError` if what writes an ONNX file, or checks it, is not installed."""
    require("onnx", "export", "Writing an ONNX file")
    require("onnxruntime", "export", "Checking an ONNX file")


def to_onnx(network: Exported, card: dict[str, Any]) -> bytes:
    """Return the ONNX file of a network, checked for correct form."""
    onnx = require("onnx", "export", "Writing an ONNX file")
    method = network.method
    axes = _dynamic_axes(method)
    x = torch.from_numpy(random_input(method, sizes(method), 1))
    y = reference(network, x.numpy())
    buffer: Any = io.BytesIO()  # the older translator takes open files
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer; what it got wrong shows in `compare`
            torch.onnx.export(
                network, (x,), buffer, dynamo=False, opset_version=OPSET,
                input_names=["input"], output_names=["probabilities"],
                dynamic_axes={"input": axes, "probabilities": {k: v for k, v in axes.items() if k < y.ndim}},
            )  # fmt: skip
        file = onnx.load_from_string(buffer.getvalue())
        onnx.checker.check_model(file)
    except Exception as error:  # the translator raises anything
        raise _refusal(method, "part of its network has no ONNX form") from error
    onnx.helper.set_model_props(file, _properties(method, card))
    if file.ByteSize() > LIMIT:
        raise _refusal(method, f"{file.ByteSize():,} bytes are more than one ONNX file holds")
    content: bytes = file.SerializeToString()
    return content


def compare(network: Exported, content: bytes) -> float:
    """Return the largest difference of probabilities between onnxruntime and the network, over two sizes.

    Raises
    ------
    WriteError
        If it is above 1e-4, or onnxruntime cannot run the file.
    """
    method = network.method
    worst = 0.0
    try:
        session = start_session(content)
        for batch, shape in ((2, sizes(method)), (1, other_sizes(method))):
            for seed, spread in enumerate(SPREADS):
                x = random_input(method, shape, batch, spread, seed)
                answer, expected = session.run(None, {"input": x})[0], reference(network, x)
                same = answer.shape == expected.shape and np.isfinite(answer).all()
                worst = max(worst, float(np.abs(answer - expected).max())) if same else np.inf
    except Exception as error:  # onnxruntime's errors have no common base
        raise _refusal(method, "onnxruntime cannot run the translated network") from error
    if worst > TOLERANCE:
        raise _refusal(method, f"the result differs by {worst:.2g} from the network's")
    return worst


def start_session(content: bytes) -> Any:
    """Open an ONNX file with onnxruntime on the CPU."""
    runtime = require("onnxruntime", "export", "Running an ONNX file")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def axes_of(content: bytes) -> dict[str, list[str | int]]:
    """Return the shape of input and output: a number where it is fixed, a name where it is free."""
    session = start_session(content)
    return {value.name: list(value.shape) for value in (*session.get_inputs(), *session.get_outputs())}


def noted(method: Method, card: Mapping[str, Any]) -> dict[str, str]:
    """Return `left_out` under ``note``, if there is anything to say."""
    note = left_out(method, card)
    return {"note": note} if note else {}


def _dynamic_axes(method: Method) -> dict[int, str]:
    spatial = "" if fixed_size(method) else "zyx"[3 - method.ndim :]
    return {0: "batch"} | dict(enumerate(spatial, 2))


def _properties(method: Method, card: dict[str, Any]) -> dict[str, str]:
    kept = {
        "napari-medseg": __version__,
        "method": method.name,
        "doi": str(card.get("doi") or method.doi),
        "license": str(card.get("license", "")),
        "checkpoint_sha256": str(card.get("sha256", "")),
        "settings": json.dumps(method.settings.model_dump(mode="json")),
        "size_multiple": str(method.size_multiple),
        "halo": str(method.halo),
        "input": f"image as napari-medseg's {method.name} normalises it, float32",
        "output": "probabilities (sigmoid or softmax included)",
        "note": left_out(method, card),
    }
    return {key: value for key, value in kept.items() if value}


def _refusal(method: Method, reason: str) -> WriteError:
    return WriteError(
        f"This {method.title} cannot be given away as ONNX: {reason}. Use the .pt file with napari-medseg instead."
    )
