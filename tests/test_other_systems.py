"""What Windows and macOS refuse or do otherwise: open files, encodings, names, spawned processes, links."""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from shorthand import noise
from toy import ToyMethod

from napari_medseg.batch import BatchSettings, ReviewSheet, predict_files
from napari_medseg.image import Image
from napari_medseg.io import read, write
from napari_medseg.io.files import extended
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.settings import PredictSettings

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "napari_medseg"
CPU = PredictSettings(device="cpu")
MAPS = Path("/proc/self/maps")


# ---- open and mapped files: Windows renames and removes none of them
def in_use(path: Path) -> bool:
    """Whether this process has `path`, or a file below it, open or mapped."""
    where = os.path.realpath(path)
    used = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir() if link.exists()}
    used |= {line.split(maxsplit=5)[5] for line in MAPS.read_text(encoding="utf-8").splitlines() if "/" in line}
    return any(one == where or one.startswith(f"{where}/") for one in used)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let renames and removals of open files fail, as on Windows; the list holds those that were tried."""
    if not MAPS.exists():
        pytest.skip("open files are known from /proc")
    refused: list[str] = []

    def guarded(real: Callable[..., object], count: int) -> Callable[..., object]:
        def call(*paths: object, **options: object) -> object:
            for path in paths[:count]:
                if str(path).endswith(".lock"):  # which is closed first there
                    continue
                if isinstance(path, str | os.PathLike) and os.path.exists(path) and in_use(Path(path)):
                    refused.append(str(path))
                    raise PermissionError(13, "The process cannot access the file because it is being used", str(path))
            return real(*paths, **options)

        return call

    for name, count in (("replace", 2), ("rename", 2), ("unlink", 1), ("remove", 1)):
        monkeypatch.setattr(os, name, guarded(getattr(os, name), count))
    return refused


def test_the_guard_refuses_what_windows_refuses(windows: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(1000))
    mapped = np.load(path, mmap_mode="r")
    (tmp_path / "b").write_bytes(b"x")
    with pytest.raises(PermissionError):
        os.replace(tmp_path / "b", path)
    del mapped
    os.replace(tmp_path / "b", path)


def test_batches_reviews_and_corrections_rename_nothing_that_is_open(windows: list[str], tmp_path: Path) -> None:
    torch.manual_seed(0)
    method = ToyMethod()
    model = Model(method, method.build_network().eval(), {"sha256": "abc", "file": "m.pt", "method": "toy"})
    for k, name in enumerate("ab"):
        noise(tmp_path / "in" / f"{name}.png", k)
    for settings in (CPU, CPU.updated(tta=True)):
        run(predict_files(model, [tmp_path / "in"], tmp_path / "out", settings, options=BatchSettings(overlays=True)))
    sheet, image = ReviewSheet(tmp_path / "out"), read(tmp_path / "in" / "a.png")[0]
    labels = read(tmp_path / "out" / "a_labels.tif")[0]
    for _ in range(2):
        run(sheet.correct(0, image.labels_like(np.asarray(labels.data)), image))
    assert windows == []


@pytest.mark.parametrize(
    "name", ["a.tif", "a.png", "a.npy", "a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.ome.zarr", "a.geojson"]
)
def test_what_was_read_can_be_written_over(name: str, windows: list[str], tmp_path: Path) -> None:
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    volume = name.endswith((".nii", ".gz", ".nrrd", ".mha"))
    data = np.arange(12, dtype=np.uint8).reshape((3, 4) if not volume else (1, 3, 4)) % 3
    labels = Image(data, "ZYX"[-data.ndim :], (1.0,) * data.ndim, ("millimeter",) * data.ndim, kind="labels")
    labels = labels.replace(affine=np.eye(4)) if volume else labels
    write(tmp_path / name, labels)
    again = read(tmp_path / name)[0]
    write(tmp_path / name, labels)
    assert again.spatial_shape == labels.spatial_shape
    assert windows == []


def test_sessions_are_saved_over_while_they_are_open(windows: list[str], tmp_path: Path) -> None:
    session = RefinementSession(
        Image(np.random.default_rng(0).random((16, 16)).astype(np.float32), "YX"),
        settings=RefinementSettings(smooth=0.0) if "smooth" in RefinementSettings.model_fields else None,
    )
    marks = np.zeros((16, 16), np.uint8)
    for row in (2, 9):
        marks[row, 2], marks[row, 12] = 1, 2
        run(session.refine(marks))
        session.save(tmp_path / "s")
        session = RefinementSession.load(tmp_path / "s", session.image)
    assert windows == []


# ---- text has an encoding of its own on Windows
def test_every_text_file_names_its_encoding() -> None:
    """Also where the lint rule cannot know that something is a path."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = {keyword.arg for keyword in node.keywords}
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("read_text", "write_text") and not node.args and "encoding" not in named:
                pytest.fail(f"{path}:{node.lineno} reads or writes text in the system's encoding")


