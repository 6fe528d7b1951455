"""The same batch on several processes or machines: one Dask task per file.

A worker that is lost loses the file it was at, which another worker takes over. Workers that share the files with
this computer read and write them themselves; to others the files travel, and the results travel back.
"""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.cluster.connection import UnreachableError, connect
    from napari_medseg.cluster.refine import refine_at
    from napari_medseg.cluster.remote import predict_images_at
    from napari_medseg.cluster.run import predict_on_cluster
    from napari_medseg.cluster.settings import ClusterSettings

__getattr__ = lazily(
    __name__,
    {
        "ClusterSettings": "settings",
        "UnreachableError": "connection",
        "connect": "connection",
        "predict_images_at": "remote",
        "predict_on_cluster": "run",
        "refine_at": "refine",
    },
)
__all__ = ["ClusterSettings", "UnreachableError", "connect", "predict_images_at", "predict_on_cluster", "refine_at"]
