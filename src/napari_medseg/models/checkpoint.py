"""Checkpoints: one ``.pt`` file of plain tensors and values, written atomically, never executing code."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_medseg import __version__
from napari_medseg.errors import CheckpointError, ReadError, SettingsError, one_line
from napari_medseg.io.files import expanded, home, replacing
from napari_medseg.io.identity import refuse_inflating, sha256
from napari_medseg.method import Method, Model

FORMAT = 1
MADE_BY_TORCH = (b"PK", b"\x80")  # first bytes: an archive, or as it wrote before 1.6, a pickle
MOST_VALUES = 10**6
DEFAULT_FOLDER = home() / "napari-medseg-models"
REQUIRED = ("format", "method", "settings", "state_dict")
ABOUT = ("authors", "license", "trained_on")
CARD_FIELDS = (
    "method", "settings", "train_settings", "epoch", "best", "version", "doi", *ABOUT, "started_from",
    "pixel_size", "skewness",
)  # fmt: skip


def pack(method: Method, state_dict: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the content of a checkpoint (DESIGN: format, method, settings, state_dict, ... license)."""
    content = {
        "format": FORMAT,
        "method": method.name,
        "settings": method.settings.model_dump(),
        "state_dict": state_dict,
        "train_settings": {},
        "epoch": 0,
        "best": {},
        "history": [],
        "version": __version__,
        "doi": method.doi,
        "authors": "",
        "license": "",
    }
    return {**content, **fields}


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` under a temporary name, then rename: an interrupted write leaves the old file intact.

    Raises
    ------
    WriteError
        If the folder is not writable or the disk is full.
    """
    with replacing(path) as part:
        save_tensors(part, content)


def save_tensors(path: Path, content: Any) -> None:
    """Write what `torch.save` takes; what it says when the disk refuses becomes an `OSError`."""
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:
        raise error.__context__ if isinstance(error.__context__, OSError) else OSError(one_line(error)) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without running any code in it.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, holds pickled code, would inflate, or is of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint {path}. Give the .pt file of a training run.")
    with path.open("rb") as file:
        begins = file.read(2)
    if begins and not begins.startswith(MADE_BY_TORCH):
        raise CheckpointError(
            f"{path.name} is no model: PyTorch did not write it. Give the .pt file of a training run, or a name; "
            "images and masks go elsewhere."
        )
    try:
        refuse_inflating(path)
    except ReadError as error:
        raise CheckpointError(str(error)) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of foreign pickles before it refuses them
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path.name} was refused: it holds more than numbers (pickled code), or is no checkpoint. "
            "Use only .pt files written by napari-medseg."
        ) from error
    except Exception as error:  # the unpickler raises anything on damaged bytes
        raise CheckpointError(f"{path.name} is damaged or cut short ({one_line(error)}). Copy it again.") from error
    if not isinstance(content, dict) or any(key not in content for key in REQUIRED):
        raise CheckpointError(f"{path.name} is no napari-medseg checkpoint: it lacks {', '.join(REQUIRED)}.")
    _check_size({key: value for key, value in content.items() if key != "state_dict"}, path)
    if type(content["format"]) is not int or not 1 <= content["format"] <= FORMAT:
        raise CheckpointError(
            f"{path.name} is of format {content['format']}, this version reads up to {FORMAT}. Update napari-medseg."
        )
    kinds = (content["method"], str), (content["settings"], dict), (content["state_dict"], Mapping)
    if not all(isinstance(value, kind) for value, kind in kinds):
        raise CheckpointError(f"{path.name} is no napari-medseg checkpoint: its method, settings or weights are none.")
    return content


def _check_size(value: Any, path: Path) -> None:
    """Refuse values that refer to each other so often that walking through them would never end."""
    waiting, seen = [value], 0
    while waiting:
        one = waiting.pop()
        inner = list(one.values()) if isinstance(one, Mapping) else one if isinstance(one, list | tuple | set) else ()
        seen += len(inner)
        if seen > MOST_VALUES:
            raise CheckpointError(
                f"{path.name} was refused: it holds more than {MOST_VALUES} values beside its weights."
            )
        waiting += inner


def check_weights(weights: Mapping[str, Any], path: Path) -> None:
    """Refuse weights that are no plain arrays, claim more memory than the file gave them, or are not finite."""
    for name, value in weights.items():
        plain = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta
        if not plain or value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"{path.name} was refused: its {name} is no plain array of numbers.")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise CheckpointError(
                f"{path.name} holds values that are not finite (in {name}): its training failed, or it is damaged. "
                "Take another checkpoint."
            )


def load_weights(method: Method, network: nn.Module, path: Path) -> dict[str, Any]:
    """Give `network` the weights of the checkpoint `path` and return the checkpoint's card.

    Raises
    ------
    CheckpointError
        If the checkpoint is of another method, or its settings make another network; the network is left as it was.
    """
    content = read_checkpoint(path)
    if content["method"] != method.name:
        raise CheckpointError(
            f"{path.name} is a {content['method']} model; training of {method.name} cannot start from it. "
            f"Give a {method.name} model."
        )
    weights, own = content["state_dict"], network.state_dict()
    check_weights(weights, path)
    other = [k for k in {**own, **weights} if k not in own or k not in weights or own[k].shape != weights[k].shape]
    if other:
        now = method.settings.model_dump(mode="json")
        before = method.Settings.renamed(content["settings"])
        changed = [f"{k} {v} (now {now.get(k)})" for k, v in before.items() if now.get(k) != v]
        raise CheckpointError(
            f"{path.name} is another network: {len(other)} of its tensors do not fit, such as {other[0]}. "
            f"It was made with {', '.join(changed) or 'another version'}. Train with the settings it was made with."
        )
    network.load_state_dict(weights)
    return card(content, path)


def rebuild(cls: type[Method], content: dict[str, Any], path: Path) -> Model:
    """Return the model of a checkpoint's content, on the CPU, in evaluation mode.

    Raises
    ------
    CheckpointError
        If its settings or weights do not fit this version of the method, or a weight is not finite.
    """
    check_weights(content["state_dict"], path)
    try:
        method = cls(cls.Settings.parse(content["settings"]))
        network = method.build_network()
        network.load_state_dict(content["state_dict"])
    except (SettingsError, RuntimeError, TypeError, AttributeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path.name} does not fit this version's {cls.name}: {one_line(error)}") from error
    named = {**content, "settings": cls.Settings.renamed(content["settings"])}
    return Model(method, network.eval(), card(named, path))


def card(content: dict[str, Any], path: Path | None = None) -> dict[str, Any]:
    """Return what a person wants to know about a checkpoint, with the file's sha256."""
    known = {key: content[key] for key in CARD_FIELDS if key in content}
    if path is not None:
        known |= {"file": str(path), "sha256": sha256(path)}
    return known


def bundled(name: str) -> Path:
    """Return the path of a model that ships with the package."""
    return Path(str(resources.files("napari_medseg") / "models" / f"{name}.pt"))


def find_model(path: str | Path) -> Path:
    """Return the file `path`; where there is none, the model of that name in the package or the model folder."""
    path = expanded(path)
    if path != Path(path.name) or path.exists():
        return path
    named = [bundled(path.name), *(DEFAULT_FOLDER / f"{path.name}{suffix}" for suffix in (".pt", ".onnx", ".zip"))]
    return next((file for file in named if file.is_file()), path)
