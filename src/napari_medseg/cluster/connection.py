"""Find or start a Dask scheduler with workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from napari_medseg.cluster.settings import ClusterSettings
from napari_medseg.errors import DeviceError, SettingsError, require

PATIENCE = 30.0
SOON = 5.0  # how long a window waits for a scheduler
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


_reached: dict[str, Any] = {}
_chosen: list[ClusterSettings] = []  # what the preferences of a window say


def use(settings: ClusterSettings) -> None:
    """Connect by `settings` from now on, where a call says nothing else."""
    _chosen[:] = [settings]


class UnreachableError(DeviceError):
    """A scheduler or a worker does not answer, or may not be trusted."""


@contextmanager
def connect(scheduler: str = "", workers: int = 0, settings: ClusterSettings | None = None) -> Iterator[Any]:
    """Give a Dask client of the scheduler at an address, or of that many new processes of this machine.

    Whoever can connect to a scheduler can run code on its workers. Those of this machine have certificates that nobody
    else has; a scheduler needs certificates too (`settings`, else the environment), or the user's word that its network
    is safe.

    Raises
    ------
    SettingsError
        If neither or both are given.
    DeviceError
        If no scheduler answers, it has no workers, or it is not encrypted.
    MissingDependencyError
        If dask.distributed is not installed.
    """
    distributed = require("distributed", "distributed", "Work on several processes or machines")
    if bool(scheduler) == (workers > 0):
        raise SettingsError(f"Give either a scheduler's address or a number of workers, got {scheduler!r}, {workers}.")
    cluster = _processes(distributed, workers) if workers else nullcontext(scheduler)
    security = trust(distributed, scheduler, settings) if scheduler else None
    with cluster as address, _client(distributed, address, PATIENCE, security) as client:
        yield client


def trust(distributed: Any, address: str, settings: ClusterSettings | None = None) -> Any:
    """Return with which certificates to connect to a scheduler; ``None``: with none, as the user wants it.

    Raises
    ------
    UnreachableError
        If it is not encrypted, and nobody said that this is wanted.
    """
    settings = settings or next(iter(_chosen), None) or ClusterSettings.of_environment()
    files = settings.files()
    if address.startswith("inproc://"):
        return None
    if address.startswith("tls://"):
        security = distributed.Security(**files, require_encryption=True)  # also takes what Dask's own files say
        if security.tls_ca_file and security.tls_client_cert:
            return security
        raise UnreachableError(
            f"The scheduler at {address} wants certificates. Give the files of its authority, of your certificate and "
            "of its key (--tls-ca, --tls-cert, --tls-key, or the preferences)."
        )
    if settings.unencrypted:
        return None
    raise UnreachableError(
        f"The scheduler at {address} is not encrypted: whoever reaches it can run code on its workers and read the "
        "images. Start it with certificates and give its tls:// address; where nobody else can reach it, say so "
        "(--unencrypted, or the preferences)."
    )


def reach(address: str, settings: ClusterSettings | None = None) -> Any:
    """Return the client of a scheduler, connecting once per program; it answers within seconds or raises.

    Raises
    ------
    UnreachableError
        If no scheduler answers, it has no workers, or it is not encrypted.
    MissingDependencyError
        If dask.distributed is not installed.
    """
    known = _reached.get(address)
    if known is None or known.status != "running":
        distributed = require("distributed", "distributed", "Work on several processes or machines")
        if known is not None:
            with suppress(Exception):  # what is left of a lost connection
                known.close(timeout=0.1)
        _reached[address] = _client(distributed, address, SOON, trust(distributed, address, settings))
    return _reached[address]


def _client(distributed: Any, address: Any, patience: float, security: Any) -> Any:
    options = {} if security is None else {"security": security}
    try:
        client = distributed.Client(address, timeout=patience, set_as_default=False, **options)
    except (OSError, ValueError, TimeoutError) as error:
        raise UnreachableError(
            f"No Dask scheduler answers at {address}. Start one with: dask scheduler; "
            "its address is like tls://HOST:8786."
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
def _processes(distributed: Any, workers: int, *, secure: bool = True) -> Iterator[Any]:
    """Start processes of one worker thread each, which share the cores.

    Every account of a computer can reach its ports; certificates made for this run keep the others out.

    Dask's default of giving freed memory back at once takes 1.7 times the processor time; it is left out.
    """
    import dask

    if secure:
        require("cryptography", "distributed", "Certificates for workers")
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    environment = dict.fromkeys(THREADS, threads)
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            security=True if secure else None,
            dashboard_address="127.0.0.1:0",
            silence_logs="CRITICAL",
        ) as cluster,
    ):
        yield cluster
