"""Centreline of a 2D mask as a graph: thinning, tracing, spur pruning, joining of segments through junctions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import ndimage

from napari_medseg.measure.labels import EIGHT, without_small

RING = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
# geometric, for nerves about 3 pixels wide; docs/reference/nerves.md says what hangs on each
TANGENT_PX = 20
FAR_PX = 60  # of a nerve that leaves another at 12 degrees, half is free
ALIKE_DEGREES = 10
BRIDGE_PX = 5
CROSSING_PX = 80  # of nerves 3 pixels wide that cross at 5 degrees
FORK_DEGREES = 90  # between the two nerves on one side of a crossing
MARGIN_PX = 5


@dataclass(frozen=True)
class Segment:
    """Pixels (N, 2) in order between two nodes; a node is an index into `Graph.nodes`, or -1 for a free end."""

    pixels: np.ndarray
    nodes: tuple[int, int]
    closed: bool = False


@dataclass(frozen=True)
class Graph:
    """Segments and the centres (J, 2) of the junctions where they meet."""

    segments: list[Segment]
    nodes: np.ndarray


@dataclass(frozen=True)
class Strand:
    """Points (N, 2) of one nerve through all its junctions, on the pixel grid."""

    points: np.ndarray
    closed: bool = False


def strands(mask: np.ndarray, *, spur: float = 10, shortest: int = 20, angle: float = 60) -> list[Strand]:
    """Return the nerves of a 2D mask as strands.

    Parameters
    ----------
    mask
        Bool (Y, X).
    spur
        Side branches with a free end shorter than this (pixels) are pruned, shortest first.
    shortest
        Connected centrelines of fewer pixels are dropped.
    angle
        Two segments go on in one another at a junction if they turn by less than this (degrees).
    """
    return join(merge_bridges(trace(prune(thin(mask), spur, shortest)), BRIDGE_PX), angle)


def thin(mask: np.ndarray) -> np.ndarray:
    """Return the centreline (bool), one pixel thin: no pixel but ends can be removed without breaking it.

    Guo-Hall thinning: Zhang's (``skeletonize``) eats diagonal lines 2 pixels wide from their ends, by up to 10 %.
    The mask is continued beyond the image, so nerves that leave the field are followed to its border; a nerve along the
    border, whose centreline then lies beyond it, is brought back onto it.
    """
    from skimage.morphology import thin as guo_hall

    padded = np.pad(np.pad(np.asarray(mask) > 0, MARGIN_PX, "edge"), 1)
    whole = _remove_corners(np.array(guo_hall(padded)))
    inner = slice(MARGIN_PX + 1, -MARGIN_PX - 1)
    found = np.pad(whole[inner, inner], 1)
    along = _along_border(whole, mask.shape)
    if not len(along):
        return np.asarray(found[1:-1, 1:-1])
    found[tuple((along + 1).T)] = True
    return _remove_corners(np.array(guo_hall(found)))[1:-1, 1:-1]


def _along_border(whole: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the border pixels (N, 2) nearest to the pieces of a padded centreline that run beside the image."""
    outside = whole.copy()
    outside[MARGIN_PX + 1 : -MARGIN_PX - 1, MARGIN_PX + 1 : -MARGIN_PX - 1] = False
    pieces, count = ndimage.label(outside, EIGHT)
    found = [np.zeros((0, 2), int)]
    for piece in range(1, count + 1):
        places = np.clip(np.argwhere(pieces == piece) - MARGIN_PX - 1, 0, np.array(shape) - 1)
        if np.ptp(places, axis=0).max() > 2 * MARGIN_PX:  # longer than what a nerve that leaves the field has there
            found.append(places)
    return np.concatenate(found)


def trace(skeleton: np.ndarray) -> Graph:
    """Cut a thin skeleton (Y, X) at its junctions (pixels with 3 or more neighbours) into ordered segments."""
    skeleton = np.pad(skeleton, 1)
    degree = ndimage.convolve(skeleton.astype(np.int8), EIGHT, mode="constant") - 1
    junctions, count = ndimage.label(skeleton & (degree >= 3), EIGHT)
    nodes = np.array(ndimage.center_of_mass(junctions > 0, junctions, range(1, count + 1))).reshape(-1, 2) - 1
    chains = skeleton & (junctions == 0)
    segments = [_segment(pixels, junctions) for pixels in _chains(chains)]
    return Graph(segments, nodes)


