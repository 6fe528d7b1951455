"""Frame classifier: what a nerve-reflectance frame shows, by transfer learning (He et al. 2022)."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg import settings as base
from napari_medseg.augment import spatial
from napari_medseg.errors import CheckpointError, DataError, MissingDependencyError, require
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.movies.frames import SYNONYMS, class_folders, movie_name
from napari_medseg.io.pairs import Pair, PairList, list_images
from napari_medseg.method import Method, Model, Preparation, quiet
from napari_medseg.methods.frame_classifier.settings import Backbone, FrameClassifierSettings
from napari_medseg.nn import frames
from napari_medseg.nn.pretrained import IMAGENET, load_imagenet, read_weights
from napari_medseg.settings import TrainSettings

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
            f'of the same build as torch {torch.__version__}: pip install "napari-medseg[timm]"{source}; or choose '
            f"{', '.join(TORCHVISION)}."
        ) from error
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    return network


def _width(network: nn.Module) -> int:
    with torch.no_grad():
        return int(network.eval()(torch.zeros(1, 3, 224, 224)).shape[1])


TURN = 0.2 * 2 * np.pi


class FrameClassifier(Method):
    """Class of a frame: DenseNet201 with frozen statistics, trained head first, then from dense layer 28 on."""

    name = "frame-classifier"
    title = FrameClassifierSettings.title
    doi = "10.6084/m9.figshare.20787751"
    Settings = FrameClassifierSettings
    training = FrameClassifierSettings.training
    preparation = Preparation("It needs no preparation: train on one folder of frames per class.")
    tiled = False
    colours = True
    measure = "video"
    needs = "It names what a frame shows and gives no mask: use it in the dock Nerve movie."
    metrics = ("accuracy", "precision", "recall", "specificity", "mcc")

    def __init__(self, settings: base.Settings | None = None) -> None:
        super().__init__(settings)
        self.out_channels = len(self.classes)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the outputs."""
        return tuple(self.settings.classes.split(","))

    def build_network(self) -> nn.Module:
        """Build the chosen backbone with its head, random weights."""
        return FrameClassifierNet(self.settings.backbone, len(self.classes), self.settings.dropout)

    def initialise(self, network: nn.Module) -> str:
        """Load ImageNet weights into the backbone; warn when they cannot be had."""
        return network.load_imagenet(self.settings.encoder_weights)  # type: ignore[operator, no-any-return]

    @property
    def in_channels(self) -> int:
        """Three: grey frames are repeated."""
        return 3

    def encode(self, batch: Tensor) -> Tensor:
        """Map frames (B, c, Y, X) to float32 (B, 3, size, size): plain bilinear resize, ImageNet standardisation."""
        size = (self.settings.input_size,) * 2
        return frames.standardise(frames.shrink(batch, size, antialias=False), *IMAGENET)

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return `encode` of one frame (c, Y, X)."""
        return np.asarray(self.encode(frames.from_numpy(block)[None])[0].numpy())

    def activate(self, output: Tensor) -> Tensor:
        """Return the softmax over the classes (B, K)."""
        return torch.softmax(output, 1)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Raise `DataError`: a class is no label image."""
        raise DataError(
            f"{self.title} names what a frame shows ({', '.join(self.classes)}); it gives no mask. Run it on a movie "
            "together with a double-unet model: medseg video MOVIE -o OUT --classifier THIS.pt --segmenter OTHER.pt"
        )

    # ---- training
    def find_pairs(self, folder: Path) -> PairList:
        """Find frames in class folders, below `folder` or its train, val and test folders.

        Raises
        ------
        DataError
            If a folder with frames is named after no class.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder. Give the folder that holds one folder of frames per class.")
        pairs: list[Pair] = []
        for child in class_folders(folder):
            index = self._class_index(child)
            pairs += [Pair(path, None, movie_name(path.stem), {"class": index}) for path in list_images(child)]
        if not pairs:
            raise DataError(f"No frames in {folder}. Expected one folder per class: {', '.join(self.classes)}.")
        return PairList(tuple(pairs))

    def read_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[Image, Image | None]:
        """Read one frame; its folder is its label."""
        return read_one(pair.image), None

    def encode_pair(self, pair: Pair, image: Image, labels: Image | None) -> tuple[np.ndarray, np.ndarray]:
        """Return x float32 (3, size, size) and the class index as an int64 scalar array."""
        return self.prepare(image), np.array(pair.extra["class"], np.int64)

    def target(self, labels: Image) -> np.ndarray:
        """Raise `DataError`: classes come from folder names."""
        raise DataError(f"{self.title} learns from class folders ({', '.join(self.classes)}), not from label images.")

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Flip at random and rotate by up to 0.2 turns, reflecting at the border (the paper's intention)."""
        picture, _ = spatial.random_flip(x, x[0], rng, axes=(-1,))
        matrix = spatial.random_matrix(rng, x.shape[1:], rotate=TURN)
        return spatial.affine(picture, picture[0], matrix, mode="reflect")[0], y

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Cross entropy of the logits (the authors' softmax before it is a slip)."""
        return {"loss": F.cross_entropy(output, target.long())}

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Accuracy; the probability of the true class decides between equally accurate models."""
        true = float(probabilities.gather(1, target.long().view(-1, 1)).mean())
        accuracy = float((probabilities.argmax(1) == target.view(-1)).float().mean())
        return {"score": accuracy + 1e-3 * true, "accuracy": accuracy}

    def phase(self, epoch: int, settings: TrainSettings) -> int:
        """0 while the backbone is frozen, then 1."""
        return int(epoch >= self.settings.head_epochs)

    def optimizer(self, network: nn.Module, settings: TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Adam on the head; in phase 1 on the backbone's end too, at a tenth of the rate."""
        tensors = self.settings.fine_tune_tensors if phase else 0
        rate = settings.learning_rate * (self.settings.fine_tune_rate if phase else 1)
        parameters = network.unfreeze(tensors)  # type: ignore[operator]
        return torch.optim.Adam(parameters, rate, weight_decay=settings.weight_decay)

    def _class_index(self, folder: Path) -> int:
        wanted = folder.name.lower()
        for index, name in enumerate(self.classes):
            if wanted in {name.lower(), *SYNONYMS.get(name.lower(), ())}:
                return index
        others = ",".join(sorted(p.name for p in folder.parent.iterdir() if p.is_dir()))
        raise DataError(
            f"The folder {folder} is named after none of the classes {', '.join(self.classes)}. "
            f'Rename it, or train with the classes of the folders: --classes "{others}".'
        )


@torch.inference_mode()
def classify(model: Model, batch: Tensor) -> np.ndarray:
    """Return class probabilities float32 (N, K) of frames (N, c, Y, X), where the network is."""
    device = next(model.network.parameters()).device
    logits = model.network(model.method.encode(batch.to(device)))  # type: ignore[attr-defined]
    return np.asarray(model.method.activate(logits.float()).cpu().numpy())
