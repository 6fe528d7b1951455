"""Label maps of objects in MATLAB files (``inst_map``), as the data sets CoNSeP, CPM, Kumar and Lizard have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_medseg.errors import ReadError, one_line, some_of
from napari_medseg.image import OBJECTS, Image

PATTERNS = ("*.mat",)
NAME = "inst_map"


def matches(path: Path) -> bool:
    """Whether `path` is called like a MATLAB file."""
    return path.is_file() and path.suffix.lower() == ".mat"


def read(path: Path) -> list[Image]:
    """Read the variable ``inst_map`` (Y, X), whole numbers, as labels; its values are objects.

    Raises
    ------
    ReadError
        If it holds none, or is of version 7.3 (HDF5).
    """
    from scipy.io import loadmat, whosmat

    try:
        names = [str(name) for name, *_ in whosmat(path)]
        found = loadmat(path, variable_names=[NAME]).get(NAME)
    except NotImplementedError as error:
        raise ReadError(
            f"{path.name} is a MATLAB file of version 7.3, which is not read. Save it with: save(..., '-v7'), "
            "or its label map as .tif."
        ) from error
    except Exception as error:  # scipy raises anything on damaged files
        raise ReadError(f"{path.name} is no MATLAB file or damaged: {one_line(error)}. Copy it again.") from error
    if found is None:
        raise ReadError(
            f"{path.name} holds {some_of(names) or 'nothing'}; expected {NAME}, a label map. Save the picture or the "
            "labels in it as .tif."
        )
    labels = np.asarray(found)
    if (
        labels.ndim != 2
        or labels.dtype.kind not in "buif"
        or not labels.size
        or not np.array_equal(labels, labels // 1)
    ):
        raise ReadError(
            f"{path.name}: {NAME} is {labels.dtype} of shape {labels.shape}; expected whole numbers (Y, X)."
        )
    if labels.min() < 0:
        raise ReadError(f"{path.name} holds negative labels ({labels.min():g}). Use 0 for background, 1, 2, ...")
    known = {"source_file": str(path), OBJECTS: True}
    return [Image(labels.astype(np.int32), "YX", kind="labels", name=path.stem, metadata=known)]
