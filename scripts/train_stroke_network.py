"""Train the network that helps strokes: ``python scripts/train_stroke_network.py collect|train|pack NDIM ...``.

``collect --data FOLDER -o SAMPLES`` lets simulated users paint in sessions of the real engine, on the fit half of data
whose licence lets weights be shipped (hippocampus, stained nuclei, ultrasound) and on generated pictures, and keeps
what the network would be told in each round, beside the truth; with ``--network FILE`` that network has its say in the
sessions. ``train --samples SAMPLES -o FILE`` fits a network to that, with ``--network FILE`` one that was trained
before. ``pack --network FILE`` writes the weights to where the package looks for them. Tumours and glands are never
seen: ``python -m benchmarks scribbles`` tells how it does on them.

The bundled weights came of several rounds of both, the later ones with the network so far in the sessions, while the
shares of the pictures, the generated pictures and the constants of the engine were still changing (46,663, 25,200 and
12,521 samples in pictures; 9,000, 16,405 and 16,884 in volumes on the coarse grid and 6,442 on the fine one; about six
hours of a shared core, the last ones with cross-entropy alone, before them with Dice as well): a run gives others like
them.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import scribbles as user
from napari_medseg.device import computes_in_bfloat16
from napari_medseg.graphcut.learned import Network
from napari_medseg.graphcut.pyramid import block_mean
from napari_medseg.image import Image
from napari_medseg.io import read_one
from napari_medseg.jobs import run
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.refinement.geodesic_engine import GeodesicEngine
from napari_medseg.refinement.seek import Seeker
from napari_medseg.refinement.state import outline_strokes
from napari_medseg.refinement.stroke_network import WEIGHTS, Net, log_odds, network_of, read
from napari_medseg.refinement.turn import Look
from napari_medseg.samples.mri import brain_volume, slice_2d
from napari_medseg.samples.scans import hard_scan
from napari_medseg.samples.tissue import tissue_tile

HIPPOCAMPUS = (
    "{} of the hippocampus, Medical Segmentation Decathlon task 4 (Antonelli et al., Nat Commun 2022, "
    "doi:10.1038/s41467-022-30695-9; CC BY-SA 4.0)"
)
NUCLEI = (
    "nuclei of 35 stained images of the 2018 Data Science Bowl (BBBC038, Caicedo et al. 2019, "
    "doi:10.1038/s41592-019-0612-7; CC0)"
)
ULTRASOUND = "nerves and vessels of 32 ultrasound stills (usgra-seg data set, T. M. K., 2025; CC BY 4.0)"
TRAINED_ON = {
    2: f"{NUCLEI}, {ULTRASOUND}, {HIPPOCAMPUS.format('planes of 80 T1 volumes')}, and generated pictures of regions, "
    "tissue, cells and lesions, some put together from parts of the stained images",
    3: f"{HIPPOCAMPUS.format('80 T1 volumes')}, and generated volumes of regions and lesions",
}
FAILS_ON = "objects that nothing tells from their surroundings; strokes much shorter than an object is wide"
ROUNDS = 5
GOOD = 0.975  # Dice at which a user stops
HELD_OUT = 5  # every fifth picture of the fit half trains nothing
SMALL = 60  # voxels
OUTLINES = 0.1  # share of sessions that begin with a box or a lasso
SHARD = 200
UNUSUAL = 0.3  # share of samples that are turned or of other colours; half as many are negated
UNIT = np.float32(1 / 32)  # in which inputs are kept
Picture = tuple[Image, np.ndarray]


# ---- pictures
def files(group: str, data: Path, held_out: bool) -> list[tuple[Path, Path]]:
    """Return images and labels of the fit half: those that train, or every fifth, which do not."""
    found = list(user._files(group, data))[0::2]
    return [pair for i, pair in enumerate(found) if (i % HELD_OUT == HELD_OUT - 1) == held_out]


def real(group: str, pairs: Sequence[tuple[Path, Path]], rng: np.random.Generator) -> Picture:
    """Return a picture of a group and one of its objects."""
    image, labels = pairs[rng.integers(len(pairs))]
    values = np.asarray(read_one(labels, kind="labels").data)
    if group == "hippocampus":
        return read_one(image), values > 0
    if group == "nerves":
        values = ndimage.label(values == rng.choice([1, 1, 2]))[0]
    return read_one(image), one_of(values, rng)


def hippocampus_slice(pairs: Sequence[tuple[Path, Path]], rng: np.random.Generator) -> Picture:
    """Return a plane of a volume, enlarged."""
    image, truth = real("hippocampus", pairs, rng)
    axis, zoom = int(rng.integers(3)), float(rng.uniform(2, 4))
    areas = truth.sum(tuple(a for a in range(3) if a != axis))
    if not areas.any():
        return image, truth[0]
    place = int(rng.choice(np.flatnonzero(areas > areas.max() / 3)))
    plane = np.take(np.asarray(image.data, np.float32), place, axis)
    found = ndimage.zoom(np.take(truth, place, axis).astype(np.float32), zoom, order=1) > 0.5
    return Image(ndimage.zoom(plane, zoom, order=1), axes="YX"), one_of(ndimage.label(found)[0], rng)


def one_of(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one object of a label image, bool; none if there is none of enough voxels."""
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    large = np.flatnonzero(sizes >= SMALL)
    return np.asarray(labels == rng.choice(large)) if large.size else np.zeros(labels.shape, bool)


