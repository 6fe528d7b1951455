"""Saved sessions of many images and windows: none is removed without a word, each is found again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari")

from napari.utils.notifications import notification_manager

from napari_medseg._napari.refine import saves
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings


@pytest.fixture(autouse=True)
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(saves, "SESSIONS", tmp_path / "sessions")
    notification_manager.records.clear()
    return tmp_path / "sessions"


def session_of(seed: int) -> RefinementSession:
    image = Image(np.random.default_rng(seed).random((16, 16)).astype(np.float32), "YX", name="flair")
    session = RefinementSession(image, settings=RefinementSettings(crf=False))
    marks = np.zeros((16, 16), np.uint8)
    marks[2, 2], marks[12, 12] = 1, 2
    run(session.refine(marks))
    return session


def said() -> str:
    return " ".join(str(record.message) for record in notification_manager.records)


def test_images_of_one_name_keep_their_own_sessions() -> None:
    made = [session_of(seed) for seed in range(25)]
    for session in made:
        saves.save(session, saves.new_folder(session.image_hash), {})
    assert said() == ""
    for session in made:
        (found,) = saves.saved_sessions(session.image)
        assert found.rounds == 1
        np.testing.assert_array_equal(RefinementSession.load(found.folder, session.image).mask, session.mask)
    assert saves.saved_sessions(session_of(99).image) == []
    again = session_of(3)
    saves.save(again, saves.new_folder(again.image_hash), {})
    assert len(saves.saved_sessions(again.image)) == 2  # both can be chosen in the dock


def test_the_limit_is_by_image_and_said_and_never_takes_the_newest_save(sessions: Path) -> None:
    session = session_of(0)
    for _ in range(saves.KEPT):
        session.save_token = ""
        saves.save(session, saves.new_folder(session.image_hash), {})
    assert said() == ""
    session.save_token = ""
    last = saves.new_folder(session.image_hash)
    session.save(last)
    os.utime(last / "session.json", (0, 0))  # a clock that was set back
    saves._make_room(last)
    assert last.is_dir()
    assert len(list(sessions.rglob("session.json"))) == saves.KEPT
    assert f"{saves.KEPT} refinements are kept" in said()


def test_a_thousand_sessions_of_one_second_have_folders_of_their_own() -> None:
    assert len({saves.new_folder("a" * 64) for _ in range(1000)}) == 1000


def test_a_second_window_saves_beside_the_first_and_says_so() -> None:
    session = session_of(0)
    folder = saves.save(session, saves.new_folder(session.image_hash), {})
    other = RefinementSession.load(folder, session.image)
    session.undo()
    assert saves.save(session, folder, {}) == folder
    beside = saves.save(other, folder, {})
    assert beside != folder
    assert saves.save(other, beside, {}) == beside
    assert "in another window" in said()
    assert RefinementSession.load(beside, session.image).mask.any()


@pytest.mark.parametrize("text", ["[]", "{", '{"rnet": 7}', "[" * 50_000])
def test_damaged_notes_of_models_are_no_models(tmp_path: Path, text: str) -> None:
    (tmp_path / "models.json").write_text(text, encoding="utf-8")
    assert saves.saved_models(tmp_path) == {"rnet": None, "pnet": None}
