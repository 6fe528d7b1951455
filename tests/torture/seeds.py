"""Small valid files of every kind that is read, written here."""

from __future__ import annotations

import io
import runpy
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

HEIGHTS = np.linspace(-200, 300, 32 * 24).reshape(32, 24)
GRAY = np.linspace(0, 255, 24 * 32).reshape(24, 32).astype(np.uint8)
RGB = np.stack([GRAY, GRAY[::-1], 255 - GRAY], axis=-1)
VOLUME = np.arange(4 * 12 * 10, dtype=np.int16).reshape(4, 12, 10)
NOTE = "FastScanSize: 2e-06\rSlowScanSize: 3e-06\r"
XML = (
    '<Annotations MicronsPerPixel="0.25"><Annotation Name="a"><Regions><Region Id="{}"><Vertices>'
    '<Vertex X="2" Y="3"/><Vertex X="20" Y="3"/><Vertex X="20" Y="15"/></Vertices></Region></Regions></Annotation>'
    "</Annotations>"
)
VENDOR = Path(__file__).resolve().parents[3] / "shared" / "data" / "afm" / "raw"
LARGEST = 2**20  # of a real file; larger ones would only measure the disk


def _afm() -> dict[str, Callable[..., Path]]:
    return runpy.run_path(str(Path(__file__).parents[1] / "io" / "test_afm.py"))