def prune(skeleton: np.ndarray, spur: float, shortest: int) -> np.ndarray:
    """Remove spurs shorter than `spur` pixels, the shortest of each junction at a time, and small pieces."""
    skeleton = skeleton.copy()
    while True:
        best: dict[int, tuple[float, Segment]] = {}
        for segment in trace(skeleton).segments:
            length = grid_length(segment.pixels)
            node = max(segment.nodes)
            if node >= 0 > min(segment.nodes) and length < spur and length < best.get(node, (np.inf,))[0]:
                best[node] = (length, segment)
        if not best:
            break
        for _, segment in best.values():
            skeleton[tuple(segment.pixels.T)] = False
        skeleton = _remove_corners(np.pad(skeleton, 1))[1:-1, 1:-1]
    return without_small(skeleton, shortest, 2)


def merge_bridges(graph: Graph, longest: float) -> Graph:
    """Merge junctions that a segment of at most `longest` pixels joins: the centreline of a crossing has two.

    Two nerves that cross at a shallow angle share a longer segment, up to ``CROSSING_PX``: at both of its ends the two
    other segments leave side by side, and not straight on from one another as where a branch joins two nerves.
    """
    bridges = [s for s in graph.segments if min(s.nodes) >= 0 and (len(s.pixels) <= longest or _shared(graph, s))]
    if not bridges:
        return graph
    group = np.arange(len(graph.nodes))
    for segment in bridges:
        one, other = group[list(segment.nodes)]
        group[group == other] = one
    nodes = np.array(
        [graph.nodes[group == g].mean(0) if (group == g).any() else graph.nodes[g] for g in range(len(group))]
    )
    kept = [s for s in graph.segments if not any(s is bridge for bridge in bridges)]
    renamed = [replace(s, nodes=(_renamed(s.nodes[0], group), _renamed(s.nodes[1], group))) for s in kept]
    return Graph(renamed, nodes)


def _shared(graph: Graph, bridge: Segment) -> bool:
    """Whether a segment is what two crossing nerves have in common."""
    if len(bridge.pixels) > CROSSING_PX or bridge.nodes[0] == bridge.nodes[1]:
        return False
    for node in bridge.nodes:
        others = [
            _tangent(graph, (index, side), node)
            for index, segment in enumerate(graph.segments)
            for side in (0, 1)
            if segment.nodes[side] == node and segment is not bridge
        ]
        if len(others) != 2 or _turn(*others) < 180 - FORK_DEGREES:
            return False
    return True


def join(graph: Graph, angle: float) -> list[Strand]:
    """Join segments through junctions: at each, the straightest pair first, turning by less than `angle` degrees."""
    ends: dict[int, list[tuple[int, int]]] = {}
    for index, segment in enumerate(graph.segments):
        for side, node in enumerate(segment.nodes):
            if node >= 0:
                ends.setdefault(node, []).append((index, side))
    links: dict[tuple[int, int], tuple[int, int]] = {}
    for node, incident in ends.items():
        for turn, a, b in _turns(graph, node, incident):
            if turn < angle and a not in links and b not in links:
                links[a], links[b] = b, a
    return _walk(graph, links)


