"""A file or store is under its name only when it is whole, whatever happens while it is written."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_medseg.errors import MedSegError, WriteError
from napari_medseg.image import Image
from napari_medseg.io import read, write, write_table
from napari_medseg.io.files import (
    PREFIX,
    disk_errors,
    read_json,
    replacing,
    sweep,
    sweep_below,
    write_bytes,
    write_json,
)
from napari_medseg.io.locks import holding
from napari_medseg.samples import write_sample

NOISE = np.random.default_rng(0).integers(0, 60_000, (64, 64))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.name.startswith((".medseg", ".tmp"))]


def test_the_older_file_stays_until_the_newer_one_is_whole(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.bin", b"older")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_bytes(path.read_bytes()[: 1 // 0])
    assert path.read_bytes() == b"older"
    with replacing(path) as part:
        part.write_bytes(b"newer")
    assert path.read_bytes() == b"newer"
    assert hidden(tmp_path) == []


def test_a_folder_takes_the_place_of_a_folder_and_fails_without_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(text: str) -> None:
        with replacing(tmp_path / "s.zarr") as part:
            part.mkdir()
            (part / "0").write_text(text, encoding="utf-8")

    store("older")
    store("newer")
    assert (tmp_path / "s.zarr" / "0").read_text(encoding="utf-8") == "newer"
    rename, calls = os.replace, []

    def second_fails(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr("napari_medseg.io.files.os.replace", second_fails)
    with pytest.raises(WriteError, match="Input/output error"):
        store("third")
    assert (tmp_path / "s.zarr" / "0").read_text(encoding="utf-8") == "newer"
    assert hidden(tmp_path) == []


DIES = """
import os, sys
from napari_medseg.io import files
rename, left = os.replace, [int(sys.argv[2])]
def dying(source, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    rename(source, target)
os.replace = dying
with files.replacing(sys.argv[1]) as part:
    part.mkdir()
    (part / "0").write_text("newer", encoding="utf-8")
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_what_a_killed_process_moved_aside_comes_back_and_the_rest_goes(tmp_path: Path, renames: int) -> None:
    path = tmp_path / "s.zarr"
    path.mkdir()
    (path / "0").write_text("older", encoding="utf-8")
    killed = subprocess.run([sys.executable, "-c", DIES, str(path), str(renames)], check=False)
    assert killed.returncode == 9
    assert len(hidden(tmp_path)) == 1
    sweep(tmp_path)
    assert (path / "0").read_text(encoding="utf-8") == "older"
    assert hidden(tmp_path) == []


def test_a_store_whose_replacing_was_killed_is_found_by_its_reader(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    path = tmp_path / "x.ome.zarr"
    write(path, Image(np.full((8, 8), 3, np.uint8), "YX", kind="labels"))
    assert subprocess.run([sys.executable, "-c", DIES, str(path), "1"], check=False).returncode == 9
    assert not path.exists()
    assert np.unique(np.asarray(read(path)[0].data)).tolist() == [3]


def test_hidden_folders_of_running_processes_and_of_others_stay(tmp_path: Path) -> None:
    mine = tmp_path / f"{PREFIX}notes"
    mine.mkdir()
    with replacing(tmp_path / "deep" / "a.txt") as part:
        part.write_text("a", encoding="utf-8")
        sweep_below(tmp_path)
        assert part.exists()
    assert mine.exists()


def test_a_device_is_written_to_and_not_replaced() -> None:
    if not Path("/dev/null").exists():
        pytest.skip("no /dev/null")
    write_bytes(Path("/dev/null"), b"x")
    assert not Path("/dev/null").is_file()


def test_rights_of_the_older_file_are_kept(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "a.csv", b"1")
    path.chmod(0o640)
    write_bytes(path, b"2")
    assert path.stat().st_mode & 0o777 == 0o640 or sys.platform == "win32"


# ---- a full disk
@pytest.fixture
def full(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give a folder on a small file system of its own; calling fills it up to so many bytes."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("may not mount")

    def fill(left: int) -> Path:
        state = os.statvfs(disk)
        (disk / "fill").write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - left)))
        return disk

    yield fill
    subprocess.run(["umount", "-l", str(disk)], check=True)


def labels(value: int) -> Image:
    return Image((NOISE + value).astype(np.uint16), "YX", kind="labels")


def volume(value: int) -> Image:
    data = (np.stack([NOISE, NOISE[::-1]]) + value).astype(np.uint16)
    return Image(data, "ZYX", (1.0,) * 3, ("millimeter",) * 3, np.eye(4), kind="labels")


