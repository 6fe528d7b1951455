"""`segment_video`: decode, compute, measure and write side by side, in constant memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_medseg.image import Image
from napari_medseg.io.identity import fingerprint
from napari_medseg.io.locks import held_folder
from napari_medseg.jobs import Job, Progress, Speed
from napari_medseg.measure.video import area_of, contrast, shape_of
from napari_medseg.method import Model
from napari_medseg.video.decision import p_columns
from napari_medseg.video.edits import TABLE
from napari_medseg.video.networks import Computed, Networks
from napari_medseg.video.output import Output, paint
from napari_medseg.video.settings import VideoSettings
from napari_medseg.video.source import Source
from napari_medseg.video.stages import close, ordered_map, prefetch

MEASURES = ("mask_area_px", "mask_area_frac", "n_components", "centroid_y", "centroid_x")


@dataclass(frozen=True)
class VideoResult:
    """What `segment_video` wrote: folder, table, overlay movie (or ``None``), and the content of summary.json."""

    folder: Path
    table: Path
    movie: Path | None
    summary: dict[str, Any]


def segment_video(
    movie: str | Path | Image,
    classifier: Model | None,
    segmenter: Model,
    folder: str | Path,
    settings: VideoSettings | None = None,
) -> Job[VideoResult]:
    """Classify every frame, segment those that show nerve, and write everything to `folder`.

    Yields one `Progress` per frame: ``metrics`` holds the frame's row of numbers, ``preview`` its overlay. Closing the
    generator stops the run; table, movie and masks then hold the frames so far, and the same call goes on from there.

    Parameters
    ----------
    movie
        File, folder of frames, or image ``TYX`` or ``TYXC``.
    classifier
        A frame-classifier model; ``None``: every frame counts as nerve.
    segmenter
        A double-unet model.
    folder
        For ``frames.csv``, ``summary.json``, ``masks/``, ``overlay.mkv`` (or ``.mp4``) and ``overlays/``.
    settings
        Cut, vote, result and speed.

    Raises
    ------
    ReadError, DataError, WriteError, DeviceError
        If the movie cannot be read, models or folder do not fit, or memory runs out.
    """
    settings = settings or VideoSettings()
    source = Source(movie, settings)
    networks = Networks(classifier, segmenter, settings)
    identity = _identity(source, classifier, segmenter, settings)
    with held_folder(folder, "video") as out:
        return (yield from _run(source, networks, out, settings, identity))


def _run(
    source: Source, networks: Networks, folder: Path, settings: VideoSettings, identity: dict[str, Any]
) -> Job[VideoResult]:
    """Run the stages, write each frame, and close the output however they end."""
    columns = _columns(networks.classes, settings, source)
    output = Output(folder, source, settings, columns, identity)
    started, speed, finished = time.perf_counter(), Speed(), False
    results = _results(source, networks, output, settings)
    try:
        yield Progress(0, len(source.numbers), _greeting(source, networks, output))
        for computed, row, overlay in results:
            output.add(computed.position, row, overlay)
            yield _progress(computed, row, overlay, source, speed)
        finished = True
    finally:
        close(results)
        seconds = time.perf_counter() - started
        summary = output.close(
            finished,
            device=networks.reason,
            seconds=round(seconds, 3),
            frames_computed=output.added,
        )
    return VideoResult(output.folder, output.folder / TABLE, output.movie_path, summary)


Result = tuple[Computed, dict[str, Any] | None, np.ndarray | None]


def _results(source: Source, networks: Networks, output: Output, settings: VideoSettings) -> Iterator[Result]:
    """Join the stages; frames that an earlier run finished are decoded again only for the movie or the vote."""
    done = [_logged(row, networks.classes) for row in output.done]
    threads = settings.threads or min(os.cpu_count() or 1, 4)
    frames = prefetch(source.frames(0 if output.movie_wanted or settings.vote > 1 else len(done)), 2 * settings.batch)
    if not output.movie_wanted and settings.vote == 1:
        _replay(networks, done)
    computed = prefetch(networks.run(frames, done), 2 * settings.batch)
    return ordered_map(lambda item: _finish(item, source, networks, output, settings), computed, threads)


def _replay(networks: Networks, done: list[np.ndarray | None]) -> None:
    """Bring the hysteresis to where the earlier run stopped."""
    for position, p in enumerate(done):
        if networks.decision is not None and p is not None:
            networks.decision.push(position, p)


def _finish(item: Computed, source: Source, networks: Networks, output: Output, settings: VideoSettings) -> Result:
    """Clean, measure and paint one frame and write its pictures."""
    if item.done:
        if not output.movie_wanted:
            return item, None, None
        return item, None, paint(item.frame, output.done_mask(item.position), settings)
    empty = np.zeros(source.size, bool)
    mask = empty if item.mask is None else networks.method.clean(item.mask)
    number = source.numbers[item.position]
    row: dict[str, Any] = {"frame": number, "name": source.name(number), "time_s": source.time(number)}
    if item.p is not None:
        row |= dict(zip(p_columns(networks.classes), item.p.tolist(), strict=True))
    row |= {"label": item.label, **shape_of(mask)}
    row |= area_of(row["mask_area_px"], source.image)
    if settings.contrast:
        row |= contrast(item.frame, mask, settings.ring_gap, settings.ring_width)
    row |= {"cls_ms": item.cls_ms, "seg_ms": item.seg_ms}
    overlay = paint(item.frame, mask, settings)
    output.write_pictures(item.position, mask, overlay)
    return item, row, overlay


def _progress(
    item: Computed, row: dict[str, Any] | None, overlay: np.ndarray | None, source: Source, speed: Speed
) -> Progress:
    """Say of a frame what it shows and how fast they go on."""
    step, total = item.position + 1, len(source.numbers)
    number = source.numbers[item.position]
    preview = None if overlay is None else Image(overlay, "YXC", name=source.name(number))
    if row is None:
        return Progress(step, total, f"frame {step} of {total}: done before", {"frame": float(number)}, preview)
    numbers = {name: float(value) for name, value in row.items() if not isinstance(value, str)}
    pace = speed.note(step, time.perf_counter())
    told = f", {pace:.1f} frames/s" if pace else ""
    return Progress(step, total, f"frame {step} of {total}: {row['label']}{told}", numbers, preview)


def _columns(classes: tuple[str, ...], settings: VideoSettings, source: Source) -> list[str]:
    """Return the columns of ``frames.csv``."""
    measured = ("nbr", "cnr") if settings.contrast else ()
    return [
        "frame",
        *(["name"] if source.named else []),
        "time_s",
        *p_columns(classes),
        "label",
        *MEASURES,
        *area_of(0, source.image),
        *measured,
        "cls_ms",
        "seg_ms",
    ]


def _logged(row: dict[str, Any], classes: tuple[str, ...]) -> np.ndarray | None:
    return np.array([float(row[name]) for name in p_columns(classes)], np.float32) if classes else None


def _identity(source: Source, classifier: Model | None, segmenter: Model, settings: VideoSettings) -> dict[str, Any]:
    """Return what must be equal for two runs to give the same result."""

    def model(one: Model | None) -> dict[str, Any] | None:
        if one is None:
            return None
        described = {"method": one.method.name, "settings": one.method.settings.model_dump(mode="json")}
        return {**described, "sha256": one.card.get("sha256", "")}

    return {
        "source": Path(source.path).name,
        "content": fingerprint([Path(source.path)]),
        "frames": [0, source.image.data.shape[0], source.step],
        "classifier": model(classifier),
        "segmenter": model(segmenter),
        "settings": settings.result_settings(),
    }


def _greeting(source: Source, networks: Networks, output: Output) -> str:
    """Say where it computes and what is assumed of the movie."""
    parts = [networks.reason]
    if output.resumed:
        parts.append(f"going on after {output.resumed} frames")
    if source.missing:
        parts.append(f"the movie is cut short: {source.missing} frames are missing at its end")
    if source.assumed:
        parts.append(f"the source states no time between frames: {float(source.fps):g} a second are taken (--fps)")
    if source.white != 255:
        parts.append(f"white is taken to be {source.white:g}")
    parts += source.image.metadata.get("notes", [])
    return "; ".join(parts)
