"""Predict images held in memory, such as layers; stacks and movies plane by plane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from napari_medseg.image import Image
from napari_medseg.inference.network import Prediction, predict, provenance
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import Model
from napari_medseg.models.catalog import load_model
from napari_medseg.settings import PredictSettings


def predict_images(path: Path, images: Sequence[Image], settings: PredictSettings) -> Job[list[Prediction]]:
    """Load the model `path` and segment `images` held in memory; labels carry their provenance.

    An image with one axis more than the method (a stack or a movie) is segmented plane by plane.
    """
    yield Progress(0, 1, "loading the model")
    return (yield from predict_with(load_model(path), images, settings))


def predict_with(model: Model, images: Sequence[Image], settings: PredictSettings) -> Job[list[Prediction]]:
    """Do what `predict_images` does with a model that is loaded."""
    results = []
    for index, image in enumerate(images):
        prediction = yield from _stacked(model, image, settings)
        kept = provenance(model, settings, prediction.device, image)
        labels = prediction.labels.replace(metadata={**prediction.labels.metadata, "medseg": kept})
        results.append(replace(prediction, labels=labels))
        yield Progress(index + 1, len(images), f"{image.name}: {prediction.seconds:.1f} s")
    return results


def _stacked(model: Model, image: Image, settings: PredictSettings) -> Job[Prediction]:
    """Do `predict`; of a model for planes over a volume plane by plane, whose answers are stacked."""
    if len(image.spatial_shape) != model.method.ndim + 1:
        return (yield from predict(model, image, settings))
    planes = []
    n = image.spatial_shape[0]
    for index, plane in enumerate(planes_of(image)):
        planes.append((yield from predict(model, plane, settings)))
        yield Progress(index + 1, n, f"plane {index + 1} of {n}")
    doubts, notes = ([*dict.fromkeys(chain.from_iterable(said))] for said in (
        (p.doubts for p in planes), (p.labels.metadata.get("notes", ()) for p in planes)
    ))  # fmt: skip
    labels = image.labels_like(np.stack([p.labels.data for p in planes]))
    labels = labels.replace(metadata={**labels.metadata, "notes": notes}) if notes else labels
    probabilities = np.stack([p.probabilities for p in planes], 1)
    return Prediction(labels, probabilities, planes[0].device, sum(p.seconds for p in planes), tuple(doubts))


def planes_of(image: Image) -> Iterator[Image]:
    """Yield the planes of a stack along its first spatial axis."""
    axis = image.axes.index(image.spatial_axes[0])
    for index in range(image.spatial_shape[0]):
        data = np.asarray(image.data[(slice(None),) * axis + (index,)])
        axes = image.axes.replace(image.spatial_axes[0], "")
        yield image.replace(data=data, axes=axes, scale=image.scale[1:], units=image.units[1:], affine=None)
