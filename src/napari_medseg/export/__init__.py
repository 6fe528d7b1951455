"""Give a trained model away: ONNX and bioimage.io packages, checked against the network they came from."""

from napari_medseg.export.description import PackageInfo
from napari_medseg.export.network import Exported, load_exported
from napari_medseg.export.onnx_file import export_onnx
from napari_medseg.export.package import export_bioimageio

__all__ = ["Exported", "PackageInfo", "export_bioimageio", "export_onnx", "load_exported"]
