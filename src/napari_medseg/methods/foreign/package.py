"""Read other programs' models: ONNX files and bioimage.io packages (model 0.4 and 0.5), as content of a checkpoint."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_medseg.errors import CheckpointError, one_line, require
from napari_medseg.methods import create
from napari_medseg.methods.foreign.method import DTYPES, ForeignNetwork, start_session
from napari_medseg.methods.foreign.settings import ForeignSettings
from napari_medseg.methods.foreign.steps import checked
from napari_medseg.models.checkpoint import pack

DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml", "model.yaml")
MOST_BYTES = 2**32
MOST_TEXT = 2**22
LETTERS = {"batch": "b", "channel": "c"}
ACTIVATIONS = ("sigmoid", "softmax")


def read_foreign(path: Path, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the content of a checkpoint that runs another program's model.

    Parameters
    ----------
    path
        An ``.onnx`` file or a bioimage.io package (``.zip``).
    given
        Settings of `ForeignSettings` that the user gives, for files that do not state them.

    Raises
    ------
    CheckpointError
        If it is no such file, its axes are not known, or it is no network of one image.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no model {path}. Give an .onnx file or a bioimage.io package.")
    stated: dict[str, Any] = {}
    about: dict[str, Any] = {}
    if path.suffix.lower() == ".onnx":
        file = path.read_bytes()
    else:
        file, stated, about = _read_package(path)
    session = start_session(file)
    own = session.get_modelmeta().custom_metadata_map
    if "napari-medseg" in own and "method" in own:
        stated = _of_own(own)
        about = {"doi": own.get("doi", ""), "license": own.get("license", ""), **{k: v for k, v in about.items() if v}}
    settings = {**stated, **(given or {})}
    if "axes" not in settings:
        raise CheckpointError(
            f"{path.name} does not state its axes and intensities. Say them once: "
            f"medseg models add {path.name} --axes bcyx --normalise zscore"
        )
    settings = _fitted(session, settings, path.name)
    method = ForeignNetwork(ForeignSettings.parse(settings))
    weights = {"file": torch.from_numpy(np.frombuffer(file, np.uint8).copy())}
    return pack(method, weights, **{**about, "trained_on": about.get("trained_on", "")})


def _of_own(stated: Mapping[str, str]) -> dict[str, Any]:
    """Return what a file that this program wrote says of itself."""
    method = create(stated["method"], json.loads(stated.get("settings", "{}")))
    if method.needs:
        raise CheckpointError(f"This ONNX file is a {method.name} model, which needs scribbles. Use its .pt file.")
    return {
        "axes": "bc" + "zyx"[3 - method.ndim :],
        "method": stated["method"],
        "method_settings": stated.get("settings", "{}"),
        "multiple": int(stated.get("size_multiple", 1)),
        "border": int(stated.get("halo", 0)),
    }


def _fitted(session: Any, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Check the axes against the file and add what it states of sizes."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise CheckpointError(f"{name} takes {len(inputs)} inputs ({names}); only networks of one image can be used.")
    shape, answer = list(inputs[0].shape), list(outputs[0].shape)
    axes = str(settings["axes"]).lower()
    out = str(settings.get("output_axes") or axes).lower()
    for what, letters, sizes in (("input", axes, shape), ("answer", out, answer)):
        spatial = [axis for axis in letters if axis in "zyx"]
        if len(set(letters)) < len(letters) or not set(letters) <= set("bczyx") or spatial not in (
            list("yx"), list("zyx")
        ):  # fmt: skip
            raise CheckpointError(f"{letters!r} are no axes of an image; expected such as bcyx, bczyx, byxc or yx.")
        if len(letters) != len(sizes):
            raise CheckpointError(
                f"The {what} of {name} has {len(sizes)} axes {sizes}, not {len(letters)} ({letters})."
            )
    if inputs[0].type not in DTYPES:
        raise CheckpointError(f"{name} takes {inputs[0].type}; expected numbers of an image, such as tensor(float).")
    edges = {size for axis, size in zip(axes, shape, strict=True) if axis in "zyx" and isinstance(size, int)}
    if len(edges) > 1:
        raise CheckpointError(f"{name} takes images of {shape} only, whose edges differ; that cannot be tiled here.")
    found = dict(settings) | {"axes": axes, "output_axes": out}
    for key, letters, sizes in (("channels", axes, shape), ("classes", out, answer)):
        stated = sizes[letters.index("c")] if "c" in letters else 1
        found[key] = stated if isinstance(stated, int) else found.get(key, 1)
    return found | ({"size": edges.pop(), "multiple": 1} if edges else {})


# ---- bioimage.io packages
def _read_package(path: Path) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Return the ONNX file of a package, what is stated of its tensors, and what its card says."""
    yaml = require("yaml", "foreign", "Reading a bioimage.io package")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            described = next((name for name in DESCRIPTIONS if name in names), None)
            if described is None:
                raise CheckpointError(
                    f"{path.name} is no bioimage.io package: it holds no {' or '.join(DESCRIPTIONS)}."
                )
            text = _inside(archive, described, MOST_TEXT, path)
            stated = yaml.safe_load(text.decode("utf-8"))
            if not isinstance(stated, dict) or stated.get("type") != "model":
                raise CheckpointError(f"{path.name} describes no model.")
            file = _weights(archive, stated, path)
    except (zipfile.BadZipFile, yaml.YAMLError, UnicodeDecodeError, OSError, NotImplementedError, EOFError) as error:
        raise CheckpointError(f"{path.name} is no sound bioimage.io package ({one_line(error)}).") from error
    try:
        return file, _tensors(stated, path.name), _about(stated)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{path.name} describes its tensors in an unknown way ({one_line(error)}).") from error


