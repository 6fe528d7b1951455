"""The ``medseg`` command: parse, call the library, print. Exit 0 done, 2 bad input, 130 stopped by Ctrl+C."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from napari_medseg import __version__
from napari_medseg.console import ProgressLine
from napari_medseg.errors import MedSegError, SettingsError
from napari_medseg.flags import add_flags, given
from napari_medseg.jobs import Job, run
from napari_medseg.settings import PredictSettings, TrainSettings

T = TypeVar("T")
KINDS = ("nerve", "nuclei", "afm", "video", "volume")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        arguments = build_parser(words).parse_args(words)
        if not hasattr(arguments, "call"):
            build_parser([]).print_help()
            return 0
        return int(arguments.call(arguments) or 0)
    except MedSegError as error:
        print(f"medseg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        print("\nmedseg: stopped; what was finished is kept.", file=sys.stderr)
        return 130


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; the flags of the method named in `words` are included."""
    parser = argparse.ArgumentParser("medseg", description="Medical segmentation: train, predict, refine, measure.")
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command(commands, words)
    return parser


def drain(job: Job[T], quiet: bool = False) -> T:
    """Run a job with a progress line; Ctrl+C closes the job so that it can save."""
    line = ProgressLine()
    try:
        return run(job, None if quiet else line)
    finally:
        job.close()
        if not quiet:
            line.close()


def method_class(words: Sequence[str]) -> Any:
    """Return the class of the method named in `words`, or ``None``."""
    from napari_medseg.methods import METHODS, get_method

    name = next((word for word in words[1:] if word in METHODS), None)
    return get_method(name) if name else None


def show(value: Any, as_json: bool, text: Callable[[], str]) -> None:
    """Print JSON, and only JSON, or text."""
    print(json.dumps(value, indent=2, default=str) if as_json else text())


