"""Pixel sizes in the words of makers, in files written here as they write them; tifffile reads the tags."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ome_files import ome_of, write_parts

from napari_medseg import io
from napari_medseg.batch import list_inputs
from napari_medseg.errors import ReadError

GRAY = np.zeros((6, 8), np.uint16)
META_SERIES = (
    '<MetaData>\r\n<PlaneInfo>\r\n<prop id="spatial-calibration-state" type="bool" value="{state}"/>\r\n'
    '<prop id="spatial-calibration-x" type="float" value="0.5"/>\r\n'
    '<prop id="spatial-calibration-y" type="float" value="0.25"/>\r\n'
    '<prop id="spatial-calibration-units" type="string" value="{unit}"/>\r\n</PlaneInfo>\r\n</MetaData>'
)


def step_of(path: Path, data: np.ndarray = GRAY, **stated: Any) -> tuple[float, float] | None:
    """Return the step (y, x) in micrometres that a file written with what is stated is read with."""
    if not path.exists():
        tifffile.imwrite(path, data, metadata=None, **stated)
    image = io.read_one(path)
    return (image.scale[0], image.scale[1]) if image.units == ("micrometer",) * 2 else None


def test_aperio_states_micrometres_in_its_description(tmp_path: Path) -> None:
    about = "Aperio Image Library v12.0\r\n8x6 (256x256)|AppMag = 40|MPP = 0.2520|Left = 3.5"
    colour = np.zeros((6, 8, 3), np.uint8)
    assert step_of(tmp_path / "a.tif", colour, photometric="rgb", description=about) == (0.252, 0.252)


@pytest.mark.parametrize(
    ("state", "unit", "right"), [("on", "um", (0.25, 0.5)), ("off", "um", None), ("on", "pixel", None)]
)
def test_metamorph_states_a_calibration(tmp_path: Path, state: str, unit: str, right: tuple[float, float]) -> None:
    about = META_SERIES.format(state=state, unit=unit)
    assert step_of(tmp_path / "a.tif", description=about, software="MetaSeries") == right


@pytest.mark.parametrize(("size", "right"), [(0.65, (0.65, 0.65)), (0.0, None)])
def test_micro_manager_states_its_pixel_size(tmp_path: Path, size: float, right: tuple[float, float] | None) -> None:
    stated = [(51123, "s", 0, json.dumps({"PixelSizeUm": size, "ZPositionUm": 3.0}), True)]
    assert step_of(tmp_path / "a.tif", extratags=stated) == right


def test_olympus_states_its_pixel_size(tmp_path: Path) -> None:
    head = struct.pack("<4s6xhhhhh6x32sH", b"SIS0", 0, 0, 1, 1, 120, b"a", 1)
    values = struct.pack("<10xhdd8xd2x34s32s", -9, 500.0, 250.0, 20.0, b"camera", b"picture")  # nm
    path = tmp_path / "a.tif"
    content = head + struct.pack("<hhI", 1, 1, 0) + values
    tifffile.imwrite(path, GRAY, metadata=None, extratags=[(33560, "B", len(content), content, True)])
    stored = bytearray(path.read_bytes())
    at = stored.find(b"SIS0") + len(head)
    struct.pack_into("<I", stored, at + 4, at + 8)  # where the values are in the file
    path.write_bytes(stored)
    assert step_of(path) == pytest.approx((0.25, 0.5))


@pytest.mark.parametrize(("unit", "count"), [(3, 40_000), (4, 4_000), (5, 4)])
def test_resolutions_count_per_unit(tmp_path: Path, unit: int, count: int) -> None:
    """Per centimetre, and, as newer programs write, per millimetre and micrometre."""
    assert step_of(tmp_path / "a.tif", resolution=(count, count), resolutionunit=unit) == (0.25, 0.25)


def test_an_image_in_parts_is_described_by_its_companion(tmp_path: Path) -> None:
    """OME-TIFF: each part names the companion file, which alone states sizes and which planes there are."""
    names = [f"z{k}.ome.tif" for k in range(3)]
    sizes = 'SizeZ="3" SizeT="1" PhysicalSizeX="0.25" PhysicalSizeY="0.25" PhysicalSizeZ="2"'
    companion = tmp_path / "a.companion.ome"
    companion.write_text(ome_of(names, sizes, "Z").replace("$", "urn:uuid:00000009-0000-0000-0000-000000000000"))
    part = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="$"><BinaryOnly '
        'MetadataFile="a.companion.ome" UUID="urn:uuid:00000009-0000-0000-0000-000000000000"/></OME>'
    )
    write_parts(tmp_path, names, part)
    for name in names:
        image = io.read_one(tmp_path / name)
        assert (image.axes, image.scale) == ("ZYX", (2.0, 0.25, 0.25))
        assert np.asarray(image.data)[:, 0, 0].tolist() == [0, 1, 2]
    assert [path.name for path in list_inputs([tmp_path])[0]] == names[:1]
    with pytest.raises(ReadError, match=r"Open one of the .ome.tif files"):
        io.read(companion)
    companion.unlink()
    alone = io.read_one(tmp_path / names[1])
    assert alone.axes == "YX"
    assert "a.companion.ome describes, which is not beside it" in alone.metadata["notes"][0]
