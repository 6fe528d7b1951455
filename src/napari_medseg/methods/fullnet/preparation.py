"""Turn images with instance maps or outlines into a FullNet training folder.

Layout of the result (with ``<split>`` where the source has splits)::

    images/<split>/<stem>.png                  colour-normalised RGB, training images cut into <stem>_<k>.png
    labels/<split>/<stem>_label.png            ternary RGB: red inside, green contour, blue background
    weight_maps/<split>/<stem>_weight.png      20 x weight
    labels_instance/<split>/<stem>_label.png   16-bit instances, whole
    mean_std.json, mean_std.npy, prepare.json

The other methods train on images and labels as they are: for them `prepare` copies what pairs up and is sound.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from napari_medseg.errors import DataError, MedSegError, WriteError, counted, some_of
from napari_medseg.image import WHITE, Image
from napari_medseg.io import read_labels, read_one
from napari_medseg.io.files import inside, read_json, write_bytes
from napari_medseg.io.grids import on_grid
from napari_medseg.io.histology import read_annotation
from napari_medseg.io.pairs import ANNOTATIONS, IMAGE_FOLDERS, LABEL_FOLDERS, case_stem, inner_folder, is_label
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure.labels import consecutive, foreground, ids_of, instances
from napari_medseg.method import PrepareReport
from napari_medseg.methods.fullnet import ternary
from napari_medseg.methods.fullnet.cases import SPLIT_OF, SPLITS, split_of
from napari_medseg.methods.fullnet.settings import PrepareSettings
from napari_medseg.methods.fullnet.tissue import TISSUES
from napari_medseg.preprocessing import stains

T = TypeVar("T")
PICTURES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
LABELS = ("labels_instance", *LABEL_FOLDERS, "xml")


@dataclass(frozen=True)
class Source:
    """One raw case: picture; label map, annotation, or folder of one mask an object; its split, if there are any."""

    image: Path
    label: Path
    split: str = ""

    @property
    def stem(self) -> str:
        """Name of the case."""
        return case_stem(self.image)

    @property
    def key(self) -> str:
        """Name that is unique in the folder."""
        return f"{self.split}/{self.stem}" if self.split else self.stem


@dataclass(frozen=True)
class Sources:
    """The cases of a folder, every file without partner, and sentences on pictures that share a name."""

    cases: tuple[Source, ...]
    unpaired: tuple[Path, ...]
    twins: tuple[str, ...] = ()


def find_sources(folder: Path) -> Sources:
    """Find cases in ``images`` and ``labels``, in splits above or below these, or side by side in `folder`.

    Folders of one picture with a mask for each object are cases too (`_case_folders`).
    Names that all begin with a split (``train_1``, ``testA_1``) give the splits.

    Raises
    ------
    DataError
        If the folder does not exist or has no pair.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Give the folder of images and annotations.")
    cases: list[Source] = []
    unpaired: list[Path] = []
    twins: list[str] = []
    for split, images, labels in _groups(folder):
        by_stem = {case_stem(path): path for path in labels}
        found = [Source(p, by_stem[case_stem(p)], split) for p in images if case_stem(p) in by_stem]
        used = {c.image for c in found} | {c.label for c in found}
        often = Counter(c.stem for c in found)
        for stem in (stem for stem, n in often.items() if n > 1):
            same = [c for c in found if c.stem == stem]
            twins.append(
                f"{' and '.join(c.image.name for c in same)} have one name, and {same[0].label.name} can belong to one "
                "of them only: left out."
            )
        cases += [c for c in found if often[c.stem] == 1]
        unpaired += [p for p in (*images, *labels) if p not in used]
    if not cases:
        cases = _case_folders(folder)
        unpaired = [] if cases else unpaired
    if not cases and twins:
        raise DataError(f"No usable case in {folder}: {twins[0]}")
    if not cases:
        there = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(folder.iterdir()) if p.name[0] != "."]
        listed = some_of([path.name for path in unpaired] or there) or "nothing"
        raise DataError(
            f"No image with an annotation of the same stem in {folder} (found: {listed}). Expected <folder>/images and "
            "<folder>/labels, one file a picture (instance maps, .mat with inst_map, ImageScope .xml, QuPath .geojson)"
            ", or both side by side."
        )
    return Sources(tuple(cases), tuple(unpaired), tuple(twins))