def picture(path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray(RGB).save(path)


def mask(path: Path) -> None:
    from PIL import Image as Pillow

    Pillow.fromarray((GRAY > 99).astype(np.uint8) * 255).save(path)


def tiff(path: Path) -> None:
    import tifffile

    tifffile.imwrite(
        path, RGB, compression="zlib", tile=(16, 16), resolution=(4.0, 4.0), metadata={"unit": "um"}, photometric="rgb"
    )


def stack(path: Path) -> None:
    import tifffile

    tifffile.imwrite(path, np.stack([GRAY] * 3), imagej=True, resolution=(4, 4), metadata={"unit": "um", "axes": "TYX"})


def slide(path: Path) -> None:
    """Write a tiled pyramid with Aperio's description."""
    import tifffile

    text = "Aperio Image Library v11.0\r\n512x512 [0,0 512x512] (240x240) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    pixels = np.tile(RGB, (22, 16, 1))[:512, :512]
    with tifffile.TiffWriter(path) as writer:
        options = {"photometric": "rgb", "tile": (256, 256), "compression": "zlib", "metadata": None}
        writer.write(pixels, subifds=0, description=text, **options)
        writer.write(pixels[::4, ::4], description=text.replace("(240x240)", "-> 128x128"), **options)


def gwyddion(path: Path) -> None:
    import gwyfile.objects as gwy

    container = gwy.GwyContainer()
    container["/0/data"] = gwy.GwyDataField(HEIGHTS * 1e-9, 2e-6, 3e-6, si_unit_xy="m", si_unit_z="m")
    container["/0/data/title"] = "Height"
    container.tofile(str(path))


def simple_field(path: Path) -> None:
    sizes = "XRes = 24\nYRes = 32\nXReal = 2e-6\nYReal = 3e-6\nXYUnits = m\nZUnits = m\n"
    head = f"Gwyddion Simple Field 1.0\n{sizes}Title = Height\n"
    path.write_bytes(head.encode() + b"\0" * (4 - len(head) % 4) + (HEIGHTS * 1e-9).astype("<f4").tobytes())


def igor(path: Path) -> None:
    _afm()["write_ibw"](path, {"HeightTracee": HEIGHTS * 1e-9, "PhaseTracee": HEIGHTS}, NOTE)


def jpk(path: Path) -> None:
    _afm()["write_jpk"](path)


def nanoscope(path: Path) -> None:
    _afm()["write_nanoscope"](path, {"Height": ("Trace", HEIGHTS), "Phase": ("Trace", HEIGHTS)})


def asd(path: Path) -> None:
    _afm()["write_asd"](path, np.arange(2 * 8 * 6).reshape(2, 8, 6))


def wsxm(path: Path) -> None:
    kind = "double" if path.suffix == ".stp" else "short"
    lines = (
        "[Control]\r\n    X Amplitude: 2000 nm\r\n    Y Amplitude: 3000 nm\r\n[General Info]\r\n"
        f"    Acquisition channel: Topography\r\n    Image Data Type: {kind}\r\n"
        "    Number of columns: 24\r\n    Number of rows: 32\r\n    Z Amplitude: 500.0 nm\r\n[Header end]\r\n"
    )
    text = f"WSxM file copyright UAM\r\nSxM Image file\r\nImage header size: 500\r\n{lines}".encode().ljust(500)
    path.write_bytes(text + HEIGHTS.astype("<f8" if kind == "double" else "<i2").tobytes())


def volume(path: Path) -> None:
    import SimpleITK as sitk  # noqa: N813

    itk = sitk.GetImageFromArray(VOLUME)
    itk.SetSpacing((0.8, 0.9, 3.0))
    sitk.WriteImage(itk, str(path))


def dicom(path: Path) -> None:
    """Write one slice; the mutated slice joins a series of three (`neighbours`)."""
    dicom_slice(path, 1)


def dicom_slice(path: Path, index: int) -> None:
    import SimpleITK as sitk  # noqa: N813

    itk = sitk.GetImageFromArray(VOLUME[index])
    tags = {"0020|000e": "1.2.3", "0020|000d": "1.2.3.4", "0008|0018": f"1.2.3.{index}", "0008|0060": "MR",
            "0020|0032": f"0\\0\\{3 * index}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0013": str(index)}  # fmt: skip
    for key, value in tags.items():
        itk.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    writer.Execute(itk)


def movie(path: Path) -> None:
    from napari_medseg.io.movies.writer import MovieWriter

    codec = {".avi": "mpeg4", ".mp4": "libx264", ".mkv": "ffv1"}[path.suffix]
    with MovieWriter(path, 25, (32, 48), codec, options={"g": "4"}) as writer:
        for k in range(8):
            writer.write(np.roll(np.tile(RGB, (2, 2, 1))[:32, :48], 3 * k, 1))


def annotation(path: Path) -> None:
    path.write_text(XML.format(1), encoding="utf-8")


def geojson(path: Path) -> None:
    from napari_medseg.io.outlines.geojson import write_labels

    write_labels(path, (GRAY > 99).astype(np.int32) + (GRAY > 180), group="Nucleus")


def tracing(path: Path) -> None:
    from napari_medseg.io.outlines.tracings import write_tracings

    write_tracings(path, [np.array([[2, 3], [9, 12], [20, 40]]), np.array([[9, 12], [1, 30]])], ["main", "branch"])


def array(path: Path) -> None:
    np.save(path, HEIGHTS)


def checkpoint(path: Path) -> None:
    path.write_bytes((Path(__file__).parents[2] / "src/napari_medseg/models/demo_pnet_3d.pt").read_bytes())


SEEDS: dict[str, Callable[[Path], None]] = {
    "picture.png": picture, "picture.bmp": picture, "picture.jpg": picture, "picture.tif": tiff, "stack.tif": stack,
    "slide.svs": slide, "array.npy": array, "mask.png": mask,
    "scan.gwy": gwyddion, "scan.gsf": simple_field, "scan.ibw": igor, "scan.jpk": jpk, "scan.spm": nanoscope,
    "scan.stp": wsxm, "scan.top": wsxm, "scan.asd": asd,
    "volume.nii": volume, "volume.nii.gz": volume, "volume.nrrd": volume, "volume.mha": volume, "slice.dcm": dicom,
    "movie.avi": movie, "movie.mp4": movie, "movie.mkv": movie,
    "regions.xml": annotation, "regions.geojson": geojson, "nerve.swc": tracing, "nerve.ndf": tracing,
    "model.pt": checkpoint,
}  # fmt: skip
NEEDS = {"slide.svs": "tiffslide", ".avi": "av", ".mp4": "av", ".mkv": "av"}


def seed_names() -> list[str]:
    """List the kinds whose packages are installed, and the real vendor files that are here."""
    from importlib.util import find_spec

    here = [n for n in SEEDS if all(find_spec(m) for end, m in NEEDS.items() if n.endswith(end))]
    real = sorted(p.name for p in VENDOR.iterdir()) if VENDOR.is_dir() else []
    return here + [f"real/{name}" for name in real]


def make_seed(name: str, folder: Path) -> Path:
    """Write the valid file `name` into `folder`; of a real file its path, or the beginning of a large one."""
    path = folder / Path(name).name
    if name.startswith("real/"):
        path.write_bytes((VENDOR / path.name).read_bytes()[: 16 * LARGEST])
    else:
        SEEDS[name](path)
    return path


def pickle_bomb() -> bytes:
    """Return a checkpoint whose unpickling would run code."""
    code = b"cos\nsystem\n(S'touch pwned'\ntR."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()
