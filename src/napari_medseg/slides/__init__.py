"""Predict whole slides: tiles over tissue only, labels streamed to disk, objects merged across tile borders."""

from napari_medseg.batch.settings import SlideSettings
from napari_medseg.slides.predict import predict_slide
from napari_medseg.slides.tiles import boxes, centred, tissue_mask

__all__ = ["SlideSettings", "boxes", "centred", "predict_slide", "tissue_mask"]