def movie(path: Path, value: int) -> None:
    from napari_medseg.io.movies.writer import MovieWriter

    pytest.importorskip("av")
    frames = np.random.default_rng(value).integers(0, 256, (12, 64, 64, 3)).astype(np.uint8)
    with MovieWriter(path, 25, (64, 64), "mpeg4" if path.suffix == ".mp4" else "ffv1") as writer:
        for frame in frames:
            writer.write(frame)


def checkpoint(path: Path, value: int) -> None:
    import torch

    from napari_medseg.models.checkpoint import write_checkpoint

    write_checkpoint(path, {"state_dict": {"w": torch.full((50_000,), float(value))}})


def sheet(path: Path, value: int) -> None:
    from napari_medseg.io.write import write_tables

    pytest.importorskip("openpyxl")
    write_tables(path, {"a": pd.DataFrame(NOISE[:, :20] + value)})


def figure(path: Path, value: int) -> None:
    from napari_medseg.evaluate.figures import rounds_figure, save_figure

    pytest.importorskip("matplotlib")
    rounds = pd.DataFrame({"step": [0, 1], "dice": [0.1, value / 10], "event": "refine", "strokes": 1})
    save_figure(path, rounds_figure(rounds))


def array(path: Path, value: int) -> None:
    write(path, labels(value))


def outlines(path: Path, value: int) -> None:
    write(path, Image((NOISE[:16, :16] + value).astype(np.uint16), "YX", kind="labels"))


WRITERS: dict[str, Callable[[Path, int], object]] = {
    **dict.fromkeys(("a.tif", "a.png", "a.npy", "a.ome.zarr"), array),
    **dict.fromkeys(("a.geojson", "a_rois.zip"), outlines),
    **dict.fromkeys(("a.nii", "a.nii.gz", "a.nrrd", "a.mha"), lambda path, value: write(path, volume(value))),
    "a.csv": lambda path, value: write_table(path, pd.DataFrame(NOISE + value)),
    "a.json": lambda path, value: write_json(path, NOISE + value),
    "a.mkv": movie,
    "a.mp4": movie,
    "a.pt": checkpoint,
    "a.xlsx": sheet,
    "a.png.": figure,
}


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_older_file(name: str, full: Callable[[int], Path]) -> None:
    if name.endswith((".zarr", ".zip")):
        pytest.importorskip("zarr")
        pytest.importorskip("roifile")
    path = full(900_000) / name.rstrip(".")
    (path.parent / "fill").unlink()
    WRITERS[name](path, 1)
    before = content(path)
    full(4096)
    with pytest.raises(WriteError, match=rf"{path}.*No space left"):
        WRITERS[name](path, 2)
    assert content(path) == before
    assert hidden(path.parent) == []


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.ome.zarr"])
def test_a_full_disk_leaves_the_side_car_of_the_older_file_too(name: str, full: Callable[[int], Path]) -> None:
    """The pixels fit, what is said of them does not."""
    path = full(900_000) / name
    (path.parent / "fill").unlink()
    older = Image(np.eye(9, dtype=np.uint8), "YX", (0.5, 0.5), ("micrometer",) * 2, kind="labels")
    write(path, older)
    newer = older.replace(data=np.ones((4, 4), np.uint8), metadata={"medseg": {"note": "long" * 4096}})
    full(12_288)
    with pytest.raises(WriteError, match=f"{path}.*No space left"):
        write(path, newer)
    found = read(path)[0]
    np.testing.assert_array_equal(found.data, older.data)
    assert found.scale == (0.5, 0.5)
    assert found.kind == "labels"
    assert hidden(path.parent) == []


