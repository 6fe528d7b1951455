"""`Method`: what one published network must say about itself so that the engine can run and train it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg import settings as base
from napari_medseg.augment.spatial import random_crop
from napari_medseg.errors import DataError, SettingsError
from napari_medseg.image import Image, LabelKind
from napari_medseg.io import read_case
from napari_medseg.io.grids import moved_notes
from napari_medseg.io.pairs import Pair, PairList, find_pairs
from napari_medseg.jobs import Job
from napari_medseg.settings import PredictSettings, TrainSettings

COLOURS = (1, 3, 4)  # channels of grey, RGB and RGBA images


@dataclass(frozen=True)
class Recipe:
    """Settings of a method and a schedule that did better than the paper's in our measurements."""

    settings: Mapping[str, Any]
    training: TrainSettings


def quiet(sentence: str) -> None:
    """Say nothing."""


class Method(ABC):
    """One network of one paper; its only state is its settings.

    Letters: B batch, C input channels, K output channels, and the spatial axes ``*spatial`` (``Y X`` or ``Z Y X``).

    Class attributes
    ----------------
    name, title, doi
        Command-line name, human title, DOI of the paper.
    ndim
        Number of spatial axes (2 or 3).
    Settings
        The method's settings class.
    training
        The paper's schedule: the defaults of form and flags.
    recipe
        What to train with instead of the paper's settings and schedule, where something better is known.
    prediction
        Tiling and views of the paper: likewise.
    tiled
        Whether large images are cut into tiles. If not, `prepare` resizes to the network's size and
        `postprocess` brings the answer back to the image's.
    halves
        Whether the precision ``auto`` may be bfloat16 on a processor too: the answer was compared with float32's.
    colours
        Whether only grey, RGB and RGBA images are taken.
    measure
        Kind of measurement table that fits the result.
    metrics
        Names of the evaluation metrics the paper's field reports.
    label_kind
        What the labels mean: one mask (binary), classes or instances.
    preparation
        How raw data become a training folder; ``None``: sound pairs of images and labels are copied.
    needs
        Why an image is not enough for a mask, and what to use instead, in a sentence; empty where it is enough.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    doi: ClassVar[str]
    ndim: ClassVar[int] = 2
    Settings: ClassVar[type[base.Settings]] = base.Settings
    training: ClassVar[TrainSettings] = TrainSettings()
    recipe: ClassVar[Recipe | None] = None
    prediction: ClassVar[PredictSettings] = PredictSettings()
    tiled: ClassVar[bool] = True
    halves: ClassVar[bool] = False
    colours: ClassVar[bool] = False
    measure: ClassVar[str] = ""
    metrics: ClassVar[tuple[str, ...]] = ("dice", "iou")
    label_kind: ClassVar[LabelKind] = "binary"
    preparation: ClassVar[Preparation | None] = None
    needs: ClassVar[str] = ""
    out_channels: int = 1

    def __init__(self, settings: base.Settings | None = None) -> None:
        self.settings: Any = self.Settings() if settings is None else settings

    # ---- the network and its geometry
    @abstractmethod
    def build_network(self) -> nn.Module:
        """Build the network: (B, C, *spatial) float32 -> (B, K, *spatial) logits."""

    def initialise(self, network: nn.Module) -> str:
        """Give a fresh network its starting weights (ImageNet) before training; say in a sentence what was done."""
        return ""

    @property
    def in_channels(self) -> int:
        """Channels C of the network's input."""
        return 1

    @property
    def size_multiple(self) -> int:
        """Every spatial size given to the network is padded to a multiple of this."""
        return 1

    @property
    def tile_edge(self) -> int:
        """Edge of the only tiles that the network takes; 0: any."""
        return 0

    @property
    def halo(self) -> int:
        """Radius of the receptive field in pixels: how far from an edge padding can change the answer."""
        return 0

    # ---- image -> network input
    def preprocess(self, image: Image) -> Image:
        """Correct the whole image before anything else (levelling); nothing by default."""
        return image

    def statistics(self, image: Image) -> Any:
        """Whole-image numbers that `normalise` needs (percentiles, mean and SD), or ``None``."""
        return None

    @abstractmethod
    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Map raw (c, *spatial) intensities of any part of an image to network input float32 (C, *spatial)."""

    def prepare(self, image: Image) -> np.ndarray:
        """Return the network input float32 (C, *spatial) of a whole image."""
        self.check(image)
        image = self.preprocess(image)
        return self.normalise(np.asarray(image.channels_first()), self.statistics(image))

    def check(self, image: Image) -> None:
        """Raise `DataError` with a plain reason if the method cannot take `image`: time is no axis of space."""
        if 0 in image.spatial_shape:
            raise DataError(
                f"{image.name or 'The image'} has no pixels: its size is {image.spatial_shape}. Open another."
            )
        if len(image.spatial_shape) != self.ndim or "T" in image.axes:
            raise DataError(
                f"{self.title} works on {self.ndim}D images; {image.name or 'this image'} is {image.describe()}. "
                f"Give a {self.ndim}D image, one slice, or one time point (--time) of it."
            )
        if self.colours and image.n_channels not in COLOURS:
            raise DataError(
                f"{self.title} takes grey or RGB images; {image.name or 'this image'} has {image.n_channels} channels. "
                "Give one of them."
            )

    # ---- network output -> result
    def activate(self, output: Tensor) -> Tensor:
        """Turn logits (B, K, *spatial) into probabilities: sigmoid for K = 1, else softmax."""
        return torch.sigmoid(output) if output.shape[1] == 1 else torch.softmax(output, 1)

    @abstractmethod
    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Turn probabilities (K, *spatial) into a label image on `image`'s grid."""

    def doubt(self, labels: Image) -> str:
        """Say in a sentence why a result is suspicious; empty where it is not."""
        return ""

    # ---- training
    def adapted_to(self, folder: Path) -> Self:
        """Return the method with what a training folder says of itself taken over: colours, channels (default: none).

        Raises
        ------
        SettingsError
            If the folder contradicts the settings.
        """
        return self

    def find_pairs(self, folder: Path) -> PairList:
        """Find the training cases below `folder`; the settings stay as they are."""
        return find_pairs(Path(folder))

    def load_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[np.ndarray, np.ndarray]:
        """Read one case: x float32 (C, *spatial) and its target, first unaugmented; several files become channels.

        Labels are brought onto the image's grid; `say` is told in a sentence where they lay on another.
        """
        return self.encode_pair(pair, *self.read_pair(pair, say))

    def read_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[Image, Image | None]:
        """Read the image and the labels of one case, on one grid; the first half of `load_pair`."""
        if pair.label is None:
            raise DataError(f"{pair.image} has no label file.")
        image, labels = read_case(pair.files, pair.label)
        for note in moved_notes(labels):
            say(note)
        return image, labels

    def encode_pair(self, pair: Pair, image: Image, labels: Image | None) -> tuple[np.ndarray, np.ndarray]:
        """Turn what `read_pair` returned into x and its target."""
        assert labels is not None
        return self.prepare(image), self.target(labels)

    @abstractmethod
    def target(self, labels: Image) -> np.ndarray:
        """Turn a label image into the training target (*spatial) or (T, *spatial)."""

    def sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut one training sample from a case (default: the whole image, mirrored up to `size_multiple`)."""
        return random_crop(x, y, 0, self.size_multiple, rng) if self.size_multiple > 1 and self.tiled else (x, y)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Augment one sample; called only when the training settings ask for it."""
        return x, y

    def complete(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Add what must be made of the augmented sample, such as simulated marks and their maps."""
        return x, y

    def validation_sample(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Turn a held-out case into what is validated (default: all of it, unaugmented)."""
        return x, y

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Loss terms of a batch: ``"loss"`` is minimised, the others are logged."""

    def phase(self, epoch: int, settings: TrainSettings) -> int:
        """Training phase of `epoch` (from 0); `optimizer` is asked anew when it changes."""
        return 0

    def optimizer(self, network: nn.Module, settings: TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Build the optimiser of a phase (and freeze what the phase freezes)."""
        return torch.optim.Adam(network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)

    def choose(self, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """Return the settings (thresholds) that suit probabilities (K, *spatial) and targets of training cases best."""
        return {}

    @property
    def views(self) -> bool:
        """Whether the model asks for test-time views (flips and turns) itself."""
        return False

    @property
    def adapt(self) -> int:
        """Pixels of an image whose batch-norm statistics count as much as those of training; 0: its do not count."""
        return 0

    @property
    def selects_by_loss(self) -> bool:
        """Whether the validation loss, instead of ``"score"``, picks the best epoch."""
        return False

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Validation scores of one case (1, K, *spatial); ``"score"``, higher is better, selects the best model."""
        if probabilities.shape[1] == 1:
            predicted, truth = probabilities[:, 0] > 0.5, target.reshape(probabilities[:, 0].shape) > 0.5
        else:
            predicted, truth = probabilities.argmax(1) > 0, target.reshape(probabilities[:, 0].shape) > 0
        total = (predicted.sum() + truth.sum()).item()
        dice = 2 * (predicted & truth).sum().item() / total if total else 1.0
        return {"score": dice, "dice": dice}


class TrainingFreeMethod(Method):
    """A method without trained values: filters and thresholds that its settings describe.

    It runs as every other one, from a checkpoint whose ``state_dict`` is empty. `build_network` may return fixed
    filters; `activate` and `postprocess` do the rest.
    """

    def build_network(self) -> nn.Module:
        """Return the input as it is."""
        return nn.Identity()

    def activate(self, output: Tensor) -> Tensor:
        """Return the output as it is."""
        return output

    def target(self, labels: Image) -> np.ndarray:
        """Refuse: there is nothing to train."""
        raise SettingsError(f"{self.name} needs no training.")

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Refuse: there is nothing to train."""
        raise SettingsError(f"{self.name} needs no training.")


class RefinementMethod(Method):
    """A method that improves a proposal by scribbles."""

    needs = "It improves a mask by scribbles: use it in the dock Refine with scribbles."

    @abstractmethod
    def distances(self, x: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
        """Return the raw distance maps (L, *spatial) of scribbles on the normalised image (M, *spatial)."""

    @abstractmethod
    def prepare_refinement(
        self, image: Image, proposal: np.ndarray | None, scribbles: np.ndarray, distances: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the network input float32 (C, *spatial).

        Parameters
        ----------
        image
            The image.
        proposal
            Integer labels (*spatial), probabilities (L, *spatial), or ``None`` to start from nothing.
        scribbles
            Integer (*spatial): 0 none, k + 1 for class k.
        distances
            What `distances` would return, where a session keeps it up to date itself.
        """


@dataclass(frozen=True)
class PrepareReport:
    """What was made: case names, those found finished, problems, mean and SD of RGB / 255, what is worth knowing."""

    folder: Path
    cases: tuple[str, ...]
    skipped: tuple[str, ...]
    problems: tuple[str, ...]
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preparation:
    """How raw data become a training folder of a method.

    Parameters
    ----------
    note
        What happens, or why nothing has to, in a sentence for the user.
    check
        Look into a source folder: lines for the user, first the number of cases. ``None``: nothing has to happen.
    run
        Make the training folder: source, destination, settings.
    correct
        Or, where images and labels are copied: correct an image under settings (grid and intensities).
    """

    note: str
    check: Callable[[Path], tuple[str, ...]] | None = None
    run: Callable[[Path, Path, Any], Job[PrepareReport]] | None = None
    correct: Callable[[Image, Any], Image] | None = None

    @property
    def needed(self) -> bool:
        """Whether anything has to happen."""
        return self.run is not None or self.correct is not None


@dataclass
class Model:
    """What a checkpoint becomes: a method and its trained network."""

    method: Method
    network: nn.Module
    card: dict[str, Any]


def count_parameters(network: nn.Module) -> tuple[int, int]:
    """Return the number of values in all (with batch-norm statistics, as Keras counts) and of trainable ones."""
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    fixed = sum(p.numel() for p in network.parameters() if not p.requires_grad)
    statistics = sum(b.numel() for n, b in network.named_buffers() if n.endswith(("running_mean", "running_var")))
    return trainable + fixed + statistics, trainable
