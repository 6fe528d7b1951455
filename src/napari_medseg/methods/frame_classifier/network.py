"""Frame classification networks: an ImageNet backbone with frozen statistics, dropout and one linear layer."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from napari_medseg.errors import CheckpointError, MissingDependencyError, require
from napari_medseg.methods.frame_classifier.settings import Backbone
from napari_medseg.nn.pretrained import load_imagenet, read_weights

SMALL = "densenet_small"
TORCHVISION = ("densenet201", "densenet169", "densenet121", "resnet50")
DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.?([12]\.)")


class FrameClassifierNet(nn.Module):
    """Backbone -> global average -> dropout -> linear; ImageNet batch-normalisation statistics never change.

    Parameters
    ----------
    backbone
        DenseNet201 as published; 121, 169 and ResNet50 from MONAI with torchvision's values; ``densenet_small``
        has 10 dense layers, no ImageNet weights, and learns its statistics; the rest through timm.
    classes
        Number of classes K.
    dropout
        Before the last layer.

    Raises
    ------
    MissingDependencyError
        If a timm backbone is chosen and timm is not installed.
    """

    def __init__(self, backbone: Backbone = "densenet201", classes: int = 3, dropout: float = 0.3) -> None:
        super().__init__()
        self.name = backbone
        self.backbone, width = _backbone(backbone)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
        self.freeze_statistics()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, 3, H, W) to logits (B, K)."""
        logits: Tensor = self.head(self.backbone(x))
        return logits

    def train(self, mode: bool = True) -> Self:
        """Switch the head's dropout; batch normalisation stays in inference mode."""
        super().train(mode)
        self.freeze_statistics()
        return self

    def freeze_statistics(self) -> None:
        """Put every batch normalisation of an ImageNet backbone in inference mode."""
        if self.name == SMALL:
            return
        for layer in self.backbone.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()

    def unfreeze(self, tensors: int) -> list[nn.Parameter]:
        """Make the last `tensors` parameter tensors of the backbone and the head trainable, and return these.

        32 tensors of DenseNet201 are dense layers 28 to 32 of the last block and the final normalisation (Keras'
        layers from index 670): with the head 34 tensors, 1,380,803 values.
        """
        parameters = list(self.backbone.parameters())
        for parameter in parameters:
            parameter.requires_grad_(False)
        chosen = [*parameters[len(parameters) - tensors :], *self.head.parameters()]
        for parameter in chosen:
            parameter.requires_grad_(True)
        return chosen

    def load_imagenet(self, source: str) -> str:
        """Load ImageNet weights into the backbone (``"download"``, ``"none"`` or a file) and say what was done."""
        if self.name == SMALL:
            return f"There are no ImageNet weights of {SMALL}; it starts from random ones."
        if self.name in TORCHVISION:
            return load_imagenet(self.backbone, self.name, source, rename=monai_name)
        if source == "download":
            loaded = _timm(self.name, pretrained=True).state_dict()
            self.backbone.load_state_dict(loaded)
            return f"The {self.name} backbone starts from timm's ImageNet weights."
        if source == "none":
            return f"The {self.name} backbone starts from random weights, as asked."
        try:
            missing = self.backbone.load_state_dict(read_weights(Path(source)), strict=False).missing_keys
        except RuntimeError as error:
            raise CheckpointError(f"{source} does not hold the weights of timm's {self.name}: {error}") from error
        if missing:
            raise CheckpointError(f"{source} lacks {len(missing)} tensors of timm's {self.name}, first {missing[0]!r}.")
        return f"The {self.name} backbone starts from the weights of {Path(source).name}."


def monai_name(name: str) -> str:
    """Return MONAI's name of a torchvision DenseNet tensor (also of the oldest files, ``norm.1``)."""
    return DENSE_LAYER.sub(r"\1.layers.\2\3", name)


def _backbone(name: str) -> tuple[nn.Module, int]:
    """Return a network (B, 3, H, W) -> (B, F) and its F."""
    if name not in (*TORCHVISION, SMALL):
        body = _timm(name, pretrained=False)
        return body, _width(body)
    nets = require("monai.networks", "video", "The backbone of the frame classifier").nets

    network: Any
    if name == "resnet50":
        network = nets.ResNet(
            "bottleneck", [3, 4, 6, 3], [64, 128, 256, 512], 2, 3, conv1_t_stride=2, feed_forward=False,
            bias_downsample=False,
        )  # fmt: skip
        return network, 2048
    channels = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1}
    if name == SMALL:
        network = nets.DenseNet(**channels, init_features=16, growth_rate=8, block_config=(2, 2, 3, 3))
    else:
        network = getattr(nets, f"DenseNet{name.removeprefix('densenet')}")(**channels)
    width = network.class_layers.out.in_features
    network.class_layers.out = nn.Identity()
    return network, width


def _timm(name: str, *, pretrained: bool) -> nn.Module:
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # a torchvision of another build than torch fails in its own way
        build = torch.__version__.partition("+")[2]
        source = f" --extra-index-url https://download.pytorch.org/whl/{build}" if build else ""
        raise MissingDependencyError(
            f"The backbone {name} needs the package timm, which cannot be loaded ({error}). Install it and torchvision "
            f"of the same build as torch {torch.__version__}: pip install timm torchvision{source}; or choose "
            f"{', '.join(TORCHVISION)}."
        ) from error
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    return network


def _width(network: nn.Module) -> int:
    with torch.no_grad():
        return int(network.eval()(torch.zeros(1, 3, 224, 224)).shape[1])