def _inside(archive: zipfile.ZipFile, name: str, most: int, path: Path) -> bytes:
    size = archive.getinfo(name).file_size
    if size > most:
        raise CheckpointError(f"{path.name} was refused: its {name} would unpack to {size:,} bytes.")
    return archive.read(name)


def _weights(archive: zipfile.ZipFile, stated: Mapping[str, Any], path: Path) -> bytes:
    """Return the ONNX file that the package holds."""
    weights: Any = stated.get("weights")
    kinds = list(weights) if isinstance(weights, dict) else []
    if "onnx" not in kinds:
        raise CheckpointError(
            f"{path.name} holds no ONNX weights, only {', '.join(kinds) or 'none'}. Convert it with bioimageio.core."
        )
    source = str(weights["onnx"].get("source", "")).removeprefix("./")
    name = next((name for name in archive.namelist() if name == source or Path(name).name == Path(source).name), None)
    if name is None:
        raise CheckpointError(f"{path.name} does not hold its weights {source!r}. Download the whole package.")
    return _inside(archive, name, MOST_BYTES, path)


def _tensors(stated: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return as settings what the package says of the network's input and answer."""
    inputs, outputs = stated["inputs"], stated["outputs"]
    if len(inputs) != 1:
        raise CheckpointError(f"{name} takes {len(inputs)} inputs; only networks of one image can be used.")
    source, answer = inputs[0], outputs[0]
    found: dict[str, Any] = {"axes": _letters(source["axes"]), "output_axes": _letters(answer["axes"])}
    found["steps"] = json.dumps(checked(source.get("preprocessing") or [], name))
    found |= _sizes(source, found["axes"])
    halo = _halo(answer)
    found |= {"border": halo} if halo else {}
    for step in answer.get("postprocessing") or []:
        kind, kwargs = str(step.get("id") or step.get("name")), dict(step.get("kwargs") or {})
        if kind in ACTIVATIONS:
            found["activation"] = kind
        elif kind == "binarize":
            found["threshold"] = float(kwargs["threshold"])
        elif kind != "ensure_dtype":
            raise CheckpointError(f"{name} asks for {kind!r} of its answer, which is not known here.")
    return found


def _letters(axes: Any) -> str:
    """Return axes as letters: 0.4 writes ``bcyx``, 0.5 a list."""
    if isinstance(axes, str):
        return axes
    return "".join(LETTERS.get(str(axis["type"]), str(axis.get("id", "?"))) for axis in axes)


def _sizes(source: Mapping[str, Any], letters: str) -> dict[str, Any]:
    """Return multiple and size of the input's edges."""
    if isinstance(source["axes"], str):  # 0.4
        shape = source.get("shape")
        step = shape.get("step") if isinstance(shape, dict) else None
        steps = [int(s) for axis, s in zip(letters, step or (), strict=False) if axis in "zyx" and s]
        return {"multiple": int(np.lcm.reduce(steps))} if steps else {}
    steps = [
        int(axis["size"]["step"]) for axis in source["axes"]
        if isinstance(axis.get("size"), dict) and axis["size"].get("step")
    ]  # fmt: skip
    return {"multiple": int(np.lcm.reduce(steps))} if steps else {}


def _halo(answer: Mapping[str, Any]) -> int:
    axes = answer["axes"]
    if isinstance(axes, str):
        return max(map(int, answer.get("halo") or [0]))
    return max(int(axis.get("halo") or 0) for axis in axes)


def _about(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the card says: who, licence, paper, what it finds."""
    authors = [str(one.get("name", "")) for one in _dicts(stated.get("authors"))]
    dois = [str(one["doi"]) for one in _dicts(stated.get("cite")) if one.get("doi")]
    return {
        "authors": ", ".join(name for name in authors if name),
        "license": str(stated.get("license") or ""),
        "doi": dois[0] if dois else "",
        "trained_on": str(stated.get("description") or stated.get("name") or ""),
    }


def _dicts(values: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
