"""Batches on real Dask processes: the serial results, byte by byte, also when a worker is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from napari_medseg.batch import BatchSettings, predict_files
from napari_medseg.cli.main import main
from napari_medseg.cluster import ClusterSettings, connect, connection, predict_on_cluster
from napari_medseg.cluster.connection import serve
from napari_medseg.cluster.run import _inspect
from napari_medseg.errors import CheckpointError, DeviceError, SettingsError
from napari_medseg.jobs import Progress, run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.models.catalog import load_model
from napari_medseg.models.checkpoint import pack as pack_checkpoint
from napari_medseg.models.checkpoint import write_checkpoint
from napari_medseg.settings import PredictSettings

pytest.importorskip("distributed", reason="the extra distributed is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # dask warns of bokeh and of forks
CPU = PredictSettings(device="cpu")
FILES = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, pictures in two sub-folders with one name twice, a damaged one, and the serial result."""
    folder = tmp_path_factory.mktemp("cluster")
    torch.manual_seed(0)
    method = create("afm-unet", {"architecture": "unet2"})
    write_checkpoint(folder / "m.pt", pack_checkpoint(method, method.build_network().state_dict()))
    rng = np.random.default_rng(0)
    for index in range(FILES):
        path = folder / "in" / f"s{index % 2}" / f"{'a' if index < 2 else index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(rng.integers(0, 255, (32, 40), np.uint8)).save(path)
    (folder / "in" / "bad.png").write_bytes(b"no picture")
    run(predict_files(load_model(folder / "m.pt"), [folder / "in"], folder / "serial", CPU))
    return folder


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connect(workers=2) as client:
        yield client


def same_results(out: Path, serial: Path) -> None:
    names = sorted(p.relative_to(serial).as_posix() for p in serial.rglob("*") if p.is_file())
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()) == names
    for name in set(names) - {"run.json", "summary.csv"}:  # these hold times
        assert (out / name).read_bytes() == (serial / name).read_bytes(), name
    ours, theirs = (json.loads((p / "run.json").read_text())["files"] for p in (out, serial))
    assert list(ours) == list(theirs)
    assert {k: {**v, "seconds": 0} for k, v in ours.items()} == {k: {**v, "seconds": 0} for k, v in theirs.items()}


@pytest.mark.parametrize("shared", [None, False])
def test_workers_give_the_serial_result(client: Any, folder: Path, tmp_path: Path, shared: bool | None) -> None:
    model = load_model(folder / "m.pt")
    record = run(predict_on_cluster(client, model, [folder / "in"], tmp_path, CPU, shared=shared))
    assert sum(row["status"] == "done" for row in record["files"].values()) == FILES
    same_results(tmp_path, folder / "serial")


def test_killed_worker_loses_no_result(client: Any, folder: Path, tmp_path: Path) -> None:
    model = load_model(folder / "m.pt")
    victims = list(client.run(os.getpid).values())[:1]
    finished = 0

    def kill_in_the_middle(progress: Progress) -> None:
        nonlocal finished
        finished += progress.message.endswith("done")
        if finished == FILES // 2 and victims:
            os.kill(victims.pop(), signal.SIGKILL)

    record = run(predict_on_cluster(client, model, [folder / "in"], tmp_path, CPU), kill_in_the_middle)
    assert not victims
    assert sum(row["status"] == "done" for row in record["files"].values()) == FILES
    same_results(tmp_path, folder / "serial")


