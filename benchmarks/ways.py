"""Five ways from an image to a file, walked in the real window: ``xvfb-run -a python -m benchmarks ways``.

Each field's way begins in a fresh napari, with an image opened by this package's reader. A real mouse then presses what
a person presses, menus and file dialogs included, until the first useful result stands in the window, and on to the
file that the field's own tool opens. That file is read by another reader and compared with what the window shows; the
result with the exact one. What scores below the floor, or is read differently, fails. ``--own FIELD IMAGE [TRUTH]``
walks a way with files of one's own, ``--pictures FOLDER`` keeps a picture of every useful result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import header

WINDOW = (1280, 800)
MENU = ("Plugins", "Medical segmentation")
SEED = 11
STROKES = 6  # at most
CLOSE = 0.02  # relative difference that rounding of a table explains


@dataclass
class Walk:
    """One way under way: the hand, the files, and what was noted."""

    hand: Any
    image: Path
    truth: Path | None
    out: Path
    pictures: Path | None
    name: str
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.viewer = self.hand.viewer
        self.viewer.open(str(self.image), plugin="napari-medseg")
        self.layer = self.viewer.layers.selection.active or self.viewer.layers[-1]
        self.hand.settle(1)
        self.start, self.processor = time.monotonic(), time.process_time()

    def dock(self, title: str) -> Any:
        """Open a dock from the menu and return it."""
        self.hand.menu(*MENU, title)
        return self.opened(title)

    def opened(self, title: str) -> Any:
        """Wait for a dock and return it."""
        docks = self.viewer.window.dock_widgets
        self.hand.wait(lambda: any(title in name and hasattr(dock, "run_bar") for name, dock in docks.items()))
        self.hand.settle(0.5)
        return next(dock for name, dock in docks.items() if title in name)

    def run(self, bar: Any) -> None:
        """Press Run and wait for its end."""
        self.hand.wait(bar.run_button.isEnabled, 20)
        self.hand.click(bar.run_button)
        self.end(bar)

    def end(self, bar: Any) -> None:
        """Wait for what runs."""
        self.hand.wait(lambda: bar.current is None)
        if bar.failed:
            raise RuntimeError(bar.message.text())
        self.hand.settle(0.5)

    def useful(self, what: str, score: str = "", floor: float = 0.0, value: float = float("nan")) -> None:
        """Note that there is a useful result, and how good it is."""
        seconds, processor = time.monotonic() - self.start, time.process_time() - self.processor
        self.notes |= {"result": what, "clicks": self.hand.clicks, "wheel": self.hand.wheel, "seconds": seconds}
        self.notes |= {"processor": processor, "score": f"{score} {value:.3f}" if score else "no reference"}
        self.picture(self.name)
        if score and value < floor:
            raise RuntimeError(f"{score} is {value:.3f}, below {floor}")

    def picture(self, name: str) -> None:
        """Keep a picture of the window."""
        self.hand.settle(0.6)
        if self.pictures is not None:
            self.viewer.screenshot(str(self.pictures / f"{name}.png"), canvas_only=False, flash=False)

    def exported(self, files: str, reader: str) -> None:
        """Note what was written and what read it."""
        self.notes |= {"to the file": self.hand.clicks, "file": files, "reader": reader}

    def score(self, labels: Any, metric: str, kind: Any = "binary") -> float:
        """Return a metric of a layer against the reference; not a number without one."""
        from napari_medseg._napari.layers import image_from_layer
        from napari_medseg.evaluate.metrics.compare import compare
        from napari_medseg.io import read_labels

        if self.truth is None:
            return float("nan")
        return compare(image_from_layer(labels), read_labels(self.truth), (metric,), kind)[metric]


def same(what: str, read: Any, shown: Any, relative: float = 0.0) -> None:
    """Raise where what another reader finds is not what the window shows."""
    if not np.allclose(np.asarray(read, float), np.asarray(shown, float), rtol=relative, atol=0):
        raise RuntimeError(f"{what}: the file says {read}, the window {shown}")


# ---- the ways
def found(walk: Walk) -> tuple[Any, Any]:
    """Segment with what is proposed, and measure; return the labels and the dock Measure."""
    segment = walk.dock("Segment")
    walk.run(segment.run_bar)
    labels = segment.made
    walk.hand.click(segment.run_bar.next_button)
    measure = walk.opened("Measure")
    if measure.run_bar.current is None and not len(measure.table.frame):
        walk.hand.click(measure.run_bar.run_button)
    walk.end(measure.run_bar)
    return labels, measure


def export(walk: Walk, measure: Any, name: str) -> Path:
    """Export from the dock Measure and return the file."""
    path = walk.out / name
    walk.hand.save_as(measure.export_button, str(path))
    walk.hand.wait(path.exists)
    walk.hand.settle(0.5)
    return path


def ccm(walk: Walk) -> None:
    """Nerves with length and density."""
    import pandas as pd

    labels, measure = found(walk)
    walk.useful("nerves and their table", "F1 within 3 px", 0.7, walk.score(labels, "f1_3px"))
    table = pd.read_csv(export(walk, measure, "nerves.csv"))
    same("number of nerves", len(table), len(measure.table.frame))
    drawn = swc_lengths(export(walk, measure, "nerves.swc"))
    same("length of all nerves", sum(drawn), table["length [um]"].sum(), CLOSE)
    walk.exported("nerves.csv, nerves.swc", "pandas, numpy")


def swc_lengths(path: Path) -> list[float]:
    """Return the lengths of the steps of an SWC file: rows of number, type, x, y, z, radius, parent."""
    rows = np.loadtxt(path, comments="#", ndmin=2)
    at = {int(row[0]): row[2:5] for row in rows}
    return [float(np.linalg.norm(row[2:5] - at[int(row[6])])) for row in rows if row[6] > 0]


def histology(walk: Walk) -> None:
    """Nuclei with their areas."""
    import roifile

    labels, measure = found(walk)
    walk.useful("nuclei and their table", "object F1", 0.7, walk.score(labels, "f1", "instances"))
    features = json.loads(export(walk, measure, "nuclei.geojson").read_text(encoding="utf-8"))["features"]
    regions = roifile.roiread(export(walk, measure, "nuclei.zip"))
    nuclei = len(measure.table.frame)
    same("number of outlines", [len(features), len(regions)], [nuclei, nuclei])
    shapes = [one["geometry"] for one in features]
    outlines = [ring for s in shapes for part in parts(s) for ring in part]
    same("pixels in the outlines", filled(outlines, labels.data.shape), labels.data > 0)
    rings = [ring for one in regions for ring in one.coordinates(multi=True)]
    same("pixels in the regions", filled(rings, labels.data.shape), labels.data > 0)
    walk.exported("nuclei.geojson, nuclei.zip", "json, roifile")


def parts(shape: dict[str, Any]) -> list[Any]:
    """Return the polygons of a GeoJSON geometry, each a list of rings."""
    return [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]


def filled(rings: Sequence[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centres lie within rings of (x, y), counted from the corner of the first; even-odd."""
    from skimage.draw import polygon

    inside = np.zeros(shape, bool)
    for ring in rings:
        x, y = np.asarray(ring, float).T - 0.5
        inside[polygon(y, x, shape)] ^= True
    return inside


