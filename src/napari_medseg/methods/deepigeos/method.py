"""DeepIGeoS: P-Net proposes, R-Net refines with geodesic maps of scribbles (Wang et al., TPAMI 41(7), 2019)."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_medseg import settings as base
from napari_medseg.errors import CheckpointError, DataError
from napari_medseg.image import Image
from napari_medseg.io.files import file_stem
from napari_medseg.io.pairs import Pair, PairList, are_numbers, find_pairs
from napari_medseg.jobs import run
from napari_medseg.measure.labels import foreground
from napari_medseg.method import Method, Model, Preparation, Recipe, RefinementMethod
from napari_medseg.methods.deepigeos.crf import CRFNet
from napari_medseg.methods.deepigeos.inputs import (
    DEFAULT_TAU,
    Arrays,
    Intensity,
    augment_case,
    case_folders,
    clean,
    decode_proposal,
    distance_maps,
    encode,
    encode_proposal,
    foreground_crop,
    intensity,
    standardise,
)
from napari_medseg.methods.deepigeos.network import PRNet, RefinedNet
from napari_medseg.methods.deepigeos.settings import PNetSettings, RNetSettings
from napari_medseg.methods.deepigeos.simulated_user import corrupt, robot_click, simulate_rounds
from napari_medseg.models.checkpoint import find_model, read_checkpoint, rebuild
from napari_medseg.nn.losses import dice_loss
from napari_medseg.preprocessing.volumes import preprocess, unit_range
from napari_medseg.settings import PredictSettings, TrainSettings


class PNet(Method):
    """Automatic proposal; the base of `RNet`."""

    name = "p-net"
    title = PNetSettings.title
    doi = "10.1109/TPAMI.2018.2840695"
    Settings: ClassVar[type[base.Settings]] = PNetSettings
    training = PNetSettings.training
    recipe = Recipe(
        {"width": 32, "pack": 2, "modern": True, "loss": "dice_ce", "optimiser": "adamw", "strength": 0.35,
         "flip": False},
        TrainSettings(epochs=20, steps_per_epoch=100, batch_size=1, learning_rate=2e-3, schedule="one-cycle", ema=0.99),
    )  # fmt: skip
    preparation = Preparation(
        "Trains on images and labels as they are. With a correction switched on, corrected copies are written; images "
        "alone, such as those of new patients, can be corrected likewise.",
        correct=preprocess,
    )
    measure = "volume"
    metrics = ("dice", "assd", "hd95", "nsd", "precision", "recall")
    label_kind = "classes"
    halves = True

    def __init__(self, settings: base.Settings | None = None) -> None:
        super().__init__(settings)
        self.ndim = self.settings.ndim  # type: ignore[misc]
        self.out_channels = self.settings.classes

    @property
    def in_channels(self) -> int:
        """The modalities."""
        return int(self.settings.channels)

    @property
    def size_multiple(self) -> int:
        """The down-sampling factor times the edge of folded blocks."""
        return int(self.settings.downsample * self.settings.pack)

    @property
    def halo(self) -> int:
        """Largest radius over the axes, CRF-Net included; `modern` normalisation sees the whole tile besides."""
        s = self.settings
        radius = 90 if self.ndim == 2 else 43
        window = 0 if s.crf == "none" else (3 if self.ndim == 2 else 2) * s.crf_iterations
        return int((radius * s.pack + s.pack - 1 + window + (s.downsample > 1)) * s.downsample)

    def build_network(self) -> nn.Module:
        """Build the network with its CRF-Net(f)."""
        return self._network(self.in_channels, constrained=False)

    def _network(self, channels: int, *, constrained: bool) -> RefinedNet:
        s = self.settings
        block = s.pack**self.ndim
        net = PRNet(channels * block, s.classes * block, ndim=self.ndim, width=s.width, modern=s.modern)
        crf = None
        if s.crf != "none":
            iterations = (min(3, s.crf_iterations), s.crf_iterations)
            crf = CRFNet(s.classes, s.channels, ndim=self.ndim, kernel=s.crf, iterations=iterations)
        return RefinedNet(net, crf, downsample=s.downsample, pack=s.pack, constrained=constrained)

    def initialise(self, network: nn.Module) -> str:
        """Pre-train the freeform pairwise function on 100,000 synthetic pairs."""
        assert isinstance(network, RefinedNet)
        if self.settings.crf != "freeform" or network.crf is None or not network.crf.pretrain():
            return ""
        return "the CRF-Net's pairwise function starts from the contrast-sensitive one"

    # ---- intensities
    def check(self, image: Image) -> None:
        """Refuse another dimension or number of channels."""
        super().check(image)
        if image.n_channels != self.settings.channels:
            raise DataError(
                f"This {self.title} takes {self.settings.channels} channel(s); {image.name or 'the image'} has "
                f"{image.n_channels}. Give the same modalities as in training, or set channels."
            )

    def statistics(self, image: Image) -> list[Intensity]:
        """Measure each channel."""
        s = self.settings
        channels = (np.asarray(channel) for channel in image.channels_first())
        return [intensity(c[image.measured(c)], nonzero=s.nonzero, clip=s.clip) for c in channels]

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Clip and z-score each channel."""
        return standardise(block, statistics)

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Return the likeliest class, uint8, cleaned of small pieces as the settings ask."""
        s = self.settings
        labels = np.argmax(probabilities, 0).astype(np.uint8)
        labels = clean(labels, largest=s.largest_component, smallest=s.min_size)
        names = {"classes": s.class_names.split(",")} if s.class_names else {}
        return image.labels_like(labels, **names)

    # ---- training
    def find_pairs(self, folder: Path) -> PairList:
        """Find pairs of files, or cases by ``modality_files`` and ``label_file`` when these are set."""
        s, folder = self.settings, Path(folder)
        if s.modality_files and not are_numbers(s.modality_files):
            return case_folders(folder, s.modality_files, s.label_file)
        return find_pairs(folder)

    def adapted_to(self, folder: Path) -> Self:
        """Take the channels that nnU-Net numbers over as ``modality_files``, so that `predict` finds them too."""
        if self.settings.modality_files and not are_numbers(self.settings.modality_files):
            return self
        files = max((pair.files for pair in find_pairs(Path(folder)).pairs), key=len, default=())
        if len(files) < 2:
            return self
        words = ",".join(file_stem(file).rpartition("_")[2] for file in files)
        return type(self)(self.settings.updated(modality_files=words))

    def target(self, labels: Image) -> np.ndarray:
        """Return classes int64 (*spatial); with two classes every label above 0 is foreground."""
        data = np.asarray(labels.data)
        if self.settings.classes == 2:
            return np.asarray(foreground(data), np.int64)
        if data.max(initial=0) >= self.settings.classes:
            raise DataError(
                f"{labels.name} holds label {data.max()}, but {self.settings.classes} classes count from 0. "
                "Set classes to the largest label + 1."
            )
        return np.asarray(data, np.int64)

    def sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
        """Cut a crop."""
        return foreground_crop(x, y, self.settings.crop, self.size_multiple, rng)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
        """Flip, turn, zoom, bend and change intensities (`augment_case`)."""
        s = self.settings
        return augment_case(x, y, s.channels, rng, strength=s.strength, flip=s.flip)

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return cross-entropy, with ``dice_ce`` plus the mean soft Dice loss of the foreground classes."""
        entropy = F.cross_entropy(output, target)
        if self.settings.loss == "ce":
            return {"loss": entropy}
        p = torch.softmax(output, 1)
        dice = torch.stack([dice_loss(p[:, k], (target == k).to(p.dtype)) for k in range(1, p.shape[1])]).mean()
        return {"loss": entropy + dice, "ce": entropy, "dice_loss": dice}

    def phase(self, epoch: int, settings: TrainSettings) -> int:
        """Return 0 while the network learns without its CRF-Net, then 1."""
        return int(self.settings.crf == "none" or epoch >= self.settings.crf_start * settings.epochs)

    def optimizer(self, network: nn.Module, settings: TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Build SGD with momentum 0.99 (paper) or AdamW; without phase the CRF-Net is off and left as it is."""
        assert isinstance(network, RefinedNet)
        if network.crf is not None:
            network.crf_active.fill_(phase)
        parameters = network.parameters() if phase else network.net.parameters()
        rate, decay = settings.learning_rate, settings.weight_decay
        if self.settings.optimiser == "adamw":
            return torch.optim.AdamW(parameters, rate, weight_decay=decay)
        return torch.optim.SGD(parameters, rate, momentum=0.99, weight_decay=decay)

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Return the mean Dice of the foreground classes."""
        predicted = probabilities.argmax(1)
        values = []
        for k in range(1, self.settings.classes):
            p, t = predicted == k, target == k
            total = (p.sum() + t.sum()).item()
            values.append(2 * (p & t).sum().item() / total if total else 1.0)
        dice = float(np.mean(values))
        return {"score": dice, "dice": dice}


class RNet(PNet, RefinementMethod):
    """Interactive refinement.

    Channels: M modalities; the foreground of the proposal (with more than two classes one channel per class); one
    distance map per class, background last; and the scribble map, which only the CRF-Net(fu) reads.
    """

    name = "r-net"
    title = RNetSettings.title
    Settings: ClassVar[type[base.Settings]] = RNetSettings

    @property
    def _proposal_channels(self) -> int:
        return 1 if self.settings.classes == 2 else int(self.settings.classes)

    @property
    def in_channels(self) -> int:
        """Modalities, proposal, distance maps and scribbles: 5 for one modality and two classes."""
        return int(self.settings.channels + self._proposal_channels + self.settings.classes + 1)

    def build_network(self) -> nn.Module:
        """Build the network with its CRF-Net(fu); the scribble map does not enter the convolutions."""
        return self._network(self.in_channels - 1, constrained=True)

    def initialise(self, network: nn.Module) -> str:
        """Take over the weights of the P-Net ``inherit``, then as P-Net."""
        assert isinstance(network, RefinedNet)
        path, notes = self.settings.inherit, []
        if path:
            network.inherit(_pnet(path).network.state_dict(), Path(path).name)
            notes.append(f"R-Net starts from the weights of {path}")
        return "; ".join([*notes, *filter(None, [super().initialise(network)])])

    # ---- network input
    @property
    def spacing(self) -> tuple[float, ...]:
        """Steps of the distance maps, in-plane pixels being 1 (training crops know no millimetres)."""
        return (1.0, 1.0) if self.ndim == 2 else (float(self.settings.through_plane), 1.0, 1.0)

    @property
    def tau(self) -> float:
        """Reach of the maps."""
        return float(self.settings.tau or DEFAULT_TAU[self.settings.metric])

    def distances(self, x: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
        """Return the distance maps (L, *spatial) on the image clipped at 3 SD and scaled to [0, 1]."""
        s = self.settings
        return distance_maps(
            unit_range(x), scribbles, s.classes, spacing=self.spacing, weight=s.weight, metric=s.metric, cost=s.cost,
            engine=s.distance_engine,
        )  # fmt: skip

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return the input without proposal and scribbles."""
        x = standardise(block, statistics)
        nothing = np.zeros((self._proposal_channels, *x.shape[1:]), np.float32)
        return self._assemble(x, nothing, np.zeros(x.shape[1:], np.uint8))

    def prepare_refinement(
        self, image: Image, proposal: np.ndarray | None, scribbles: np.ndarray, distances: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the network input float32 (C, *spatial) of one refinement."""
        for given, what in ((proposal, "proposal"), (scribbles, "scribbles")):
            if given is not None and given.shape[-self.ndim :] != image.spatial_shape:
                raise DataError(
                    f"The {what} has shape {given.shape}, the image {image.spatial_shape}. Give it on the image's grid."
                )
        self.check(image)
        image = self.preprocess(image)
        x = standardise(np.asarray(image.channels_first()), self.statistics(image))
        start = np.zeros(scribbles.shape, np.uint8) if proposal is None else proposal
        return self._assemble(x, self._encode(start), scribbles, distances)

    def _assemble(
        self, x: np.ndarray, proposal: np.ndarray, scribbles: np.ndarray, distances: np.ndarray | None = None
    ) -> np.ndarray:
        raw = self.distances(x, scribbles) if distances is None else distances
        maps = np.roll(encode(raw, self.settings.encoding, self.tau), -1, axis=0)
        return np.concatenate([x, proposal, maps, scribbles[None].astype(np.float32)], dtype=np.float32)

    def _encode(self, proposal: np.ndarray) -> np.ndarray:
        return encode_proposal(proposal, self.settings.classes, self.ndim, soft=self.settings.soft_proposal)

    # ---- training: x holds modalities and proposal until a sample is drawn
    def encode_pair(self, pair: Pair, image: Image, labels: Image | None) -> Arrays:
        """Return a case as modalities and proposal; the proposal stays empty where it is drawn with the sample."""
        x, y = super().encode_pair(pair, image, labels)
        x = x[: self.settings.channels + self._proposal_channels]
        if self.settings.proposal:
            probabilities = propose(self.settings.proposal, image)
            x[self.settings.channels :] = self._encode(probabilities)
        return x, y

    def complete(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
        """Draw proposal and marks and make the maps: those of a moved image are not the moved maps."""
        s = self.settings
        channels = x[s.channels :][: self._proposal_channels]
        labels, marks = simulate_rounds(
            y, self._start(channels, y, rng), rng, int(rng.integers(1, s.rounds + 1)), rule=s.rule,
            radius=s.mark_radius, smallest=s.smallest_region, no_mark=s.no_mark_probability,
        )  # fmt: skip
        return self._assemble(x[: s.channels], self._channels(channels, labels), marks), y

    def validation_sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> Arrays:
        """Give the whole case one click of the robot user."""
        m = self.settings.channels
        channels = x[m:][: self._proposal_channels]
        labels = self._start(channels, y, rng)
        return self._assemble(x[:m], self._channels(channels, labels), robot_click(y, labels)), y

    def _start(self, channels: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.settings.proposal:
            return decode_proposal(channels)
        return corrupt(y.astype(np.uint8), rng, n_classes=self.settings.classes)

    def _channels(self, channels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Keep the proposal's probabilities where it says `labels`, else say so."""
        if not self.settings.proposal:
            return self._encode(labels)
        same = decode_proposal(channels) == labels
        return np.where(same & self.settings.soft_proposal, channels, self._encode(labels))


@lru_cache(maxsize=1)
def _pnet(path: str) -> Model:
    file = find_model(path)
    content = read_checkpoint(file)
    if content["method"] != PNet.name:
        raise CheckpointError(f"{file.name} is a {content['method']} model; the proposal needs a {PNet.name} model.")
    return rebuild(PNet, content, file)


def propose(path: str, image: Image) -> np.ndarray:
    """Return the probabilities (L, *spatial) of the P-Net in `path`."""
    from napari_medseg.inference.network import fast_settings, infer

    model = _pnet(path)
    settings = fast_settings(model.method, PredictSettings())
    probabilities: np.ndarray = run(infer(model, model.method.prepare(image), settings))
    return probabilities
