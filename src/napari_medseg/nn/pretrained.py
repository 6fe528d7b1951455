"""ImageNet weights for the encoders: from a local file, downloaded with a checksum, or none with a loud warning."""

from __future__ import annotations

import os
import pickle
import shutil
import urllib.request
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from napari_medseg.errors import CheckpointError, MedSegError, ReadError
from napari_medseg.io.files import expanded, replacing
from napari_medseg.io.identity import refuse_inflating, sha256

# the part of a file's name after the last dash is the start of its SHA-256; where all of it is known, all of it counts
URLS = {
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "xception": (
        "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-cadene/xception-43020ad28.pth"
    ),
    "densenet121": "https://download.pytorch.org/models/densenet121-a639ec97.pth",
    "densenet169": "https://download.pytorch.org/models/densenet169-b2777c0a.pth",
    "densenet201": "https://download.pytorch.org/models/densenet201-c1103571.pth",
    "resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
}
SHA256 = {
    "vgg16-397923af": "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "vgg19-dcbb9e9d": "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    "densenet121-a639ec97": "a639ec97d7c33b07ae66f0b5fb7d0192f95a3b11b7576c66c0126c2a727c4395",
    "resnet50-0676ba61": "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
}
# mean and SD of the network's training images, channels in [0, 1]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS = {"vgg16": IMAGENET, "vgg19": IMAGENET, "densenet201": IMAGENET, "xception": ((0.5,) * 3, (0.5,) * 3)}
TIMEOUT = 30  # seconds without an answer
BLOCK = 1 << 20
FOLDER_VARIABLE = "MEDSEG_MODEL_FOLDER"


def model_folder() -> Path:
    """Return the folder of downloaded weights: $MEDSEG_MODEL_FOLDER, else where torch.hub keeps its own."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    return expanded(chosen or Path(torch.hub.get_dir()) / "checkpoints")


def load_imagenet(
    encoder: nn.Module,
    name: str,
    source: str,
    *,
    folder: Path | None = None,
    rename: Callable[[str], str] = str,
) -> str:
    """Load ImageNet weights into `encoder`, or leave it random with a warning.

    Parameters
    ----------
    encoder
        Network whose parameter names are those of the file after `rename`.
    name
        One of `URLS`.
    source
        ``"download"``, ``"none"`` or the path of a local file (torchvision's or timm's, of any head).
    folder
        Where downloads are kept; default `model_folder`.
    rename
        Maps the file's names to the encoder's.

    Returns
    -------
    str
        One sentence saying which weights the encoder has now.

    Raises
    ------
    CheckpointError
        If a file is damaged, unsafe or of another network, or a named local file does not exist.
    """
    if source == "none":
        return f"The {name} encoder starts from random weights, as asked."
    try:
        path = fetch(URLS[name], folder or model_folder()) if source == "download" else Path(source)
    except MedSegError as error:
        message = (
            f"ImageNet weights of {name} could not be had ({error}): the encoder starts from RANDOM weights and the "
            f"result will be worse than published. Download {URLS[name]} elsewhere and give that file instead."
        )
        warnings.warn(message, stacklevel=2)
        return message
    _copy_weights(encoder, {rename(key): value for key, value in read_weights(path).items()}, path, name)
    return f"The {name} encoder starts from the ImageNet weights of {path.name}."


def fetch(url: str, folder: Path) -> Path:
    """Return the local copy of `url` in `folder`, downloading it if its checksum does not match.

    Raises
    ------
    ReadError, WriteError
        If it cannot be downloaded or written, or arrives damaged.
    """
    path = folder / url.rsplit("/", 1)[-1]
    wanted = SHA256.get(path.stem, path.stem.rsplit("-", 1)[-1])
    if path.is_file() and sha256(path).startswith(wanted):
        return path
    with replacing(path) as part:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file, BLOCK)
        except OSError as error:
            raise ReadError(f"{url} did not arrive: {error}") from error
        found = sha256(part)
        if not found.startswith(wanted):
            raise ReadError(f"{url} arrived damaged: checksum {found[: len(wanted)]} instead of {wanted}")
    return path


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file by name, executing nothing.

    Raises
    ------
    CheckpointError
        If the file does not exist, is damaged, or holds anything but tensors.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no weight file {path}. Give the path of a .pth file, 'download' or 'none'.")
    try:
        refuse_inflating(path)
    except ReadError as error:
        raise CheckpointError(str(error)) from error
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path.name} cannot be read as PyTorch weights without running code from it; it is damaged or holds more "
            "than tensors. Give a file published by torchvision or timm."
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise CheckpointError(f"{path.name} holds no tensors by name. Give a file published by torchvision or timm.")
    return dict(content)


def _copy_weights(encoder: nn.Module, weights: dict[str, Tensor], path: Path, name: str) -> None:
    """Copy every tensor of the encoder from `weights`; what belongs to the file's head is left."""
    own = encoder.state_dict()
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    chosen = {key: weights[key] for key in own if key in weights}
    for key, value in chosen.items():
        if value.shape != own[key].shape and value.numel() == own[key].numel():
            chosen[key] = value.reshape(own[key].shape)  # old files keep pointwise kernels as matrices
        elif value.shape != own[key].shape:
            missing.append(key)
    if missing:
        raise CheckpointError(
            f"{path.name} does not hold the weights of {name}: {len(missing)} of {len(own)} tensors are absent or of "
            f"another size, first {missing[0]!r}. Give the ImageNet file of {name} ({URLS[name].rsplit('/', 1)[-1]})."
        )
    encoder.load_state_dict(chosen, strict=False)