def afm(walk: Walk) -> None:
    """Cells with area, height and volume."""
    import pandas as pd
    import tifffile

    labels, measure = found(walk)
    walk.useful("cells and their table", "Dice", 0.8, walk.score(labels, "dice"))
    table = pd.read_csv(export(walk, measure, "cells.csv"))
    pixels = tifffile.imread(export(walk, measure, "cells.tif"))
    same("number of cells", len(table), len(measure.table.frame))
    same("labels", pixels, labels.data)
    walk.exported("cells.csv, cells.tif", "pandas, tifffile")


def video(walk: Walk) -> None:
    """Frames with nerve, and its outline."""
    import av
    import pandas as pd

    movie = walk.dock("Nerve movie")
    for chooser, word in ((movie.classifier, "demo_frame_classifier"), (movie.segmenter, "demo_double_unet")):
        if chooser.entry is None:
            title = next(chooser.box.itemText(k) for k in range(chooser.box.count()) if word in chooser.box.itemText(k))
            walk.hand.choose(chooser.box, title)
    walk.run(movie.run_bar)
    walk.hand.wait(lambda: movie.loader is None and len(movie.timeline.rows) > 0)
    masks = next(layer for layer in reversed(walk.viewer.layers) if type(layer).__name__ == "Labels")
    walk.useful("nerve in the frames, and the timeline", "Dice", 0.6, walk.score(masks, "dice"))
    table = pd.read_csv(movie.out / "frames.csv")
    same("number of frames", len(table), walk.layer.data.shape[0])
    with av.open(str(movie.out / "overlay.mkv")) as file:
        same("frames of the overlay", sum(1 for _ in file.decode(video=0)), len(table))
    walk.exported("frames.csv, overlay.mkv, masks (written by Run)", "pandas, PyAV")


