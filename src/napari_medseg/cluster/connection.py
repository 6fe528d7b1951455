"""Find or start a Dask scheduler with workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from napari_medseg.errors import DeviceError, SettingsError, require

PATIENCE = 30.0
SOON = 5.0  # how long a window waits for a scheduler
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


_reached: dict[str, Any] = {}


class UnreachableError(DeviceError):
    """A scheduler or a worker does not answer."""


@contextmanager
def connect(scheduler: str = "", workers: int = 0) -> Iterator[Any]:
    """Give a Dask client of the scheduler at an address, or of that many new processes of this machine.

    Raises
    ------
    SettingsError
        If neither or both are given.
    DeviceError
        If no scheduler answers, or it has no workers.
    MissingDependencyError
        If dask.distributed is not installed.
    """
    distributed = require("distributed", "distributed", "Work on several processes or machines")
    if bool(scheduler) == (workers > 0):
        raise SettingsError(f"Give either a scheduler's address or a number of workers, got {scheduler!r}, {workers}.")
    cluster = _processes(distributed, workers) if workers else nullcontext(scheduler)
    with cluster as address, _client(distributed, address, PATIENCE) as client:
        yield client


def reach(address: str) -> Any:
    """Return the client of a scheduler, connecting once per program; it answers within seconds or raises.

    Raises
    ------
    UnreachableError
        If no scheduler answers, or it has no workers.
    MissingDependencyError
        If dask.distributed is not installed.
    """
    known = _reached.get(address)
    if known is None or known.status != "running":
        distributed = require("distributed", "distributed", "Work on several processes or machines")
        if known is not None:
            with suppress(Exception):  # what is left of a lost connection
                known.close(timeout=0.1)
        _reached[address] = _client(distributed, address, SOON)
    return _reached[address]


def _client(distributed: Any, address: Any, patience: float) -> Any:
    try:
        client = distributed.Client(address, timeout=patience, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise UnreachableError(
            f"No Dask scheduler answers at {address}. Start one with: dask scheduler; "
            "its address is like tcp://HOST:8786."
        ) from error
    try:
        client.wait_for_workers(1, timeout=patience)
    except TimeoutError as error:
        client.close()
        raise UnreachableError(
            f"The scheduler at {address} has no workers. Start some with: dask worker {address}"
        ) from error
    return client


@contextmanager
def _processes(distributed: Any, workers: int) -> Iterator[Any]:
    """Start processes of one worker thread each, which share the cores.

    Dask's default of giving freed memory back at once takes 1.7 times the processor time; it is left out.
    """
    import dask

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    environment = dict.fromkeys(THREADS, threads)
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
    ):
        yield cluster
