"""Show where the layout strays: ``python scripts/count_modules.py``.

Prints the modules at the top, the fullest folders, the modules with exactly one importer, and circles of imports
(imports inside functions and for type checking included). Exits with 1 if there is a circle.

Importing a name from a package counts for the module that the package has it from. What is looked up by a name in a
table is a registered part and not counted: entry points, the manifest, ``READERS`` and ``LOADERS`` of formats,
``METHODS`` with the settings beside each method (apart so that help pages load no torch), ``KINDS``, ``SAMPLES``,
``COMMANDS``; nor is an ``__init__`` that only hands names on.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src"
PACKAGE = ROOT / "napari_medseg"
FULL = 20
TABLES = [f"napari_medseg.{name}" for name in ("io", "io.afm.reader", "methods", "cli.commands", "measure", "samples")]


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


def handed_on(path: Path, package: str, known: dict[str, Path]) -> dict[str, str]:
    """Return the names that a package hands on and the module that each comes from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module in known:
            found |= {alias.asname or alias.name: node.module for alias in node.names}
    for table in (node for node in ast.walk(tree) if isinstance(node, ast.Dict)):
        for key, value in zip(table.keys, table.values, strict=True):
            if (
                isinstance(key, ast.Constant)
                and isinstance(value, ast.Constant)
                and f"{package}.{value.value}" in known
            ):
                found[str(key.value)] = f"{package}.{value.value}"
    return found


def users(known: dict[str, Path]) -> dict[str, set[str]]:
    """Return who imports each module, directly or by a name that a package hands on; registered parts are left out."""
    packages = {name: path for name, path in known.items() if path.name == "__init__.py"}
    names = {name: handed_on(path, name, known) for name, path in packages.items()}
    found: dict[str, set[str]] = defaultdict(set)
    for name, others in graph().items():
        for other in others - {name}:
            found[other].add(name)
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in names:
                for alias in node.names:
                    source = names[node.module].get(alias.name)
                    if source and source != name:
                        found[source].add(name)
    return {name: found[name] for name in set(found) - registered(known)}


def registered(known: dict[str, Path]) -> set[str]:
    """Return the modules that a table names."""
    tables = [ROOT.parent / "pyproject.toml", PACKAGE / "napari.yaml"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in tables)
    named = {name for name in known if f"{name}:" in text}
    for table in TABLES:
        path = known[table]
        package = table if path.name == "__init__.py" else table.rpartition(".")[0]
        words = re.findall(r"\"([\w.]+)(?::\w+)?\"", path.read_text(encoding="utf-8"))
        named |= {f"{package}.{word}" for word in words} & set(known)
    settings = {name.removesuffix("method") + "settings" for name in named if name.endswith(".method")}
    return named | settings & set(known)


def only_hands_on(path: Path) -> bool:
    """Return whether a file is a package's that defines neither function nor class."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return path.name == "__init__.py" and not any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in body)


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
    importers = {name: sorted(found) for name, found in users(known).items() if not only_hands_on(known[name])}
    top = [path.name for path in sorted(PACKAGE.glob("*.py"))]
    single = {name: found[0] for name, found in sorted(importers.items()) if len(found) == 1}
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
