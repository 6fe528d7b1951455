"""Generated AFM height scans of cells on glass with the hard things of real ones: what `ScanRanges` names.

A scan is topography (spread, spindle-shaped and branched cells from lamellipodia of a few nm to bodies of micrometres,
filopodia, neurites, debris) seen through a tip and a scanner (tilt, bow, rings, line offsets, feedback shadows, scars,
drift, noise, 8-bit export). The mask is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_medseg.image import Image
from napari_medseg.samples.fields import smooth_field

PIXEL_UM = 0.2
Span = tuple[float, float]


@dataclass(frozen=True)
class ScanRanges:
    """From where each scan or cell draws its properties: heights in nm, lengths in pixels of a scan of 512."""

    cells: Span = (1.0, 5.0)  # mean number
    reach: Span = (60.0, 330.0)  # from a cell's centre to its tips
    waist: Span = (0.1, 0.75)  # how far the outline between two tips draws in, 0: not at all
    process_width: Span = (3.0, 30.0)
    body_height: Span = (300.0, 3500.0)  # of the dome over the nucleus
    body_share: Span = (0.08, 0.35)  # width of the dome, of the reach
    sheet_height: Span = (25.0, 600.0)
    lamella_height: Span = (4.0, 60.0)  # at the edge
    lamella_width: Span = (2.0, 60.0)  # over which the sheet rises
    ridges: Span = (0.0, 0.5)  # relief of fibres in the sheet, of its height
    granules: Span = (0.0, 0.35)
    filopodia: Span = (0.0, 0.25)  # per pixel of outline
    filopodium_length: Span = (3.0, 26.0)
    filopodium_height: Span = (5.0, 90.0)
    neurites: Span = (0.0, 2.0)  # mean number of long threads
    neurite_height: Span = (15.0, 300.0)
    debris: Span = (0.0, 14.0)  # mean number of specks, which are no cell
    debris_height: Span = (15.0, 600.0)
    tip: Span = (0.0, 1.5)  # radius of the tip in pixels
    tilt: Span = (0.0, 600.0)  # across the scan
    bow: Span = (0.0, 250.0)
    cubic: Span = (0.0, 60.0)
    rings: Span = (0.0, 2.0)  # interference of the laser
    line_offsets: Span = (0.0, 3.0)  # SD from line to line
    line_walk: Span = (0.0, 0.8)  # SD of their random walk
    jumps: Span = (0.0, 1.2)  # mean number of steps between lines
    jump_height: Span = (2.0, 30.0)
    shadow: Span = (0.0, 0.05)  # how far a line sinks, of the mean height of the cells on it
    overshoot: Span = (0.0, 0.06)  # behind steep edges, of their height
    scars: Span = (0.0, 6.0)  # mean number
    noise: Span = (0.3, 5.0)
    drift: float = 6.0  # largest shear in pixels
    eight_bit: float = 0.6  # share of scans exported to 256 grey levels


RANGES = ScanRanges()


class Scan:
    """A scan under construction: topography in nm and the cells' mask, (size, size)."""

    def __init__(self, seed: int, size: int, ranges: ScanRanges = RANGES) -> None:
        self.rng, self.size, self.ranges = np.random.default_rng(seed), size, ranges
        self.unit = size / 512 if size > 256 else 0.5
        self.height = np.zeros((size, size))
        self.mask = np.zeros((size, size), bool)

    def draw(self, span: Span) -> float:
        """Draw a number of a range, all orders of magnitude alike where the range spans several."""
        low, high = span
        if low > 0 and high > 8 * low:
            return float(np.exp(self.rng.uniform(np.log(low), np.log(high))))
        return float(self.rng.uniform(low, high))

    # ---- cells
    def grow(self) -> None:
        """Add cells, neurites and debris."""
        rng, r = self.rng, self.ranges
        self.filopodia = self.draw(r.filopodia)
        for _ in range(max(rng.poisson(self.draw(r.cells)), rng.uniform() < 0.9)):
            self._cell(rng.uniform(-0.05, 1.05, 2) * self.size)
        for _ in range(rng.poisson(self.draw(r.neurites))):
            start = rng.uniform(0, self.size, 2)
            start[rng.integers(2)] = rng.choice([0, self.size - 1])
            heading = np.arctan2(*(self.size / 2 - start)) + rng.normal(0, 0.5)
            path = self._path(start, heading, rng.uniform(0.3, 1.2) * self.size, 0.02)
            self._thread(path, self.draw((1.5, 7)) * self.unit, self.draw(r.neurite_height), hairs=True)
        self._litter()

    def _cell(self, centre: np.ndarray) -> None:
        rng, r = self.rng, self.ranges
        reach = self.draw(r.reach) * self.unit
        n = int(rng.choice([2, 2, 3, 3, 4, 5, 6, 8]))
        angles = np.sort(np.arange(n) * 2 * np.pi / n + rng.normal(0, 0.9 / n, n) + rng.uniform(0, 2 * np.pi))
        lengths = reach * rng.uniform(0.4, 1.0, n)
        tips = centre + lengths[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1)
        mask = self._outline(centre, tips, angles, self.draw(r.waist), reach)
        top = self.draw(r.body_height)
        sheet = min(self.draw(r.sheet_height), 0.6 * top)
        tails = [
            (tip, angle) for tip, angle in zip(tips, angles, strict=True) if rng.uniform() < (0.7 if n < 4 else 0.4)
        ]
        self._raise(mask, centre, reach, sheet, top)
        for tip, angle in tails:
            self._process(tip, angle, reach, sheet)
        self._hairs(mask, self.filopodia * rng.uniform(0.3, 1.5))

    def _outline(
        self, centre: np.ndarray, tips: np.ndarray, angles: np.ndarray, waist: float, reach: float
    ) -> np.ndarray:
        """Fill the outline through the tips, drawn in between them and ruffled."""
        from skimage.draw import polygon2mask

        rng, n = self.rng, len(tips)
        width = self.draw(self.ranges.process_width) * self.unit
        corners = []
        for tip, angle in zip(tips, angles, strict=True):
            side = np.array([np.cos(angle), -np.sin(angle)]) * width * rng.uniform(0.5, 2.5)
            corners.append((tip - side, tip + side))
        points = []
        t = np.linspace(0, 1, 24)[:, None]
        for k in range(n):
            start, end = corners[k][1], corners[(k + 1) % n][0]
            gap = (angles[(k + 1) % n] - angles[k]) % (2 * np.pi)
            middle = angles[k] + gap / 2
            least = max(width, 0.18 * reach)
            inner = centre + least * np.array([np.sin(middle), np.cos(middle)]) * rng.uniform(0.7, 1.5)
            flat = (
                (start + end) / 2 if gap < np.pi else centre + reach * 0.5 * np.array([np.sin(middle), np.cos(middle)])
            )
            drawn = np.clip(waist * 1.4 + rng.normal(0, 0.15), 0, 1)
            control = flat + (inner - flat) * drawn
            points.append((1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end)
        outline = np.concatenate(points)
        mask = polygon2mask((self.size, self.size), outline)
        ruffle = self.draw((0.0, 5.0)) * self.unit
        if ruffle > 0.5 and mask.any():
            shifts = [ruffle * smooth_field(rng, self.size, self.draw((3, 12)) * self.unit) for _ in range(2)]
            y, x = np.mgrid[: self.size, : self.size]
            mask = ndimage.map_coordinates(mask.astype(np.float32), [y + shifts[0], x + shifts[1]], order=1) > 0.5
        return np.asarray(mask)

    def _raise(self, mask: np.ndarray, centre: np.ndarray, reach: float, sheet: float, top: float) -> None:
        """Give a sheet its height: an edge of a few nm, a rise, fibres, granules, and the dome over the nucleus."""
        if not mask.any():
            return
        rng, r = self.rng, self.ranges
        inside = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1]
        lamella, width = min(self.draw(r.lamella_height), sheet), self.draw(r.lamella_width) * self.unit
        uneven = np.clip(1 + 0.35 * smooth_field(rng, self.size, 25 * self.unit), 0.3, None)
        height = lamella + (sheet - lamella) * (1 - np.exp(-np.maximum(inside - 1, 0) / width)) * uneven
        direction = rng.uniform(0, np.pi)
        y, x = np.mgrid[: self.size, : self.size]
        across = (y - centre[0]) * np.cos(direction) - (x - centre[1]) * np.sin(direction)
        bent = across + 12 * self.unit * smooth_field(rng, self.size, 40 * self.unit)
        fibres = np.maximum(np.sin(2 * np.pi * bent / (self.draw((5, 16)) * self.unit)), 0)
        fibres *= np.clip(smooth_field(rng, self.size, 18 * self.unit) + 0.3, 0, None)
        height *= 1 + self.draw(r.ridges) * fibres
        height *= np.clip(1 + self.draw(r.granules) * smooth_field(rng, self.size, self.draw((0.8, 3))), 0.2, None)
        spread = self.draw(r.body_share) * reach
        shift = rng.normal(0, 0.1, 2) * reach
        u, v = y - centre[0] - shift[0], x - centre[1] - shift[1]
        angle, aspect = rng.uniform(0, np.pi), rng.uniform(0.5, 1.0)
        p, q = u * np.cos(angle) + v * np.sin(angle), (v * np.cos(angle) - u * np.sin(angle)) / aspect
        dome = top * np.exp(-(((p**2 + q**2) / (2 * spread**2)) ** rng.uniform(0.7, 1.4)))
        height += dome * (1 - np.exp(-inside / (0.25 * spread + 1)))
        self.height = np.where(mask, np.maximum(self.height, height), self.height)
        self.mask |= mask

    def _process(self, tip: np.ndarray, angle: float, reach: float, sheet: float) -> None:
        """Continue a tip as a tapering, branching process."""
        rng = self.rng
        length = reach * self.draw((0.2, 1.6))
        width = self.draw(self.ranges.process_width) * self.unit
        path = self._path(tip, angle, length, 0.04)
        height = sheet * rng.uniform(0.4, 1.6)
        self._thread(path, width, height, hairs=True)
        for _ in range(rng.poisson(0.8)):
            at = path[rng.integers(len(path))]
            branch = self._path(
                at, angle + rng.choice([-1, 1]) * rng.uniform(0.4, 1.2), length * rng.uniform(0.2, 0.7), 0.06
            )
            self._thread(branch, width * rng.uniform(0.3, 0.8), height * rng.uniform(0.3, 0.9), hairs=True)

    def _path(self, start: np.ndarray, angle: float, length: float, bend: float) -> np.ndarray:
        steps = max(int(length / 0.5), 2)
        turns = angle + np.cumsum(self.rng.normal(0, bend, steps)) * 0.7
        moves = 0.5 * np.stack([np.sin(turns), np.cos(turns)], 1)
        return np.asarray(start + np.cumsum(moves, 0))

    def _thread(self, path: np.ndarray, width: float, height: float, hairs: bool = False) -> None:
        """Lay a tapering, beaded thread of (N, 2) points, `width` across at its start."""
        rng, n = self.rng, len(path)
        taper = np.linspace(1, rng.uniform(0.2, 0.8), n)
        beads = np.clip(1 + 0.3 * ndimage.gaussian_filter1d(rng.standard_normal(n) * 4, 6), 0.5, 2.2)
        radius = np.maximum(width / 2 * taper * beads, 0.5)
        rows, columns = np.rint(path).astype(int).T
        fits = (rows >= 0) & (rows < self.size) & (columns >= 0) & (columns < self.size)
        if not fits.any():
            return
        margin = int(radius.max()) + 2
        box = tuple(slice(max(v.min() - margin, 0), v.max() + margin + 1) for v in (rows[fits], columns[fits]))
        seeds = np.zeros(self.mask[box].shape, np.float32)
        local = rows[fits] - box[0].start, columns[fits] - box[1].start
        seeds[local] = radius[fits]
        distance, nearest = ndimage.distance_transform_edt(seeds == 0, return_indices=True)
        width_here = seeds[tuple(nearest)]
        mask = distance < width_here + 0.3
        profile = (
            height
            * np.clip(1 - (distance / (width_here + 0.8)) ** 2, 0.15, 1)
            * np.clip(width_here / radius.max(), 0.4, 1)
        )
        self.height[box] = np.where(mask, np.maximum(self.height[box], profile), self.height[box])
        self.mask[box] |= mask
        if hairs and self.filopodia > 0:
            whole = np.zeros_like(self.mask)
            whole[box] = mask
            self._hairs(whole, self.filopodia * rng.uniform(0.0, 1.2))

    def _hairs(self, mask: np.ndarray, density: float) -> None:
        """Add filopodia, 1 or 2 pixels wide, to an outline; they stand in groups."""
        rng, r = self.rng, self.ranges
        edge = mask & ~ndimage.binary_erosion(mask, border_value=1)
        where = np.argwhere(edge)
        if not len(where):
            return
        outward = np.stack(np.gradient(ndimage.gaussian_filter(mask.astype(float), 2.5)), -1)
        groups = smooth_field(rng, self.size, 20 * self.unit)[tuple(where.T)] > 0.2
        places = where[groups]
        tall = self.draw(r.filopodium_height)
        long = self.draw(r.filopodium_length)
        for place in places[rng.permutation(len(places))[: rng.poisson(2 * density * len(places))]]:
            slope = -outward[tuple(place)]
            angle = np.arctan2(slope[0], slope[1]) + rng.normal(0, 0.35)
            path = self._path(place.astype(float), angle, long * rng.uniform(0.4, 1.3) * self.unit, 0.1)
            self._line(path, tall * rng.uniform(0.5, 1.5))

    def _line(self, path: np.ndarray, height: float) -> None:
        rows, columns = np.rint(path).astype(int).T
        fits = (rows >= 0) & (rows < self.size) & (columns >= 0) & (columns < self.size)
        index = rows[fits], columns[fits]
        self.mask[index] = True
        self.height[index] = np.maximum(self.height[index], height * np.linspace(1, 0.5, len(path))[fits])

    def _litter(self) -> None:
        """Strew specks that are no cells, most of them on the glass."""
        rng, r = self.rng, self.ranges
        for _ in range(rng.poisson(self.draw(r.debris))):
            y, x = rng.integers(0, self.size, 2)
            if self.mask[y, x]:
                continue
            radius = self.draw((0.5, 4.0)) * self.unit
            u, v = np.mgrid[: 2 * int(radius + 3) + 1, : 2 * int(radius + 3) + 1] - int(radius + 3)
            speck = self.draw(r.debris_height) * np.exp(-(u**2 + v**2 * rng.uniform(0.4, 1)) / (2 * radius**2))
            box = tuple(slice(max(c - int(radius + 3), 0), c + int(radius + 3) + 1) for c in (y, x))
            part = speck[box[0].start - y + int(radius + 3) :, box[1].start - x + int(radius + 3) :]
            part = part[: self.height[box].shape[0], : self.height[box].shape[1]]
            self.height[box] = np.maximum(self.height[box], np.where(self.mask[box], 0, part))

    # ---- the instrument
    def shear(self) -> None:
        """Shift lines against each other as thermal drift does."""
        shift = self.rng.uniform(-self.ranges.drift, self.ranges.drift) * self.unit
        y, x = np.mgrid[: self.size, : self.size]
        places = [y, x + shift * np.sin(np.pi * y / self.size)]
        self.height = ndimage.map_coordinates(self.height, places, order=1, mode="nearest")
        self.mask = ndimage.map_coordinates(self.mask.astype(np.uint8), places, order=0, mode="nearest") > 0

    def record(self) -> np.ndarray:
        """Return what the scanner reports, float32 nm (size, size)."""
        rng, r = self.rng, self.ranges
        radius = self.draw(r.tip) * self.unit
        seen = ndimage.gaussian_filter(self.height, 0.3 + 0.4 * radius)
        scan = seen + self._surface() + self._lines(seen)
        scan += self._edges(seen)
        noise = self.draw(r.noise)
        scan += rng.normal(0, noise, scan.shape) + noise * ndimage.gaussian_filter1d(
            rng.standard_normal(scan.shape), 3, 1
        )
        self._scar(scan, noise)
        if rng.uniform() < r.eight_bit:
            low, span = scan.min(), np.ptp(scan)
            scan = np.rint((scan - low) / span * 255) / 255 * span + low
        return np.asarray(scan + rng.uniform(0, 3000), np.float32)

    def _surface(self) -> np.ndarray:
        rng, r = self.rng, self.ranges
        y, x = np.mgrid[-1 : 1 : self.size * 1j, -1 : 1 : self.size * 1j]
        angle = rng.uniform(0, 2 * np.pi)
        surface = self.draw(r.tilt) / 2 * (np.cos(angle) * x + np.sin(angle) * y)
        bow = self.draw(r.bow)
        surface += bow * (rng.uniform(0, 1) * x**2 + rng.uniform(0, 1) * y**2 + rng.uniform(-0.6, 0.6) * x * y)
        surface += self.draw(r.cubic) * (rng.normal(0, 0.5) * x**3 + rng.normal(0, 0.5) * y**3)
        centre = rng.uniform(-0.5, 0.5, 2)
        rings = np.sin(rng.uniform(5, 60) * ((y - centre[0]) ** 2 + (x - centre[1]) ** 2))
        return np.asarray(surface + self.draw(r.rings) * rings)

    def _lines(self, seen: np.ndarray) -> np.ndarray:
        rng, r, n = self.rng, self.ranges, self.size
        offsets = rng.normal(0, self.draw(r.line_offsets), n) + np.cumsum(rng.normal(0, self.draw(r.line_walk), n))
        for _ in range(rng.poisson(self.draw(r.jumps))):
            start = rng.integers(n)
            offsets[start : start + rng.integers(3, n // 2)] += rng.choice([-1, 1]) * self.draw(r.jump_height)
        offsets -= self.draw(r.shadow) * ndimage.gaussian_filter1d(seen.mean(1), 1.5)
        return np.asarray(offsets[:, None])

    def _edges(self, seen: np.ndarray) -> np.ndarray:
        """Return what the feedback adds behind edges along the fast axis: a dip that dies away."""
        rng, r = self.rng, self.ranges
        forward = rng.uniform() < 0.5
        rise = np.diff(seen if forward else seen[:, ::-1], axis=1, prepend=seen[:, :1] if forward else seen[:, -1:])
        tail = np.exp(-np.arange(0, 40) / self.draw((2, 12)))
        answer = ndimage.convolve1d(rise, np.concatenate([np.zeros(39), tail]), axis=1)
        return np.asarray(self.draw(r.overshoot) * (answer if forward else answer[:, ::-1]))

    def _scar(self, scan: np.ndarray, noise: float) -> None:
        rng = self.rng
        for _ in range(rng.poisson(self.draw(self.ranges.scars) * self.unit)):
            row, start, length = rng.integers(self.size), rng.integers(-20, self.size), rng.integers(10, 120)
            scan[row, max(start, 0) : start + length] += rng.choice([-1, 1]) * rng.uniform(3, 30) * max(noise, 1)


def hard_scan(seed: int = 0, size: int = 512, ranges: ScanRanges = RANGES) -> tuple[Image, Image]:
    """Generate a height scan and its exact mask.

    Parameters
    ----------
    seed
        Equal seeds give equal scans.
    size
        Edge in pixels.
    ranges
        From where properties are drawn.

    Returns
    -------
    tuple of Image
        Height (size, size) float32 in nm, and mask (size, size) uint8, 1 in cells.
    """
    made = Scan(seed, size, ranges)
    made.grow()
    made.shear()
    image = Image(
        made.record(), "YX", (PIXEL_UM, PIXEL_UM), ("micrometer", "micrometer"), name=f"hard_scan_{seed}",
        channels=("Height",), value_unit="nm", metadata={"sample": "afm", "seed": seed},
    )  # fmt: skip
    return image, image.labels_like(made.mask.astype(np.uint8), name=f"hard_scan_{seed}_mask")