def generated(make: Callable[..., tuple[Image, Image]], rng: np.random.Generator) -> Picture:
    """Return a picture of a generator and one of its objects."""
    image, labels = make(int(rng.integers(1 << 30)))
    values = np.asarray(labels.data)
    if values.max() <= 1 or values.max() == 255:
        values = ndimage.label(values > 0)[0]
    return image, one_of(values, rng)


def smooth(shape: Sequence[int], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return smoothed noise of deviation 1."""
    coarse = max(1.0, sigma / 3)
    cells = [int(np.ceil(n / coarse)) + int(coarse > 1) for n in shape]
    field = ndimage.gaussian_filter(rng.normal(size=cells), sigma / coarse, mode="reflect")
    if coarse > 1:
        places = np.meshgrid(*(np.arange(n) / coarse for n in shape), indexing="ij")
        field = ndimage.map_coordinates(field, places, order=1)
    return np.asarray((field - field.mean()) / (field.std() + 1e-9))


def regions_of(ndim: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return regions of random shape, numbered from 1, and one object.

    Objects are whole regions, or bodies over them, many with another region in the middle (a rim and a lumen), some
    with specks.
    """
    edge = rng.integers(80, 250, 2) * rng.choice([1, 1, 2, 3]) if ndim == 2 else rng.integers(26, 60, 3)
    shape, size = tuple(int(n) for n in edge), float(min(edge))
    scale = size * rng.uniform(0.03, 0.14)
    regions = np.argmax([smooth(shape, scale, rng) for _ in range(rng.integers(2, 8))], 0) + 1
    body = body_of(shape, size, rng)
    kind = rng.random()
    if kind < 0.65:
        regions[body] = regions.max() + 1
        truth = body
        if kind < 0.45:
            depth = ndimage.distance_transform_edt(body) + scale * rng.uniform(0, 0.3) * smooth(shape, scale / 2, rng)
            inner = body & (depth > depth.max() * rng.uniform(0.25, 0.7))
            regions[inner] = rng.choice([regions.max() + 1, rng.integers(1, regions.max() + 1)])
    else:
        truth = one_of(ndimage.label(regions == rng.integers(1, regions.max() + 1))[0], rng)
    if rng.random() < 0.4:  # specks in some regions
        specks = smooth(shape, rng.uniform(1, max(1.5, 0.03 * size)), rng) > rng.uniform(0.8, 1.6)
        where = np.isin(regions, rng.choice(regions.max(), rng.integers(1, 3)) + 1)
        regions[specks & where] = regions.max() + 1
    return regions, truth


def patchwork(ndim: int, rng: np.random.Generator) -> Picture:
    """Return a picture of regions of random shade, colour and grain, and one object."""
    regions, truth = regions_of(ndim, rng)
    shape, size = regions.shape, float(min(regions.shape))
    channels = 3 if ndim == 2 and rng.random() < 0.5 else 1
    values = np.zeros((channels, *shape))
    count = int(regions.max()) + 1
    shades = rng.uniform(0, 1, count)[:, None] + rng.normal(0, 0.2, (count, channels))
    noise = rng.uniform(0.02, 0.35)
    for label in range(1, count):
        where = regions == label
        grain = rng.uniform(0, 0.25) * smooth(shape, rng.uniform(0.5, 4), rng)
        for c in range(channels):
            values[c][where] = (shades[label, c] + grain)[where]
    blur = rng.uniform(0, 2.0)
    values = np.stack([ndimage.gaussian_filter(v, blur) for v in values])
    values += rng.uniform(0, 0.4) * smooth(shape, size * rng.uniform(0.2, 0.6), rng)
    values += noise * rng.uniform(0.2, 1.0) * np.stack([smooth(shape, rng.uniform(0.0, 1.2), rng) for _ in values])
    if channels == 1:
        return Image(values[0].astype(np.float32), axes="ZYX"[-ndim:]), truth
    low, high = np.percentile(values, (1, 99))
    rgb = np.clip(255 * (values - low) / (high - low + 1e-9), 0, 255).astype(np.uint8)
    return Image(np.moveaxis(rgb, 0, -1), axes="YXC"), truth


WHITE, PINK, PURPLE = (0.92, 0.88, 0.93), (0.85, 0.55, 0.72), (0.45, 0.28, 0.55)


def glands(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return what each pixel of bodies close to each other is (0 between, 1 rim, 2 lumen, 3 speck), and one of them."""
    shape = tuple(int(n) for n in rng.integers(280, 680, 2))
    size, wanted = float(min(shape)), int(rng.integers(1, 12))
    bodies = np.zeros(shape, np.int32)
    for number in range(1, wanted + 1):
        body = body_of(shape, size * rng.uniform(0.8, 1.9) * (1 if wanted < 6 else 0.7), rng, spread=True)
        near = ndimage.binary_dilation(body, iterations=int(rng.integers(2, 10)))
        if not (bodies[near] > 0).any() and body.sum() > 400:
            bodies[body] = number
    largest = int(np.bincount(bodies.ravel())[1:].argmax()) + 1 if bodies.any() else 0
    truth = (bodies == largest) & (bodies > 0) if rng.random() < 0.7 else one_of(bodies, rng)
    depth = ndimage.distance_transform_edt(bodies > 0)
    depth = depth + rng.uniform(0, 6) * smooth(shape, rng.uniform(4, 12), rng)
    rim = rng.uniform(6, 60)
    lumen = (depth > rim) & (bodies > 0)
    kinds = np.where(lumen, 2, np.where(bodies > 0, 1, 0))
    holes = smooth(shape, rng.uniform(6, 30), rng) > rng.uniform(1.2, 2.5)
    kinds[holes & (bodies == 0)] = 2
    specks = smooth(shape, rng.uniform(1.5, 5), rng)
    kinds[(specks > rng.uniform(0.7, 2.2)) & (bodies == 0) & (kinds == 0)] = 3
    rows = specks + rng.uniform(0, 1.5) * np.cos(np.clip(depth / (rim * rng.uniform(0.3, 0.8)), 0, 1) * np.pi)
    kinds[(rows > rng.uniform(0.3, 1.4)) & (kinds == 1)] = 3
    if rng.random() < 0.3:
        kinds[(smooth(shape, rng.uniform(1.5, 5), rng) > rng.uniform(1.2, 2.2)) & (kinds == 2) & (bodies > 0)] = 3
    return kinds, truth


def tissue(rng: np.random.Generator) -> Picture:
    """Return a picture of bodies with rim, lumen and specks in flat colours, and one of them."""
    kinds, truth = glands(rng)
    shape = kinds.shape
    if rng.random() < 0.5:
        palette = np.array([PINK, PURPLE, WHITE, PURPLE]) + rng.normal(0, 0.08, (4, 3))
        if rng.random() < 0.6:  # cells of a rim are pale, their nuclei dark
            palette[1] = palette[0] + rng.normal(0, 0.1, 3)
    else:
        palette = rng.uniform(0, 1, (4, 3))
    values = palette[kinds] + (rng.uniform(0, 0.12) * smooth(shape, rng.uniform(0.5, 3), rng))[..., None]
    values += (rng.uniform(0, 0.1) * smooth(shape, min(shape) / 4, rng))[..., None]
    values = ndimage.gaussian_filter(values, (rng.uniform(0, 1.5),) * 2 + (0,)) + rng.normal(
        0, rng.uniform(0, 0.06), values.shape
    )
    if rng.random() < 0.2:
        return Image((values @ rng.dirichlet(np.ones(3))).astype(np.float32), axes="YX"), truth
    return Image(np.clip(255 * values, 0, 255).astype(np.uint8), axes="YXC"), truth


def cutting(pairs: Sequence[tuple[Path, Path]], shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Return a part of a real picture in colours of its own, of any size, mirrored to fill `shape`: (*shape, 3)."""
    image = read_one(pairs[rng.integers(len(pairs))][0])
    values = np.moveaxis(np.asarray(image.channels_first(), np.float32), 0, -1)
    low, high = np.percentile(values, (1, 99))
    values = np.clip((values - low) / (high - low + 1e-9), 0, 1)[..., [0, min(1, values.shape[-1] - 1), -1]]
    values = ndimage.zoom(values, (rng.uniform(0.3, 1.5),) * 2 + (1,), order=1)
    start = [int(rng.integers(n // 2 + 1)) for n in values.shape[:2]]
    part = values[start[0] :, start[1] :]
    after = [(0, max(0, n - m)) for n, m in zip(shape, part.shape, strict=False)]
    part = np.pad(part, [*after, (0, 0)], mode="symmetric")[: shape[0], : shape[1]]
    return np.asarray(part @ (np.eye(3) + rng.normal(0, 0.1, (3, 3))) + rng.normal(0, 0.12, 3))


def collage(pairs: Sequence[tuple[Path, Path]], rng: np.random.Generator) -> Picture:
    """Return a picture of regions filled with parts of real pictures, and one object."""
    kinds, truth = glands(rng) if rng.random() < 0.7 else regions_of(2, rng)
    source = [pairs[rng.integers(len(pairs))]] if rng.random() < 0.6 else pairs  # one slide, or several
    values = np.zeros((*kinds.shape, 3))
    for kind in np.unique(kinds):
        where, flat = kinds == kind, rng.random() < (0.7 if kind == 2 else 0.15)
        shade = np.array(WHITE) if kind == 2 and rng.random() < 0.7 else rng.uniform(0, 1, 3)
        part = cutting(source, kinds.shape, rng)
        values[where] = (shade + 0.15 * (part - part.mean((0, 1))) if flat else part)[where]
    values = ndimage.gaussian_filter(values, (rng.uniform(0, 1.2),) * 2 + (0,))
    if rng.random() < 0.2:
        return Image((values @ rng.dirichlet(np.ones(3))).astype(np.float32), axes="YX"), truth
    return Image(np.clip(255 * values, 0, 255).astype(np.uint8), axes="YXC"), truth


def body_of(shape: Sequence[int], size: float, rng: np.random.Generator, spread: bool = False) -> np.ndarray:
    """Return a connected body, bool: an ellipsoid with a border that wavers, sometimes bent or long."""
    grid = np.indices(shape).astype(float)
    centre = np.array(shape) * (rng.uniform(0, 1, len(shape)) if spread else rng.uniform(0.3, 0.7, len(shape)))
    away = np.stack([g - c for g, c in zip(grid, centre, strict=True)])
    turn = np.linalg.qr(rng.normal(size=(len(shape),) * 2))[0]
    away = np.tensordot(turn, away, 1)
    away[0] += rng.uniform(-1, 1) / size * away[1] ** 2 * 2  # bent
    radii = size * rng.uniform(0.1, 0.38, len(shape))
    radius = np.sqrt(sum((a / r) ** 2 for a, r in zip(away, radii, strict=True)))
    radius += rng.uniform(0, 0.35) * smooth(shape, size * rng.uniform(0.03, 0.12), rng)
    labels, _ = ndimage.label(radius < 1)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray((labels == sizes.argmax()) & (labels > 0))


def sources(ndim: int, data: Path, held_out: bool) -> list[tuple[float, Callable[[np.random.Generator], Picture]]]:
    """Return the makers of pictures and how often each is asked."""
    volumes = files("hippocampus", data, held_out)
    if ndim == 3:
        return [
            (0.5, partial(real, "hippocampus", volumes)),
            (0.12, partial(generated, brain_volume)),
            (0.38, partial(patchwork, 3)),
        ]
    return [
        (0.22, partial(real, "nuclei", files("nuclei", data, held_out))),
        (0.2, partial(real, "nerves", files("nerves", data, held_out))),
        (0.1, partial(hippocampus_slice, volumes)),
        (0.05, partial(generated, slice_2d)),
        (0.06, partial(generated, partial(tissue_tile, size=256))),
        (0.05, partial(generated, partial(hard_scan, size=256))),
        (0.15, partial(patchwork, 2)),
        (0.12, tissue),
        (0.15, partial(collage, files("nuclei", data, held_out))),
    ]


def cropped(image: Image, truth: np.ndarray, rng: np.random.Generator) -> user.Case:
    """Return a picture cut to its object and a random margin, or whole."""
    case = user.Case("", image.name, image, truth)
    if rng.random() < 0.3 or (truth.ndim == 3 and max(truth.shape) < 70):
        return case
    return user.crop(case, int(rng.uniform(0.3, 1.2) * user.MARGIN[truth.ndim]))


# ---- users
def stroke(truth: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """Return scribbles of one stroke as `benchmarks.scribbles.stroke` does, by a user of other habits."""
    pieces = []
    for value in (True, False):
        labels, count = ndimage.label((truth == value) & (mask != value), np.ones((3,) * truth.ndim))
        sizes = np.bincount(labels.ravel(), minlength=2)[1:]
        pieces += [(int(n), value, labels == 1 + i) for i, n in enumerate(sizes[:20]) if count and n >= user.SMALLEST]
    if not pieces:
        return None
    pieces.sort(key=lambda piece: -piece[0])
    _, value, error = pieces[min(len(pieces) - 1, int(rng.random() < 0.2))]
    depth = ndimage.distance_transform_edt(np.pad(error, 1))[(slice(1, -1),) * truth.ndim]
    deep = np.argwhere(depth >= rng.uniform(0.4, 1.0) * depth.max())
    middle = deep[rng.integers(len(deep))]
    turned = truth.ndim == 3 and rng.random() < 0.5
    axis = int(rng.integers(3)) if turned else 0
    place: Any = (slice(None),) * axis + (int(middle[axis]),) if truth.ndim == 3 else ()
    at = [int(i) for a, i in enumerate(middle) if truth.ndim == 2 or a != axis]
    plane, line = error[place], np.zeros(error[place].shape, bool)
    share, longest = rng.uniform(0.25, 0.95), int(rng.integers(6, 60))
    if rng.random() < 0.5:
        line = user.longest_run(plane, (at[0], at[1]))
    else:
        angle = rng.uniform(0, np.pi)
        line[at[0], at[1]] = True
        for sign in (-1, 1):
            arm = user._arm(plane, (at[0], at[1]), sign * np.array([np.sin(angle), np.cos(angle)]))
            for pixel in arm[: min(round(share * len(arm)), longest // 2)]:
                line[pixel] = True
    brush = int(rng.choice([0, 1, 1, 2, 3]))
    out = np.zeros(truth.shape, np.uint8)
    out[place][ndimage.binary_dilation(line, np.ones((2 * brush + 1,) * 2)) & (truth[place] == value)] = 1 + value
    return out


def outline(truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the scribbles that a box or a lasso around the object in one plane stands for."""
    out, plane = np.zeros(truth.shape, np.uint8), truth
    place: Any = ()
    if truth.ndim == 3:
        place = (int(truth.sum((1, 2)).argmax()),)
        plane = truth[place]
    inside = ndimage.binary_dilation(plane, iterations=int(rng.integers(1, 7)))
    if rng.random() < 0.5:
        inside[ndimage.find_objects(inside.astype(np.uint8))[0]] = True
    out[place] = outline_strokes(inside)
    return out


class Recorder(Seeker):
    """Looks for objects as the engine does, and keeps what the network would be told in the last look of a round."""

    net: Net | None = None
    last: Look | None = None

    def network(self) -> Network:
        """Return the network that has its say in the sessions, if there is one."""
        net = self.net
        return (lambda x: np.zeros(x.shape[1:], np.float32)) if net is None else partial(log_odds, net)

    def around(self, *known: Any, helped: bool = False) -> Look:
        """Return the object in a box; without a network as if none were asked."""
        look = super().around(*known, helped=helped)
        if helped:
            self.last = look
        return super().around(*known) if helped and self.net is None else look

    def at_scales(self, *known: Any) -> Look:
        """Return the most promising object, which is the one to learn from."""
        self.last = super().at_scales(*known)
        return self.last


def session_samples(case: user.Case, rng: np.random.Generator, network: Net | None) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield inputs int8 (C, *cells), in `UNIT`, and truth (*cells), uint8 up to 255, of each round of a session."""
    settings = RefinementSettings()
    session = RefinementSession(case.image, proposal=user.nothing(case.truth), settings=settings)
    session.engine = engine = GeodesicEngine(session.image, settings)
    engine.seek = recorder = Recorder(session.image, engine.intensities, settings)
    recorder.net = network
    run(session.propose())
    mask, marks = np.zeros(case.truth.shape, bool), np.zeros(case.truth.shape, np.uint8)
    habit = rng.random() < 0.5
    for number in range(ROUNDS):
        new = user.stroke(case.truth, mask) if habit else stroke(case.truth, mask, rng)
        if number == 0 and rng.random() < OUTLINES:
            new = outline(case.truth, rng)
        if new is None:
            return
        marks = np.where(new > 0, new, marks)
        recorder.last = None
        mask = run(session.refine(marks)).mask > 0
        if recorder.last is not None:
            box, search, _ = recorder.last
            truth = block_mean(case.truth[box], search.factors)
            assert search.inputs is not None  # the network was asked
            inputs = np.rint(search.inputs / UNIT).clip(-127, 127)
            yield inputs.astype(np.int8), np.rint(255 * truth).astype(np.uint8)
        if user.dice(mask, case.truth) > GOOD:
            return


def collect(ndim: int, data: Path, folder: Path, count: int, seed: int, network: Net | None, held_out: bool) -> None:
    """Write about `count` samples in files of `SHARD`."""
    rng, makers = np.random.default_rng(seed), sources(ndim, data, held_out)
    shares = np.array([share for share, _ in makers])
    folder.mkdir(parents=True, exist_ok=True)
    kept: list[tuple[np.ndarray, ...]] = []
    done, start, number = 0, time.time(), 0
    while done < count:
        image, truth = makers[rng.choice(len(makers), p=shares / shares.sum())][1](rng)
        if np.count_nonzero(truth) < SMALL or truth.all():
            continue
        found = list(session_samples(cropped(image, truth, rng), rng, network))
        kept, done = kept + found, done + len(found)
        if len(kept) >= SHARD or done >= count:
            name = folder / f"{'held' if held_out else 'train'}-{ndim}d-{seed}-{number:03d}.npz"
            partial_name = name.with_suffix(".part")
            with open(partial_name, "wb") as file:
                np.savez(file, **{f"{k}{i}": a for i, pair in enumerate(kept) for k, a in zip("xy", pair, strict=True)})
            partial_name.rename(name)
            print(f"{done} samples, {time.time() - start:.0f} s", flush=True)
            kept, number = [], number + 1


# ---- training
EDGE = {2: 88, 3: 40}  # cells that a sample is cut or filled up to
BATCH = {2: 8, 3: 4}


def load(paths: Sequence[Path]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return all samples."""
    out = []
    for path in paths:
        with np.load(path) as file:
            out += [(file[f"x{i}"], file[f"y{i}"]) for i in range(len(file.files) // 2)]
    return out


def fitted(x: np.ndarray, y: np.ndarray, edge: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return inputs, truth and which cells count, (.., edge, ...): cut around the strokes or filled up."""
    places = np.argwhere((x[3] > 0) | (x[4] > 0))
    middle = places[rng.integers(len(places))] if len(places) else np.array(y.shape) // 2
    start = [int(np.clip(m - edge // 2, 0, max(0, n - edge))) for m, n in zip(middle, y.shape, strict=True)]
    inside = tuple(slice(s, s + edge) for s in start)
    x, y = x[(slice(None), *inside)], y[inside]
    count = np.ones(y.shape, np.float32)
    after = [(0, edge - n) for n in y.shape]
    return np.pad(x, [(0, 0), *after]), np.pad(y, after), np.pad(count, after)


def changed(x: np.ndarray, y: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return a sample mirrored, some turned, of other colours or negated: most keep what is usual in their field."""
    axes = list(rng.permutation(y.ndim)) if rng.random() < UNUSUAL else list(range(y.ndim))
    mirrored = [rng.random() < (0.5 if axis == y.ndim - 1 else UNUSUAL / 2) for axis in range(y.ndim)]
    flips = tuple(slice(None, None, -1 if mirror else 1) for mirror in mirrored)
    x = UNIT * x.transpose([0, *(a + 1 for a in axes)])[(slice(None), *flips)].astype(np.float32)
    y, count = y.transpose(axes)[flips], count.transpose(axes)[flips]
    image = x[:3][rng.permutation(3)] if rng.random() < UNUSUAL else x[:3]
    if rng.random() < UNUSUAL / 2:
        image = -image
    if rng.random() < 0.2:  # grey
        image = np.repeat(image.mean(0, keepdims=True), 3, 0)
    image = image * rng.uniform(0.7, 1.4) + rng.normal(0, 0.15, (3,) + (1,) * y.ndim)
    image = image + rng.uniform(0, 0.15) * rng.normal(size=image.shape)
    x = np.concatenate([image * count, x[3:]]).astype(np.float32)
    return x, y, count


def loss_of(logits: torch.Tensor, y: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Return cross-entropy, the mean over samples: log-odds that are true, for `for_overlap` weighs them."""
    logits, axes = logits[:, 0].float(), tuple(range(1, y.ndim))
    entropy = F.binary_cross_entropy_with_logits(logits, y, reduction="none") * count
    return (entropy.sum(axes) / count.sum(axes)).mean()


def batches(
    samples: Sequence[tuple[np.ndarray, np.ndarray]], edge: int, size: int, rng: np.random.Generator
) -> Iterator[Any]:
    """Yield batches of tensors for ever."""
    while True:
        chosen = [changed(*fitted(*samples[rng.integers(len(samples))], edge, rng), rng) for _ in range(size)]
        x, y, count = (np.stack(part) for part in zip(*chosen, strict=True))
        yield (
            torch.from_numpy(x),
            torch.from_numpy(y.astype(np.float32) / 255),
            torch.from_numpy(np.ascontiguousarray(count)),
        )


def train(
    ndim: int, folders: Sequence[Path], out: Path, minutes: float, start: Path | None, rate: float, seed: int
) -> None:
    """Fit a network for some minutes; samples that were collected meanwhile are read at each report."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = network_of(ndim)
    if start is not None:
        network = read(start, ndim)
    mean = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    known: set[Path] = set()
    samples: list[tuple[np.ndarray, np.ndarray]] = []
    held = load([path for folder in folders for path in folder.glob(f"held-{ndim}d-*.npz")])
    began, step, losses = time.time(), 0, []
    source: Iterator[Any] | None = None
    while (share := (time.time() - began) / (60 * minutes)) < 1:
        if step % 200 == 0:
            new = {p for folder in folders for p in folder.glob(f"train-{ndim}d-*.npz")} - known
            samples, known = samples + load(sorted(new)), known | new
            source = batches(samples, EDGE[ndim], BATCH[ndim], rng)
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1, (step + 1) / 200) * (0.5 * (1 + np.cos(np.pi * share)) + 0.01)
        assert source is not None
        x, y, count = next(source)
        network.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=computes_in_bfloat16()):
            logits = network(x.contiguous(memory_format=torch.channels_last if ndim == 2 else torch.channels_last_3d))
        loss = loss_of(logits, y, count)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        decay = min(0.998, step / (step + 10))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                mean[name].lerp_(value, 1 - decay)
            else:
                mean[name].copy_(value)
        losses.append(float(loss.detach()))
        if step % 200 == 0:
            print(
                f"{time.time() - began:.0f} s, {step} steps, {len(samples)} samples, loss {np.mean(losses[-200:]):.4f}",
                flush=True,
            )
        if step % 1000 == 0:
            save(mean, ndim, held, out)
    save(mean, ndim, held, out)


def save(mean: dict[str, torch.Tensor], ndim: int, held: Sequence[tuple[np.ndarray, np.ndarray]], out: Path) -> None:
    """Write the mean weights and print how they do on samples that train nothing."""
    torch.save(mean, out.with_suffix(".part"))
    out.with_suffix(".part").rename(out)
    network = network_of(ndim)
    network.load_state_dict(mean)
    network.eval()
    scores = [user.dice(log_odds(network, UNIT * x.astype(np.float32)) > 0, y > 127) for x, y in held]
    print(f"  held out: Dice {np.mean(scores) if scores else 0:.4f}", flush=True)


def pack(ndim: int, weights: Path) -> None:
    """Write weights in half precision, and their card, to where the package looks for them."""
    network = read(weights, ndim)
    out = WEIGHTS / f"strokes_{ndim}d.pt"
    out.parent.mkdir(exist_ok=True)
    torch.save({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, out)
    card = {
        "finds": "the object that strokes lie in, of any kind",
        "trained_on": TRAINED_ON[ndim],
        "license": "CC-BY-SA-4.0",
        "fails_on": FAILS_ON,
        "parameters": sum(p.numel() for p in network.parameters()),
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "command": "python scripts/train_stroke_network.py",
        "date": datetime.date.today().isoformat(),
    }
    out.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Collect samples, train, or pack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["collect", "train", "pack"])
    parser.add_argument("ndim", type=int, choices=[2, 3])
    parser.add_argument("--data", type=Path, default=user.DATA)
    parser.add_argument("-o", "--out", type=Path)
    parser.add_argument("--samples", type=Path, nargs="+", help="folders of samples to train on")
    parser.add_argument("--network", type=Path, help="weights that take part in sessions, or that training starts from")
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--held-out", action="store_true", help="collect from the pictures that train nothing")
    options = parser.parse_args(argv)
    if options.what == "train":
        train(options.ndim, options.samples, options.out, options.minutes, options.network, options.rate, options.seed)
        return
    if options.what == "pack":
        pack(options.ndim, options.network)
        return
    network = None
    if options.network is not None:
        network = read(options.network, options.ndim)
    collect(options.ndim, options.data, options.out, options.count, options.seed, network, options.held_out)


if __name__ == "__main__":
    main()
