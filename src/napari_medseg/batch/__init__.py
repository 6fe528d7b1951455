"""Predict many files into a folder: labels, probabilities, tables, overlays, one record of how it was done."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.batch.inputs import Case, list_inputs, name_cases
    from napari_medseg.batch.memory import planes_of, predict_images
    from napari_medseg.batch.predict import mean_entropy, predict_case, predict_files, probability_image
    from napari_medseg.batch.record import BatchRecord, open_record
    from napari_medseg.batch.review import ReviewSheet
    from napari_medseg.batch.settings import BatchSettings, SlideSettings

__getattr__ = lazily(
    __name__,
    {
        "BatchRecord": "record",
        "BatchSettings": "settings",
        "Case": "inputs",
        "ReviewSheet": "review",
        "SlideSettings": "settings",
        "list_inputs": "inputs",
        "mean_entropy": "predict",
        "name_cases": "inputs",
        "open_record": "record",
        "planes_of": "memory",
        "predict_case": "predict",
        "predict_files": "predict",
        "predict_images": "memory",
        "probability_image": "predict",
    },
)
__all__ = [
    "BatchRecord",
    "BatchSettings",
    "Case",
    "ReviewSheet",
    "SlideSettings",
    "list_inputs",
    "mean_entropy",
    "name_cases",
    "open_record",
    "planes_of",
    "predict_case",
    "predict_files",
    "predict_images",
    "probability_image",
]
