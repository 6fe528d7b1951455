"""Models to download: checked, kept, and said in a sentence where it fails; a local server stands for the network."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from napari_medseg.cli.main import main
from napari_medseg.errors import DataError, ReadError
from napari_medseg.jobs import Progress, run
from napari_medseg.models.checkpoint import bundled
from napari_medseg.models.registry import fetch, read_registry

CONTENT = bundled("nerve-ridges").read_bytes()
LARGE = bytes(range(256)) * 4096


class Server(BaseHTTPRequestHandler):
    """Serve a model; ``/cut`` promises more than it gives, ``/slow`` is long."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        body = LARGE if self.path.startswith("/slow") else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + 1000 * self.path.startswith("/cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def address() -> Iterator[str]:
    Server.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def registry(folder: Path, place: str, content: bytes = CONTENT, **changes: Any) -> Path:
    row = {
        "name": "ridges", "url": place, "sha256": hashlib.sha256(content).hexdigest(), "license": "BSD-3-Clause",
        "field": "cornea", "finds": "corneal nerves", **changes,
    }  # fmt: skip
    path = folder / "registry.json"
    path.write_text(json.dumps({"models": [row]}), encoding="utf-8")
    return path


def test_a_model_is_downloaded_once_and_works_without_network(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDSEG_REGISTRY", str(registry(tmp_path, f"{address}/ridges.pt")))
    for _ in range(2):
        assert main(["models", "get", "ridges", "--folder", str(tmp_path / "kept"), "--json"]) == 0
        (path,) = json.loads(capsys.readouterr().out)
        assert Path(path).read_bytes() == CONTENT
    assert Server.asked == ["/ridges.pt"]
    assert main(["models", "--folder", str(tmp_path / "kept"), "--json"]) == 0
    rows = {row["name"]: row["where"] for row in json.loads(capsys.readouterr().out)}
    assert rows["ridges"] == path
    assert main(["models", "--folder", str(tmp_path / "other"), "--json"]) == 0
    rows = {row["name"]: row["where"] for row in json.loads(capsys.readouterr().out)}
    assert rows["ridges"] == "registry: medseg models get ridges"


def test_progress_is_shown_and_a_stopped_download_leaves_nothing(address: str, tmp_path: Path) -> None:
    job = fetch("ridges", registry(tmp_path, f"{address}/slow.pt", LARGE), tmp_path / "kept")
    seen = [next(job) for _ in range(3)]
    assert seen[2].total == len(LARGE)
    assert 0 < seen[1].step < seen[2].step <= len(LARGE)
    job.close()
    assert not any((tmp_path / "kept").rglob("*.pt"))
    shown: list[Progress] = []
    path = run(fetch("ridges", registry(tmp_path, f"{address}/slow.pt", LARGE), tmp_path / "kept"), shown.append)
    assert path.read_bytes() == LARGE
    assert shown[-1].step == shown[-1].total


@pytest.mark.parametrize(
    ("place", "content", "words"),
    [
        ("/cut.pt", CONTENT, "was cut short: .* Try again"),
        ("/other.pt", b"another", "is not the file of the registry .* It was not kept"),
        ("/missing.pt", CONTENT, "cannot be downloaded from .*Not Found"),
    ],
)
def test_what_is_not_whole_is_not_kept(address: str, tmp_path: Path, place: str, content: bytes, words: str) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "ridges.pt").write_bytes(b"an earlier version")
    with pytest.raises(ReadError, match=words):
        run(fetch("ridges", registry(tmp_path, address + place, content), tmp_path / "kept"))
    assert (tmp_path / "kept" / "ridges.pt").read_bytes() == b"an earlier version"
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["ridges.pt"]


def test_without_network_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = registry(tmp_path, "http://127.0.0.1:9/ridges.pt")
    assert main(["models", "get", "ridges", "--registry", str(path), "--folder", str(tmp_path / "kept")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("medseg: ridges cannot be downloaded from http://127.0.0.1:9/ridges.pt (")
    with pytest.raises(DataError, match=r"names no model 'other'\. It names: ridges"):
        run(fetch("other", path, tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../up"}, {"name": ""}, {"url": "file:///etc/passwd.pt"}, {"url": "https://a.b/model.exe"},
        {"sha256": "abc"}, {"field": "teeth"}, {"license": ""}, {"url": 7},
    ],
)  # fmt: skip
def test_a_registry_that_cannot_be_used_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ReadError, match=r"registry\.json"):
        read_registry(registry(tmp_path, "https://a.b/m.pt", **changes))


def test_an_empty_registry_says_what_there_is_instead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "registry.json"
    empty.write_text('{"models": []}')
    with pytest.raises(DataError, match=r"names no model 'other'\. It names none: every model .* --registry FILE"):
        run(fetch("other", empty, tmp_path))
    assert main(["models", "--registry", str(empty), "--folder", str(tmp_path)]) == 0
    assert "The registry of models to download: it names none: every model" in capsys.readouterr().out


def test_the_packages_own_registry_is_sound() -> None:
    assert all(offer.license for offer in read_registry())