def mri(walk: Walk) -> None:
    """A lesion from strokes."""
    import nibabel
    import SimpleITK

    refine = walk.dock("Refine with scribbles")
    walk.run(refine.run_bar)
    live = refine.live
    from napari_medseg.io import read_labels

    truth = np.asarray(read_labels(walk.truth).data) > 0
    score = 0.0
    for _ in range(STROKES):
        stroke(walk, live, truth)
        score = walk.score(live.layers.mask, "dice")
        if score >= 0.8:
            break
    walk.useful(f"the object after {live.session.state.index} strokes", "Dice", 0.8, score)
    path = walk.out / "mask.nii.gz"
    walk.hand.save_as(live.panel.buttons["save"], str(path))
    walk.hand.wait(path.exists)
    image, written = nibabel.load(walk.image), nibabel.load(path)
    same("place", written.affine, image.affine)
    mask = np.asarray(live.layers.result.data)
    same("mask", np.asarray(written.dataobj).T, mask)
    same("mask", SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))), mask)
    walk.exported("mask.nii.gz", "nibabel, SimpleITK")


def stroke(walk: Walk, live: Any, truth: np.ndarray) -> None:
    """Go to the slice with the largest error and draw along it."""
    from scipy import ndimage

    wrong = (np.asarray(live.layers.mask.data) > 0) != truth
    depth = int(wrong.sum((1, 2)).argmax())
    pieces, _ = ndimage.label(wrong[depth])
    inside = ndimage.distance_transform_edt(np.pad(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax(), 1))[
        1:-1, 1:-1
    ]
    row, column = np.unravel_index(inside.argmax(), inside.shape)
    along = np.flatnonzero(inside[row] > 0.4 * inside.max())
    along = along[(along >= column - 8) & (along <= column + 8)]
    value = 2 if truth[depth, row, column] else 1
    if live.layers.painting != value:
        walk.hand.key("t")
    canvas = walk.viewer.window._qt_viewer.canvas.native
    walk.hand.hover(canvas)
    while (here := walk.viewer.dims.current_step[0]) != depth:
        walk.hand.key("Right" if here < depth else "Left")
        walk.hand.settle(0.03)
    before = live.session.state.index
    walk.hand.drag(live.layers.scribbles, [(depth, row, x) for x in along])
    walk.hand.wait(lambda: live.session.state.index > before and live.steps.current is None, 60)


WAYS: dict[str, Callable[[Walk], None]] = {f.__name__: f for f in (ccm, histology, video, afm, mri)}


# ---- files
def generated(field: str, folder: Path) -> tuple[Path, Path | None]:
    """Write a generated image of a field as its instruments do, and its exact reference."""
    from napari_medseg.io import write

    if field == "ccm":
        from napari_medseg.samples.ccm import ccm_folder

        ccm_folder(folder, 1, 384, SEED)
        return next(folder.glob("*_org.tif")), next(folder.glob("exact/*"))
    if field == "histology":
        from napari_medseg.samples.histology import nuclei_tile

        image, labels = nuclei_tile(SEED, 512)
        return write(folder / "tile.png", image), write(folder / "tile_label.tif", labels)
    if field == "afm":
        from napari_medseg.samples.afm import afm_scan

        image, labels = afm_scan(SEED, 384)
        return write_gwy(folder / "scan.gwy", image), write(folder / "scan_label.tif", labels)
    if field == "mri":
        from napari_medseg.samples.mri import brain_volume

        image, labels = brain_volume(SEED, (80, 96, 88), (1.0, 1.0, 1.0))
        return write(folder / "brain.nii.gz", image), write(folder / "brain_label.nii.gz", labels)
    from napari_medseg.samples.video import nerve_video, write_movie

    movie, labels = nerve_video(SEED)
    return write_movie(folder / "movie.mkv", movie), write(folder / "movie_label.tif", labels)


