"""Generated H&E tissue of several laboratories with its exact nuclei; `TissueRanges` names what is drawn for each tile.

Light is absorbed by two stains (Beer-Lambert): haematoxylin in nuclei, eosin in cytoplasm, fibres and blood. A tile
holds glands or sheets of epithelium, fibrous stroma, lymphocytes and glass; nuclei touch, overlap and leave the plane
of focus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.samples.fields import smooth_field

HAEMATOXYLIN = np.array(
    [(0.65, 0.70, 0.29), (0.48, 0.76, 0.43), (0.55, 0.76, 0.34), (0.74, 0.61, 0.27), (0.60, 0.73, 0.20)]
)
EOSIN = np.array([(0.07, 0.99, 0.11), (0.26, 0.80, 0.54), (0.20, 0.93, 0.30), (0.10, 0.86, 0.50), (0.30, 0.90, 0.10)])
PIXEL_UM = 0.25  # at magnification 1
EDGE = 0.07  # softness of a nucleus' outline, in radii
NOISE_EDGE = 512  # of the stored random fields that textures are cut from

Span = tuple[float, float]


@dataclass(frozen=True)
class TissueRanges:
    """From where each tile, region or nucleus draws its properties; lengths in pixels at magnification 1 (0.25 um)."""

    magnification: Span = (0.9, 1.9)
    stain_mixing: Span = (-0.25, 1.25)  # between two laboratories' colours, and a little beyond
    stain_wobble: float = 0.05  # SD of each colour component
    haematoxylin: Span = (0.5, 1.8)  # strongest optical density of ordinary nuclei
    counterstain: Span = (0.15, 1.1)  # optical density of eosin
    background_haematoxylin: Span = (0.0, 0.35)
    illumination: Span = (225.0, 254.0)  # grey level of glass
    tint: float = 8.0  # largest difference of a channel of glass, in grey levels
    region: Span = (28.0, 90.0)  # correlation length of tissue regions
    crowding: Span = (0.8, 2.0)  # distance of neighbours, in sums of radii: below 1 they overlap
    overlap: Span = (0.0, 0.35)  # largest hidden share of a nucleus
    epithelial_radius: Span = (8.0, 15.0)
    epithelial_aspect: Span = (0.55, 1.0)
    lymphocyte_radius: Span = (5.5, 8.0)
    spindle_length: Span = (9.0, 18.0)
    spindle_aspect: Span = (0.18, 0.45)
    lymphocyte_crowding: Span = (0.75, 1.3)
    spindle_crowding: Span = (1.0, 3.5)
    spindle_tone: float = 1.05  # density of their nuclei, where that of epithelium is 1
    size_spread: Span = (0.05, 0.3)  # SD of the logarithm of radii within a tile
    lobes: Span = (0.02, 0.14)  # amplitude of the outline's harmonics
    pallor: Span = (0.0, 0.85)  # how much paler than its rim a vesicular nucleus is
    chromatin_grain: Span = (0.8, 3.0)  # SD of the chromatin's smoothing
    chromatin_contrast: Span = (0.1, 0.6)
    nucleoli: Span = (0.0, 2.5)  # mean number
    tone_spread: Span = (0.1, 0.4)  # SD of the logarithm of nuclear density
    bend: float = 0.1  # SD of the curvature of spindles, in inverse lengths
    roughness: Span = (0.05, 0.6)  # fine texture of cytoplasm and fibres
    ghosts: Span = (0.0, 0.12)  # out-of-focus shadows that no observer outlines, per nucleus
    halo: Span = (0.0, 0.9)  # clearing around nuclei
    cracks: Span = (0.0, 1.0)  # gaps between epithelial cells
    vacuoles: Span = (0.0, 1.0)
    fibre_contrast: Span = (0.1, 0.6)
    blood: Span = (0.0, 3.0)  # red cells per 100 x 100 pixels, in a third of the tiles
    blur: Span = (0.3, 1.5)
    sharpening: Span = (0.0, 1.2)
    grain: Span = (0.5, 5.0)  # SD of noise in grey levels


RANGES = TissueRanges()


@dataclass(frozen=True)
class Population:
    """A population of nuclei of one tile."""

    radius: float
    aspect: Span
    spread: float
    pallor: float
    tone: float
    contrast: float
    nucleoli: float
    crowding: float


class TissueTile:
    """One tile under construction: stain amounts, labels and where nuclei may lie."""

    def __init__(self, seed: int, size: int, ranges: TissueRanges = RANGES) -> None:
        self.rng, self.size, self.ranges = np.random.default_rng(seed), size, ranges
        self.magnification = float(np.exp(self.rng.uniform(*np.log(ranges.magnification))))
        self.labels = np.zeros((size, size), np.uint16)
        self.haematoxylin = np.zeros((size, size))
        self.cleared = np.zeros((size, size))  # 0 .. 1: halo and nucleus, where there is no cytoplasm
        grain = self.draw(ranges.chromatin_grain) * self.magnification**0.5
        self.chromatin = smooth_field(self.rng, NOISE_EDGE, grain)
        self.areas: list[int] = [0]
        self.visible: list[int] = [0]
        self.overlap = self.draw(ranges.overlap)
        self.edge = EDGE * self.rng.uniform(0.6, 2.0)

    def draw(self, span: Span) -> float:
        """Draw a number of a range."""
        return float(self.rng.uniform(*span))

    # ---- regions
    def lay_out(self) -> None:
        """Divide the tile into glass, epithelium and stroma, and draw the direction of fibres."""
        rng, scale = self.rng, self.draw(self.ranges.region) * self.magnification
        terrain = smooth_field(rng, self.size, scale)
        terrain += 0.15 * smooth_field(rng, self.size, 6 * self.magnification)
        shares = rng.dirichlet([0.6, 2.0, 2.0])  # glass, epithelium, stroma
        glass, epithelium = np.quantile(terrain, [shares[0], min(shares[0] + shares[1], 1.0)])
        softness = 0.05
        self.glass = 1 / (1 + np.exp(np.clip((terrain - glass) / softness, -50, 50)))
        self.epithelium = (terrain >= glass) & (terrain < epithelium)
        self.stroma = terrain >= epithelium
        angle = smooth_field(rng, self.size, 60 * self.magnification) * 0.7 + rng.uniform(0, np.pi)
        self.direction = angle
        self.immune = smooth_field(rng, self.size, 30 * self.magnification) > rng.uniform(0.3, 2.5)

    # ---- nuclei
    def populate(self) -> None:
        """Place spindles, lymphocytes and epithelial nuclei region by region."""
        r, rng = self.ranges, self.rng
        crowding = self.draw(r.crowding)
        spread, self.tone_spread = self.draw(r.size_spread), self.draw(r.tone_spread)
        pallor, contrast = self.draw(r.pallor), self.draw(r.chromatin_contrast)
        radius = self.draw(r.epithelial_radius)
        aspect = self.draw(r.epithelial_aspect)
        nucleoli = self.draw(r.nucleoli)
        epithelial = Population(
            radius, (aspect * 0.8, min(aspect * 1.2, 1)), spread, pallor, 1.0, contrast, nucleoli, crowding
        )
        lymphocyte, spindle = self.stroma_cells(spread, pallor, contrast, nucleoli)
        orient = rng.uniform() < 0.5
        self._fill(spindle, self.stroma & ~self.immune, along=True)
        self._fill(lymphocyte, self.immune & (self.glass < 0.5), along=False)
        self._fill(epithelial, self.epithelium & ~self.immune, along=orient)

    def stroma_cells(self, spread: float, pallor: float, contrast: float, nucleoli: float) -> list[Population]:
        """Draw the lymphocytes and the spindles of a tile."""
        r = self.ranges
        small, apart = self.draw(r.lymphocyte_radius), self.draw(r.lymphocyte_crowding)
        lymphocyte = Population(small, (0.8, 1.0), spread / 2, pallor * 0.2, 1.25, contrast, 0.0, apart)
        long, apart = self.draw(r.spindle_length), self.draw(r.spindle_crowding)
        tone = r.spindle_tone
        return [
            lymphocyte,
            Population(long, r.spindle_aspect, spread, pallor * 0.6, tone, contrast, nucleoli / 3, apart),
        ]

    def _fill(self, kind: Population, where: np.ndarray, along: bool) -> None:
        """Throw nuclei at random into a region until there is no more room at the kind's crowding."""
        places = np.argwhere(where & (self.glass < 0.6))
        if not len(places):
            return
        radius = kind.radius * self.magnification
        mean_aspect = float(np.mean(kind.aspect))
        reach = kind.crowding * 2 * radius * np.sqrt(mean_aspect)
        wanted = max(1, int(0.75 * len(places) / reach**2))
        centres = np.empty((0, 2))
        for _ in range(6 * wanted):
            y, x = places[self.rng.integers(len(places))] + self.rng.uniform(-0.5, 0.5, 2)
            if len(centres) and ((centres - (y, x)) ** 2).sum(1).min() < (reach * self.rng.uniform(0.75, 1.1)) ** 2:
                continue
            if self._nucleus(kind, y, x, along):
                centres = np.vstack([centres, (y, x)])
            if len(centres) >= wanted:
                return

    def _nucleus(self, kind: Population, y: float, x: float, along: bool) -> bool:
        """Draw one nucleus unless it would hide, or be hidden, too much; return whether it was drawn."""
        rng, r = self.rng, self.ranges
        a = kind.radius * self.magnification * float(np.exp(rng.normal(0, kind.spread)))
        b = a * rng.uniform(*kind.aspect)
        row, column = (min(max(round(v), 0), self.size - 1) for v in (y, x))
        angle = self.direction[row, column] + rng.normal(0, 0.25) if along else rng.uniform(0, np.pi)
        box, v, u = self._window(y, x, a * 1.5 + 3)
        if v.size == 0:
            return False
        p, q = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
        q = q - (rng.normal(0, r.bend) * p * p / a if along else 0.0)
        theta = np.arctan2(q / b, p / a)
        lobes = self.draw(r.lobes)
        outline = 1 + sum(
            rng.normal(0, lobes / k) * np.cos(k * theta + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5)
        )
        distance = np.hypot(p / a, q / b) / np.clip(outline, 0.5, 1.5)
        inside = distance < 1
        area = int(inside.sum())
        if area < 12 or not self._has_room(self.labels[box][inside], area):
            return False
        ghost = rng.uniform() < self.draw(r.ghosts)
        self._stain(kind, box, distance, ghost, (p / a, q / b))
        if not ghost:
            self.areas.append(area)
            self.visible.append(area)
            self.labels[box][inside] = len(self.areas) - 1
        return True

    def _has_room(self, below: np.ndarray, area: int) -> bool:
        """Whether a new nucleus over labels `below` leaves enough of itself and of each older one to be seen."""
        hidden = np.bincount(below)
        if hidden[0] < (1 - self.overlap) * area:
            return False
        ids = np.flatnonzero(hidden[1:]) + 1
        if any(self.visible[i] - hidden[i] < (1 - self.overlap) * self.areas[i] for i in ids):
            return False
        for i in ids:
            self.visible[i] -= int(hidden[i])
        return True

    def _window(self, y: float, x: float, reach: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        tops = [max(int(c - reach), 0) for c in (y, x)]
        ends = [min(int(c + reach) + 2, self.size) for c in (y, x)]
        v, u = np.mgrid[tops[0] : max(ends[0], tops[0]), tops[1] : max(ends[1], tops[1])].astype(float)
        return (slice(tops[0], ends[0]), slice(tops[1], ends[1])), v - y, u - x

    def _stain(
        self,
        kind: Population,
        box: tuple[slice, slice],
        distance: np.ndarray,
        ghost: bool,
        place: tuple[np.ndarray, np.ndarray],
    ) -> None:
        rng = self.rng
        softness = self.edge * (rng.uniform(4, 8) if ghost else rng.uniform(0.7, 1.6))
        body = 1 / (1 + np.exp(np.clip((distance - 1) / softness, -50, 50)))
        pallor = np.clip(kind.pallor + rng.normal(0, 0.15), 0, 0.9)
        rim = np.exp(-(((distance - 0.92) / 0.14) ** 2))
        offset = rng.integers(0, NOISE_EDGE, 2)
        rows, columns = ((np.arange(n) + o) % NOISE_EDGE for n, o in zip(distance.shape, offset, strict=True))
        grain = kind.contrast * self.chromatin[np.ix_(rows, columns)]
        density = (1 - pallor) + pallor * rim + grain * (1 - 0.5 * pallor)
        for _ in range(rng.poisson(kind.nucleoli)):
            py, px = rng.uniform(-0.5, 0.5, 2)
            spot = rng.uniform(0.12, 0.25)
            density = density + 0.9 * np.exp(-(((place[0] - px) ** 2 + (place[1] - py) ** 2) / spot**2))
        tone = kind.tone * float(np.exp(rng.normal(0, self.tone_spread))) * (rng.uniform(0.15, 0.45) if ghost else 1.0)
        self.haematoxylin[box] += body * np.maximum(density, 0.12) * tone
        cleared = np.clip(1.6 - distance / 1.15, 0, 1)
        self.cleared[box] = np.maximum(self.cleared[box], cleared if not ghost else body * 0.5)

    # ---- light
    def expose(self) -> np.ndarray:
        """Return what the camera saw, RGB uint8 (size, size, 3)."""
        amounts = np.stack([self._blue(), self._pink()], -1)
        density = amounts @ self._colours()
        rng, r = self.rng, self.ranges
        glass = self.draw(r.illumination) + rng.uniform(-r.tint, r.tint, 3)
        light = np.minimum(glass, 255) * np.exp(-density)
        light = ndimage.gaussian_filter(light, (*[self.draw(r.blur) * min(self.magnification, 1.5)] * 2, 0))
        light += self.draw(r.sharpening) * (light - ndimage.gaussian_filter(light, (1.2, 1.2, 0)))
        light += rng.normal(0, self.draw(r.grain), light.shape)
        return np.asarray(np.clip(light, 0, 255), np.uint8)

    def pictures(self, labels: np.ndarray, name: str, metadata: dict[str, object]) -> tuple[Image, Image]:
        """Return the tile as the camera saw it, and `labels` numbered without gaps."""
        step = PIXEL_UM / self.magnification
        image = Image(
            self.expose(), "YXC", (step, step), ("micrometer", "micrometer"), name=name,
            channels=("red", "green", "blue"), metadata=metadata,
        )  # fmt: skip
        return image, image.labels_like(consecutive(labels), f"{name}_label")

    def _colours(self) -> np.ndarray:
        rng, r = self.rng, self.ranges
        chosen = []
        for stain in (HAEMATOXYLIN, EOSIN):
            first, second = stain[rng.integers(0, len(stain), 2)]
            mixed = first + self.draw(r.stain_mixing) * (second - first) + rng.normal(0, r.stain_wobble, 3)
            mixed = np.clip(mixed, 0.02, None)
            chosen.append(mixed / np.linalg.norm(mixed))
        return np.stack(chosen)

    def _blue(self) -> np.ndarray:
        rng, r = self.rng, self.ranges
        nuclei = self.haematoxylin * self.draw(r.haematoxylin)
        haze = self.draw(r.background_haematoxylin) * (1 + 0.4 * smooth_field(rng, self.size, 5 * self.magnification))
        return np.asarray(nuclei + np.clip(haze, 0, None) * (1 - self.glass))

    def _pink(self) -> np.ndarray:
        rng, r, m = self.rng, self.ranges, self.magnification
        strength = self.draw(r.counterstain)
        along = self._fibres()
        cytoplasm = 0.75 + 0.2 * smooth_field(rng, self.size, 12 * m)
        cytoplasm = cytoplasm + 0.12 * smooth_field(rng, self.size, 1.5 * m)
        pink = np.where(self.stroma, 0.95 + along * self.draw(r.fibre_contrast), cytoplasm)
        pink = ndimage.gaussian_filter(pink, m)
        rough = 0.6 * smooth_field(rng, self.size, self.draw((0.6, 1.5)) * m)
        rough = rough + 0.4 * smooth_field(rng, self.size, 3 * m)
        pink = pink * np.clip(1 + self.draw(r.roughness) * rough, 0.1, None)
        if rng.uniform() < 0.4:
            holes = smooth_field(rng, self.size, self.draw((3, 8)) * m) - self.draw((1.0, 2.5))
            pink = pink * (1 - self.draw(r.vacuoles) / (1 + np.exp(-np.clip(holes / 0.15, -50, 50))))
        if rng.uniform() < 0.4:
            walls = np.abs(smooth_field(rng, self.size, self.draw((7, 14)) * m)) / 0.12
            pink = pink * (1 - self.draw(r.cracks) * np.exp(-(walls**2)) * ~self.stroma)
        pink = pink * (1 - self.draw(r.halo) * self.cleared)
        pink = np.clip(pink, 0.02, None) * (1 - 0.95 * self.glass)
        if rng.uniform() < 0.33:
            self._bleed(pink)
        return np.asarray(pink * strength)

    def _fibres(self) -> np.ndarray:
        """Return a texture of waves along the fibres' direction."""
        rng, m = self.rng, self.magnification
        y, x = np.mgrid[: self.size, : self.size]
        across = y * np.cos(self.direction) - x * np.sin(self.direction)
        waves = np.sin(2 * np.pi * across / (self.draw((4, 14)) * m) + 3 * smooth_field(rng, self.size, 18 * m))
        return np.asarray(
            waves * (0.6 + 0.4 * smooth_field(rng, self.size, 8 * m)) + 0.4 * smooth_field(rng, self.size, 1.5 * m)
        )

    def _bleed(self, pink: np.ndarray) -> None:
        """Add red blood cells, disks of strong eosin without nucleus."""
        n = self.rng.poisson(self.draw(self.ranges.blood) * (self.size / 100) ** 2)
        centre = self.rng.uniform(0, self.size, 2)
        for _ in range(n):
            y, x = centre + self.rng.normal(0, self.size / 4, 2)
            radius = self.rng.uniform(6, 10) * self.magnification
            box, v, u = self._window(y, x, radius + 3)
            if v.size:
                pink[box] += self.rng.uniform(0.4, 1.2) / (1 + np.exp(np.clip(np.hypot(v, u) - radius, -50, 50)))


def tissue_tile(seed: int = 0, size: int = 512, ranges: TissueRanges = RANGES) -> tuple[Image, Image]:
    """Generate a tile and its nuclei.

    Parameters
    ----------
    seed
        Equal seeds give equal tiles.
    size
        Edge in pixels.
    ranges
        From where properties are drawn.

    Returns
    -------
    tuple of Image
        RGB uint8 (size, size, 3), and nuclei 1 .. N uint16 (size, size).
    """
    tile = TissueTile(seed, size, ranges)
    tile.lay_out()
    tile.populate()
    return tile.pictures(tile.labels, f"tissue_{seed}", {"generated": "napari_medseg.samples.tissue", "seed": seed})


def consecutive(labels: np.ndarray) -> np.ndarray:
    """Return labels numbered from 1 without gaps, uint16."""
    ids = np.unique(labels)
    return np.asarray(np.searchsorted(ids, labels) if ids[0] == 0 else np.searchsorted(ids, labels) + 1, np.uint16)
