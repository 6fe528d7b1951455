"""The layers: a module imports only from its own or lower ones; readers load neither torch nor napari."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_medseg

PACKAGE = Path(napari_medseg.__file__).parent
LAYERS = (  # from the bottom: a part may import from those above it in this list and from itself
    ("errors", "image", "settings", "jobs", "__init__"),
    ("io", "augment", "geodesic"),
    ("graphcut",),
    ("preprocessing",),
    ("measure", "evaluate.metrics"),
    ("device", "method", "nn"),
    ("models.checkpoint", "models.purpose", "inference"),
    ("methods", "models"),
    ("report.overlay", "report.case"),
    ("batch", "slides"),
    ("training",),
    ("refinement", "video"),
    ("evaluate",),
    ("report", "export", "cluster"),
    ("samples",),
    ("cli", "_napari", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FREE_OF_TORCH = ("io", "graphcut", "measure", "evaluate.metrics", "augment", "preprocessing", "report.overlay")
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Absolute names of everything a module imports, also inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def part(module: str) -> str | None:
    """The longest name of `LAYERS` that a module (below the package) belongs to."""
    words = module.split(".")
    names = [".".join(words[:n]) for n in range(len(words), 0, -1)]
    return next((name for name in names if name in LEVEL), None)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def level(name: str) -> int | None:
    if name.split(".")[0] != "napari_medseg":
        return None
    return LEVEL[part(name.partition(".")[2]) or "__init__"]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = part(module_of(path))
    assert own, f"{path} has no layer: add it to LAYERS"
    if own == "__init__":
        return
    for name in imports(path):
        target = level(name)
        assert target is None or target <= LEVEL[own], f"{own} imports {name}"


def test_methods_do_not_import_each_other() -> None:
    names = {p.name for p in (PACKAGE / "methods").iterdir() if p.is_dir()}
    for path in (PACKAGE / "methods").glob("*/*.py"):
        for name in imports(path):
            used = name.split(".")
            other = used[:2] == ["napari_medseg", "methods"] and len(used) > 2 and used[2] in names - {path.parent.name}
            assert not other, name


def test_nothing_outside_methods_knows_a_method_by_name() -> None:
    """But the demonstration, which trains one, and the command lines of samples in words."""
    from napari_medseg.methods import METHODS, TRAINING_FREE

    for path in MODULES:
        if part(module_of(path)) in ("methods", "samples") or "_napari/demo.py" in path.as_posix():
            continue
        words = [n.value for n in ast.walk(ast.parse(path.read_text("utf8"))) if isinstance(n, ast.Constant)]
        assert not {*METHODS, *TRAINING_FREE} & {w for w in words if isinstance(w, str)}, path
        assert not [n for n in imports(path) if n.startswith("napari_medseg.methods.") and _is_a_paper(n)], path


def _is_a_paper(name: str) -> bool:
    return (PACKAGE / "methods" / name.split(".")[2]).is_dir()


def test_front_ends_do_not_import_each_other() -> None:
    for path in (PACKAGE / "cli").rglob("*.py"):
        assert not [n for n in imports(path) if n.startswith("napari_medseg._napari")]
    for path in (PACKAGE / "_napari").rglob("*.py"):
        assert not [n for n in imports(path) if n.startswith("napari_medseg.cli.main")]


def test_napari_and_qt_stay_in_their_corner() -> None:
    gui = {"napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "PyQt6", "PySide6", "vispy"}
    for path in MODULES:
        if part(module_of(path)) != "_napari" and path.stem != "doctor":
            assert not gui & {name.split(".")[0] for name in imports(path)}, path


def test_widgets_contain_no_numerics() -> None:
    for path in (PACKAGE / "_napari").rglob("*.py"):
        assert not {"torch", "scipy", "skimage"} & {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("module", ["napari_medseg", "napari_medseg.io", "napari_medseg.measure"])
def test_light_parts_load_neither_torch_nor_napari(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'napari', 'qtpy'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_layer_one_never_imports_torch_at_module_level() -> None:
    for path in MODULES:
        if part(module_of(path)) in FREE_OF_TORCH:
            top = [n for node in ast.parse(path.read_text("utf8")).body for n in _names(node)]
            assert "torch" not in top, path


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [node.module.split(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []
