"""The layers: a module imports only from its own or lower ones; readers load neither torch nor napari."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import napari_medseg

PACKAGE = Path(napari_medseg.__file__).parent
LAYERS = {
    0: ("errors", "image", "settings", "jobs", "__init__"),
    1: ("io", "geodesic", "pairs", "tiling", "augment", "measure", "samples", "levelling", "histology", "mri",
        "deepigeos", "overlay", "similarity"),
    2: ("networks", "losses", "varce", "varce_cpu", "spatial_constraint", "device", "parallel", "method", "checkpoint",
        "inference"),
    3: ("methods", "catalog"),
    4: ("dataset", "training_run", "training", "refinement", "video", "batch", "evaluation", "frame_evaluation",
        "prepare", "console",
        "flags", "doctor", "demo", "export", "cluster", "report", "slides", "finetune", "figures",
        "refinement_evaluation"),
    5: ("cli", "commands", "_napari", "__main__"),
}  # fmt: skip
LEVEL = {name: level for level, names in LAYERS.items() for name in names}
FREE_OF_TORCH = (
    "io",
    "measure",
    "samples",
    "augment",
    "pairs",
    "tiling",
    "levelling",
    "histology",
    "mri",
    "overlay",
    "similarity",
)
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


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def level(name: str) -> int | None:
    parts = name.split(".")
    if parts[0] != "napari_medseg":
        return None
    known = parts[1] if len(parts) > 1 else "__init__"
    return LEVEL.get(known, 0)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    own = part(path)
    assert own in LEVEL, f"{own} has no layer: add it to LAYERS"
    if own == "__init__":
        return
    for name in imports(path):
        target = level(name)
        assert target is None or target <= LEVEL[own], f"{own} imports {name}"


def test_methods_do_not_import_each_other() -> None:
    names = {p.stem for p in (PACKAGE / "methods").glob("*.py")} - {"__init__"}
    for path in (PACKAGE / "methods").glob("*.py"):
        for name in imports(path):
            used = name.split(".")
            other = used[:2] == ["napari_medseg", "methods"] and len(used) > 2 and used[2] in names - {path.stem}
            assert not other, name


def test_front_ends_do_not_import_each_other() -> None:
    assert not [n for n in imports(PACKAGE / "cli.py") if n.startswith("napari_medseg._napari")]
    for path in (PACKAGE / "_napari").glob("*.py"):
        assert not [n for n in imports(path) if n.startswith("napari_medseg.cli")]


def test_napari_and_qt_stay_in_their_corner() -> None:
    gui = {"napari", "qtpy", "magicgui", "superqt", "pyqtgraph", "PyQt6", "PySide6", "vispy"}
    for path in MODULES:
        if part(path) != "_napari" and path.stem != "doctor":
            assert not gui & {name.split(".")[0] for name in imports(path)}, path


def test_widgets_contain_no_numerics() -> None:
    for path in (PACKAGE / "_napari").glob("*.py"):
        assert not {"torch", "scipy", "skimage"} & {name.split(".")[0] for name in imports(path)}, path


@pytest.mark.parametrize("module", ["napari_medseg", "napari_medseg.io", "napari_medseg.measure"])
def test_light_parts_load_neither_torch_nor_napari(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'napari', 'qtpy'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_layer_one_never_imports_torch_at_module_level() -> None:
    for path in MODULES:
        if part(path) in FREE_OF_TORCH:
            top = [n for node in ast.parse(path.read_text("utf8")).body for n in _names(node)]
            assert "torch" not in top, path


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [node.module.split(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []
