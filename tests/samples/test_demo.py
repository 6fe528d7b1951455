from __future__ import annotations

import json
import socket
from pathlib import Path

import pandas as pd
import pytest

from napari_medseg.cli.commands import demo as command
from napari_medseg.cli.main import main
from napari_medseg.errors import SettingsError, WriteError
from napari_medseg.io.movies.movie import Movie
from napari_medseg.jobs import Job, Progress, run
from napari_medseg.samples import demo as demos


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every connection fail."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the demo must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
def test_the_movie_is_outlined_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    monkeypatch.setattr(demos, "FRAMES", 20)
    monkeypatch.setattr(demos, "FRAME_SIZE", (96, 128))
    words = ["demo", "--kind", "video", "--headless", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "Movie of 20 frames" in text
    assert "Dice of the nerve 0.9" in text
    out = tmp_path / "out" / "movie"
    overlay, source = Movie(out / "overlay.mkv"), Movie(tmp_path / "out" / "movie.mkv")
    assert (overlay.shape, overlay.fps) == (source.shape, source.fps) == ((20, 96, 128, 3), 20)
    rows = pd.read_csv(out / "frames.csv")
    truth = pd.read_csv(tmp_path / "out" / "true_classes.csv")
    assert (rows["label"] == truth["label"]).mean() >= 0.9
    assert json.loads((out / "summary.json").read_text())["finished"]
    assert len(list((out / "masks").glob("*.png"))) == 20
    assert main(["evaluate", "frame-classifier", str(out), str(tmp_path / "out" / "true_classes.csv")]) == 0


def test_kinds_run_their_parts_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def part(name: str) -> object:
        def tell(folder: Path) -> Job[tuple[str, ...]]:
            yield Progress(0, 1, name)
            return (f"{name} in {folder.name}",)

        return tell

    for kind, parts in list(demos.KINDS.items()):
        monkeypatch.setitem(demos.KINDS, kind, tuple(part(p.__name__) for p in parts))
    assert run(demos.demo(tmp_path / "a")).lines == ("train_cells in a", "refine_volume in a")
    assert run(demos.demo(tmp_path / "b", "mri")).lines == ("refine_volume in b",)
    assert run(demos.demo(tmp_path / "c", "video")).lines == ("outline_nerve in c",)
    assert tuple(demos.KINDS) == command.KINDS


def test_unknown_kinds_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="Known kinds: story, afm, mri, video"):
        run(demos.demo(tmp_path, "ccm"))
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="another folder with -o"):
        run(demos.demo(tmp_path / "file" / "out", "video"))


def test_the_window_is_opened_for_the_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[list[str]] = []

    class Done:
        returncode = 3

    monkeypatch.setattr(demos.subprocess, "run", lambda words, check: called.append(words) or Done())
    monkeypatch.setattr(demos.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", ":1")
    assert demos.open_viewer(tmp_path, False, "video") == 3
    assert called[-1][1:] == ["-m", "napari_medseg._napari.demo", str(tmp_path), "--kind", "video"]
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    demos.open_viewer(tmp_path, False)
    assert called[-1][0] == "xvfb-run"
    assert called[-1][-3:] == ["--kind", "story", "--screenshots"]
