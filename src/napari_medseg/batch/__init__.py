"""Predict many files into a folder: labels, probabilities, tables, overlays, one record of how it was done."""

from napari_medseg.batch.case import predict_case, probability_image, provenance
from napari_medseg.batch.folder import predict_files
from napari_medseg.batch.inputs import BatchSettings, Case, SlideSettings, list_inputs, name_cases
from napari_medseg.batch.memory import planes_of, predict_images
from napari_medseg.batch.record import BatchRecord, open_record
from napari_medseg.batch.review import ReviewSheet
from napari_medseg.batch.uncertainty import mean_entropy

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
    "provenance",
]
