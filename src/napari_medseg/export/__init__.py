"""Give a trained model away: ONNX and bioimage.io packages, checked against the network they came from."""

from typing import TYPE_CHECKING

from napari_medseg import lazily

if TYPE_CHECKING:
    from napari_medseg.export.network import Exported, load_exported
    from napari_medseg.export.onnx_file import export_onnx
    from napari_medseg.export.package import export_bioimageio
    from napari_medseg.export.settings import PackageInfo

__getattr__ = lazily(
    __name__,
    {
        "Exported": "network",
        "PackageInfo": "settings",
        "export_bioimageio": "package",
        "export_onnx": "onnx_file",
        "load_exported": "network",
    },
)
__all__ = ["Exported", "PackageInfo", "export_bioimageio", "export_onnx", "load_exported"]
