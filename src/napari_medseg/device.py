"""Choose the compute device and number format, and say why."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache

import torch

from napari_medseg.errors import DeviceError

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # feature maps in huge pages; read when torch first takes memory

OUT_OF_MEMORY_SIGNS = ("out of memory", "not enough memory", "can't allocate", "alloc_cpu")


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


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a torch error means that memory ran out."""
    known = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)  # public since torch 2.5
    return isinstance(error, known) or any(s in str(error).lower() for s in OUT_OF_MEMORY_SIGNS)
