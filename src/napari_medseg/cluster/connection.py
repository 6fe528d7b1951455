"""Find or start a Dask scheduler with workers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_medseg.cluster.settings import ClusterSettings
from napari_medseg.errors import DeviceError, SettingsError, one_line, require
from napari_medseg.io.files import expanded, replacing

PATIENCE = 30.0
SOON = 5.0  # how long a window waits for a scheduler
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
INVITATION = """An invitation to the workers at {address}
Whoever has this file can run code on them and read the images they get: keep it like a password.

{certificate}{key}"""
INVITED = re.compile(r"An invitation to the workers at (tls://\S+)\n")
SEALED: dict[str, Any] = {  # no pages, which name the images
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}

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

    The address may also be the file of an invitation (`serve`).

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
    if workers:
        require("cryptography", "distributed", "Certificates for workers")
        place: Any = _processes(distributed, workers, distributed.Security.temporary())
        security = None
    else:
        scheduler, security = trust(distributed, scheduler, settings)
        place = nullcontext(scheduler)
    with place as address, _client(distributed, address, PATIENCE, security) as client:
        yield client


def trust(distributed: Any, address: str, settings: ClusterSettings | None = None) -> tuple[str, Any]:
    """Return the address of a scheduler, and with which certificates to connect (``None``: none, as the user wants it).

    Raises
    ------
    UnreachableError
        If it is not encrypted, and nobody said that this is wanted, or it is the file of no invitation.
    """
    if expanded(address).is_file():
        return read_invitation(distributed, expanded(address))
    settings = settings or next(iter(_chosen), None) or ClusterSettings.of_environment()
    files = settings.files()
    if address.startswith("inproc://"):
        return address, None
    if address.startswith("tls://"):
        security = distributed.Security(**files, require_encryption=True)  # also takes what Dask's own files say
        if security.tls_ca_file and security.tls_client_cert:
            return address, security
        raise UnreachableError(
            f"The scheduler at {address} wants certificates. Give the files of its authority, of your certificate and "
            "of its key (--tls-ca, --tls-cert, --tls-key, or the preferences)."
        )
    if settings.unencrypted:
        return address, None
    raise UnreachableError(
        f"The scheduler at {address} is not encrypted: whoever reaches it can run code on its workers and read the "
        "images. Start it with certificates and give its tls:// address; where nobody else can reach it, say so "
        "(--unencrypted, or the preferences)."
    )


def client_of(address: str, settings: ClusterSettings | None = None) -> Any:
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
        place, security = trust(distributed, address, settings)
        _reached[address] = _client(distributed, place, SOON, security)
    return _reached[address]


def _client(distributed: Any, address: Any, patience: float, security: Any) -> Any:
    options = {} if security is None else {"security": security}
    try:
        client = distributed.Client(address, timeout=patience, set_as_default=False, **options)
    except (OSError, ValueError, TimeoutError) as error:
        raise UnreachableError(
            f"No Dask scheduler answers at {address}. Start one with: medseg serve; "
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
def serve(invitation: Path, workers: int, host: str = "", port: int = 8786) -> Iterator[str]:
    """Run a scheduler and workers, and give the address; who has the file `invitation` may use them.

    Parameters
    ----------
    invitation
        Made when it is not there, with new certificates, for the owner alone to read. Where it is, its address and its
        certificates are used again, so that copies of it stay good.
    workers
        Number of processes.
    host, port
        Address of this computer that others reach, and a free port; of a new invitation.

    Raises
    ------
    WriteError
        If the invitation cannot be written.
    DeviceError
        If it is none, or the address cannot be used.
    """
    distributed = require("distributed", "distributed", "Serving other computers")
    require("cryptography", "distributed", "Serving other computers")
    fresh = not invitation.exists()
    if fresh:
        from distributed.utils import get_ip

        _invite(invitation, f"tls://{host or get_ip()}:{port}", distributed.Security.temporary())
    address, security = read_invitation(distributed, invitation)
    host, _, number = address.removeprefix("tls://").rpartition(":")
    try:
        with _processes(distributed, workers, security, host=host, scheduler_port=int(number)) as cluster:
            yield cluster.scheduler_address
    except (RuntimeError, OSError) as error:  # the two that Dask raises when it cannot listen
        if fresh:
            invitation.unlink(missing_ok=True)
        raise UnreachableError(
            f"{address} cannot be served ({one_line(_root(error))}). The address must be this computer's and its port "
            f"free: choose others (--host, --port){'' if fresh else f' and another file than {invitation}'}."
        ) from error


def _root(error: BaseException) -> BaseException:
    return _root(error.__cause__) if error.__cause__ else error


def _invite(path: Path, address: str, security: Any) -> None:
    text = INVITATION.format(address=address, certificate=security.tls_client_cert, key=security.tls_client_key)
    with (
        replacing(path) as part,
        os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file,
    ):
        file.write(text)


def read_invitation(distributed: Any, path: Path) -> tuple[str, Any]:
    """Return the address in an invitation, and its certificates.

    Raises
    ------
    UnreachableError
        If it is none, or too old.
    """
    require("cryptography", "distributed", "Invitations")
    from cryptography.x509 import load_pem_x509_certificate

    try:
        content = path.read_bytes()
        address = INVITED.match(content.decode("ascii"))
        ends = load_pem_x509_certificate(content).not_valid_after_utc
    except (OSError, ValueError):
        address = None
    if address is None:
        raise UnreachableError(
            f"{path} is no invitation to workers. Ask for a copy of the file that medseg serve wrote."
        )
    if ends < datetime.now(UTC):
        raise UnreachableError(
            f"The invitation {path} ended on {ends:%Y-%m-%d}. Remove it and let medseg serve write one."
        )
    file = str(path)
    files = {f"tls_{role}_{part}": file for role in ("client", "scheduler", "worker") for part in ("cert", "key")}
    return address[1], distributed.Security(require_encryption=True, tls_ca_file=file, **files)


@contextmanager
def _processes(distributed: Any, workers: int, security: Any = None, **place: Any) -> Iterator[Any]:
    """Start processes of one worker thread each, which share the cores; at a `place` other than 127.0.0.1 if given.

    Every account of a computer can reach its ports; certificates (`security`) keep the others out, and there are no
    pages of the dashboard, which name the images.

    Dask's default of giving freed memory back at once takes 1.7 times the processor time; it is left out.
    """
    import dask

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    environment = dict.fromkeys(THREADS, threads)
    with (
        dask.config.set({"distributed.nanny.pre-spawn-environ": environment, **SEALED}),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            security=security,
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs="CRITICAL",
            **place,
        ) as cluster,
    ):
        yield cluster
