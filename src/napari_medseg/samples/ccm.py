"""Generated corneal confocal images with exact nerve masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.io.ccm import FIELD_PX, FIELD_UM
from napari_medseg.samples.ccm_traces import Corruption, corrupt, smooth_field

Range = tuple[float, float]
BLURS = (0.7, 1.0, 1.4, 2.0, 2.8)  # SD in pixels of the profiles that are drawn
STEP = 0.5  # pixels between the points of a path
SEEN_PX = 50.0  # stretch of a nerve over which an observer judges whether it is seen


@dataclass(frozen=True)
class CornealRanges:
    """What a generated corneal image is drawn from, uniformly between two ends; lengths are pixels of 400/384 um.

    Brightness of nerves, cells and dots is in SD of the grain around them, that of haze and bands a share of the
    mean. Numbers of things are for 384 x 384 pixels and shrink with the area.
    """

    mean: Range = (45.0, 130.0)  # grey value
    nerves: Range = (2, 8)
    direction_spread: Range = (0.03, 0.3)  # rad, SD among the nerves of one image
    turning: Range = (0.004, 0.018)  # rad for each pixel, SD of the slow bends
    wriggle: Range = (0.08, 0.4)  # rad, SD of the fast bends
    width: Range = (0.65, 1.6)  # SD of the profile
    brightness: Range = (1.0, 11.0)  # drawn on a logarithmic scale
    fading: Range = (0.05, 0.4)  # SD along a nerve of the logarithm of its brightness, correlated over 100 pixels
    beading: Range = (0.2, 0.8)  # the same over some pixels: beads
    bead: Range = (1.2, 6.0)  # distance of beads
    out_of_focus: Range = (0.0, 0.4)  # share of a nerve that dips out of the focal plane
    branches: Range = (0, 3)  # for each nerve
    branch_angle: Range = (0.25, 1.1)  # rad
    branch_length: Range = (30, 260)
    thin_fibres: Range = (0, 9)  # tortuous, beaded, between the nerves
    seen: float = 1.4  # a nerve fainter than this over 50 pixels is not in the mask
    dendritic_cells: Range = (0, 6)
    dendrites: Range = (0, 4)
    cell_length: Range = (5, 18)
    dendrite_length: Range = (0.5, 2.2)  # in lengths of the cell
    cell_brightness: Range = (3.0, 10.0)
    dots: Range = (0, 60)  # bright points
    dot_brightness: Range = (1.5, 7.0)
    bands: Range = (0, 2.4)  # K-structures and pressure lines, bright or dark
    band_width: Range = (6, 32)
    band_brightness: Range = (-0.3, 0.6)
    streaks: Range = (-8, 16)  # fine lines along a band that are no nerves; below 0: none
    streak_length: Range = (8, 50)
    streak_brightness: Range = (0.4, 2.5)
    dark_spots: Range = (0, 2.4)
    spot_radius: Range = (20, 60)
    spot_brightness: Range = (-0.45, -0.1)
    haze: Range = (0.05, 0.24)  # SD of the slow unevenness
    vignetting: Range = (0.0, 0.9)  # fall of brightness from the centre to a corner, logarithm
    grain: Range = (0.2, 0.38)  # SD of a pixel before it is blurred, as share of the brightness
    grain_size: Range = (0.5, 0.75)  # SD of its blur
    epithelium: Range = (
        -0.5,
        1.6,
    )  # contrast of basal cells in focus, in SD of the grain; below 0: none
    epithelium_size: Range = (1.6, 4.0)
    motion: Range = (0.0, 3.0)  # SD of the sideways displacement of rows, correlated over 40 rows
    jumps: Range = (-2.0, 1.5)  # rows where the eye jumped; below 0: none
    jump: Range = (-6.0, 6.0)


@dataclass
class Fibre:
    """A nerve: points (n, 2) y, x every half pixel; brightness in SD of the grain and SD of the profile at each."""

    points: np.ndarray
    brightness: np.ndarray
    width: np.ndarray


class Painter:
    """Draws the parts of one image of `size` x `size` pixels."""

    def __init__(self, size: int, ranges: CornealRanges, rng: np.random.Generator) -> None:
        self.size, self.ranges, self.rng = size, ranges, rng
        self.shape = (size, size)
        self.bands = [
            self._walk(self.rng.uniform(0, size, 2), self.rng.uniform(0, 2 * np.pi), 1.2 * size)
            for _ in range(self.count("bands"))
        ]

    def draw(self, name: str) -> float:
        """Draw the property `name`."""
        return float(self.rng.uniform(*getattr(self.ranges, name)))

    def count(self, name: str) -> int:
        """Draw the number of things `name` for the area of the image: rounded at random."""
        return int(max(self.draw(name), 0.0) * (self.size / 384) ** 2 + self.rng.random())

    # ---- nerves
    def fibres(self) -> list[Fibre]:
        """Draw the nerves with their branches, and thin fibres; motion displaces them as the scanner would."""
        angle = self.rng.uniform(0, np.pi) if self.rng.random() < 0.3 else self.rng.normal(np.pi / 2, 0.3)
        spread = self.draw("direction_spread")
        found: list[Fibre] = []
        for _ in range(max(self.count("nerves"), 1)):
            direction = angle + self.rng.normal(0, spread)
            nerve = self._nerve(direction)
            found += [nerve, *(self._branch(nerve) for _ in range(int(self.draw("branches") + self.rng.random())))]
        found += [self._thin_fibre(angle) for _ in range(self.count("thin_fibres"))]
        shift = self._motion()
        for fibre in found:
            rows = np.clip(np.rint(fibre.points[:, 0]).astype(int), 0, self.size - 1)
            fibre.points[:, 1] += shift[rows]
        return [fibre for fibre in found if len(fibre.points) > 1]

    def _nerve(self, direction: float) -> Fibre:
        """Draw one that crosses the image."""
        middle = self.rng.uniform(0.02, 0.98, 2) * self.size
        back, forth = (self._walk(middle, direction + turn, 1.1 * self.size) for turn in (np.pi, 0))
        points = np.concatenate([back[::-1], forth])
        low, high = np.log(self.ranges.brightness)
        brightness = float(np.exp(self.rng.uniform(low, high)))
        width = self.draw("width") * (0.75 + 0.25 * min(brightness / 3, 1.5))
        return self._lit(points, brightness, width)

    def _branch(self, parent: Fibre) -> Fibre:
        """Draw a thinner one that leaves `parent` inside the image."""
        inside = np.flatnonzero(((parent.points >= 0) & (parent.points < self.size)).all(1))
        if len(inside) < 20:
            return Fibre(np.zeros((0, 2)), np.zeros(0), np.zeros(0))
        at = int(self.rng.choice(inside[5:-5]))
        step = parent.points[at + 4] - parent.points[at - 4]
        side = self.rng.choice([-1, 1])
        direction = np.arctan2(*step) + side * self.draw("branch_angle") + self.rng.choice([0, np.pi])
        points = self._walk(parent.points[at], direction, self.draw("branch_length"))
        share = self.rng.uniform(0.35, 0.95)
        return self._lit(
            points, float(share * parent.brightness[at]), float(self.rng.uniform(0.6, 1) * parent.width[at])
        )

    def _thin_fibre(self, angle: float) -> Fibre:
        direction = angle + self.rng.normal(0, 0.7)
        points = self._walk(self.rng.uniform(0, self.size, 2), direction, self.draw("branch_length"), 2.0)
        low, high = np.log(self.ranges.brightness)
        brightness = float(np.exp(self.rng.uniform(low, 0.35 * low + 0.65 * high)))
        return self._lit(points, brightness, self.rng.uniform(0.65, 1.0))

    def _walk(self, start: np.ndarray, direction: float, length: float, restless: float = 1.0) -> np.ndarray:
        """Walk `length` pixels in half-pixel steps; slow bends add up, fast ones do not."""
        steps = max(int(length / STEP), 4)
        slow = self.rng.standard_normal(steps) * np.sqrt(STEP) * self.draw("turning") * restless
        slow = ndimage.gaussian_filter1d(np.cumsum(slow * 2.5), 8 / STEP)
        slow -= slow[0]
        fast = restless * self.draw("wriggle") * self._noise(steps, self.rng.uniform(3, 12))
        heading = direction + slow + fast
        return np.asarray(start + STEP * np.cumsum(np.stack([np.sin(heading), np.cos(heading)], 1), 0))

    def _noise(self, steps: int, correlation: float) -> np.ndarray:
        """Return Gaussian noise of unit SD along a path, correlated over `correlation` pixels."""
        sd = correlation / STEP / 2
        noise = ndimage.gaussian_filter1d(self.rng.standard_normal(steps + int(6 * sd)), sd)[:steps]
        return np.asarray(noise * np.sqrt(2 * np.sqrt(np.pi) * sd))

    def _lit(self, points: np.ndarray, brightness: float, width: float) -> Fibre:
        """Give a path its brightness and width: slow fading, beads, and stretches out of focus (dim and broad)."""
        n = len(points)
        level = self.draw("fading") * self._noise(n, 100) + self.draw("beading") * self._noise(n, self.draw("bead"))
        away = np.clip(self._noise(n, 60) + 2 * (self.draw("out_of_focus") - 0.5), 0, 1)
        focus = 1 / (1 + away)
        return Fibre(points, brightness * np.exp(level) * focus**2, width * np.exp(0.1 * self._noise(n, 30)) / focus)

    def _motion(self) -> np.ndarray:
        """Return the sideways displacement of each row."""
        shift = self.draw("motion") * smooth_field((self.size,), 40, self.rng)
        for row in self.rng.integers(0, self.size, max(round(self.draw("jumps")), 0)):
            shift[row:] += self.draw("jump")
        return shift

    def glow(self, fibres: list[Fibre]) -> np.ndarray:
        """Return the brightness (size x size) that fibres add, in SD of the grain."""
        reach = int(np.ceil(4 * BLURS[-1]))
        layers = np.zeros((len(BLURS), self.size + 2 * reach, self.size + 2 * reach))
        for fibre in fibres:
            for layer, weight in _shares(fibre.width):
                _splat(
                    layers[layer],
                    fibre.points + reach,
                    fibre.brightness * weight * STEP * np.sqrt(2 * np.pi) * BLURS[layer],
                )
        total = sum(ndimage.gaussian_filter(layer, blur) for layer, blur in zip(layers, BLURS, strict=True))
        return np.asarray(total)[reach : reach + self.size, reach : reach + self.size]

    def centreline(self, fibres: list[Fibre]) -> tuple[np.ndarray, np.ndarray]:
        """Return the pixels (bool) on the centreline of what is seen of the fibres, and the profile's SD at each."""
        line, width = np.zeros(self.shape, bool), np.zeros(self.shape)
        for fibre in fibres:
            seen = ndimage.uniform_filter1d(fibre.brightness, int(SEEN_PX / STEP), mode="nearest") > self.ranges.seen
            pixels = np.rint(fibre.points).astype(int)
            keep = seen & ((pixels >= 0) & (pixels < self.size)).all(1)
            where = tuple(pixels[keep].T)
            line[where] = True
            width[where] = np.maximum(width[where], fibre.width[keep])
        return line, width

    # ---- what is no nerve
    def cells(self) -> np.ndarray:
        """Return the brightness of dendritic cells (bodies with up to some short processes) and of bright dots."""
        drawn: list[Fibre] = []
        for _ in range(self.count("dendritic_cells")):
            centre, direction = self.rng.uniform(0, self.size, 2), self.rng.uniform(0, 2 * np.pi)
            light, length = self.draw("cell_brightness"), self.draw("cell_length")
            body = self._walk(centre, direction, length)
            drawn.append(Fibre(body, np.full(len(body), light), np.full(len(body), self.rng.uniform(1.0, 2.0))))
            for _ in range(int(self.draw("dendrites"))):
                end = body[self.rng.choice([0, -1])]
                arm = self._walk(end, self.rng.uniform(0, 2 * np.pi), self.draw("dendrite_length") * length, 3.0)
                fall = light * np.linspace(0.8, 0.2, len(arm)) * np.exp(self.draw("beading") * self._noise(len(arm), 3))
                drawn.append(Fibre(arm, fall, np.full(len(arm), self.rng.uniform(0.7, 1.1))))
        for _ in range(self.count("dots")):
            dot = self._walk(self.rng.uniform(0, self.size, 2), self.rng.uniform(0, 2 * np.pi), 2)
            light = self.draw("dot_brightness") * self.rng.uniform(0.3, 1)
            drawn.append(Fibre(dot, np.full(len(dot), light), np.full(len(dot), self.rng.uniform(0.7, 1.3))))
        return self.glow(drawn)

    def light(self) -> np.ndarray:
        """Return each pixel's mean grey value: haze, vignetting, bands (K-structures, pressure lines), dark spots."""
        y, x = np.indices(self.shape) / self.size
        level = self.draw("haze") * smooth_field(self.shape, self.rng.uniform(90, 220), self.rng)
        level += 0.3 * self.draw("haze") * smooth_field(self.shape, self.rng.uniform(20, 60), self.rng)
        cy, cx = self.rng.uniform(0.25, 0.75, 2)
        level -= self.draw("vignetting") * ((y - cy) ** 2 + (x - cx) ** 2) / 0.5 * self.rng.uniform(0.7, 1.3)
        for path in self.bands:
            level += self.draw("band_brightness") * self._band(path, self.draw("band_width"))
        for _ in range(self.count("dark_spots")):
            centre = self.rng.uniform(0, 1, 2)
            radius = self.draw("spot_radius") / self.size * np.array([1, self.rng.uniform(0.6, 1.6)])
            far = ((y - centre[0]) / radius[0]) ** 2 + ((x - centre[1]) / radius[1]) ** 2
            level += self.draw("spot_brightness") * np.exp(-((far + 0.4 * smooth_field(self.shape, 40, self.rng)) ** 2))
        return np.asarray(self.draw("mean") * np.exp(level - level.mean()))

    def streaks(self) -> np.ndarray:
        """Return the brightness of fine lines along the bands, as K-structures have them."""
        drawn: list[Fibre] = []
        for path in self.bands:
            for _ in range(max(round(self.draw("streaks")), 0)):
                at = int(self.rng.integers(4, len(path) - 4))
                direction = np.arctan2(*(path[at + 4] - path[at - 4])) + self.rng.normal(0, 0.15)
                start = path[at] + self.rng.normal(0, self.draw("band_width") / 2, 2)
                points = self._walk(start, direction, self.draw("streak_length"))
                light = self.draw("streak_brightness") * np.sin(np.linspace(0.3, np.pi - 0.3, len(points)))
                drawn.append(Fibre(points, light, np.full(len(points), self.rng.uniform(0.7, 1.6))))
        return self.glow(drawn)

    def _band(self, path: np.ndarray, width: float) -> np.ndarray:
        """Return a broad band (0 to 1) along a path, patchy along its length."""
        line = np.ones(self.shape, bool)
        pixels = np.rint(path).astype(int)
        line[tuple(pixels[((pixels >= 0) & (pixels < self.size)).all(1)].T)] = False
        if line.all():
            return np.zeros(self.shape)
        far = ndimage.distance_transform_edt(line) + 0.35 * width * smooth_field(self.shape, 2 * width, self.rng)
        patches = np.clip(0.7 + 0.4 * smooth_field(self.shape, 80, self.rng), 0, None)
        return np.asarray(np.exp(-((far / width) ** 2)) * patches)

    def texture(self) -> np.ndarray:
        """Return the mosaic of basal epithelial cells where it is in focus, in SD of the grain; often none."""
        contrast = max(self.draw("epithelium"), 0.0)
        size = self.draw("epithelium_size")
        cells = smooth_field(self.shape, size, self.rng) - smooth_field(self.shape, 2 * size, self.rng)
        cells = np.exp(0.5 * cells) - 1.2
        where = np.clip(0.5 + smooth_field(self.shape, 120, self.rng), 0, 1)
        return np.asarray(contrast * cells * where)

    def grain(self) -> np.ndarray:
        """Return the speckle, a positive factor of mean 1."""
        sd, blur = self.draw("grain"), self.draw("grain_size")
        shape = 1 / sd**2
        noise = self.rng.gamma(shape, 1 / shape, self.shape)
        return np.asarray(ndimage.gaussian_filter(noise, blur, mode="wrap"))