def _groups(folder: Path) -> list[tuple[str, list[Path], list[Path]]]:
    images, labels = inner_folder(folder, IMAGE_FOLDERS), inner_folder(folder, LABELS)
    if images and labels:
        below = [(n, of, to) for n, of in _split_folders(images) for m, to in _split_folders(labels) if n == m]
        if below:
            return [(name, _files(of, PICTURES), _files(to)) for name, of, to in below]
        return _by_name(_files(images, PICTURES), _files(labels))
    if splits := _split_folders(folder):
        return [(name, pictures, maps) for name, place in splits for _, pictures, maps in _groups(place)]
    files = _files(folder)
    maps = [p for p in files if is_label(p)]
    return _by_name([p for p in files if p not in maps], maps)


def _case_folders(folder: Path) -> list[Source]:
    """Find folders of one picture in ``images`` and a mask for each of its objects in ``masks`` (Data Science Bowl)."""
    found = []
    for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        images, masks = inner_folder(place, IMAGE_FOLDERS), inner_folder(place, ("masks",))
        pictures = _files(images, PICTURES) if images and masks else []
        if masks and len(pictures) == 1 and len(_files(masks, PICTURES)) > (place == folder):
            found.append(Source(pictures[0], masks))
    return found


def _objects_of_masks(folder: Path, image: Image) -> np.ndarray:
    """Return objects 1 .. N (Y, X) of a folder of one mask an object; of masks that overlap the first counts.

    Raises
    ------
    DataError
        If a file is no mask but holds several numbers.
    """
    objects = np.zeros(image.spatial_shape, np.int32)
    for number, path in enumerate(_files(folder, PICTURES), 1):
        labels = np.asarray(on_grid(read_labels(path, image), image).data)
        if len(ids_of(labels)) > 1:
            raise DataError(
                f"{path.name} holds several objects; expected one mask an object, or a label map of its picture's name."
            )
        objects[foreground(labels) & (objects == 0)] = number
    return consecutive(objects)


def _split_folders(folder: Path) -> list[tuple[str, Path]]:
    """Return the sub-folders called like splits (``Train``, ``valid``), each with the split that it is."""
    found = [(SPLIT_OF[p.name.casefold()], p) for p in folder.iterdir() if p.is_dir() and p.name.casefold() in SPLIT_OF]
    return sorted(found, key=lambda one: (SPLITS.index(one[0]), one[1].name))


def _by_name(pictures: list[Path], maps: list[Path]) -> list[tuple[str, list[Path], list[Path]]]:
    """Part pictures and label maps by the split that their names begin with, where all do and there are several."""
    named = list(dict.fromkeys(split_of(p) for p in pictures))
    if "" in named or len(named) < 2:
        return [("", pictures, maps)]
    return [(n, [p for p in pictures if split_of(p) == n], [p for p in maps if split_of(p) == n]) for n in named]


def _files(folder: Path, suffixes: tuple[str, ...] = (*PICTURES, *ANNOTATIONS, ".mat")) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))


POOLED = ("", "train", "val")
DONE = ".prepare"
PATCH, FULL = 250, 1000  # edges of the authors' patches and tiles in pixels


def check_fullnet(src: Path) -> tuple[str, ...]:
    """Say in lines how many cases `src` holds, by split, and what has no partner.

    Raises
    ------
    DataError
        If there is no case.
    """
    sources = find_sources(Path(src))
    splits = Counter(case.split for case in sources.cases)
    parts = f" ({', '.join(f'{name} {n}' for name, n in splits.items())})" if any(splits) else ""
    return (
        f"{counted(len(sources.cases), 'case')}{parts}",
        *(f"{path.name} has no partner and is not used." for path in sources.unpaired),
        *sources.twins,
    )


