"""Saved sessions that are damaged, changed, shared or of another image: refused in words, nothing lost."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medseg.errors import DataError, MedSegError, WriteError
from napari_medseg.image import Image
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.log import checksum
from napari_medseg.refinement.replay import replay

FAST = RefinementSettings(crf=False)


def picture() -> Image:
    data = np.full((32, 40), 100, np.int16)
    data[:, 20:] = 900
    return Image(data, "YX", name="halves")


def painted(session: RefinementSession, row: int) -> None:
    marks = session.scribbles.copy()
    marks[row, 2], marks[row, 37] = 1, 2
    run(session.refine(marks))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    session = RefinementSession(picture(), settings=FAST)
    for row in (3, 9, 20):
        painted(session, row)
    return session.save(tmp_path / "session")


def one(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def refused(folder: Path) -> None:
    with pytest.raises(DataError, match="holds no complete refinement session"):
        RefinementSession.load(folder, picture())


def test_of_large_arrays_the_filled_boxes_are_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = RefinementSession(picture(), settings=FAST)
    painted(session, 9)
    monkeypatch.setattr("napari_medseg.refinement.log.LARGE", 100)
    folder = session.save(tmp_path / "session")
    with np.load(one(folder, "state_*.npz")) as stored:
        assert stored["mask"].size < session.mask.size
        assert stored["mask.box"].tolist() == [[0, 32], [20, 40]]
    again = RefinementSession.load(folder, picture())
    for name, array in session.history.arrays.items():
        np.testing.assert_array_equal(again.history.arrays[name], array)


Change = Callable[[dict[str, Any]], object]
CHANGES: dict[str, Change] = {
    "index before the start": lambda d: d.update(index=-1),
    "index after the end": lambda d: d.update(index=9),
    "another index": lambda d: d.update(index=1),
    "rounds reversed": lambda d: d["rounds"].reverse(),
    "a round left out": lambda d: d["rounds"].pop(1),
    "a round twice": lambda d: d["rounds"].append(d["rounds"][0]),
    "rounds null": lambda d: d.update(rounds=None),
    "events text": lambda d: d.update(events="many"),
    "fewer events": lambda d: d.update(events=0),
    "more events": lambda d: d.update(events=99),
    "state number": lambda d: d.update(state=7),
    "state elsewhere": lambda d: d.update(state="../state.npz"),
    "settings list": lambda d: d.update(settings=[]),
    "no first": lambda d: d.pop("first"),
    "no settings": lambda d: d.pop("settings"),
    "facts that are not finite": lambda d: d["rounds"][0].update(facts={"kind": float("nan")}),
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("name", CHANGES)
def test_changed_documents_are_refused(folder: Path, name: str, sealed: bool) -> None:
    """Also with a seal that fits: all but values that are possible in themselves."""
    if sealed and name in ("another index", "a round left out"):
        pytest.skip("nothing in the file contradicts it")
    path = folder / "session.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    CHANGES[name](document)
    if sealed:
        document["checksum"] = checksum(document)
    path.write_text(json.dumps(document), encoding="utf-8")
    refused(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '"text"', "[" * 50_000])
def test_documents_that_are_none_are_refused(folder: Path, text: str) -> None:
    (folder / "session.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError):
        RefinementSession.load(folder, picture())


@pytest.mark.parametrize("pattern", ["state_*.npz", "round_*.npz", "log.jsonl", "session.json"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.99])
def test_cut_files_are_refused(folder: Path, pattern: str, share: float) -> None:
    path = one(folder, pattern)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(folder)


@pytest.mark.parametrize("pattern", ["state_*.npz", "round_*.npz", "log.jsonl", "session.json"])
def test_any_flipped_byte_is_refused_or_means_nothing(folder: Path, pattern: str) -> None:
    whole = RefinementSession.load(folder, picture())
    path, rng = one(folder, pattern), np.random.default_rng(0)
    good = path.read_bytes()
    for place in rng.integers(0, len(good), 60):
        bad = bytearray(good)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        try:
            session = RefinementSession.load(folder, picture())
        except MedSegError:
            continue
        for name, array in whole.history.arrays.items():
            np.testing.assert_array_equal(session.history.arrays[name], array)
        assert [r.facts for r in session.history.rounds] == [r.facts for r in whole.history.rounds]


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[:5],
        lambda a: a[None],
        lambda a: a.astype(np.float64) * np.nan,
        lambda a: np.full_like(a, 77),
        lambda a: a ^ 1,
    ],
)
def test_arrays_of_another_shape_type_or_content_are_refused(
    folder: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    path = one(folder, "state_*.npz")
    np.savez_compressed(path, **{name: change(array) for name, array in arrays_of(path).items()})  # type: ignore[arg-type]
    refused(folder)


def test_an_archive_that_inflates_is_refused_before_it_does(folder: Path) -> None:
    path = one(folder, "state_*.npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("mask.npy", "w") as file:
        for _ in range(200):
            file.write(bytes(2**20))
    refused(folder)


def test_a_round_that_inflates_is_refused(folder: Path) -> None:
    import zlib

    path = one(folder, "round_*.npz")
    stored = arrays_of(path)
    name = next(key for key in stored if key.endswith(".blob"))
    stored[name] = np.frombuffer(zlib.compress(bytes(2**24)), np.uint8)
    np.savez(path, **stored)  # type: ignore[arg-type]
    refused(folder)


def test_damaged_logs_are_refused_by_replay(folder: Path) -> None:
    log = folder / "log.jsonl"
    good = log.read_text(encoding="utf-8")
    for bad in (
        good.replace('"box": [[', '"box": [[9'),
        good.replace('"blob": "', '"blob": "AAAA'),
        good[:-200],
        "[1]\n",
    ):
        log.write_text(bad, encoding="utf-8")
        with pytest.raises(DataError):
            replay(picture(), folder)


def test_two_windows_lose_nothing(folder: Path, tmp_path: Path) -> None:
    first, second = (RefinementSession.load(folder, picture()) for _ in range(2))
    painted(first, 12)
    first.save(folder)
    painted(second, 28)
    with pytest.raises(WriteError, match="from another window"):
        second.save(folder)
    np.testing.assert_array_equal(RefinementSession.load(folder, picture()).scribbles, first.scribbles)
    second.save_token = ""
    np.testing.assert_array_equal(
        RefinementSession.load(second.save(tmp_path / "other"), picture()).scribbles, second.scribbles
    )
    painted(first, 14)
    first.save(folder)  # its own save is no other window's


def test_a_new_session_takes_the_place_of_no_other(folder: Path, tmp_path: Path) -> None:
    other = RefinementSession(picture().replace(data=picture().data + 1), settings=FAST)
    painted(other, 12)
    same_image = RefinementSession(picture(), settings=FAST)
    loaded = RefinementSession.load(folder, picture())
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "session.json").write_text('{"tool": "another"}', encoding="utf-8")
    before = {path.name: path.read_bytes() for path in (*folder.iterdir(), *foreign.iterdir())}
    for session, place in ((other, folder), (same_image, folder), (other, foreign), (loaded, foreign)):
        with pytest.raises(WriteError, match="Nothing was overwritten"):
            session.save(place)
    assert {path.name: path.read_bytes() for path in (*folder.iterdir(), *foreign.iterdir())} == before
    loaded.save(folder)


def test_a_session_of_an_older_version_is_saved_in_its_place(folder: Path) -> None:
    path = folder / "session.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in ("token", "checksum", "state_sha256"):
        del document[name]
    path.write_text(json.dumps(document), encoding="utf-8")
    session = RefinementSession.load(folder, picture())
    session.undo()
    session.save(folder)
    assert RefinementSession.load(folder, picture()).history.index == 2


@pytest.mark.parametrize("number", [True, 1.0, 2.0, "2", None, -1, [2]])
def test_a_number_of_format_is_a_whole_number_that_is_known(folder: Path, number: object) -> None:
    path = folder / "session.json"
    document = {**json.loads(path.read_text(encoding="utf-8")), "format": number}
    path.write_text(json.dumps({**document, "checksum": checksum(document)}), encoding="utf-8")
    with pytest.raises(DataError, match="has format"):
        RefinementSession.load(folder, picture())


@pytest.mark.parametrize("pattern", ["state_*.npz", "round_*.npz"])
@pytest.mark.parametrize(("local", "central", "value"), [(6, 8, 1), (8, 10, 99), (8, 10, 12)])
def test_entries_that_are_encrypted_or_packed_otherwise_are_refused(
    folder: Path, pattern: str, local: int, central: int, value: int
) -> None:
    """A bit in the head of an entry (APPNOTE 4.4.4 and 4.4.5) says so; each is told by another error of Python."""
    path = one(folder, pattern)
    content = bytearray(path.read_bytes())
    for start, at in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        content[content.find(start) + at] = value
    path.write_bytes(content)
    refused(folder)


def test_a_session_whose_folder_was_removed_is_saved_again(folder: Path) -> None:
    session = RefinementSession.load(folder, picture())
    shutil.rmtree(folder)
    session.save(folder)
    assert RefinementSession.load(folder, picture()).history.last == 3
