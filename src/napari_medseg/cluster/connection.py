"""Find or start a Dask scheduler with workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from napari_medseg.errors import DeviceError, SettingsError, require

PATIENCE = 30.0
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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
    with cluster as address:
        try:
            client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise DeviceError(
                f"No Dask scheduler answers at {scheduler}. Start one with: dask scheduler; "
                "its address is like tcp://HOST:8786."
            ) from error
        with client:
            try:
                client.wait_for_workers(1, timeout=PATIENCE)
            except TimeoutError as error:
                raise DeviceError(
                    f"The scheduler at {scheduler} has no workers. Start some with: dask worker {scheduler}"
                ) from error
            yield client


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