def _methods(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("methods", help="list the methods")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import METHODS, create

        rows = []
        for name in METHODS:
            method = create(name)
            count = count_parameters(method.build_network())[1]
            row = {"name": name, "title": method.title, "doi": method.doi, "ndim": method.ndim}
            rows.append({**row, "trainable_parameters": count})
        show(rows, arguments.json, lambda: _table(rows))

    parser.set_defaults(call=call)


def _describe(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("describe", help="describe one method under given settings")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    cls = method_class(words) if words[:1] == ["describe"] else None
    if cls:
        add_flags(parser, cls.Settings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.method import count_parameters
        from napari_medseg.methods import create, get_method

        method = create(arguments.method, given(arguments, get_method(arguments.method).Settings))
        total, trainable = count_parameters(method.build_network())
        settings = method.settings.model_dump(mode="json")
        value = {"name": method.name, "parameters": total, "trainable_parameters": trainable, "settings": settings}
        text = [f"{method.title} ({method.name}), doi:{method.doi}", f"{total:,} parameters, {trainable:,} trainable"]
        show(value, arguments.json, lambda: "\n".join(text + [f"  {k} = {v}" for k, v in settings.items()]))

    parser.set_defaults(call=call)


def _train(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("train", help="train a method on a folder of images and labels")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="folder with images/ and labels/, or files side by side"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="RUN", help="run folder")
    parser.add_argument("--resume", action="store_true", help="go on from RUN/last.pt")
    parser.add_argument("--config", type=Path, help="settings.json of an earlier run; flags win over it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    cls = method_class(words) if words[:1] == ["train"] else None
    if cls:
        add_flags(parser, cls.Settings)
        add_flags(parser, TrainSettings, cls.training)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg import parallel
        from napari_medseg.methods import get_method
        from napari_medseg.training import train

        cls = get_method(arguments.method)
        config = _read_config(arguments.config, cls.name)
        method = cls(cls.Settings.parse({**config.get("settings", {}), **given(arguments, cls.Settings)}))
        changes = {**config.get("training", {}), **given(arguments, TrainSettings)}
        settings = cls.training.updated(**changes)
        parallel.start()
        try:
            job = train(method, arguments.data, arguments.output, settings, resume=arguments.resume)
            model = drain(job, quiet=parallel.rank() > 0)
        finally:
            parallel.stop()
        show(model.card, arguments.json, lambda: f"Best model: {model.card['file']}\n{_best(model.card)}")

    parser.set_defaults(call=call)


def _predict(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("predict", help="segment images with a trained model")
    parser.add_argument("model", type=Path, metavar="MODEL", help="checkpoint (.pt)")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="INPUT", help="image files or folders")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="result folder")
    parser.add_argument("--redo", action="store_true", help="predict again what is finished")
    parser.add_argument("--json", action="store_true", help="print the record as JSON only")
    add_flags(parser, PredictSettings)

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.batch import predict_files
        from napari_medseg.methods import load_model

        model = load_model(arguments.model)
        settings = model.method.prediction.updated(**given(arguments, PredictSettings))
        job = predict_files(model, arguments.inputs, arguments.output, settings, resume=not arguments.redo)
        record = drain(job, arguments.json)
        failed = {k: v["reason"] for k, v in record["files"].items() if v["status"] == "failed"}
        done = len(record["files"]) - len(failed)
        lines = [f"{done} files predicted into {arguments.output}"]
        lines += [f"not predicted: {name}: {reason}" for name, reason in failed.items()]
        lines += [f"{len(record['skipped'])} files are no images and were skipped"] if record["skipped"] else []
        show(record, arguments.json, lambda: "\n".join(lines))

    parser.set_defaults(call=call)


def _evaluate(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("evaluate", help="compare results with references")
    parser.add_argument("method", metavar="METHOD")
    parser.add_argument("predictions", type=Path, metavar="PRED", help="label file or folder")
    parser.add_argument("references", type=Path, metavar="REF", help="label file or folder")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.evaluation import evaluate

        result = drain(evaluate(arguments.method, arguments.predictions, arguments.references), arguments.json)
        if result["unpaired"]:
            print(f"medseg: without partner: {', '.join(result['unpaired'])}", file=sys.stderr)
        value = {"mean": result["mean"], "images": result["images"]}
        rows = [{"image": stem, **row} for stem, row in {**value["images"], "MEAN": value["mean"]}.items()]  # type: ignore[dict-item]
        show(value, arguments.json, lambda: _table(rows))

    parser.set_defaults(call=call)


def _measure(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("measure", help="measure a label image")
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("image", type=Path, nargs="?", metavar="IMAGE", help="image of the labels, for intensities")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TABLE.csv")
    parser.add_argument("--pixel-size", type=float, metavar="UM", help="micrometres per pixel, where no file says it")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON only")

    def call(arguments: argparse.Namespace) -> None:
        from napari_medseg.io import read_one, write_table
        from napari_medseg.measure import measure, summarise

        image = read_one(arguments.image) if arguments.image else None
        labels = with_geometry(read_one(arguments.labels, "labels"), image, arguments.pixel_size)
        image = with_geometry(image, labels, None) if image is not None else None
        write_table(arguments.output, measure(arguments.kind, labels, image))
        summary: Any = summarise(arguments.kind, labels, image).to_dict("records")
        show(summary, arguments.json, lambda: "\n".join(f"{k}: {v}" for k, v in (summary or [{}])[0].items()))

    parser.set_defaults(call=call)


def with_geometry(image: Any, other: Any, pixel_size: float | None) -> Any:
    """Give an uncalibrated image the stated pixel size, or that of `other`."""
    if pixel_size is not None:
        if not pixel_size > 0:
            raise SettingsError(f"--pixel-size must be positive, got {pixel_size}.")
        n = len(image.scale)
        return image.replace(scale=(pixel_size,) * n, units=("micrometer",) * n)
    if not image.calibrated and other is not None and other.spatial_shape == image.spatial_shape:
        return image.replace(scale=other.scale, units=other.units, affine=other.affine)
    return image


def _doctor(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("doctor", help="show versions, device and what is missing")
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> int:
        from napari_medseg.doctor import examine, report

        found = examine()
        show(found, arguments.json, lambda: report(found))
        return 1 if found["problems"] else 0

    parser.set_defaults(call=call)


def _demo(commands: Any, words: Sequence[str]) -> None:
    parser = commands.add_parser("demo", help="walk through training, prediction and measurement on generated data")
    parser.add_argument("--headless", action="store_true", help="do not open napari")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), help="folder (default: demo-output)")
    parser.add_argument("--screenshots", action="store_true", help="take pictures of the window, then close it")

    def call(arguments: argparse.Namespace) -> int:
        from napari_medseg.demo import demo, open_viewer

        result = drain(demo(arguments.output))
        print("\n".join(result.lines))
        return 0 if arguments.headless else open_viewer(arguments.output, arguments.screenshots)

    parser.set_defaults(call=call)


COMMANDS = [_methods, _describe, _train, _predict, _evaluate, _measure, _doctor, _demo]


def _read_config(path: Path | None, method: str) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read as settings: {error}. Give the settings.json of a run.") from error
    if not isinstance(config, dict) or not set(config) <= {"method", "settings", "training"}:
        raise SettingsError(f'{path}: expected {{"method": ..., "settings": {{}}, "training": {{}}}}.')
    if config.get("method", method) != method:
        raise SettingsError(f"{path} holds settings of {config['method']}, not of {method}.")
    return config


def _best(card: dict[str, Any]) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in card.get("best", {}).items() if isinstance(v, float))


def _table(rows: list[dict[str, Any]]) -> str:
    import pandas as pd

    return str(pd.DataFrame(rows).to_string(index=False, float_format=lambda v: f"{v:.4f}"))


def terminate_like_interrupt() -> None:
    """Let SIGTERM stop a job as Ctrl+C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def entry() -> None:
    """Console entry point."""
    terminate_like_interrupt()
    sys.exit(main())
