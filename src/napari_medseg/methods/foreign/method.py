"""Run another program's network, given as ONNX, as every other model is run."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from napari_medseg.errors import CheckpointError, DataError, SettingsError, one_line, require
from napari_medseg.image import Image, LabelKind
from napari_medseg.method import Method
from napari_medseg.methods import create
from napari_medseg.methods.foreign.settings import ForeignSettings
from napari_medseg.methods.foreign.steps import NAMED, Resolved, apply, checked, resolve

SAMPLED = 2**24  # values of an image whose statistics are taken
NOT_ADAPTED = (
    "Its model adapts to each image as a checkpoint (.pt) but cannot as an ONNX file: batch norm had the statistics of "
    "training."
)


class OnnxNetwork(nn.Module):
    """An ONNX file (B, C, *spatial) -> (B, K, *spatial), which lies in the weights as bytes."""

    def __init__(self, settings: ForeignSettings) -> None:
        super().__init__()
        self.settings = settings
        self.register_buffer("file", torch.zeros(0, dtype=torch.uint8))
        self._session: Any = None

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        if "file" in state_dict:  # of any length
            self.file = torch.zeros(len(state_dict["file"]), dtype=torch.uint8)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's answer as float32, one image after the other."""
        return torch.cat([self._one(x[k : k + 1]) for k in range(len(x))])

    def _one(self, x: Tensor) -> Tensor:
        s = self.settings
        sizes = x.shape[2:]
        whole = x.cpu().numpy()
        if s.size:
            pads = [(0, 0), (0, 0), *((0, max(0, s.size - n)) for n in sizes)]
            whole = np.pad(whole, pads, mode="edge")
        given = _to_axes(whole, s.axes)
        if self._session is None:
            self._session = start_session(self.file.cpu().numpy().tobytes())
        (tensor,) = self._session.get_inputs()
        try:
            answer = self._session.run(None, {tensor.name: given.astype(DTYPES[tensor.type])})[0]
        except Exception as error:  # onnxruntime's errors have no common base
            raise DataError(
                f"The network does not take {' x '.join(map(str, given.shape))} ({s.axes}): {one_line(error)}"
            ) from error
        found = _from_axes(np.asarray(answer, np.float32), s.output_axes or s.axes)
        if found.shape[2:] != whole.shape[2:] or found.shape[1] != s.classes:
            raise DataError(
                f"The network answers with {found.shape[1:]} for {whole.shape[1:]}; expected {s.classes} channel(s) of "
                "the same size. Networks that answer for a part of their input only cannot be used."
            )
        return torch.from_numpy(np.ascontiguousarray(found[(slice(None), slice(None), *(slice(0, n) for n in sizes))]))


DTYPES = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16,
}  # fmt: skip


class ForeignNetwork(Method):
    """A network of another program for one image and one answer of the same size."""

    name = "onnx-network"
    title = ForeignSettings.title
    doi = ""
    Settings = ForeignSettings
    label_kind: ClassVar[LabelKind] = "classes"

    def __init__(self, settings: ForeignSettings | None = None) -> None:
        super().__init__(settings)
        self.ndim = sum(axis in "zyx" for axis in self.settings.axes)  # type: ignore[misc]
        self.out_channels = self.settings.classes
        if self.own is not None:
            self.measure, self.label_kind, self.tiled = self.own.measure, self.own.label_kind, self.own.tiled  # type: ignore[misc]

    @cached_property
    def own(self) -> Method | None:
        """Method of this program whose network it is, if it is one."""
        s = self.settings
        return create(s.method, json.loads(s.method_settings)) if s.method else None

    @cached_property
    def _steps(self) -> list[dict[str, Any]]:
        s = self.settings
        return checked(json.loads(s.steps), self.title) if s.normalise == "as-stated" else NAMED[s.normalise]

    @property
    def in_channels(self) -> int:
        """Channels of the input."""
        return int(self.settings.channels)

    @property
    def size_multiple(self) -> int:
        """What sizes are multiples of."""
        return int(self.settings.multiple)

    @property
    def tile_edge(self) -> int:
        """Edge of the only input it takes, 0: any."""
        return int(self.settings.size)

    @property
    def halo(self) -> int:
        """Border of a tile that does not count."""
        return int(self.settings.border)

    def build_network(self) -> nn.Module:
        """Return an empty network; its file comes with the weights."""
        return OnnxNetwork(self.settings)

    def check(self, image: Image) -> None:
        """Refuse images of another number of axes or channels."""
        if self.own is not None:
            return self.own.check(image)
        super().check(image)
        if image.n_channels != self.in_channels:
            raise DataError(
                f"This network takes {self.in_channels} channel(s); {image.name or 'this image'} has "
                f"{image.n_channels}. Give the channels it was trained with."
            )
        return None

    def preprocess(self, image: Image) -> Image:
        """Do what the own method does."""
        return self.own.preprocess(image) if self.own else image

    def statistics(self, image: Image) -> Any:
        """Resolve the steps on the whole image, or on every nth pixel of a large one."""
        if self.own is not None:
            return self.own.statistics(image)
        step = max(1, round((np.prod(image.spatial_shape) / SAMPLED) ** (1 / len(image.spatial_shape))))
        part = (slice(None), *(slice(None, None, step),) * len(image.spatial_shape))
        return resolve(self._steps, np.asarray(image.channels_first()[part]))

    def normalise(self, block: np.ndarray, statistics: Resolved) -> np.ndarray:
        """Apply the steps."""
        return self.own.normalise(block, statistics) if self.own else apply(statistics, block)

    def prepare(self, image: Image) -> np.ndarray:
        """Prepare a whole image."""
        return self.own.prepare(image) if self.own else super().prepare(image)

    @property
    def views(self) -> bool:
        """Whether the own method asks for flips and turns."""
        return self.own.views if self.own else False

    def doubt(self, labels: Image) -> str:
        """Doubt what the own method doubts."""
        return self.own.doubt(labels) if self.own else ""

    def activate(self, output: Tensor) -> Tensor:
        """Make probabilities of the answer."""
        kind = self.settings.activation
        return torch.sigmoid(output) if kind == "sigmoid" else torch.softmax(output, 1) if kind == "softmax" else output

    def postprocess(self, probabilities: np.ndarray, image: Image) -> Image:
        """Take the most probable class, or what is above the threshold."""
        if self.own is not None:
            labels = self.own.postprocess(probabilities, image)
            notes = [*labels.metadata.get("notes", ()), *([NOT_ADAPTED] if self.own.adapt else [])]
            return labels.replace(metadata={**labels.metadata, "notes": notes}) if notes else labels
        one = len(probabilities) == 1
        found = probabilities[0] > self.settings.threshold if one else probabilities.argmax(0)
        return image.labels_like(np.asarray(found).astype(np.min_scalar_type(max(len(probabilities) - 1, 1))))

    def target(self, labels: Image) -> np.ndarray:
        """Refuse: it cannot be trained here."""
        raise SettingsError("A network given as ONNX cannot be trained. Train a method of this program.")

    def loss(self, output: Tensor, target: Tensor, image: Tensor) -> dict[str, Tensor]:
        """Refuse: it cannot be trained here."""
        raise SettingsError("A network given as ONNX cannot be trained. Train a method of this program.")


def start_session(content: bytes) -> Any:
    """Open an ONNX file on the processor.

    Raises
    ------
    CheckpointError
        If onnxruntime cannot read it.
    MissingDependencyError
        If onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "foreign", "Running a network given as ONNX")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base
        raise CheckpointError(f"onnxruntime cannot read this network: {one_line(error)}.") from error


def _to_axes(x: np.ndarray, axes: str) -> np.ndarray:
    """Return (1, C, *spatial) with the axes that a network wants; a missing channel axis stands for one channel."""
    own = "bc" + "".join(axis for axis in "zyx" if axis in axes)
    for axis in "bc":
        if axis not in axes:
            x, own = x[(slice(None),) * own.index(axis) + (0,)], own.replace(axis, "")
    return np.ascontiguousarray(x.transpose([own.index(axis) for axis in axes]))


def _from_axes(x: np.ndarray, axes: str) -> np.ndarray:
    """Return an answer as (1, K, *spatial)."""
    if x.ndim != len(axes):
        raise DataError(f"The network answers with {x.ndim} axes {x.shape}; expected {len(axes)} ({axes}).")
    for axis in "bc":
        if axis not in axes:
            x, axes = x[None], axis + axes
    own = "bc" + "".join(axis for axis in "zyx" if axis in axes)
    return x.transpose([axes.index(axis) for axis in own])
