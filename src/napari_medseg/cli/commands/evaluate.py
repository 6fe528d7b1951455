"""``medseg evaluate``: compare results with references."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg.cli.output import drain, keep_apart, show, table, warn
from napari_medseg.errors import SettingsError, some_of

FRAMES = "methods that classify frames"


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="PRED",
        help=f"label file or folder, or recorded refinement (folder, .jsonl); {FRAMES}: run folder, .csv or model",
    )
    parser.add_argument(
        "references", type=Path, metavar="REF", help=f"label file or folder; {FRAMES}: class folders or .csv"
    )
    parser.add_argument("--class", dest="only", default="", metavar="NAME", help=f"{FRAMES}: this class only")
    parser.add_argument("-o", "--output", type=Path, metavar="TABLE", help="also write the tables: .csv or .xlsx")
    parser.add_argument("--figure", type=Path, metavar="FIGURE", help="also draw: .png, .svg or .pdf")
    parser.add_argument("--image", type=Path, metavar="IMAGE", help="what was refined, if not the session's own file")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.evaluate.rounds import is_session
        from napari_medseg.io.write import check_table
        from napari_medseg.methods import role_of

        for path in (arguments.output, arguments.figure):
            if path:
                keep_apart(path, arguments.predictions, arguments.references, arguments.image)
        if arguments.output:
            check_table(arguments.output)
        if arguments.figure:
            from napari_medseg.evaluate.figures import check_figure

            check_figure(arguments.figure)
        if role_of(arguments.method) == "classify":
            frames(arguments)
        elif is_session(arguments.predictions):
            rounds(arguments)
        else:
            masks(arguments)

    parser.set_defaults(call=call)


def masks(arguments: argparse.Namespace) -> None:
    """Print the metrics of every image and, for movies, how frames without nerve count."""
    from napari_medseg.evaluate.masks import evaluate

    result: dict[str, Any] = drain(
        evaluate(arguments.method, arguments.predictions, arguments.references), arguments.json
    )
    if result["unpaired"]:
        warn(f"without partner: {some_of(result['unpaired'])}")
    for problem in result["problems"]:
        warn(f"not compared: {problem}")
    for note in result["notes"]:
        warn(f"{note}")
    value = {name: result[name] for name in ("mean", "images", "pooled", "movie") if name in result}
    rows = [{"image": stem, **row} for stem, row in {**value["images"], "MEAN": value["mean"]}.items()]
    pooled = [{"over": "all objects as one set", **value["pooled"]}] if "pooled" in value else []
    over = [{"over": name, **row} for name, row in value.get("movie", {}).items()]
    _keep_masks(arguments, result)
    show(value, arguments.json, "\n\n".join(table(part) for part in (rows, pooled, over) if part))


def _keep_masks(arguments: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write tables and figure, of two files with their errors and objects."""
    from napari_medseg.evaluate.masks import compare_pair, image_table, read_pair
    from napari_medseg.io.pairs import Pair, is_one
    from napari_medseg.io.write import write_tables

    if not (arguments.output or arguments.figure):
        return
    images, found = image_table(result), None
    pair = arguments.predictions, arguments.references
    if all(is_one(path) for path in pair):
        labels = read_pair(Pair(*pair))
        found = drain(compare_pair(arguments.method, *labels), arguments.json)
    if arguments.output:
        objects = {} if found is None or found.objects is None else {"objects": found.objects}
        write_tables(arguments.output, {"images": images, **objects})
    if arguments.figure:
        from napari_medseg.evaluate.figures import error_figure, metric_figure, save_figure

        save_figure(arguments.figure, error_figure(found, *labels) if found else metric_figure(images))


def rounds(arguments: argparse.Namespace) -> None:
    """Repeat a recorded refinement and print the Dice after each of its steps."""
    from napari_medseg.evaluate.rounds import replay_scores
    from napari_medseg.io import read_one
    from napari_medseg.io.write import write_tables

    image = read_one(arguments.image) if arguments.image else None
    truth = read_one(arguments.references, "labels")
    frame = drain(replay_scores(arguments.predictions, truth, image), arguments.json)
    if arguments.output:
        write_tables(arguments.output, {"rounds": frame})
    if arguments.figure:
        from napari_medseg.evaluate.figures import rounds_figure, save_figure

        save_figure(arguments.figure, rounds_figure(frame))
    rows: list[dict[str, Any]] = [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]
    show({"rounds": rows}, arguments.json, table(rows))


def frames(arguments: argparse.Namespace) -> None:
    """Print how well frames are classified: each class against the rest, and the table of confusions."""
    from napari_medseg.evaluate.frames import evaluate_frames
    from napari_medseg.io.write import write_tables

    if arguments.figure:
        raise SettingsError("--figure draws masks and rounds; classes of frames go to --output. Leave it out.")
    found = drain(evaluate_frames(arguments.predictions, arguments.references, arguments.only), arguments.json)
    if found.unpaired:
        warn(f"{found.unpaired} frames without partner")
    value = {
        "frames": found.frames,
        "accuracy": found.accuracy,
        "scores": found.scores.astype(object).where(found.scores.notna(), None).to_dict("records"),
        "confusion": found.confusion.to_dict("index"),
    }
    if arguments.output:
        write_tables(arguments.output, {"scores": found.scores, "confusion": found.confusion.reset_index()})
    heading = f"{found.frames} frames, {found.accuracy:.1%} right; intervals hold 95 %"
    scores = found.scores.to_string(index=False, float_format=lambda v: f"{v:.4f}")
    parts = [heading, scores, str(found.confusion)]
    show(value, arguments.json, "\n\n".join(parts))
