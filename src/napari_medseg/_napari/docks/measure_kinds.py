"""What is measured: the kinds with their titles, the job, and which kind a layer asks for."""

from __future__ import annotations

from typing import Any

import pandas as pd
from napari.layers import Layer

from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.measure import measure, measured_labels, summarise
from napari_medseg.models.fields import Field, likely_field
from napari_medseg.settings import Settings

ROWS = {"afm": "cell", "nerve": "nerve", "nuclei": "object", "video": "frame", "volume": "object"}
KINDS: dict[Field, str] = {
    "afm": "afm", "cornea": "nerve", "tissue": "nuclei", "movie": "video", "volume": "volume", "ultrasound": "nuclei"
}  # fmt: skip
TITLES = {
    "afm": "AFM cells",
    "nerve": "corneal nerves",
    "nuclei": "nuclei and glands",
    "video": "nerve in video",
    "volume": "volumes",
}


def measure_job(
    kind: str, labels: Image, image: Image | None, settings: Settings | None = None
) -> Job[tuple[Any, pd.DataFrame, pd.DataFrame]]:
    """Return the labels that the rows name, the per-object table and the one-row summary."""
    yield Progress(0, 2, "measuring objects")
    labels = measured_labels(kind, labels)
    table = measure(kind, labels, image, settings)
    yield Progress(1, 2, "summarising")
    return labels.data, table, summarise(kind, labels, image, settings)


def likely_kind(layer: Layer, labels: Image, image: Image | None) -> tuple[str, bool]:
    """Return the kind of the method that made `layer`, else that of such images, and whether the method says so."""
    from napari_medseg.methods import get_method, known_methods

    method = layer.metadata.get("medseg", {}).get("method", "")
    if method in known_methods():  # a mask made with scribbles alone is of none
        return get_method(method).measure, True
    field = (likely_field(image) if image is not None else None) or likely_field(labels)
    return KINDS[field] if field else "afm", False