def _shares(width: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Say how much of each drawn profile (index, share at each point) makes up profiles of SD `width`."""
    position = np.interp(width, BLURS, np.arange(len(BLURS)))
    return [(k, np.clip(1 - np.abs(position - k), 0, 1)) for k in range(len(BLURS))]


def _splat(canvas: np.ndarray, points: np.ndarray, values: np.ndarray) -> None:
    """Add `values` at fractional `points` (y, x), shared among the four pixels around."""
    low = np.floor(points).astype(int)
    part = points - low
    keep = ((low >= 0) & (low < np.array(canvas.shape) - 1)).all(1)
    low, part, values = low[keep], part[keep], values[keep]
    for dy in (0, 1):
        for dx in (0, 1):
            share = np.abs(1 - dy - part[:, 0]) * np.abs(1 - dx - part[:, 1])
            np.add.at(canvas, (low[:, 0] + dy, low[:, 1] + dx), values * share)


BLACK = 8.0  # grey value of no light
VISIBLE_SDS = 1.2  # half of a nerve's width in SDs of its profile: full width at half maximum


def ccm_image(seed: int = 0, size: int = 384, ranges: CornealRanges | None = None) -> tuple[Image, Image]:
    """Draw a corneal image: nerves that fade and branch on bright grain, with all that is easily taken for nerves.

    What is drawn, and between which ends, says `CornealRanges`.

    Returns
    -------
    image
        uint8 (Y, X) with the HRT3-RCM pixel size, 400/384 um.
    labels
        uint8 exact mask: 1 where the nerve is, as wide as its profile at half maximum.
    """
    rng = np.random.default_rng([seed, size])
    painter = Painter(size, ranges or CornealRanges(), rng)
    fibres = painter.fibres()
    light, grain = painter.light(), painter.grain()
    bright = painter.glow(fibres) + painter.cells() + painter.streaks() + painter.texture()
    picture = BLACK + light * np.clip(1 + grain.std() * bright, 0.1, None) * grain
    line, width = painter.centreline(fibres)
    data = np.rint(np.clip(picture, 1, 255)).astype(np.uint8)
    step = FIELD_UM / FIELD_PX
    image = Image(data, "YX", (step,) * 2, ("micrometer",) * 2, name=f"nerves_{seed}", metadata={"generated": True})
    return image, image.labels_like(_widened(line, width).astype(np.uint8), f"nerves_{seed}_mask")


def _widened(line: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Return the pixels within the half width of a centreline's nearest pixel."""
    if not line.any():
        return line
    far, nearest = ndimage.distance_transform_edt(~line, return_indices=True)
    return np.asarray(far <= np.clip(VISIBLE_SDS * width[tuple(nearest)], 1.0, 3.0))


def ccm_folder(
    folder: str | Path,
    count: int = 8,
    size: int = 384,
    seed: int = 0,
    kind: Corruption = "trace",
    level: float = 0.0,
) -> Path:
    """Write `count` generated pairs ``S<nn>_OD_1_org.tif`` / ``_lab.tif``, labels corrupted, and ``exact/`` masks.

    Returns
    -------
    Path
        The folder, ready for training.
    """
    from tifffile import imwrite

    folder = Path(folder)
    (folder / "exact").mkdir(parents=True, exist_ok=True)
    for index in range(count):
        image, labels = ccm_image(seed + index, size)
        rough = corrupt(labels.data, kind, level, np.random.default_rng([seed + index, 1]))
        stem = f"S{index + 1:02}_OD_1"
        imwrite(folder / f"{stem}_org.tif", image.data)
        imwrite(folder / f"{stem}_lab.tif", rough.astype(np.uint8))
        imwrite(folder / "exact" / f"{stem}_lab.tif", labels.data)
    return folder