def prepare_fullnet(src: Path, dst: Path, settings: PrepareSettings | None = None) -> Job[PrepareReport]:
    """Prepare every case of `src` into `dst`, in parallel; finished cases of an interrupted run are kept.

    Parameters
    ----------
    src
        Folder of images with instance maps, ImageScope XML or QuPath GeoJSON (see `find_sources`).
    dst
        Folder to write.
    settings
        Preparation settings.

    Raises
    ------
    DataError
        If there is no usable case. Files without partner and cases that failed are listed in the report.
    WriteError
        If `dst` cannot be written.
    """
    src, dst, settings = Path(src), Path(dst), settings or PrepareSettings()
    sources = find_sources(src)
    problems = [*(f"{path.name} has no partner." for path in sources.unpaired), *sources.twins]
    known = len(problems)
    tasks = [Task(source, dst, settings) for source in sources.cases]
    _make_folders(tasks)
    results = {task.source.key: earlier for task in tasks if (earlier := task.finished())}
    skipped = tuple(results)
    total = len(tasks)
    yield Progress(len(results), total, "; ".join([f"{total} cases, {len(skipped)} already done", *problems[:10]]))
    for key, outcome in _run_all([t for t in tasks if t.source.key not in results], settings.workers):
        if isinstance(outcome, str):
            problems.append(f"{key}: {outcome}")
        else:
            results[key] = outcome
        finished = len(results) + len(problems) - known
        yield Progress(finished, total, f"{key}: {outcome if isinstance(outcome, str) else 'done'}")
    if not results:
        raise DataError(f"No usable case in {src}. The first of {len(problems)} problems: {problems[0]}")
    mean, std = _pooled(results)
    patches = bool(patch_size(settings))
    said = [f"{key}: {note}" for key in sorted(results) for note in results[key].get("notes", ())]
    notes = {
        "settings": settings.model_dump(),
        "patches": patches,
        "cases": sorted(results),
        "problems": problems,
        "notes": said,
    }
    write_bytes(dst / "prepare.json", json.dumps(notes, indent=2).encode())
    _write_statistics(dst, mean, std)
    return PrepareReport(dst, tuple(sorted(results)), skipped, tuple(problems), tuple(mean), tuple(std), tuple(said))


