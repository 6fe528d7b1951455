"""The documentation cannot go stale: its commands parse, its messages and pictures exist, its code runs."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import napari_medseg
from napari_medseg import methods
from napari_medseg.cli.main import build_parser, main
from napari_medseg.models.checkpoint import bundled

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])
SOURCE = Path(napari_medseg.__file__).parent
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LONGEST = 120
OURS = re.compile(
    r"https://(?:github\.com|raw\.githubusercontent\.com)/napari-medseg/napari-medseg/(?:blob/|tree/)?main/"
)

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="the documentation is not installed with the package")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text("utf8")) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of every ``medseg`` line in a page's shell blocks."""
    for block in [*blocks(page, "bash"), *blocks(page, "sh")]:
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["medseg"]:
                yield words[1:]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_command_is_understood(page: Path) -> None:
    if page.name == "extend.md":  # its method is not there; the page's commands run below
        return
    for words in commands(page):
        if {"--help", "--version"} & set(words):
            continue
        parser = build_parser(words)
        assert hasattr(parser.parse_args(words), "call"), words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_pictures_are_there_and_described(page: Path) -> None:
    for text, target in re.findall(r"!\[([^]]*)]\(([^)]+)\)", page.read_text("utf8")):
        assert text, target
        assert (ROOT / OURS.sub("", target) if OURS.match(target) else page.parent / target).is_file(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"]\(([^)#\s]+)[^)]*\)", page.read_text("utf8")):
        ours = OURS.match(target)  # the README is read where relative links lead nowhere
        if ours:
            assert (ROOT / target[ours.end() :]).exists(), target
        assert target.startswith(("http", "mailto:")) or (page.parent / target).exists(), target


def test_every_picture_is_used_and_made_by_the_script() -> None:
    script = (ROOT / "scripts" / "make_pictures.py").read_text("utf8")
    text = "".join(page.read_text("utf8") for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert f"images/{picture.name}" in text, picture
        assert picture.stem.partition("-")[0] in script, picture
        assert picture.stat().st_size < 1_500_000, picture


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_says_what_the_parsers_say() -> None:
    reference = load(ROOT / "scripts" / "make_reference.py")
    written = (DOCS / "reference" / "command-line.md").read_text("utf8")
    assert written == reference.page(), "run: python scripts/make_reference.py"


# ---- messages
def literals() -> list[str]:
    """Return every string of the source; what an f-string puts in becomes an ellipsis."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


def test_every_quoted_message_is_in_the_source() -> None:
    known = "\n".join(literals())
    quoted = re.findall(r"^> (.+)$", (DOCS / "reference" / "errors.md").read_text("utf8"), re.MULTILINE)
    assert len(quoted) > 20
    for message in quoted:
        assert message.replace("\\", "").strip() in known, message


# ---- code
def test_the_added_method_trains_and_predicts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file and the line of docs/extend.md are a method; the page's own commands use it."""
    page = DOCS / "extend.md"
    (code,) = blocks(page, "python")
    (key, target), *_ = re.findall(r'^"([\w-]+)": "([\w:]+)",$', "".join(blocks(page, "text")), re.MULTILINE)
    module = ModuleType(f"napari_medseg.methods.{target.split(':')[0]}")
    exec(compile(code, "small_net.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(methods.METHODS, key, target)
    monkeypatch.chdir(tmp_path)
    for words in commands(page):
        extra = ["--device", "cpu"] if words[0] in ("train", "predict") else []
        assert main([*words, *extra, *(["--json"] if words[0] == "evaluate" else [])]) == 0, words
    scores = json.loads(capsys.readouterr().out.partition("\n{")[2].join(["{", ""]))
    assert scores["mean"]["dice"] > 0.6
    from napari_medseg import load_model

    assert load_model(tmp_path / "run" / "best.pt").method.settings.width == 12


def test_code_about_checkpoints_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = DOCS / "reference" / "checkpoint.md"
    shutil.copy(bundled("demo_pnet_2d"), tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})
    assert "p-net" in capsys.readouterr().out


def test_the_fields_of_a_checkpoint_are_described() -> None:
    from napari_medseg.models.checkpoint import read_checkpoint

    text = (DOCS / "reference" / "checkpoint.md").read_text("utf8")
    for field in read_checkpoint(bundled("demo_pnet_2d")):
        assert f"`{field}`" in text, field


@pytest.mark.parametrize("model", sorted(bundled("x").parent.glob("*.pt")), ids=lambda p: p.stem)
def test_every_bundled_model_is_listed(model: Path) -> None:
    assert f"`{model.stem}`" in (DOCS / "models.md").read_text("utf8")


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text("utf8")
    for page in DOCS.rglob("*.md"):
        assert str(page.relative_to(DOCS)) in menu, f"{page.name}: add it to nav in mkdocs.yml"
