"""The little that `fit` needs to know about ``torchrun``: rank, size and shared numbers."""

from __future__ import annotations

import os

import torch
from torch import distributed, nn


def start() -> None:
    """Join the process group when started by ``torchrun`` (gloo on CPU, nccl on GPU)."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))


def stop() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Return this process's number, 0 without ``torchrun``."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wrap(network: nn.Module) -> nn.Module:
    """Average gradients over processes; a single process gets the network back."""
    if size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(network)


def broadcast(values: dict[str, float]) -> dict[str, float]:
    """Return rank 0's numbers on every process."""
    if size() == 1:
        return values
    box = [values]
    distributed.broadcast_object_list(box, src=0)
    return box[0]
