"""Which layers show the same thing, and how they are given one pixel size and one place."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image as ImageLayer
from napari.layers import Labels, Layer, Shapes

from napari_medseg._napari.layers import DERIVED, image_from_layer
from napari_medseg._napari.world import put_onto, world_of
from napari_medseg.errors import SettingsError
from napari_medseg.image import FRAME, Image
from napari_medseg.io.geometry import has_size
from napari_medseg.io.grids import same_grid

TAKEN = "place_taken"  # in ``medseg_image``: pixel size or place were taken from a layer that belongs to this one
MATRICES = ("affine", "shown", FRAME)  # what a layer's metadata say of its place


def kept_of(layer: Layer) -> dict[str, Any]:
    """Return what a layer's metadata keep of its image."""
    return dict(layer.metadata.get("medseg_image", {}))


def set_pixel_size(viewer: Any, layer: Layer, steps: tuple[float, ...], unit: str) -> list[Layer]:
    """Give the axes of space of a layer, and of those that belong to it, a step in `unit`; return the others.

    All of them grow together about the origin of the world, so that they stay upon each other, and the view with them.

    Raises
    ------
    SettingsError
        If there are neither one step nor as many as axes of space.
    """
    image = image_from_layer(layer)
    space = np.array([axis != "T" for axis in image.spatial_axes])
    if len(steps) not in (1, space.sum()):
        raise SettingsError(f"{layer.name} has {space.sum()} axes of space: give one size, or {space.sum()} of them.")
    factors = np.ones(len(space))
    factors[space] = np.array(steps) / np.array(image.scale)[space]
    others, point = belonging(viewer, layer), np.array(viewer.dims.point)
    for one in (layer, *others):
        units = tuple(unit if own else str(old) for own, old in zip(space, one.units, strict=True))
        _grow(one, factors, units)
    _follow(viewer, point, np.diag([*factors, 1.0]))
    return others


def take_place(viewer: Any, layer: Layer, image: Image) -> str:
    """Put a layer that states no pixel size, or no place, onto what it belongs to; return a sentence if it was put.

    A picture whose size was entered states none when it is opened again, and its labels do; a picture that states its
    place on a slide or stage gets labels of programs that write none. Every measurement takes the two for one grid
    (`io.grids`), so the window must not show them apart. It is noted, and done once for a layer.
    """
    sized = has_size(image)
    plain = sized or np.allclose(world_of(layer), np.eye(layer.ndim + 1))
    if image.affine is not None or not plain or TAKEN in kept_of(layer):
        return ""
    known = {
        one: image_from_layer(one)
        for one in viewer.layers
        if isinstance(one, ImageLayer | Labels) and _shows_the_same(viewer, one, layer)
    }
    known = {one: other for one, other in known.items() if has_size(other) and (other.affine is not None or not sized)}
    known = {one: other for one, other in known.items() if same_grid(image, other)}
    known = {one: other for one, other in known.items() if _same_axes(image, other, sized)}
    if not known:
        return ""
    first, other = next(iter(known.items()))
    if not all(one.units == first.units and np.allclose(world_of(one), world_of(first)) for one in known):
        return ""
    kept = kept_of(layer)
    unsaid = "place" if sized else "pixel size"
    other_axes = image.spatial_axes != other.spatial_axes  # a stack of pages upon a film, or the other way round
    along = f", and so is its first axis: {other.spatial_axes[0]}" if other_axes else ""
    said = f"The file states no {unsaid}; it is taken from {first.name}{along}."
    layer.metadata = {**layer.metadata, "medseg_image": {**kept, TAKEN: True, "notes": [*kept.get("notes", ()), said]}}
    before, point = world_of(layer), np.array(viewer.dims.point)
    _put(viewer, layer, first, other.spatial_axes)
    if isinstance(layer, ImageLayer):
        _follow(viewer, point, world_of(layer) @ np.linalg.inv(before))
    return said


def _same_axes(image: Image, other: Image, sized: bool) -> bool:
    """Whether axes are the same, in one order; the first one, of an image without size, may be time or depth."""
    first = 0 if sized else 1
    return image.spatial_axes[first:] == other.spatial_axes[first:]


def _put(viewer: Any, layer: Layer, other: Layer, axes: str) -> None:
    """Put a layer, and those that belong to it and lie where it does, onto another one of its size with `axes`."""
    known: dict[str, Any] = {name: value for name, value in kept_of(other).items() if name in MATRICES}
    known |= {"axes": axes, "units": tuple(str(unit) for unit in other.units)}
    for one in (layer, *(each for each in belonging(viewer, layer) if _alike(each, layer))):
        put_onto(one, other)
        kept = {name: value for name, value in kept_of(one).items() if name not in MATRICES}
        one.metadata = {**one.metadata, "medseg_image": {**kept, **known}}