def _run_all(tasks: list[Task], workers: int) -> Iterator[tuple[str, dict[str, Any] | str]]:
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task.source.key, prepare_case(task)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"))  # spawn: safe beside Qt and torch threads
    try:
        futures: dict[Future[dict[str, Any] | str], str] = {pool.submit(prepare_case, t): t.source.key for t in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pooled(results: dict[str, dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Return pooled per-pixel mean and SD over training and validation images (over all, if there are none)."""
    chosen = [r for r in results.values() if r["split"] in POOLED] or list(results.values())
    n = sum(r["moments"][0] for r in chosen)
    mean = np.sum([r["moments"][1] for r in chosen], 0) / n
    std = np.sqrt(np.maximum(np.sum([r["moments"][2] for r in chosen], 0) / n - mean**2, 0))
    return mean.tolist(), np.maximum(std, 1 / 255).tolist()


def _write_statistics(folder: Path, mean: list[float], std: list[float]) -> None:
    write_bytes(folder / "mean_std.json", json.dumps({"mean": mean, "std": std}, indent=2).encode())
    buffer = io.BytesIO()
    np.save(buffer, np.array([mean, std]))
    write_bytes(folder / "mean_std.npy", buffer.getvalue())


def _make_folders(tasks: list[Task]) -> None:
    for task in tasks:
        for name in ("images", "labels", "weight_maps", "labels_instance", DONE):
            folder = task.folder / name / ("" if name == DONE else task.source.split)
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise WriteError(f"{folder} cannot be made: {error}. Choose a folder you may write to.") from error


# ---- one case: read, normalise, write its pictures and a record of them
@dataclass(frozen=True)
class Task:
    """What to make of one source."""

    source: Source
    folder: Path
    settings: PrepareSettings

    @property
    def marker(self) -> Path:
        """File that says the case is finished."""
        return self.folder / DONE / f"{self.source.key.replace('/', '_')}.json"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Everything the result depends on."""
        paths = (self.source.image, self.source.label)
        files = [[str(p), p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
        return {"settings": self.settings.model_dump(exclude={"workers"}), "files": files}

    def finished(self) -> dict[str, Any] | None:
        """Return the result of an earlier run with the same settings and files, if all it wrote is still there."""
        try:
            result: dict[str, Any] = read_json(self.marker)
            count, sums, squares = result["moments"]
            known = np.isfinite(np.array([count, *sums, *squares], float))
            whole = known.size == 7 and known.all() and count > 0 and isinstance(result["split"], str)
            whole = whole and isinstance(result["notes"], list)
            whole = whole and all(inside(self.folder, name).stat().st_size for name in result["written"])
            return result if whole and result["fingerprint"] == self.fingerprint else None
        except (MedSegError, OSError, KeyError, TypeError, ValueError):
            return None


def prepare_case(task: Task) -> dict[str, Any] | str:
    """Write one case; return its record, or what is wrong with its files."""
    try:
        rgb, objects, notes = _load(task.source, task.settings)
    except WriteError:
        raise
    except MedSegError as error:
        return str(error)
    tissue = TISSUES[task.settings.tissue]
    pictures = {
        "images": (rgb, ""),
        "labels": (ternary.to_rgb(ternary.ternary(objects, tissue.disk)), "_label"),
        "weight_maps": (ternary.weights_to_grey(ternary.weight_map(objects, tissue.sigma)), "_weight"),
    }
    split, stem = task.source.split, task.source.stem
    patch = patch_size(task.settings) if split in ("", "train") else 0
    written = []
    for folder, (picture, suffix) in pictures.items():
        if not patch:
            written.append((f"{folder}/{split}/{stem}{suffix}.png", picture))
            continue
        for k, window in enumerate(windows((rgb.shape[0], rgb.shape[1]), patch)):
            written.append((f"{folder}/{split}/{stem}_{k}{suffix}.png", picture[window]))
    written.append((f"labels_instance/{split}/{stem}_label.png", objects.astype(np.uint16)))
    for name, picture in written:
        _write_png(task.folder / name, picture)
    values = rgb.reshape(-1, 3).astype(np.float64) / 255
    record = {
        "fingerprint": task.fingerprint,
        "split": split,
        "written": [name for name, _ in written],
        "objects": int(objects.max(initial=0)),
        "notes": notes,
        "moments": [len(values), values.sum(0).tolist(), (values**2).sum(0).tolist()],
    }
    write_bytes(task.marker, json.dumps(record).encode())
    return record


def _load(source: Source, settings: PrepareSettings) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return colours, instances, and what is worth knowing of them."""
    image = read_one(source.image)
    if image.axes != "YXC":
        raise DataError(f"{source.image.name} is no colour picture ({image.describe()}). Give the RGB image.")
    white = stains.known_white(np.asarray(image.data), image.metadata.get(WHITE))
    rgb = stains.rgb8(np.asarray(image.data), white)
    notes = [*image.metadata.get("notes", [])]
    notes += [] if white == 255 else [f"{source.image.name}: white is taken to be {white:g}."]
    if source.label.suffix.lower() in ANNOTATIONS:
        drawn = read_annotation(source.label, image, settings.overlap)
        objects = consecutive(drawn.data)
        notes += drawn.metadata.get("notes", [])
    elif source.label.is_dir():
        objects = _objects_of_masks(source.label, image)
    else:
        objects = instances(np.asarray(on_grid(read_labels(source.label, image), image).data))
    if objects.max(initial=0) >= 2**16:
        raise DataError(f"{source.label.name} has more than 65,535 objects, too many for 16 bits. Cut it into tiles.")
    return _normalise(rgb, settings), objects, notes


def _normalise(rgb: np.ndarray, settings: PrepareSettings) -> np.ndarray:
    stain = settings.stain
    if stain == "auto":
        stain = "macenko" if settings.tissue == "nuclei" else "none"
    if stain == "none":
        return rgb
    target = stains.rgb8(np.asarray(read_one(settings.target).data)) if settings.target else None
    if stain == "reinhard":
        return stains.reinhard(rgb, _fitted(stains.fit_reinhard, target, settings) or stains.LAB_TARGET)
    return stains.macenko(rgb, _fitted(stains.fit_macenko, target, settings) or stains.TARGET)


def _fitted(fit: Callable[[np.ndarray], T | None], target: np.ndarray | None, settings: PrepareSettings) -> T | None:
    """Return what `fit` finds in the target image, ``None`` without one; refuse one without stained tissue."""
    found = None if target is None else fit(target)
    if target is not None and found is None:
        raise DataError(f"The target image {settings.target} has too little stained tissue. Choose another.")
    return found


def patch_size(settings: PrepareSettings) -> int:
    """Return the edge of training patches, 0 for whole images."""
    if settings.patch >= 0:
        return settings.patch
    return PATCH if settings.tissue == "nuclei" else 0


def _write_png(path: Path, picture: np.ndarray) -> None:
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(picture).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


# ---- training patches (the authors' rule, generalised to any size)
def starts(length: int, patch: int = PATCH) -> list[int]:
    """Return where windows of `patch` pixels start on an axis of `length`.

    The authors' overlap is ceil((1000 - length) / 3) for patches of 250; the last window is flush with the border, and
    axes above 1000 pixels are cut without overlap. An axis no longer than the patch has one window.
    """
    if length <= patch:
        return [0]
    overlap = max(math.ceil((FULL / PATCH * patch - length) / (FULL / PATCH - 1)), 0)
    stride = max(patch - overlap, 1)
    n = math.ceil((length - patch) / stride) + 1
    return sorted({min(i * stride, length - patch) for i in range(n)})


def windows(shape: tuple[int, int], patch: int = PATCH) -> Iterator[tuple[slice, slice]]:
    """Yield the windows of an image (H, W) in row-major order."""
    for y in starts(shape[0], patch):
        for x in starts(shape[1], patch):
            yield slice(y, min(y + patch, shape[0])), slice(x, min(x + patch, shape[1]))
