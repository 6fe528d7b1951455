"""Show where the layout strays: ``python scripts/count_modules.py``.

Prints the modules at the top, the fullest folders, the modules with exactly one importer, and circles of imports
(imports inside functions and for type checking included). Exits with 1 if there is a circle.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"
PACKAGE = ROOT / "napari_medseg"
FULL = 20


def modules() -> dict[str, Path]:
    """Return every module of the package by its name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imported(path: Path, known: dict[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Return what each module imports; a package that only hands on its parts on first use imports nothing."""
    known = modules()
    found = {name: {n for n in imported(path, known) if n in known and n != name} for name, path in known.items()}
    for name, path in known.items():
        if path.name == "__init__.py" and "lazily(" in path.read_text(encoding="utf-8"):
            found[name] = set()
    return found


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or in a round (Tarjan's algorithm)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = [stack.pop()]
            while group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def main() -> int:
    """Print the report."""
    sys.setrecursionlimit(10_000)
    known, edges = modules(), graph()
    importers: dict[str, list[str]] = defaultdict(list)
    for name, others in edges.items():
        for other in others:
            importers[other].append(name)
    top = [path.name for path in sorted(PACKAGE.glob("*.py"))]
    single = {name: users[0] for name, users in sorted(importers.items()) if len(users) == 1}
    folders = {path: len(list(path.glob("*.py"))) for path in {p.parent for p in known.values()}}
    lines = sum(path.read_text(encoding="utf-8").count("\n") for path in known.values())
    print(f"{len(known)} modules, {lines} lines; {len(top)} at the top: {', '.join(top)}")
    full = [f"{p.relative_to(ROOT)} {n}" for p, n in sorted(folders.items()) if n > FULL]
    print(f"folders of more than {FULL} files: {', '.join(full) or 'none'}")
    print(f"modules with exactly one importer: {len(single)}")
    for name, user in single.items():
        print(f"  {name} <- {user}")
    rounds = circles(edges)
    print(f"circles: {len(rounds)}")
    for group in rounds:
        print("  " + " ".join(group))
    return 1 if rounds else 0


if __name__ == "__main__":
    raise SystemExit(main())
