"""Choose the compute device and number format, and say why."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from napari_medseg.errors import DeviceError, one_line, require

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # feature maps in huge pages; read when torch first takes memory

OUT_OF_MEMORY_SIGNS = ("out of memory", "not enough memory", "can't allocate", "alloc_cpu")

LOOK = 200  # milliseconds between looks at whether somebody still wants OpenVINO's answer

_translated: WeakKeyDictionary[nn.Module, dict[tuple[object, ...], OpenvinoNetwork]] = WeakKeyDictionary()


def choose_device(wanted: str = "auto") -> tuple[torch.device, str]:
    """Return the device for a setting, with the reason in words.

    Raises
    ------
    DeviceError
        If a GPU is asked for by name and there is none.
    """
    if wanted == "cpu":
        return torch.device("cpu"), "CPU: chosen in the settings"
    if wanted in {"auto", "cuda"} and torch.cuda.is_available():
        return torch.device("cuda"), f"GPU: {torch.cuda.get_device_name(0)}"
    if wanted in {"auto", "mps"} and torch.backends.mps.is_available():
        return torch.device("mps"), "GPU: Apple Metal"
    if wanted == "auto":
        return torch.device("cpu"), "CPU: no CUDA device found"
    raise DeviceError(f"Device {wanted!r} is not available on this machine. Choose auto or cpu.")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Return the autocast context of a precision setting (auto: bfloat16 on CUDA, float32 elsewhere)."""
    if precision == "auto":
        precision = "bfloat16" if device.type == "cuda" else "float32"
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, getattr(torch, precision))


def fast_precision(precision: str, device: torch.device, halves: bool) -> str:
    """Return bfloat16 for ``auto`` on a processor that computes in it, where a method `halves`."""
    fast = precision == "auto" and halves and device.type == "cpu" and computes_in_bfloat16()
    return "bfloat16" if fast else precision


@cache
def computes_in_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; elsewhere it would be slower than float32."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", bool)())


def memory_format(device: torch.device, ndim: int) -> torch.memory_format:
    """Return the layout in which convolutions over `ndim` axes are fastest: channels last, but for volumes on a GPU."""
    if ndim == 2:
        return torch.channels_last if device.type in {"cpu", "cuda"} else torch.contiguous_format
    return torch.channels_last_3d if ndim == 3 and device.type == "cpu" else torch.contiguous_format


class OpenvinoNetwork(nn.Module):
    """A network in evaluation mode as OpenVINO runs it on the processor: float32 (B, C, *spatial) in and out.

    Parameters
    ----------
    network
        What is translated; its answer is one tensor.
    shape
        (1, C, *spatial), the only size it takes; the images of a batch go one after the other.
    example
        The smallest (1, C, *spatial) that the network takes, with which it is followed.
    precision
        ``"bfloat16"``, else float32.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int], example: Sequence[int], precision: str) -> None:
        super().__init__()
        openvino = require("openvino", "openvino", "The setting OpenVINO")
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the tracer
                small = torch.zeros(*example)
                graph = openvino.convert_model(torch.jit.trace(network, small, check_trace=False), example_input=small)  # type: ignore[no-untyped-call]
            graph.reshape(list(shape))
            hint = "bf16" if precision == "bfloat16" else "f32"
            options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
            self._request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
        except Exception as error:  # its errors have no common base
            raise DeviceError(
                f"OpenVINO cannot translate this network ({one_line(error)}). Turn the setting OpenVINO off."
            ) from error
        self.waiting = nn.Identity()  # a layer, for whoever watches the layers and leaves a network in the middle

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's answer."""
        return torch.cat([self._one(x[k : k + 1]) for k in range(len(x))])

    def _one(self, x: Tensor) -> Tensor:
        self._request.start_async({0: x.float().contiguous().numpy()})
        try:
            while not self._request.wait_for(LOOK):
                self.waiting(x)
        except BaseException:
            self._request.cancel()
            raise
        return torch.from_numpy(self._request.get_output_tensor(0).data.copy())


def with_openvino(network: nn.Module, shape: Sequence[int], example: Sequence[int], precision: str) -> nn.Module:
    """Return the `OpenvinoNetwork` of a network; what was translated last is kept while the network lives.

    Raises
    ------
    MissingDependencyError, DeviceError
        If OpenVINO is not installed, or cannot translate the network.
    """
    kept, key = _translated.setdefault(network, {}), (*shape, precision, torch.get_num_threads())
    if key not in kept:
        kept.clear()
        kept[key] = OpenvinoNetwork(network, shape, example, precision)
    return kept[key]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a torch error means that memory ran out."""
    known = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # public since torch 2.5
    return isinstance(error, known) or any(s in str(error).lower() for s in OUT_OF_MEMORY_SIGNS)
