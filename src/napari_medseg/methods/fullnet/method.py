"""FullNet with varCE: nuclei and glands in H&E images (Qu et al., MICCAI 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from napari_medseg import settings as base
from napari_medseg.errors import DataError, SettingsError, shortened
from napari_medseg.evaluate.metrics.objects import aji
from napari_medseg.image import WHITE, Image
from napari_medseg.io import as_labels, read_one
from napari_medseg.io.files import read_json
from napari_medseg.io.grids import moved_notes, on_grid
from napari_medseg.io.pairs import Pair, PairList
from napari_medseg.measure.labels import EIGHT, instances
from napari_medseg.method import Method, Preparation, Recipe, quiet
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.cases import find_cases
from napari_medseg.methods.fullnet.loss import Options, varce
from napari_medseg.methods.fullnet.network import FullNetNetwork, receptive_radius
from napari_medseg.methods.fullnet.preparation import check_fullnet, prepare_fullnet
from napari_medseg.methods.fullnet.settings import FullNetSettings
from napari_medseg.methods.fullnet.ternary import drop_small, inside_mask, label_objects
from napari_medseg.methods.fullnet.tissue import TISSUES, Tissue
from napari_medseg.methods.fullnet.transforms import Warp, random_window, warp
from napari_medseg.preprocessing.stains import (
    apply_macenko,
    apply_reinhard,
    fit_macenko,
    fit_reinhard,
    jitter_stain,
    known_white,
    mix_stain,
    rgb8,
)
from napari_medseg.settings import TrainSettings

PRESETS = {"paper": (6, 24), "light": (4, 12)}
PATCH_PER_CROP = 250 / 208
ROOM = 1.75
GLAND_ZOOM = 238 / 208
STATISTICS_PIXELS = 4_000_000
THRESHOLDS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7)
AREAS = (10, 20, 40, 80, 160)
GLAND_AREAS = (100, 200, 400, 800, 1600)  # at their own pixel size


class FullNet(Method):
    """Full-resolution dense network; labels are instances 1 .. N."""

    name = "fullnet"
    title = FullNetSettings.title
    doi = "10.1007/978-3-030-32239-7_42"
    Settings = FullNetSettings
    training = FullNetSettings.training
    recipe = Recipe(
        {"preset": "light", "growth": 24, "pack": 2, "crop": 160, "validation_size": 256, "colour_jitter": 0.5,
         "stain_mix": 0.12, "blur": 1.2, "zoom": 1.5},
        TrainSettings(epochs=15, steps_per_epoch=100, batch_size=4, learning_rate=2e-3, weight_decay=1e-4,
                      schedule="one-cycle", rise=0.1, ema=0.99, smooth_score=3, choose_on=12),
    )  # fmt: skip
    preparation = Preparation(
        "Pictures with instance maps, ImageScope .xml or QuPath .geojson become colour-normalised patches with "
        "ternary labels, weight maps and colour statistics.",
        check_fullnet,
        prepare_fullnet,
    )
    prediction = FullNetSettings.prediction
    halves = True
    measure = "nuclei"
    metrics = (
        "accuracy", "f1", "aji", "aji_greedy", "pq", "sq", "rq", "matched_dice",
        "f1_glas", "object_dice", "object_iou", "object_hausdorff",
    )  # fmt: skip
    label_kind = "instances"
    out_channels = 3

    def __init__(self, settings: base.Settings | None = None) -> None:
        super().__init__(settings)
        self.tiled = self.settings.tissue == "nuclei" or not self.settings.resize  # type: ignore[misc]

    @property
    def tissue(self) -> Tissue:
        """Constants of the chosen tissue."""
        return TISSUES[self.settings.tissue]

    # ---- the network and its geometry
    def build_network(self) -> nn.Module:
        """Build `napari_medseg.methods.fullnet.network.FullNet`."""
        s = self.settings
        layers, growth = self._size()
        return FullNetNetwork(
            layers,
            growth,
            hybrid=s.hybrid,
            bottleneck=s.bottleneck,
            pooling=s.pooling,
            dropout=s.dropout,
            pack=s.pack,
            freeze_norm=s.freeze_norm,
        )

    def _size(self) -> tuple[int, int]:
        layers, growth = PRESETS[self.settings.preset]
        return self.settings.n_layers or layers, self.settings.growth or growth

    @property
    def in_channels(self) -> int:
        """Red, green, blue."""
        return 3

    @property
    def size_multiple(self) -> int:
        """Edge of a packed block, 16 times that for the pooling baseline."""
        return int((16 if self.settings.pooling else 1) * self.settings.pack)

    @property
    def halo(self) -> int:
        """Radius of the receptive field: 218 pixels for the paper's network."""
        s = self.settings
        return receptive_radius(self._size()[0], s.hybrid, s.pooling, s.pack)

    @property
    def adapt(self) -> int:
        """As the settings say."""
        return int(self.settings.adapt)

    # ---- image -> network input
    def check(self, image: Image) -> None:
        """Refuse anything but a 2D colour image."""
        super().check(image)
        if image.n_channels not in (3, 4):
            raise DataError(
                f"{self.title} needs a stained colour image (red, green, blue); {image.name or 'this image'} is "
                f"{image.describe()}. Give the RGB image."
            )

    def statistics(self, image: Image) -> Any:
        """Return the value of white and, for colour normalisation, the image's stain statistics."""
        data = image.metadata.get("levels", [image.data])[-1]
        data = data if image.axes == "YXC" else Image(data, image.axes).channels_first().transpose(1, 2, 0)
        step = max(1, round((data.shape[0] * data.shape[1] / STATISTICS_PIXELS) ** 0.5))
        if self.settings.stain == "none" and data.dtype == np.uint8:
            return 255.0, None
        sample = np.asarray(data[::step, ::step])
        top = known_white(sample[..., :3], image.metadata.get(WHITE))
        fit = {"macenko": fit_macenko, "reinhard": fit_reinhard}.get(self.settings.stain)
        return top, fit(rgb8(sample, top)) if fit else None

    def normalise(self, block: np.ndarray, statistics: Any) -> np.ndarray:
        """Return (RGB / 255 - mean) / SD after colour normalisation."""
        top, source = statistics
        rgb = rgb8(block.transpose(1, 2, 0), top)
        if self.settings.stain == "macenko":
            rgb = apply_macenko(rgb, source)
        elif self.settings.stain == "reinhard":
            rgb = apply_reinhard(rgb, source)
        mean, std = self.colour_statistics()
        return np.ascontiguousarray(((rgb.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1))

    def colour_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and SD (3,) of RGB / 255 that inputs are normalised with."""
        s = self.settings
        mean = s.mean if any(s.mean) else self.tissue.mean
        std = s.std if all(s.std) else self.tissue.std
        return np.asarray(mean, np.float32), np.asarray(std, np.float32)

    def prepare(self, image: Image) -> np.ndarray:
        """Normalise; glands are resized so that the short side has 208 pixels, unless the settings say otherwise."""
        return self._to_network_scale(super().prepare(image), order=1)

    def _to_network_scale(self, array: np.ndarray, order: int) -> np.ndarray:
        wanted, short = self.tissue.short_side, min(array.shape[1:])
        if self.tiled or not wanted or short == wanted:
            return array
        shape = (len(array), *(max(round(n * wanted / short), 1) for n in array.shape[1:]))
        return _resize(array, shape, order)

    # ---- network output -> result
    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Threshold, drop small pieces, resize glands back, label, grow the eroded rim."""
        return image.labels_like(self.objects(probabilities, image.spatial_shape))

    def objects(self, probabilities: np.ndarray, shape: tuple[int, ...] = ()) -> np.ndarray:
        """Return objects 1 .. N of probabilities (3, H, W), resized to `shape` if it is given."""
        s, tissue = self.settings, self.tissue
        mask = drop_small(inside_mask(probabilities, s.threshold), tissue.min_area if s.min_area < 0 else s.min_area)
        if shape and mask.shape != shape:
            mask = _resize(mask.astype(np.float32), shape, 1) > 0.5
        return label_objects(mask, tissue.grow if s.grow < 0 else s.grow, s.growth_mode, s.fill_holes)

    def choose(self, found: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        """Return threshold, smallest area and growth of the best mean AJI, one after the other.

        The true objects are the ternary target's insides with their rim.
        """
        grow = self.tissue.disk
        truth = [label_objects(y[0] == ternary.INSIDE, grow, "free") for _, y in found]
        chosen: dict[str, Any] = {"threshold": 0.0, "min_area": self.tissue.min_area, "grow": self.tissue.grow}
        chosen |= {"growth_mode": "free", "fill_holes": True}

        def quality(changes: dict[str, Any]) -> float:
            method = type(self)(self.settings.updated(**chosen | changes))
            return float(np.mean([aji(method.objects(p), t) for (p, _), t in zip(found, truth, strict=True)]))

        areas = GLAND_AREAS if self.settings.tissue == "glands" and self.tiled else AREAS
        for name, values in {"threshold": THRESHOLDS, "min_area": areas, "grow": (grow, grow + 1, grow + 2)}.items():
            chosen[name] = max(values, key=lambda value, name=name: quality({name: value}))  # type: ignore[misc]
        return chosen

    # ---- training
    def find_pairs(self, folder: Path) -> PairList:
        """Find cases (see `find_cases`); they may have weight maps.

        Raises
        ------
        DataError
            If the folder holds outlines, which are no training data before they are prepared.
        """
        folder = Path(folder)
        return find_cases(folder, bool(_prepared(folder).get("patches")))

    def adapted_to(self, folder: Path) -> Self:
        """Take over the colour statistics of a folder made by ``prepare``, unless the settings have some.

        Raises
        ------
        SettingsError
            If the folder was prepared for the other tissue.
        """
        tissue = _prepared(folder).get("settings", {}).get("tissue", self.settings.tissue)
        if tissue != self.settings.tissue:
            said = shortened(repr(tissue))
            raise SettingsError(f"{folder} was prepared for {said}. Set tissue to {said}, or prepare it again.")
        path = Path(folder) / "mean_std.json"
        if not path.is_file() or any(self.settings.mean):
            return self
        values = read_json(path)
        if not isinstance(values, dict) or not {"mean", "std"} <= values.keys():
            raise SettingsError(f"{path} holds no mean and std. Prepare the folder again.")
        return type(self)(self.settings.updated(mean=values["mean"], std=values["std"]))

    def read_pair(self, pair: Pair, say: Callable[[str], None] = quiet) -> tuple[Image, Image | None]:
        """Read the picture and its ternary labels, which have colours, or instance map."""
        if pair.label is None:
            raise DataError(f"{pair.image} has no label file.")
        image, labels = read_one(pair.image), read_one(pair.label)
        labels = on_grid(labels, image, "labels")
        for note in moved_notes(labels):
            say(note)
        return image, labels

    def encode_pair(self, pair: Pair, image: Image, labels: Image | None) -> tuple[np.ndarray, np.ndarray]:
        """Return x (3, H, W) and y (2, H, W): ternary classes and weights, from ternary labels or instance maps."""
        assert labels is not None
        y = self.target(labels)
        weight = pair.extra.get("weight")
        if isinstance(weight, Path):
            y[1] = ternary.weights_from_grey(as_labels(read_one(weight)).data)
        classes, weights = (self._to_network_scale(part[None], order) for part, order in zip(y, (0, 1), strict=True))
        return self.prepare(image), np.concatenate([classes, weights])

    def target(self, labels: Image) -> np.ndarray:
        """Turn instances, or a ternary RGB picture, into float32 (2, H, W): ternary classes and weights."""
        if "C" in labels.axes and ternary.is_ternary(np.asarray(labels.data)):
            classes = ternary.from_rgb(np.asarray(labels.data))
            objects = label_objects(classes == ternary.INSIDE, self.tissue.disk).astype(np.int32)
        else:
            objects = instances(np.asarray(as_labels(labels).data))
            classes = ternary.ternary(objects, self.tissue.disk)
        return np.stack([classes.astype(np.float32), ternary.weight_map(objects, self.tissue.sigma)])

    def sample(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut a window from which `augment` draws its crop; smaller images are padded.

        As the authors' patches: 250 pixels for a crop of 208, for glands the crop itself. Where the image allows and
        the augmentation is ``"fixed"``, 1.75 times the crop, so that a turned crop is not filled up.
        """
        crop = self.settings.crop
        least = math.ceil(crop * PATCH_PER_CROP) if self.settings.tissue == "nuclei" else crop
        room = 0 if self.settings.augmentation == "paper" else min(math.ceil(crop * ROOM), *x.shape[1:])
        return random_window(x, y, max(least, room), rng)

    def augment(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Change the stain's strength, scale, flip, affine, rotate, deform and crop."""
        paper = self.settings.augmentation == "paper"
        mean, std = self.colour_statistics()
        if self.settings.colour_jitter:
            x = jitter_stain(x, mean, std, self.settings.colour_jitter, rng)
        if self.settings.stain_mix:
            x = mix_stain(x, mean, std, self.settings.stain_mix, rng)
        black = -mean / std
        fill = (float(black[0]), float(black[1]), float(black[2])) if paper else (0.0, 0.0, 0.0)
        zoom = self.settings.zoom
        scales = (1 / zoom, zoom) if self.tiled else (GLAND_ZOOM, GLAND_ZOOM)
        x, y = warp(x, y, rng, Warp(self.settings.crop, scales, fill, paper))
        if self.settings.blur and rng.uniform() < 0.5:
            sigma = rng.uniform(0, self.settings.blur)
            x = np.stack([ndimage.gaussian_filter(channel, sigma) for channel in x])
        return x, y

    def complete(self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Cut the crop out of a window that was not augmented."""
        return random_window(x, y, self.settings.crop, rng)

    def validation_sample(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keep the centre that is to be scored."""
        size = self.settings.validation_size
        starts = [max((n - size) // 2, 0) if size else 0 for n in x.shape[1:]]
        window = (slice(None), *(slice(s, s + size if size else None) for s in starts))
        return x[window], y[window]

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Return varCE of logits (B, 3, H, W); instances are the 8-connected components of each crop's insides."""
        classes, instances = self._encoded(target)
        options = Options(self.settings.alpha, self.settings.var_channels, self.settings.unbiased)
        return varce(output, classes.to(output.device), target[:, 1], instances.to(output.device), options)

    def _encoded(self, target: Tensor) -> tuple[Tensor, Tensor]:
        raw = target[:, 0].cpu().numpy()
        classes = np.stack([ternary.encode(c, self.tissue.encoding, self.settings.encoding) for c in raw])
        instances = np.stack([ndimage.label(c == ternary.INSIDE, EIGHT)[0] for c in classes])
        return torch.from_numpy(classes.astype(np.int64)), torch.from_numpy(instances.astype(np.int64))

    def optimizer(self, network: nn.Module, settings: TrainSettings, phase: int) -> torch.optim.Optimizer:
        """Return Adam with betas (0.9, 0.99)."""
        return torch.optim.Adam(
            network.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
        )

    def score(self, probabilities: Tensor, target: Tensor) -> dict[str, float]:
        """Return pixel IoU (which selects the best model) and accuracy of the class "inside"."""
        predicted = probabilities.argmax(1).cpu() == ternary.INSIDE
        truth = self._encoded(target)[0] == ternary.INSIDE
        union = int((predicted | truth).sum())
        iou = int((predicted & truth).sum()) / union if union else 1.0
        return {"score": iou, "iou": iou, "accuracy": float((predicted == truth).float().mean())}


def _prepared(folder: Path) -> dict[str, Any]:
    """Return what ``prepare`` noted of a folder, or nothing."""
    path = Path(folder) / "prepare.json"
    notes = read_json(path) if path.is_file() else {}
    settings = notes.get("settings", {}) if isinstance(notes, dict) else None
    if not isinstance(settings, dict):
        raise SettingsError(f"{path} holds no notes of a preparation. Prepare the folder again.")
    return {**notes, "settings": settings}


def _resize(array: np.ndarray, shape: tuple[int, ...], order: int) -> np.ndarray:
    from skimage.transform import resize

    shrinks = order > 0 and shape[-1] < array.shape[-1]
    return np.asarray(resize(array, shape, order=order, anti_aliasing=shrinks, preserve_range=True), np.float32)
