"""Nerve movies: classify every frame, outline the nerve only where there is one, write masks, overlay and table."""

from napari_medseg.video.pipeline import VideoResult, segment_video
from napari_medseg.video.settings import VideoSettings

__all__ = ["VideoResult", "VideoSettings", "segment_video"]