def write_gwy(path: Path, image: Any) -> Path:
    """Write heights as Gwyddion does, with its reference library."""
    from gwyfile.objects import GwyContainer, GwyDataField, GwySIUnit

    metre = [GwySIUnit(unitstr="m") for _ in range(2)]
    size = [n * step * 1e-6 for n, step in zip(image.data.shape, image.scale, strict=True)]
    heights = GwyDataField(
        np.asarray(image.data, float) * 1e-9, xreal=size[1], yreal=size[0], si_unit_xy=metre[0], si_unit_z=metre[1]
    )
    container = GwyContainer({"/0/data": heights, "/0/data/title": "Height"})
    container.tofile(str(path))
    return path


# ---- running
def walk(field: str, image: Path, truth: Path | None, pictures: Path | None) -> dict[str, Any]:
    """Walk one way in this process and return what was noted."""
    import napari

    from benchmarks._hand import Hand

    viewer = napari.Viewer(title="napari")
    viewer.window.resize(*WINDOW)
    with tempfile.TemporaryDirectory() as out:
        walking = Walk(Hand(viewer), image, truth, Path(out), pictures, field)
        try:
            WAYS[field](walking)
        except Exception as error:
            walking.notes["failed"] = f"{type(error).__name__}: {error}"
            walking.picture(f"{field}_failed")
        viewer.close()
    return walking.notes


def main(words: Sequence[str]) -> None:
    """Walk the ways, each in a process of its own, and print a table; exit code 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks ways", description=__doc__)
    parser.add_argument("--field", action="append", choices=WAYS, help="default: all")
    parser.add_argument("--own", action="append", nargs="+", default=[], metavar="WORD", help="FIELD IMAGE [TRUTH]")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the window")
    parser.add_argument("--here", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    if options.here:
        field, image, *truth = options.here
        print("RESULT", json.dumps(walk(field, Path(image), Path(truth[0]) if truth else None, options.pictures)))
        return
    print(header(" ".join(["ways", *words]), ("numpy", "torch", "napari")) + "\n")
    print("| field | result | clicks | seconds | processor s | score | clicks to the file | file | read by |")
    print("|---|---|---|---|---|---|---|---|---|")
    own = {field: files for field, *files in options.own}
    failed = 0
    for name in options.field or own or WAYS:
        with tempfile.TemporaryDirectory() as folder:
            files = own.get(name) or [str(file) for file in generated(name, Path(folder)) if file is not None]
            notes = in_process(name, files, options.pictures, Path(folder))
        failed += "failed" in notes
        print(row(name, notes), flush=True)
    sys.exit(int(failed > 0))


def in_process(field: str, files: Sequence[str], pictures: Path | None, home: Path) -> dict[str, Any]:
    """Walk a way in a fresh process with a home of its own, so that no models or settings of a person count."""
    words = [sys.executable, "-W", "ignore", "-m", "benchmarks", "ways", "--here", field, *files]
    words += ["--pictures", str(pictures.resolve())] if pictures is not None else []
    said = subprocess.run(words, env={**os.environ, "HOME": str(home)}, capture_output=True, text=True, check=False)
    lines = [line for line in said.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        return {"failed": said.stderr[-2000:]}
    return dict(json.loads(lines[0].removeprefix("RESULT")))


def row(field: str, notes: dict[str, Any]) -> str:
    """Return a line of the table."""
    if "failed" in notes:
        return f"| {field} | {notes.get('result', '')} FAILED: {notes['failed']} |"
    clicks = str(notes["clicks"]) + (f" and {notes['wheel']} turns of the wheel" if notes["wheel"] else "")
    cells = [field, notes["result"], clicks, f"{notes['seconds']:.0f}", f"{notes['processor']:.1f}", notes["score"]]
    return f"| {' | '.join([*cells, str(notes['to the file']), notes['file'], notes['reader']])} |"