def test_a_session_with_letters_is_saved_in_a_system_of_ascii(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np; from napari_medseg import Image, read, write\\n"
        "write(sys.argv[1], Image(np.eye(4, dtype=np.uint8), 'YX', name='Zelle µ α'))\\n"
        "assert read(sys.argv[1])[0].name == 'Zelle µ α'\\n"
    ).replace("\\n", "\n")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    words = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "a.tif")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- names, links, processes
def test_a_checkout_needs_no_symbolic_link() -> None:
    """The manifest is linked at the root for people; a Windows checkout holds a text there, which nothing reads."""
    listed = subprocess.run(["git", "ls-files", "-s"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    links = [line.split("\t")[1] for line in listed.stdout.splitlines() if line.startswith("120000")]
    assert links == ["napari.yaml"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["napari.manifest"] == {"napari-medseg": "napari_medseg:napari.yaml"}
    assert (PACKAGE / "napari.yaml").is_file()
    assert not (PACKAGE / "napari.yaml").is_symlink()


def test_names_in_the_repository_differ_in_more_than_case_and_are_short() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("no git checkout")
    names = listed.stdout.splitlines()
    assert len({name.casefold() for name in names}) == len(names)
    assert max(map(len, names)) < 120
    assert not [name for name in names if set(name) & set('<>:"|?*\\')]


LONG = "\\".join(["patient"] * 40)


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (r"C:\scans\a.tif", r"C:\scans\a.tif"),
        (rf"C:\{LONG}\a.tif", rf"\\?\C:\{LONG}\a.tif"),
        (f"C:/{LONG}/../a.tif".replace("\\", "/"), rf"\\?\C:\{LONG[:-8]}\a.tif"),
        (rf"\\server\lab\{LONG}\a.tif", rf"\\?\UNC\server\lab\{LONG}\a.tif"),
        (rf"\\?\C:\{LONG}\a.tif", rf"\\?\C:\{LONG}\a.tif"),
    ],
)
def test_paths_of_more_than_260_letters_get_the_form_that_windows_takes(path: str, wanted: str) -> None:
    assert extended(path) == wanted


def test_workers_are_spawned_never_forked() -> None:
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "os.fork" not in text
        assert 'get_context("fork' not in text
        if "ProcessPoolExecutor(" in text:
            assert 'get_context("spawn")' in text, path


def test_git_is_not_needed_to_find_the_package(tmp_path: Path) -> None:
    copy = tmp_path / "src" / "napari_medseg"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.pt"))
    done = subprocess.run(
        [sys.executable, "-c", "import napari_medseg; print(napari_medseg.__file__)"],
        env={**os.environ, "PYTHONPATH": str(copy.parent)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == str(copy / "__init__.py")


def test_kernels_are_compiled_by_the_one_function_that_needs_no_cache() -> None:
    """``njit(cache=True)`` by itself ends the program where no folder may be written."""
    users = {path.name for path in PACKAGE.rglob("*.py") if "njit" in path.read_text(encoding="utf-8")}
    assert users == {"compiled.py"}


NO_PLACE = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
from napari_medseg.cli.main import main
assert main(["doctor"]) == 0
import numpy as np
from napari_medseg.geodesic import geodesic_distance
seeds = np.zeros((8, 9), bool)
seeds[0, 0] = True
assert geodesic_distance(np.zeros((8, 9), np.float32), seeds, weight=0.0, spacing=(1.0, 1.0)).max() > 9
"""


def test_commands_start_where_no_folder_for_compiled_code_may_be_written(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path / "nowhere"), "NUMBA_CACHE_DIR": ""}
    words = [sys.executable, "-c", NO_PLACE]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "compiled anew at every start" in done.stdout


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.skipif(sys.platform == "win32", reason="signals end a process at once there")
def test_a_command_that_is_ended_says_so_with_its_code(sign: signal.Signals, code: int, tmp_path: Path) -> None:
    program = (
        "import time, types; from napari_medseg.cli import main\n"
        "def wait(_):\n    print('begun', flush=True)\n    time.sleep(60)\n"
        "parsed = types.SimpleNamespace(call=wait)\n"
        "main.build_parser = lambda words: types.SimpleNamespace(parse_args=lambda words: parsed)\n"
        "main.entry()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert "what was finished is kept" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("words", ["methods", "methods --json", "--help", "--version", "predict --help"])
def test_an_output_that_cannot_be_written_is_a_sentence(words: str) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "napari_medseg", *words.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("medseg: The output cannot be written: No space left on device.")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize(("closed", "code"), [(">&-", 2), ("2>&-", 0), ("<&- >&- 2>&-", 2)])
def test_an_output_that_is_closed_ends_without_a_traceback(tmp_path: Path, closed: str, code: int) -> None:
    """As ``ls >&-`` does; the first file that is opened must not take the place of standard output."""
    labels = Image(np.eye(30, dtype=np.uint8), "YX", kind="labels")
    path, out = write(tmp_path / "a_labels.tif", labels), tmp_path / "t.csv"
    line = f"'{sys.executable}' -m napari_medseg measure nuclei '{path}' -o '{out}' {closed}"
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("medseg: The output cannot be written") == (closed == ">&-")
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2
    assert path.read_bytes()[:2] in (b"II", b"MM")


@pytest.mark.parametrize(
    ("word", "right"),
    [
        ("-o~/a", "-o{home}/a"),
        ("-o=~/a", "-o={home}/a"),
        ("--output=~", "--output={home}"),
        ("~/a", "{home}/a"),
        ("~nobody-of-this-name/a", "~nobody-of-this-name/a"),
        ("~$doc.tif", "~$doc.tif"),
        ("a~/b", "a~/b"),
        ("--name=a~b", "--name=a~b"),
    ],
)
def test_words_that_begin_with_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, word: str, right: str) -> None:
    from napari_medseg.cli.main import _with_home

    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, tmp_path.as_posix())
    assert _with_home(word) == right.format(home=tmp_path.as_posix())


@pytest.mark.skipif(sys.platform == "win32", reason="users of POSIX")
def test_a_tilde_with_a_name_is_the_home_folder_of_that_user() -> None:
    import pwd

    from napari_medseg.cli.main import _with_home

    user = pwd.getpwuid(os.getuid())
    assert _with_home(f"--output=~{user.pw_name}/a") == f"--output={user.pw_dir}/a"


def test_a_sample_in_the_home_folder_lies_in_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_medseg.samples import write_sample

    home, here = tmp_path / "home", tmp_path / "here"
    for folder in (home, here):
        folder.mkdir()
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.chdir(here)
    assert write_sample("mri", "~/brains", 1) == home / "brains"
    assert {path.name for path in (home / "brains").iterdir()} >= {"images", "labels", "scribbles"}
    assert list(here.iterdir()) == []


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    words = [sys.executable, "-m", "napari_medseg", "sample", "afm", "--output=~/scans", "--count", "1"]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    assert (tmp_path / "home" / "scans").is_dir()


def test_names_that_a_terminal_would_obey_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    from napari_medseg.cli.main import main
    from napari_medseg.errors import printable

    assert printable("a\x1b[31mred\x07\u202e\ud800 µ\n") == "a\\x1b[31mred\\x07\\u202e\\ud800 µ\n"
    assert main(["measure", "afm", "\x1b[31mno.tif", "-o", "t.csv"]) == 2
    with pytest.raises(SystemExit):
        main(["predict", "a", "b", "-o", "c", "--no-\x1b[31m"])
    assert "\x1b" not in capsys.readouterr().err