def test_command(client: Any, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["predict", str(folder / "m.pt"), str(folder / "in"), "-o", str(tmp_path / "out"), "--json"]
    pem = client.security
    texts = pem.tls_ca_file, pem.tls_client_cert, pem.tls_client_key
    for name, text in zip(("ca", "cert", "key"), texts, strict=True):
        (tmp_path / name).write_text(text, encoding="utf-8")
        words += [f"--tls-{name}={tmp_path / name}"]
    address = client.scheduler.address
    assert address.startswith("tls://")
    assert main([*words, "--device", "cpu", "--pattern", "s1/*", "--scheduler", address]) == 0
    assert len(json.loads(capsys.readouterr().out)["files"]) == FILES // 2


def test_overlays_are_written_by_workers(client: Any, folder: Path, tmp_path: Path) -> None:
    options = BatchSettings(overlays=True, pattern="s0/a.png")
    run(predict_on_cluster(client, load_model(folder / "m.pt"), [folder / "in"], tmp_path, CPU, options=options))
    assert (tmp_path / "a_overlay.png").is_file()


@pytest.mark.parametrize(("scheduler", "workers"), [("", 0), ("tcp://localhost:8786", 2)])
def test_scheduler_or_workers(scheduler: str, workers: int) -> None:
    with pytest.raises(SettingsError, match="either"), connect(scheduler, workers):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "127.0.0.1:9", "ws://127.0.0.1:9"])
def test_an_unencrypted_scheduler_is_refused_unless_the_user_says_so(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    with pytest.raises(DeviceError, match="is not encrypted: whoever reaches it can run code"), connect(address):
        pass
    words = ["predict", str(folder / "m.pt"), str(folder / "in"), "-o", str(tmp_path / "out"), "--scheduler", address]
    assert main(words) == 2
    assert "is not encrypted" in capsys.readouterr().err


def test_certificates_are_three_files(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="wants certificates"), connect("tls://127.0.0.1:9"):
        pass
    for given in ({"tls_ca": str(tmp_path)}, {"tls_ca": "a", "tls_cert": "b", "tls_key": "c"}):
        with (
            pytest.raises(SettingsError, match="three files"),
            connect("tls://127.0.0.1:9", 0, ClusterSettings(**given)),
        ):
            pass


def greet(host: str, port: int, context: ssl.SSLContext) -> None:
    with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain) as stranger:
        stranger.sendall(b"\0" * 64)
        if not stranger.recv(64):
            raise ConnectionResetError


def test_workers_of_this_computer_let_nobody_in_without_their_certificate(client: Any) -> None:
    """What any other account of the computer can do: open the port, with TLS but no certificate, or without TLS."""
    address = client.scheduler.address
    assert address.startswith("tls://127.0.0.1:")
    workers = list(client.scheduler_info(n_workers=-1)["workers"])
    for place in (address, *workers):
        host, _, port = place.removeprefix("tls://").rpartition(":")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with pytest.raises((ssl.SSLError, ConnectionError)):
            greet(host, int(port), context)
    distributed = pytest.importorskip("distributed")
    with pytest.raises(OSError, match=r"imed out|rotocol|losed|refused"):
        distributed.Client(address.replace("tls://", "tcp://"), timeout=1, set_as_default=False)


STRANGER = """
import socket, ssl, sys
from pathlib import Path

def ask(port, words, context=None):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            channel = context.wrap_socket(plain) if context else plain
            channel.sendall(words)
            return channel.recv(64)
    except OSError:
        return b""

anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
for port in map(int, sys.argv[1].split(",")):
    for path in (b"", b"status", b"info/main/workers.html", b"json/counts.json", b"health", b"api/v1"):
        answer = ask(port, b"GET /" + path + b" HTTP/1.0\\r\\n\\r\\n")
        if answer and b" 404 " not in answer:
            print(port, path, answer)
    for words in (b"\\0" * 64, b"GET / HTTP/1.0\\r\\n\\r\\n"):
        if answer := ask(port, words, anyone):
            print(port, "TLS", answer)
for place in sys.argv[2].split(","):
    try:
        print(place, sorted(Path(place).iterdir()) if Path(place).is_dir() else Path(place).read_bytes())
    except OSError:
        pass
print("tried")
"""


