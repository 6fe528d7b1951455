"""Generated sample images with their exact references; nothing is downloaded.

`SAMPLES` names one function per field, ``"module:function"`` inside this package; each returns a tuple of `Image`,
the picture first, then its reference labels. `write_sample` writes them as users' own files should lie.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import Image
from napari_medseg.io.files import expanded

SAMPLES: dict[str, str] = {
    "afm": "afm:afm_scan",
    "ccm": "ccm:ccm_image",
    "glands": "glands:stained_glands",
    "histology": "histology:stained_tissue",
    "ihc": "histology:bundled_tissue",
    "mri": "mri:brain_volume",
    "video": "video:nerve_video",
}
COUNT = {
    "afm": 10,
    "ccm": 8,
    "glands": 4,
    "histology": 4,
    "mri": 4,
    "video": 4,
}  # kinds written as files, and how many by default
KINDS = tuple(COUNT)
RING = 5  # pixels between the object and the stroke around it


def load_sample(name: str) -> list[Image]:
    """Generate the sample `name` of `SAMPLES` with its default seed and size.

    Raises
    ------
    DataError
        If there is no such sample.
    """
    if name not in SAMPLES:
        raise DataError(f"There is no sample {name!r}. Known samples: {', '.join(SAMPLES)}.")
    module, function = SAMPLES[name].split(":")
    images: tuple[Image, ...] = getattr(importlib.import_module(f"napari_medseg.samples.{module}"), function)()
    return list(images)


def write_sample(kind: str, folder: str | Path, count: int = 0, seed: int = 0) -> Path:
    """Write `count` generated cases (0: a few) of `kind`, one of `COUNT`, into `folder` and return it.

    Written are ``images`` and ``labels``; for ``ccm`` files ``_org.tif`` and ``_lab.tif`` side by side; for ``mri``
    also ``scribbles``, one stroke in the object and one around it; for ``video`` a ``movie.mkv`` and training frames.

    Raises
    ------
    DataError
        If there is no such sample.
    WriteError
        If the folder cannot be written.
    """
    if kind not in COUNT:
        raise DataError(f"There is no sample {kind!r}. Known samples: {', '.join(COUNT)}.")
    writers = {"afm": _afm, "ccm": _ccm, "glands": _glands, "histology": _histology, "mri": _mri, "video": _video}
    folder = expanded(folder)
    try:
        writers[kind](folder, count or COUNT[kind], seed)
    except OSError as error:
        raise WriteError(f"{folder} cannot be written: {error}. Choose a folder you may write to.") from error
    return folder


def _afm(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.samples.afm import afm_folder

    afm_folder(folder, count, 128, seed)


def _ccm(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.samples.ccm import ccm_folder

    ccm_folder(folder, count, 192, seed)


def _glands(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.samples.glands import gland_tile

    _pictures(folder, (gland_tile(k, 320) for k in range(seed, seed + count)))


def _histology(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.samples.histology import nuclei_tile

    _pictures(folder, (nuclei_tile(k, 256) for k in range(seed, seed + count)))


def _pictures(folder: Path, cases: Iterable[tuple[Image, Image]]) -> None:
    from napari_medseg.io import write

    for image, labels in cases:
        write(folder / "images" / f"{image.name}.png", image)
        write(folder / "labels" / f"{labels.name}.png", labels)


def _mri(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.io import read_one, write
    from napari_medseg.samples.mri import mri_folder

    mri_folder(folder, count, seed=seed)
    for path in sorted((folder / "labels").glob("*.nii.gz")):
        labels = read_one(path, "labels")
        write(folder / "scribbles" / path.name, labels.replace(data=strokes(np.asarray(labels.data))))


def strokes(truth: np.ndarray) -> np.ndarray:
    """Mark an object (Z, Y, X) as a user would: 2 in its middle, 1 on a ring around it in the same slice."""
    from scipy import ndimage

    from napari_medseg.methods.deepigeos.simulated_user import robot_click

    marks = robot_click(truth, np.zeros_like(truth), radius=2)
    middle = int(np.argwhere(marks)[:, 0].mean())
    outside = ndimage.distance_transform_edt(truth[middle] == 0)
    marks[middle][(outside > RING) & (outside <= RING + 1)] = 1
    return marks


def _video(folder: Path, count: int, seed: int) -> None:
    from napari_medseg.samples.video import nerve_video, video_folders, write_movie

    video_folders(folder, count, seed=seed + 1)
    write_movie(folder / "movie.mkv", nerve_video(seed)[0])