def grid_length(points: np.ndarray) -> float:
    """Return the length along grid points: 1 for a straight step and sqrt(2) for a diagonal one."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


def _walk(graph: Graph, links: dict[tuple[int, int], tuple[int, int]]) -> list[Strand]:
    """Join segments to strands through their links: (segment, side) to (segment, side)."""
    unused = set(range(len(graph.segments)))
    found = []
    free = [(i, side) for i in sorted(unused) for side in (0, 1) if (i, side) not in links]
    for start in [*free, *((i, 0) for i in sorted(unused))]:  # strands with a beginning, then rings of segments
        if start[0] not in unused:
            continue
        parts: list[np.ndarray] = []
        end: tuple[int, int] | None = start
        while end is not None and end[0] in unused:
            index, side = end
            unused.discard(index)
            points = _with_nodes(graph, index)
            points = points if side == 0 else points[::-1]
            parts.append(points[1:] if parts else points)
            end = links.get((index, 1 - side))
        found.append(Strand(np.concatenate(parts), graph.segments[start[0]].closed))
    return found


def _renamed(node: int, group: np.ndarray) -> int:
    return int(group[node]) if node >= 0 else -1


def _with_nodes(graph: Graph, index: int) -> np.ndarray:
    segment = graph.segments[index]
    first, last = ([graph.nodes[node]] if node >= 0 else [] for node in segment.nodes)
    return np.array([*first, *segment.pixels, *last], float)


def _turns(
    graph: Graph, node: int, incident: list[tuple[int, int]]
) -> list[tuple[float, tuple[int, int], tuple[int, int]]]:
    """Return how much each pair of segment ends turns at a node, the straightest first.

    Where two pairs turn alike, nerves run side by side at the node, and their directions farther away decide.
    """
    pairs = [(a, b) for a, b in combinations(incident, 2) if a[0] != b[0]]
    near = {end: _tangent(graph, end, node) for end in incident}
    turns = sorted((_turn(near[a], near[b]), a, b) for a, b in pairs)
    if len(turns) < 2 or turns[1][0] - turns[0][0] > ALIKE_DEGREES:
        return turns
    far = {end: _far_tangent(graph, end, node) for end in incident}
    return sorted((_turn(far[a], far[b]), a, b) for a, b in pairs)


def _far_tangent(graph: Graph, end: tuple[int, int], node: int) -> np.ndarray:
    """Return the direction of a long segment beyond where it still runs beside others."""
    pixels = graph.segments[end[0]].pixels
    pixels = pixels if end[1] == 0 else pixels[::-1]
    if len(pixels) < FAR_PX:
        return _tangent(graph, end, node)
    direction = (pixels[FAR_PX - 1] - pixels[TANGENT_PX - 1]).astype(float)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-9))


def _tangent(graph: Graph, end: tuple[int, int], node: int) -> np.ndarray:
    pixels = graph.segments[end[0]].pixels
    ahead = pixels[:TANGENT_PX][-1] if end[1] == 0 else pixels[-TANGENT_PX:][0]
    direction = ahead - graph.nodes[node]
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-9))


def _turn(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(-a @ b, -1, 1))))


def _chains(chains: np.ndarray) -> list[np.ndarray]:
    """Order the pixels of each chain; every pixel has at most two neighbours."""
    left = {(int(y), int(x)) for y, x in np.argwhere(chains)}
    near = {p: [q for q in _around(p) if q in left] for p in left}
    found = []
    for start in [*sorted(p for p in left if len(near[p]) < 2), *sorted(left)]:
        if start not in left:
            continue
        chain = [start]
        left.discard(start)
        while step := next((q for q in near[chain[-1]] if q in left), None):
            chain.append(step)
            left.discard(step)
        found.append(np.array(chain))
    return found


def _around(pixel: tuple[int, int]) -> list[tuple[int, int]]:
    return [(pixel[0] + dy, pixel[1] + dx) for dy, dx in RING]


def _segment(pixels: np.ndarray, junctions: np.ndarray) -> Segment:
    """Attach the ends of an ordered chain (padded coordinates) to the junctions they touch."""
    touched = [[int(junctions[q]) - 1 for q in _around(tuple(p)) if junctions[q]] for p in (pixels[0], pixels[-1])]
    if len(pixels) == 1:
        both = [*touched[0], -1, -1]
        return Segment(pixels - 1, (both[0], both[1]))
    nodes = tuple(t[0] if t else -1 for t in touched)
    closed = len(pixels) > 3 and nodes == (-1, -1) and int(np.abs(pixels[0] - pixels[-1]).max()) == 1
    return Segment(pixels - 1, (nodes[0], nodes[1]), closed)


def _remove_corners(skeleton: np.ndarray) -> np.ndarray:
    """Delete simple non-end pixels one after another (Yokoi's number for 8-connectivity is 1); the rim is empty."""
    views = [np.roll(skeleton, (-dy, -dx), (0, 1)) for dy, dx in RING]
    candidates = np.argwhere(skeleton & (np.sum(views, axis=0) >= 2) & (_yokoi(views) == 1))
    for y, x in candidates:
        ring = [skeleton[y + dy, x + dx] for dy, dx in RING]
        if sum(ring) >= 2 and _yokoi(ring) == 1:
            skeleton[y, x] = False
    return skeleton


def _yokoi(ring: list[np.ndarray]) -> np.ndarray:
    off = [1 - np.asarray(r, int) for r in ring]
    return np.asarray(sum(off[k] - off[k] * off[k + 1] * off[(k + 2) % 8] for k in (0, 2, 4, 6)))
