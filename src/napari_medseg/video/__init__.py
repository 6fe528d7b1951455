"""Nerve movies: classify every frame, outline the nerve only where there is one, write masks, overlay and table."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.video.pipeline import VideoResult, segment_video
    from napari_medseg.video.render import apply_edits
    from napari_medseg.video.settings import VideoSettings

__getattr__ = lazily(
    __name__,
    {
        "VideoResult": "pipeline",
        "VideoSettings": "settings",
        "apply_edits": "render",
        "segment_video": "pipeline",
    },
)
__all__ = ["VideoResult", "VideoSettings", "apply_edits", "segment_video"]
