"""``medseg doctor``: show versions, device and what is missing."""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

from napari_medseg import __version__
from napari_medseg.cli.output import show

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NEEDED = (
    "numpy", "scipy", "pandas", "scikit-image", "numba", "pydantic", "tifffile", "torch", "SimpleITK", "nibabel",
    "pydicom",
)  # fmt: skip
OPTIONAL = {
    "OpenSlide": ("slide", "openslide"),
    "OpenVINO": ("openvino", "openvino"),
    "TiffSlide": ("slide", "tiffslide"),
    "PyAV": ("video", "av"),
    "MONAI": ("video", "monai"),
    "timm": ("timm", "timm"),
    "Dask distributed": ("distributed", "distributed"),
    "TensorBoard": ("tensorboard", "tensorboard"),
    "ONNX": ("export", "onnx"),
    "bioimageio.core": ("export", "bioimageio.core"),
    "matplotlib": ("figure", "matplotlib"),
    "ReportLab": ("figure", "reportlab"),
    "napari": ("gui", "napari"),
    "Qt binding": ("gui", "qtpy.QtCore"),
    "GeodisTK": ("geodistk", "GeodisTK"),
    "FastGeodis": ("", "FastGeodis"),
}


def examine() -> dict[str, Any]:
    """Return versions, device with its reason, optional parts, and problems (empty when all is well)."""
    from napari_medseg.device import choose_device

    problems: list[str] = []
    versions = {"napari-medseg": __version__, "python": sys.version.split()[0], "platform": platform.platform()}
    needed = _needed()
    for name in NEEDED:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            problems.append(f"{name} is not installed. Install it with: pip install {name}")
            continue
        if (wanted := needed.get(name.lower())) and not wanted.specifier.contains(versions[name], prereleases=True):
            found = f"{name} {versions[name]} is installed, {wanted.specifier} is needed."
            problems.append(f'{found} Install it with: pip install "{wanted}"')
    optional = {name: _part(extra, module) for name, (extra, module) in OPTIONAL.items()}
    problems += [f"{name}: {state}" for name, state in optional.items() if state.startswith("broken")]
    versions["compiled code"] = _compiled()
    return {"versions": versions, "device": choose_device()[1], "optional": optional, "problems": problems}


def report(found: dict[str, Any]) -> str:
    """Return the findings as readable lines."""
    lines = [f"{name:18} {version}" for name, version in found["versions"].items()]
    lines += ["", f"{'device':18} {found['device']}", ""]
    lines += [f"{name:18} {state}" for name, state in found["optional"].items()]
    lines += ["", *(found["problems"] or ["Everything needed is here."])]
    return "\n".join(lines)


def _compiled() -> str:
    """Say whether compiled kernels are kept for the next start."""
    try:
        import napari_medseg.geodesic._sweep  # noqa: F401
        import napari_medseg.graphcut.cut  # noqa: F401
        from napari_medseg.geodesic.compiled import are_kept
    except ImportError as error:
        return f"not to be had ({error})"
    if are_kept():
        return "kept between starts"
    return "compiled anew at every start: no folder may be written; set NUMBA_CACHE_DIR to one that may"


def _needed() -> dict[str, Requirement]:
    """Return what the installed package requires, without its extras; nothing when it runs from a folder."""
    from packaging.requirements import Requirement

    try:
        texts = metadata.requires("napari-medseg") or []
    except metadata.PackageNotFoundError:
        return {}
    return {needed.name.lower(): needed for needed in map(Requirement, texts) if needed.marker is None}


def _part(extra: str, module: str) -> str:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == module.split(".")[0]:
            return f'absent; pip install "napari-medseg[{extra}]"' if extra else "absent (another distance engine)"
        return f"broken: {error}"
    except Exception as error:  # a broken binary package may raise anything on import
        if type(error).__name__ == "QtBindingsNotFoundError":
            return f'absent; pip install "napari-medseg[{extra}]"'
        return f"broken: {error}"
    return "present"


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.add_argument("--json", action="store_true", help="print JSON only")

    def call(arguments: argparse.Namespace) -> int:
        found = examine()
        show(found, arguments.json, report(found))
        return 1 if found["problems"] else 0

    parser.set_defaults(call=call)