def test_another_account_of_this_computer_gets_nothing(client: Any) -> None:
    """It tries every port of the run, with and without TLS, and the folders and environments of the processes."""
    psutil = pytest.importorskip("psutil")
    python = shutil.which("python3", path="/usr/bin:/bin")
    if sys.platform != "linux" or os.geteuid() != 0 or python is None:
        pytest.skip("needs root, and a Python that everybody may start")
    own = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c for one in own for c in one.connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr.ip for c in listening} == {"127.0.0.1"}
    ports = {str(c.laddr.port) for c in listening}
    assert len(ports) >= 4  # scheduler, its pages, two workers
    places = [f"/proc/{one.pid}/environ" for one in own]
    places += client.run(lambda dask_worker: dask_worker.local_directory).values()
    words = [python, "-I", "-c", STRANGER, ",".join(ports), ",".join(places)]
    nobody = {"user": 65534, "group": 65534, "extra_groups": []}
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", **nobody)
    assert done.stdout == "tried\n", done.stdout + done.stderr


def test_who_has_the_invitation_may_compute(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.pem"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with serve(file, 1, "127.0.0.1", port) as address:
        assert address == f"tls://127.0.0.1:{port}"
        assert file.stat().st_mode & 0o077 == 0 or sys.platform == "win32"
        written = file.read_bytes()
        words = ["predict", str(folder / "m.pt"), str(folder / "in" / "s0" / "a.png"), "-o", str(tmp_path / "out")]
        assert main([*words, "--json", "--scheduler", str(file)]) == 0
        assert len(json.loads(capsys.readouterr().out)["files"]) == 1
        other = tmp_path / "other.pem"
        connection._invite(other, address, pytest.importorskip("distributed").Security.temporary())
        with pytest.raises(DeviceError, match="No Dask scheduler answers"), connect(str(other)):
            pass
        with pytest.raises(DeviceError, match="cannot be served"), serve(tmp_path / "x.pem", 1, "127.0.0.1", port):
            pass
        assert not (tmp_path / "x.pem").exists()
    with serve(file, 1), connect(str(file)) as client:
        assert len(client.nthreads()) == 1
    assert file.read_bytes() == written


@pytest.mark.parametrize("damage", [lambda text: "", lambda text: text[:200], lambda text: text.replace("tls", "tcp")])
def test_what_is_no_invitation_is_refused(tmp_path: Path, damage: Callable[[str], str]) -> None:
    file = tmp_path / "lab.pem"
    connection._invite(file, "tls://127.0.0.1:9", pytest.importorskip("distributed").Security.temporary())
    file.write_text(damage(file.read_text(encoding="ascii")), encoding="ascii")
    for place in (lambda: connect(str(file)), lambda: serve(file, 1)):
        with pytest.raises(DeviceError, match="is no invitation"), place():
            pass


def test_no_scheduler_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_UNENCRYPTED", "1")
    monkeypatch.setattr(connection, "PATIENCE", 0.5)
    with (
        pytest.raises(DeviceError, match=r"answers at tcp://127.0.0.1:9\."),
        connect("tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(DeviceError, match="answers at nonsense"), connect("nonsense://x"):
        pass


def test_workers_that_announce_a_gpu_get_one_task_at_a_time(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    options = {"processes": False, "dashboard_address": None, "silence_logs": "CRITICAL"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=3, resources={"GPU": 1}, **options) as cluster,
        connect_to(cluster) as client,
    ):
        assert _inspect(client, tmp_path, []) == (True, {"GPU": 1})
        assert _inspect(client, tmp_path, [tmp_path / "elsewhere"])[0] is False
    assert not list(tmp_path.iterdir())


def connect_to(cluster: Any) -> Any:
    return pytest.importorskip("distributed").Client(cluster, set_as_default=False)


def test_a_model_without_a_file_is_refused(tmp_path: Path) -> None:
    method = create("afm-unet", {"architecture": "unet2"})
    job = predict_on_cluster(None, Model(method, method.build_network(), {}), [tmp_path], tmp_path, CPU)
    with pytest.raises(CheckpointError, match="as a file"):
        run(job)
