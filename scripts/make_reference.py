"""Write docs/reference/command-line.md from the parsers and the settings: ``python scripts/make_reference.py``.

``tests/test_docs.py`` fails when the page is not what this script writes.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_medseg.cli.commands import COMMANDS
from napari_medseg.cli.main import build_parser
from napari_medseg.methods import METHODS, get_method, known_methods
from napari_medseg.preprocessing.settings import VolumeSettings
from napari_medseg.settings import TrainSettings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
MEANINGS = {
    "METHOD": "name of a method: " + ", ".join(METHODS),
    "IMAGE": "image file",
    "LABELS": "label file",
    "FOLDER": "folder to write",
    "--output": "file or folder to write",
}
# words that bring a command's own settings, and groups that have sections of their own
EXTRA = {"prepare": ["prepare", "fullnet"], "train": ["train", "afm-unet"]}
ELSEWHERE = {"AfmUnetSettings", "TrainSettings"}
HEAD = """# Command line

<!-- written by scripts/make_reference.py: change the parsers, not this page -->

Every command ends with exit code 0 when it is done, 2 when something given is wrong (one message, no traceback) and 130
after Ctrl+C, with everything finished so far kept. `medseg predict` over many files ends with 2 only when none of them
could be predicted; those that could not are listed (`"status": "failed"` in run.json and `--json`).
`medseg COMMAND --help` shows the same as this page. MODEL is a
`.pt` file or the name of a [bundled model](../models.md).
"""
FOLLOW = "Further flags: {schedule}the settings of {methods}."


def main() -> None:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    parts = [HEAD, *(command(name) for name in COMMANDS), schedule(), *(method(name) for name in known_methods())]
    return "\n".join(parts).rstrip() + "\n"


def command(name: str) -> str:
    """Return the section of one command."""
    parser = subparser(EXTRA.get(name, [name]), name)
    lines = [f"## medseg {name}", "", sentence(parser.description or about(name)), "", "```text", usage(name, parser)]
    lines += ["```", ""]
    rows = [row(action) for g in parser._action_groups if g.title not in ELSEWHERE for action in shown(g)]
    lines += table(("argument", "meaning", "default"), rows)
    if name == "prepare":
        groups = subparser(["prepare", "p-net"], "prepare")._action_groups
        rows = [row(action) for g in groups if g.title == VolumeSettings.__name__ for action in shown(g)]
        lines += ["For `p-net` and `r-net`, instead of the flags from `--tissue` on:", ""]
        lines += table(("argument", "meaning", "default"), rows)
    if name in ("train", "describe"):
        links = ", ".join(f"[{m}](#{m})" for m in (METHODS if name == "train" else known_methods()))
        first = "the [training schedule](#training-schedule) and " * (name == "train")
        lines += [FOLLOW.format(schedule=first, methods=links), ""]
    return "\n".join(lines)


def schedule() -> str:
    """Return the flags of training with every method's defaults."""
    methods = {name: get_method(name).training for name in METHODS}
    lines = ["## Training schedule", "", "Flags of `medseg train METHOD`, with the defaults of each method.", ""]
    rows = []
    for name, field in TrainSettings.model_fields.items():
        values = {method: shown_value(getattr(settings, name)) for method, settings in methods.items()}
        usual = max(values.values(), key=list(values.values()).count)
        others = "; ".join(f"{method} {value}" for method, value in values.items() if value != usual)
        rows.append(
            (f"`--{name.replace('_', '-')}`", field.description or "", f"{usual}{f' ({others})' * bool(others)}")
        )
    return "\n".join([*lines, *table(("flag", "meaning", "default"), rows)])


def shown_value(value: object) -> str:
    """Return a value as text."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


def method(name: str) -> str:
    """Return the section of one method's settings."""
    cls = get_method(name)
    parser = subparser(["describe", name], "describe")
    group = next(g for g in parser._action_groups if g.title == cls.Settings.__name__)
    head = f"{cls.title}, [doi:{cls.doi}](https://doi.org/{cls.doi})." if cls.doi else f"{cls.title}."
    lines = [f"## {name}", "", head, ""]
    return "\n".join([*lines, *table(("flag", "meaning", "default"), [row(action) for action in shown(group)])])


def subparser(words: list[str], name: str) -> argparse.ArgumentParser:
    """Return the parser of command `name` as built for `words`."""
    parser: argparse.ArgumentParser = _commands(words).choices[name]
    return parser


def about(name: str) -> str:
    """Return the help line of a command."""
    return next(str(a.help) for a in _commands([])._choices_actions if a.dest == name)


def _commands(words: list[str]) -> Any:
    return next(a for a in build_parser(words)._actions if isinstance(a, argparse._SubParsersAction))


def shown(group: Any) -> Iterator[argparse.Action]:
    """Yield the actions of a group, without ``--help``."""
    yield from (
        a for a in group._group_actions if not isinstance(a, argparse._HelpAction) and a.help != argparse.SUPPRESS
    )


def usage(name: str, parser: argparse.ArgumentParser) -> str:
    """Return one line: command, what must be given, that there are flags."""
    words = ["medseg", name]
    for action in (action for action in parser._actions if action.help != argparse.SUPPRESS):
        if not action.option_strings:
            word = str(action.metavar)
            words.append({"+": f"{word} [{word} ...]", "?": f"[{word}]"}.get(str(action.nargs), word))
        elif action.required:
            words.append(f"{action.option_strings[0]} {action.metavar}")
    return " ".join([*words, "[flags]"])


def row(action: argparse.Action) -> tuple[str, str, str]:
    """Return name, meaning and default of an argument."""
    known = action.help or next(
        (m for word, m in MEANINGS.items() if word in (action.metavar, *action.option_strings)), ""
    )
    text, _, default = known.replace("%%", "%").rpartition(" (default: ")
    meaning, default = (text, default.removesuffix(")")) if text else (known.replace("%%", "%"), "")
    if _chosen(action):
        meaning = f"{meaning}. One of: {', '.join(map(str, action.choices or ()))}"
    return f"`{_name(action)}`", meaning, {"True": "on", "False": "off"}.get(default, default)


def _name(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar)
    flags = ", ".join(action.option_strings)
    plain = action.nargs == 0 or _chosen(action)
    values = " ".join(
        [str(action.metavar or action.dest.upper())] * (action.nargs if isinstance(action.nargs, int) else 1)
    )
    return flags if plain else f"{flags} {values}"


def _chosen(action: argparse.Action) -> bool:
    """Whether the flag's words are worth listing: its metavar does not say what they are."""
    return bool(action.choices) and (action.metavar is None or str(action.metavar).startswith("{"))


def table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table, without the column of defaults where there are none."""
    width = 2 if not any(r[-1] for r in rows) else len(titles)
    lines = [titles, ("---",) * len(titles), *rows]
    cells = [[str(cell).replace("|", "\\|").replace("<", "&lt;") for cell in line[:width]] for line in lines]
    return [*(f"| {' | '.join(line)} |" for line in cells), ""]


def sentence(text: str) -> str:
    """Return `text` with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


if __name__ == "__main__":
    main()