def test_a_workbook_on_a_full_disk_prints_nothing(full: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library leaves open is closed, and refused again, when Python removes it."""
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with pytest.raises(WriteError, match="No space left"):
        sheet(full(4096) / "a.xlsx", 1)
    gc.collect()
    assert seen == []


def test_a_movie_sample_on_a_full_disk_prints_nothing(
    full: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av")
    seen: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with pytest.raises(WriteError, match="No space left"):
        write_sample("video", full(65_536) / "new")
    gc.collect()
    assert seen == []


def test_the_device_that_is_always_full() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with pytest.raises(WriteError, match="No space left"):
        write_bytes(Path("/dev/full"), b"x" * 10)


# ---- locks
def test_a_lock_that_is_a_link_makes_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    try:
        (tmp_path / "results" / ".medseg.batch.lock").symlink_to(tmp_path / "new")
    except OSError:
        pytest.skip("no links here")
    with holding(tmp_path / "results", "batch"):
        pass
    assert not (tmp_path / "new").exists() or sys.platform == "win32"


def test_a_lock_is_for_one_at_a_time(tmp_path: Path) -> None:
    with holding(tmp_path, "batch"):
        with holding(tmp_path, "review"):  # another work
            pass
        with pytest.raises(WriteError, match="Another process or window"), holding(tmp_path, "batch"):
            pass
    with holding(tmp_path, "batch"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    program = (
        "import os, sys; from napari_medseg.io.locks import holding; from pathlib import Path\n"
        "with holding(Path(sys.argv[1]), 'batch'): os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    with holding(tmp_path, "batch"):
        assert [p.name for p in tmp_path.iterdir()] == [".medseg.batch.lock"]


# ---- JSON of others
@pytest.mark.parametrize("text", ["[" * 100_000, "{broken", "", '{"a": NaN,}', "\x00"])
def test_damaged_json_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MedSegError, match=r"run\.json is no JSON"):
        read_json(path)


def test_json_with_a_byte_order_mark_and_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"cell\xff.png")
    path = write_json(tmp_path / "run.json", {name: 1, "µ": 2})
    assert read_json(path) == {name: 1, "µ": 2}
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_json(path) == {name: 1, "µ": 2}


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
def test_side_cars_harm_no_other_file(tmp_path: Path, suffix: str) -> None:
    foreign = tmp_path / "case1.json"
    foreign.write_text('{"shapes": [1, 2]}', encoding="utf-8")
    path = write(tmp_path / f"case1{suffix}", Image(np.eye(8, dtype=np.uint8), "YX", (0.5, 0.5), ("micrometer",) * 2))
    assert read_json(foreign) == {"shapes": [1, 2]}
    assert read(path)[0].scale == (0.5, 0.5)
    (tmp_path / f"case1{suffix}.json").write_text("[]", encoding="utf-8")
    with pytest.raises(WriteError, match="of other programs"):
        write(path, Image(np.eye(8, dtype=np.uint8), "YX"))


@pytest.mark.parametrize(
    "change",
    [
        {"units": ["micrometer", True]}, {"units": [None, None]}, {"channels": [[]]}, {"name": 7}, {"kind": "drawing"},
        {"affine": [[1, 0, "x"], [0, 1, 0], [0, 0, 1]]}, {"affine": [[1, 0, 0], [0, 0, 0], [0, 0, 1]]},
        {"affine": [[1, 0, 0], [0, float("nan"), 0], [0, 0, 1]]}, {"scale": [0, 1]}, {"scale": [1e300, 1]},
        {"units": ["x" * 99, "pixel"]},
        {"scale": ["x", 1]},
        {"axes": "YZ"}, {"shape": [64, 1]}, {"metadata": []}, {"value_unit": None},
    ],
)  # fmt: skip
def test_a_side_car_of_wrong_values_is_none(tmp_path: Path, change: dict[str, object]) -> None:
    image = Image(np.eye(8, dtype=np.uint8), "YX", (0.5, 0.5), ("micrometer",) * 2, np.eye(3), name="a")
    path = write(tmp_path / "a.npy", image)
    car = path.with_suffix(".json")
    assert read(path)[0].scale == (0.5, 0.5)
    car.write_text(json.dumps({**read_json(car), **change}), encoding="utf-8")
    found = read(path)[0]
    assert found.spatial_shape == (8, 8)
    assert found.units == ("pixel", "pixel")
    assert found.affine is None


def test_two_pictures_of_one_stem_keep_their_side_cars(tmp_path: Path) -> None:
    for suffix, step in ((".tif", 0.5), (".png", 0.25)):
        write(tmp_path / f"a{suffix}", Image(np.eye(8, dtype=np.uint8), "YX", (step, step), ("micrometer",) * 2))
    assert read(tmp_path / "a.tif")[0].scale == (0.5, 0.5)
    assert read(tmp_path / "a.png")[0].scale == (0.25, 0.25)


def test_errors_of_the_disk_name_the_place() -> None:
    with pytest.raises(WriteError, match=r"here/a\.tif cannot be written: No space"), disk_errors(Path("here/a.tif")):
        raise OSError(28, "No space left on device")


def test_a_name_of_255_bytes_is_read_and_written_or_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 251}.tif"
    with pytest.raises(WriteError, match="File name too long"):
        write(path, Image(np.eye(8, dtype=np.uint8), "YX"))
    import tifffile

    tifffile.imwrite(path, np.eye(8, dtype=np.uint8))
    assert read(path)[0].data.sum() == 8