def _shows_the_same(viewer: Any, one: Layer, layer: Layer) -> bool:
    """Whether one layer was made from the other, or is labels of the one image of its size."""
    if one == layer or one.ndim != layer.ndim or _size(one) != _size(layer) or _derived(one) or _derived(layer):
        return False
    if made := _made_from(one) or _made_from(layer):
        return made in (one.name, layer.name)
    images = [each for each in viewer.layers if isinstance(each, ImageLayer) and _size(each) == _size(layer)]
    return isinstance(one, Labels) != isinstance(layer, Labels) and _of_one_file(images)


def belonging(viewer: Any, layer: Layer) -> list[Layer]:
    """Return the layers that show the same thing: of the same file, made from it, or drawn on it alone.

    A Labels or Shapes layer, or one that a dock shows, that does not say what it was made from belongs to the one image
    of its size and place.
    """
    images = [one for one in viewer.layers if isinstance(one, ImageLayer) and not _derived(one) and _alike(one, layer)]
    alone = _of_one_file(images)
    return [
        one
        for one in viewer.layers
        if one.name != layer.name
        and one.ndim == layer.ndim
        and one.units == layer.units
        and _belongs(one, layer, alone)
    ]


def _belongs(one: Layer, layer: Layer, alone: bool) -> bool:
    if made := _made_from(one) or _made_from(layer):
        return made in (one.name, layer.name)
    if one.source.path and one.source.path == layer.source.path:
        return True
    drawn = any(isinstance(each, Labels | Shapes) or _derived(each) for each in (one, layer))
    return drawn and alone and _alike(one, layer)


def _of_one_file(images: list[ImageLayer]) -> bool:
    """Whether images are channels of one picture, or one image."""
    return len({str(one.source.path or one.name) for one in images}) == 1


def _made_from(layer: Layer) -> str:
    return str(layer.metadata.get("medseg", {}).get("source_layer") or "")


def _derived(layer: Layer) -> bool:
    return bool(DERIVED.keys() & layer.metadata.keys())


def _alike(one: Layer, layer: Layer) -> bool:
    """Whether two layers have one size (Shapes have any) and one place."""
    sized = isinstance(one, Shapes) or isinstance(layer, Shapes) or _size(one) == _size(layer)
    return one.ndim == layer.ndim and sized and np.allclose(world_of(one), world_of(layer))


def _size(layer: Layer) -> tuple[int, ...]:
    return tuple(layer.data[0].shape if getattr(layer, "multiscale", False) else layer.data.shape)[: layer.ndim]


def _grow(layer: Layer, factors: np.ndarray, units: tuple[str, ...]) -> None:
    """Multiply the place of a layer in the world, wherever it is noted, and name its units."""
    n = layer.ndim
    grown = np.diag([*factors, 1.0])
    affine = grown @ np.asarray(layer.affine.affine_matrix)[-n - 1 :, -n - 1 :] @ np.linalg.inv(grown)
    kept = kept_of(layer)
    for name in MATRICES:
        if kept.get(name) is not None and len(kept[name]) == n + 1:
            matrix = grown @ np.asarray(kept[name], float)
            kept[name] = matrix.tolist() if name == FRAME else matrix
    if "units" in kept and len(kept["units"]) == n:
        kept["units"] = units
    layer.scale, layer.translate = layer.scale * factors, layer.translate * factors
    layer.affine = affine
    layer.units = units
    layer.metadata = {**layer.metadata, "medseg_image": kept}


def _follow(viewer: Any, point: np.ndarray, matrix: np.ndarray) -> None:
    """Let the view, which was at `point`, show what it showed before `matrix` (n+1, n+1) moved layers of n axes."""
    first = len(point) + 1 - len(matrix)
    whole = np.eye(len(point) + 1)
    whole[first:, first:] = matrix
    shown, centre = list(viewer.dims.displayed), point.copy()
    centre[shown] = np.array(viewer.camera.center)[-len(shown) :]
    viewer.dims.set_point(range(len(point)), (whole @ [*point, 1.0])[:-1])
    moved = np.array(viewer.camera.center)
    moved[-len(shown) :] = (whole @ [*centre, 1.0])[shown]
    viewer.camera.center = tuple(moved)
    viewer.camera.zoom /= np.exp(np.log(np.linalg.norm(whole[:, shown], axis=0)).mean())
