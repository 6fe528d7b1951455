"""Frame classifier: what a nerve-reflectance frame shows, by transfer learning (He et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_medseg import settings as base
from napari_medseg.augment import spatial
from napari_medseg.errors import DataError
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.io.movies.frames import SYNONYMS, class_folders, movie_name
from napari_medseg.io.pairs import Pair, PairList, list_images
from napari_medseg.method import Method, Model, Preparation, quiet
from napari_medseg.methods.frame_classifier.network import FrameClassifierNet
from napari_medseg.methods.frame_classifier.settings import FrameClassifierSettings
from napari_medseg.nn import frames
from napari_medseg.nn.pretrained import IMAGENET
from napari_medseg.settings import TrainSettings

TURN = 0.2 * 2 * np.pi


class FrameClassifier(Method):
    """Class of a frame: DenseNet201 with frozen statistics, trained head first, then from dense layer 28 on."""

    name = "frame-classifier"
    title = "Frame classifier (DenseNet201)"
    doi = "10.6084/m9.figshare.20787751"
    Settings = FrameClassifierSettings
    training = FrameClassifierSettings.training
    preparation = Preparation("It needs no preparation: train on one folder of frames per class.")
    tiled = False
    measure = "video"
    needs = "It names what a frame shows and gives no mask: use it in the dock Nerve video."
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

    def check(self, image: Image) -> None:
        """Refuse anything but a grey or colour 2D image."""
        super().check(image)
        if image.n_channels not in (1, 3, 4):
            raise DataError(
                f"{self.title} takes grey or RGB frames; {image.name or 'this image'} has {image.n_channels} channels."
            )

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

    def load_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[np.ndarray, np.ndarray]:
        """Read one frame: x float32 (3, size, size) and its class index as an int64 scalar array."""
        return self.prepare(read_one(pair.image)), np.array(pair.extra["class"], np.int64)

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
