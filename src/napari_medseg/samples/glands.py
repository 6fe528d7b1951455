"""Generated H&E sections of glands with the outline of each; `GlandRanges` names what is drawn for each tile.

Bodies lie in fibrous stroma: crypts, whose cells hold mucin and have their nuclei at the base, or tubes of crowded
columnar cells, with one lumen or several, empty or full of debris. Light, stains and single nuclei are those of
`samples.tissue`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.samples.fields import smooth_field
from napari_medseg.samples.tissue import Population, Span, TissueRanges, TissueTile

SMALLEST = 150  # pixels of a gland
TRIES = 150  # places that are looked at for glands


@dataclass(frozen=True)
class GlandRanges(TissueRanges):
    """From where each tile or gland draws its properties; lengths in pixels at magnification 1 (0.25 um)."""

    magnification: Span = (0.32, 0.52)
    epithelial_radius: Span = (8.0, 17.0)
    epithelial_aspect: Span = (0.3, 0.9)
    lymphocyte_radius: Span = (6.0, 9.0)
    lymphocyte_crowding: Span = (0.8, 2.0)
    spindle_crowding: Span = (1.2, 4.0)
    spindle_tone: float = 1.0
    pallor: Span = (0.0, 0.7)
    crowding: Span = (0.7, 1.4)
    background_haematoxylin: Span = (0.0, 0.3)
    crypts: float = 0.45  # share of tiles whose glands are crypts
    crypt_radius: Span = (50.0, 120.0)
    tube_radius: Span = (50.0, 260.0)
    aspect: Span = (0.35, 1.0)
    warp: Span = (0.05, 0.45)  # how far outlines bend, in radii
    gap: Span = (4.0, 40.0)  # least width of stroma between glands
    cover: Span = (0.15, 0.8)  # of the tile, by glands
    epithelium: Span = (28.0, 90.0)  # height of the cells of tubes
    crypt_nucleus: Span = (6.0, 12.0)
    crypt_crowding: Span = (0.55, 1.1)
    crypt_lumen: Span = (0.0, 0.45)  # of a crypt's radius
    basal: Span = (0.25, 1.0)  # share of the epithelium's height that holds nuclei
    basophilia: Span = (0.0, 0.9)  # haematoxylin in the cytoplasm of epithelium
    mucin: Span = (0.3, 1.0)  # how pale the cells of crypts are
    mucin_cell: Span = (8.0, 20.0)
    extra_lumens: float = 0.35  # share of tubes with several
    debris: float = 0.45  # share of lumens that hold some
    cleft: Span = (0.0, 14.0)  # between gland and stroma


RANGES = GlandRanges()


class GlandTile(TissueTile):
    """One tile under construction."""

    ranges: GlandRanges

    def __init__(self, seed: int, size: int, ranges: GlandRanges = RANGES) -> None:
        super().__init__(seed, size, ranges)
        self.crypts = bool(self.rng.uniform() < ranges.crypts)
        self.glands = np.zeros((size, size), np.int32)

    # ---- regions
    def lay_out(self) -> None:
        """Place glands, hollow them out, and leave glass at clefts and beside the tissue."""
        rng, r, m = self.rng, self.ranges, self.magnification
        self._place()
        inside = self.glands > 0
        self.depth = self._depth()
        self.outer = ndimage.distance_transform_edt(~inside)
        self.lumen = np.zeros_like(inside)
        self.mucin = np.zeros(inside.shape)
        self.content = np.zeros(inside.shape, bool)
        self.band = np.zeros(inside.shape)  # height of the epithelium that holds nuclei, in pixels
        self.rough = rough = smooth_field(rng, self.size, 10 * m)
        height, basal = self.draw(r.epithelium) * m, self.draw(r.basal)
        for number, box in enumerate(ndimage.find_objects(self.glands), 1):
            if box is not None:
                self._hollow(box, self.glands[box] == number, height, basal)
        self.epithelium = inside & ~self.lumen
        self.stroma = ~inside
        white = (self.lumen & ~self.content).astype(float)
        width = self.draw(r.cleft) * m * rng.integers(2)
        where = smooth_field(rng, self.size, 40 * m) > rng.uniform(-0.5, 1.5)
        white[(self.stroma) & (self.outer < width * (1 + 0.4 * rough)) & where] = 1
        if rng.uniform() < 0.3:  # spread stroma
            white[self.stroma & (smooth_field(rng, self.size, self.draw((6, 25)) * m) > rng.uniform(1.0, 2.2))] = 1
        if rng.uniform() < 0.25:  # the edge of the tissue
            white[self.stroma & (smooth_field(rng, self.size, 250 * m) > rng.uniform(0.8, 2.0))] = 1
        self.glass = ndimage.gaussian_filter(white, 0.6)
        self._directions()
        self.immune = smooth_field(rng, self.size, 60 * m) > rng.uniform(-0.5, 2.5)
        self.basophilia = ndimage.gaussian_filter(self.epithelium.astype(float), 1) * self.draw(r.basophilia)

    def _place(self) -> None:
        """Put bent ellipses beside each other until they cover enough."""
        rng, r, m = self.rng, self.ranges, self.magnification
        cover, gap = self.draw(r.cover), self.draw(r.gap) * m
        y, x = np.mgrid[: self.size, : self.size].astype(float)
        main, warp = rng.uniform(0, np.pi), self.draw(r.warp)
        typical = self.draw(r.crypt_radius if self.crypts else r.tube_radius) * m
        away, number = np.full(y.shape, np.inf), 0
        shift = [smooth_field(rng, self.size, max(2.0, 0.7 * typical)) for _ in range(2)]
        fine = [smooth_field(rng, self.size, max(1.5, 0.2 * typical)) for _ in range(2)]
        for _ in range(TRIES):
            if (self.glands > 0).mean() > cover:
                break
            radius = typical * float(np.exp(rng.normal(0, 0.15 if self.crypts else 0.35)))
            aspect = self.draw((max(r.aspect[0], 0.6), 1.0) if self.crypts else r.aspect)
            bend = (0.3 if self.crypts else 1.0) * warp * radius
            centre = rng.uniform(-0.05, 1.05, 2) * self.size
            v = y - centre[0] + bend * shift[0] + 0.12 * bend * fine[0]
            u = x - centre[1] + bend * shift[1] + 0.12 * bend * fine[1]
            angle = main + rng.normal(0, 0.35)
            p, q = u * np.cos(angle) + v * np.sin(angle), v * np.cos(angle) - u * np.sin(angle)
            wanted = np.hypot(p * np.sqrt(aspect), q / np.sqrt(aspect)) < radius
            body = ndimage.binary_opening(wanted & (away > gap * rng.uniform(0.6, 1.4)), iterations=3)
            if body.sum() < max(SMALLEST, (0.8 if self.crypts else 0.6) * wanted.sum()):
                continue
            number += 1
            self.glands[body] = number
            away = np.minimum(away, ndimage.distance_transform_edt(~body))

    def _depth(self) -> np.ndarray:
        """Return the distance of each pixel of a gland from its outline; the tile's edge is none."""
        padded = np.pad(self.glands, 1, mode="edge")
        edges = np.zeros(padded.shape, bool)
        for axis in (0, 1):
            change = np.diff(padded, axis=axis) != 0
            edges |= np.pad(change, [(0, int(a == axis)) for a in (0, 1)])
            edges |= np.pad(change, [(int(a == axis), 0) for a in (0, 1)])
        depth = ndimage.distance_transform_edt(~edges)[1:-1, 1:-1]
        return np.asarray(depth * (self.glands > 0))

    def _hollow(self, box: tuple[slice, slice], body: np.ndarray, height: float, basal: float) -> None:
        """Draw lumen, mucin and where nuclei lie of one gland."""
        rng, r, m = self.rng, self.ranges, self.magnification
        depth, rough = np.where(body, self.depth[box], 0), self.rough[box]
        limit = self._crypt(box, body, depth) if self.crypts else self._tube(box, body, depth, height, basal)
        lumen = body & (depth * (1 + 0.15 * rough) > limit)
        if not self.crypts and rng.uniform() < r.extra_lumens:
            bubbles = self._field(body.shape, self.draw((12, 40)) * m)
            if rng.uniform() < 0.5:
                lumen &= bubbles > rng.uniform(-1, 0.7)
            else:
                lumen |= body & (bubbles > rng.uniform(1.0, 2.0)) & (depth > 0.5 * height)
        lumen = ndimage.binary_opening(lumen, iterations=1)
        self.lumen[box] |= lumen
        if rng.uniform() < r.debris:
            full = self._field(body.shape, self.draw((6, 30)) * m)
            self.content[box] |= lumen & (full > rng.uniform(-1.5, 1.0))

    def _crypt(self, box: tuple[slice, slice], body: np.ndarray, depth: np.ndarray) -> float:
        """Fill the cells of a crypt with mucin above their base; return how deep they reach."""
        rng, r, m = self.rng, self.ranges, self.magnification
        limit = float(depth.max()) * (1 - self.draw(r.crypt_lumen))
        walls = np.abs(self._field(body.shape, self.draw(r.mucin_cell) * m))
        pale = self.draw(r.mucin) / (1 + np.exp(-np.clip((walls - 0.3) / 0.08, -50, 50)))
        base = self.draw((8, 26)) * m
        region = body & (depth > base * (1 + 0.25 * self.rough[box]))
        self.mucin[box] = np.where(region, pale * (0.7 if rng.uniform() < 0.7 else 0.0), self.mucin[box])
        self.band[box] = np.where(body, base * rng.uniform(0.8, 1.5), self.band[box])
        return limit

    def _tube(
        self, box: tuple[slice, slice], body: np.ndarray, depth: np.ndarray, height: float, basal: float
    ) -> float:
        """Draw how deep the columnar cells of a tube reach, and return it."""
        tall = height * self.rng.uniform(0.8, 1.2)
        limit = min(tall, float(depth.max()) * self.rng.uniform(0.75, 1.1))
        self.band[box] = np.where(body, max(limit * basal, 8 * self.magnification), self.band[box])
        return limit

    def _field(self, shape: tuple[int, ...], sigma: float) -> np.ndarray:
        """Return smooth noise of a shape."""
        return smooth_field(self.rng, max(shape), sigma)[: shape[0], : shape[1]]

    def _directions(self) -> None:
        """Point columnar cells to the lumen, and fibres around glands."""
        rng, m = self.rng, self.magnification
        signed = ndimage.gaussian_filter(self.depth - self.outer, max(1.0, 4 * m))
        dy, dx = np.gradient(signed)
        radial = np.arctan2(dy, dx)
        if self.crypts and rng.uniform() < 0.5:
            radial = radial + np.pi / 2
        free = smooth_field(rng, self.size, 120 * m) * 0.7 + rng.uniform(0, np.pi)
        around = np.arctan2(dy, dx) + np.pi / 2
        near = np.exp(-self.outer / (30 * m))
        both = near * np.exp(2j * around) + (1 - near) * np.exp(2j * free)
        self.direction = np.where(self.epithelium, radial, 0.5 * np.angle(both))

    # ---- nuclei
    def populate(self) -> None:
        """Place nuclei of stroma, lymphocytes, epithelium and debris."""
        r, rng = self.ranges, self.rng
        spread, self.tone_spread = self.draw(r.size_spread), self.draw(r.tone_spread)
        pallor, contrast = self.draw(r.pallor), self.draw(r.chromatin_contrast)
        radius = self.draw(r.crypt_nucleus if self.crypts else r.epithelial_radius)
        aspect, crowding = self.draw(r.epithelial_aspect), self.draw(r.crypt_crowding if self.crypts else r.crowding)
        nucleoli = 0.0 if self.crypts else self.draw(r.nucleoli)
        cells = Population(
            radius, (aspect * 0.8, min(aspect * 1.2, 1)), spread, pallor, 1.0, contrast, nucleoli, crowding
        )
        lymphocyte, spindle = self.stroma_cells(spread, pallor, contrast, 0.0)
        self._fill(spindle, self.stroma & ~self.immune & (self.outer > 1), along=True)
        self._fill(lymphocyte, self.stroma & self.immune & (self.outer > 1), along=False)
        rows = self.epithelium & (self.depth > 0.3 * radius * self.magnification) & (self.depth < self.band)
        self._fill(cells, rows, along=True)
        if rng.uniform() < 0.5:
            self._fill(lymphocyte, self.content & (smooth_field(rng, self.size, 8) > rng.uniform(0, 2)), along=False)

    # ---- light
    def _blue(self) -> np.ndarray:
        blue = super()._blue() + self.basophilia * (1 - 0.8 * self.mucin) * (1 - self.glass)
        return np.asarray(blue * (1 - 0.5 * self.mucin * (self.haematoxylin < 0.2)))

    def _pink(self) -> np.ndarray:
        return np.asarray(super()._pink() * (1 - 0.9 * self.mucin))


def gland_tile(seed: int = 0, size: int = 480, ranges: GlandRanges = RANGES) -> tuple[Image, Image]:
    """Generate a tile and its glands.

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
        RGB uint8 (size, size, 3) of about 0.6 um a pixel, and glands 1 .. N with their lumens, uint16 (size, size).
    """
    tile = GlandTile(seed, size, ranges)
    tile.lay_out()
    tile.populate()
    return tile.pictures(tile.glands, f"glands_{seed}", {"generated": "napari_medseg.samples.glands", "seed": seed})


def stained_glands() -> tuple[Image, Image]:
    """Return a generated H&E tile of glands, RGB (512, 512, 3) uint8, and its exact glands, uint16."""
    return gland_tile(6, 512)
