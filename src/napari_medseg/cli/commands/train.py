"""``medseg train``: train a method on a folder of images and labels."""

from __future__ import annotations

import argparse
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.flags import add_flags, given, named_method, settings_of
from napari_medseg.cli.output import drain, show
from napari_medseg.errors import ReadError, SettingsError
from napari_medseg.methods import schedule_of, settings_class
from napari_medseg.models.settings import CardSettings
from napari_medseg.settings import TrainSettings


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument(
        "data",
        type=Path,
        metavar="DATA",
        help="folder with images/ and labels/, or files side by side, or the results of a reviewed batch",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/last.pt")
    parser.add_argument(
        "--from", type=Path, dest="start", metavar="CHECKPOINT.pt",
        help="start from this model's weights and with its settings",
    )  # fmt: skip
    parser.add_argument(
        "--recipe", choices=("paper", "recommended"), default="paper",
        help="settings and schedule to begin with: as published, or what did better in our measurements; "
        "settings of a model to start from and flags win",
    )  # fmt: skip
    parser.add_argument("--config", type=Path, help="settings.json of an earlier run; flags win over it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    if name := named_method(words):
        add_flags(parser, settings_class(name))
        add_flags(parser, TrainSettings, schedule_of(name))
        add_flags(parser, CardSettings)
    parser.set_defaults(call=_call)


def _call(arguments: argparse.Namespace) -> None:
    from napari_medseg.methods import get_method
    from napari_medseg.training import distributed as parallel
    from napari_medseg.training.loop import train

    cls = get_method(arguments.method)
    config = _read_config(arguments.config, cls.name)
    start, known = _read_start(arguments.start, cls.name)
    chosen, schedule = _recipe(cls, arguments.recipe)
    sources = chosen, known, config.get("settings", {}), given(arguments, cls.Settings)
    own = dict(ChainMap(*map(cls.Settings.renamed, reversed(sources))))
    method = cls(cls.Settings.parse(own))
    settings = schedule.updated(**{**config.get("training", {}), **given(arguments, TrainSettings)})
    about = settings_of(arguments, CardSettings)
    parallel.start()
    try:
        what = (method, arguments.data, arguments.output, settings)
        job = train(*what, resume=arguments.resume, start=start, about=about)
        model = drain(job, quiet=parallel.rank() > 0)
    finally:
        parallel.stop()
    show(model.card, arguments.json, f"Best model: {model.card['file']}\n{_best(model.card)}")


def _recipe(cls: Any, name: str) -> tuple[dict[str, Any], TrainSettings]:
    """Return the settings and the schedule that a run begins with."""
    if name == "paper":
        return {}, cls.training
    if cls.recipe is None:
        raise SettingsError(
            f"There is no recommended recipe for {cls.name}. Leave out --recipe for the paper's schedule."
        )
    return dict(cls.recipe.settings), cls.recipe.training


def _read_start(path: Path | None, method: str) -> tuple[Path | None, dict[str, Any]]:
    """Return the file of the model to start from, and the settings it was made with."""
    if path is None:
        return None, {}
    from napari_medseg.models.checkpoint import find_model, read_checkpoint

    path = find_model(path)
    content = read_checkpoint(path)
    return path, content["settings"] if content["method"] == method else {}


def _read_config(path: Path | None, method: str) -> dict[str, Any]:
    from napari_medseg.io.files import read_json

    if path is None:
        return {}
    try:
        config: dict[str, Any] = read_json(path)
    except ReadError as error:
        raise SettingsError(f"{path} cannot be read as settings: {error} Give the settings.json of a run.") from error
    if not isinstance(config, dict) or not set(config) <= {"method", "settings", "training"}:
        raise SettingsError(f'{path}: expected {{"method": ..., "settings": {{}}, "training": {{}}}}.')
    if any(not isinstance(config.get(part, {}), dict) for part in ("settings", "training")):
        raise SettingsError(f"{path}: its settings and training must be objects of names and values.")
    if config.get("method", method) != method:
        raise SettingsError(f"{path} holds settings of {config['method']}, not of {method}.")
    return config


def _best(card: dict[str, Any]) -> str:
    before = ", ".join(f"{k} {v:.4g}" for k, v in card.get("before", {}).items())
    best = ", ".join(f"{k} {v:.4g}" for k, v in card.get("best", {}).items() if isinstance(v, float))
    return f"{best}\nbefore: {before}" if before else best
