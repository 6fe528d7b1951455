"""MGH and MGZ of FreeSurfer, with nibabel as the other reader and writer."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_medseg import io
from napari_medseg.errors import ReadError, WriteError
from napari_medseg.image import Image

RNG = np.random.default_rng(4)
DATA = RNG.integers(0, 200, (5, 6, 7))  # x, y, z
RAS = np.array([[-0.8, 0.3, 0, 12.5], [0, 0, 1.5, -30], [0.6, 0.4, 0, 4], [0, 0, 0, 1]])
RAS[:3, 1] *= 2
FLIPPED = np.diag([-1.0, -1, 1, 1])
NAMES = {17: ("Left-Hippocampus", (220, 216, 20)), 53: ("Right-Hippocampus", (220, 216, 21))}


def made(path: Path, data: np.ndarray = DATA, dtype: str = "uint8", affine: np.ndarray = RAS, tr: float = 0) -> Path:
    image = nibabel.MGHImage(data.astype(dtype), affine)
    image.header["tr"] = tr
    nibabel.save(image, path)
    return path


def with_colours(path: Path, table: bytes) -> Path:
    """Put tags behind the footer as FreeSurfer does: a matrix of known length, then the colour table."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + struct.pack(">iq", 31, 5) + b"abcd\0" + struct.pack(">i", 1) + table))
    return path


def text(said: str) -> bytes:
    return struct.pack(">i", len(said) + 1) + said.encode() + b"\0"


def new_table() -> bytes:
    entries = {0: ("Unknown", (0, 0, 0)), **NAMES}
    head = struct.pack(">ii", -2, 54) + text("FreeSurferColorLUT.txt") + struct.pack(">i", len(entries))
    rows = (struct.pack(">i", k) + text(name) + struct.pack(">4i", *rgb, 0) for k, (name, rgb) in entries.items())
    return head + b"".join(rows)


def old_table() -> bytes:
    rows = [text("Unknown") + struct.pack(">4i", 0, 0, 0, 0), text("nucleus") + struct.pack(">4i", 1, 2, 3, 0)]
    return struct.pack(">i", 2) + text("old.ctab") + b"".join(rows)


@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "uint16", "float32"])
def test_what_nibabel_writes(tmp_path: Path, suffix: str, dtype: str) -> None:
    image = io.read_one(made(tmp_path / f"a{suffix}", dtype=dtype))
    assert (image.axes, image.data.dtype, image.kind) == ("ZYX", dtype, "image")
    assert image.data.dtype.isnative
    np.testing.assert_array_equal(image.data, DATA.T)
    np.testing.assert_allclose(image.affine[:3][::-1][:, [2, 1, 0, 3]], (FLIPPED @ RAS)[:3], atol=1e-5)
    assert image.units == ("millimeter",) * 3


def test_several_volumes(tmp_path: Path) -> None:
    data = RNG.normal(size=(5, 6, 7, 3))
    timed = io.read_one(made(tmp_path / "a.mgz", data, "float32", tr=2500))
    assert (timed.axes, timed.scale[0], timed.units[0]) == ("TZYX", 2.5, "second")
    np.testing.assert_array_equal(timed.data, data.T.astype(np.float32))
    assert io.read_one(made(tmp_path / "b.mgz", data, "float32")).axes == "CZYX"


def test_a_segmentation_is_labels_with_names_and_colours(tmp_path: Path) -> None:
    data = np.where(DATA > 150, 17, np.where(DATA < 20, 53, 0))
    for table, names in (
        (new_table(), {str(k): name for k, (name, _) in NAMES.items()}),
        (old_table(), {"1": "nucleus"}),
    ):
        image = io.read_one(with_colours(made(tmp_path / "a.mgz", data, "int32"), table))
        assert (image.kind, image.metadata["segments"]) == ("labels", names)
    assert image.metadata["segment_colours"] == {"1": [1, 2, 3]}
    cut = with_colours(made(tmp_path / "b.mgz", data, "int32"), new_table()[:-9])
    assert "segments" not in io.read_one(cut).metadata


@pytest.mark.parametrize(
    ("name", "kind"),
    [("aseg", "labels"), ("aparc+aseg", "labels"), ("lh.ribbon", "labels"), ("T1", "image"), ("brainmask", "image")],
)
def test_freesurfers_names_say_what_is_labels(tmp_path: Path, name: str, kind: str) -> None:
    path = made(tmp_path / f"{name}.mgz")
    assert io.read_one(path).kind == kind
    assert io.read_labels(path).kind == "labels"


def test_labels_come_back_and_nibabel_reads_them(tmp_path: Path) -> None:
    source = io.read_one(made(tmp_path / "T1.mgz", dtype="float32"))
    labels = np.where(DATA.T > 100, 70000, 0)
    for suffix in (".mgz", ".mgh"):
        io.write(tmp_path / f"mask{suffix}", source.labels_like(labels))
        other = nibabel.load(tmp_path / f"mask{suffix}")
        np.testing.assert_array_equal(np.asarray(other.dataobj), labels.T)
        np.testing.assert_allclose(other.affine, RAS, atol=1e-5)
        back = io.read_one(tmp_path / f"mask{suffix}", "labels")
        np.testing.assert_array_equal(back.data, labels)
        np.testing.assert_allclose(back.affine, source.affine, atol=1e-5)


def test_micrometres_and_times_are_written_in_the_units_of_the_format(tmp_path: Path) -> None:
    image = Image(
        DATA.T[None].repeat(3, 0).astype(np.float64), "TZYX", (0.5, 2, 1, 1), ("second", *("micrometer",) * 3)
    )
    io.write(tmp_path / "a.mgz", image)
    zooms = nibabel.load(tmp_path / "a.mgz").header.get_zooms()
    np.testing.assert_allclose(zooms, (0.001, 0.001, 0.002, 500))
    fine = Image(DATA.T.astype(np.uint8), "ZYX", (3, 0.5, 0.25), ("nanometer",) * 3)
    np.testing.assert_allclose(io.read_one(io.write(tmp_path / "c.mgz", fine)).scale, (3e-6, 5e-7, 2.5e-7))
    plain = Image(DATA.T.astype(np.uint8), "ZYX")
    io.write(tmp_path / "b.mgh", plain)
    assert not io.read_one(tmp_path / "b.mgh").calibrated


def test_a_place_that_is_not_stated_is_said(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mgh")
    content = bytearray(path.read_bytes())
    content[28:30] = b"\0\0"
    path.write_bytes(content)
    image = io.read_one(path)
    assert (image.calibrated, image.affine) == (False, None)
    assert "does not state its voxel size" in image.metadata["notes"][0]


@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
@pytest.mark.parametrize("suffix", [".mgz", ".mgh"])
def test_a_cut_file_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    path = made(tmp_path / f"a{suffix}", RNG.normal(size=(20, 20, 20)), "float32")
    path.write_bytes(path.read_bytes()[: int((284 + 32000 if suffix == ".mgh" else path.stat().st_size) * share)])
    with pytest.raises(ReadError, match="cut short or damaged"):
        io.read(path)


def test_what_is_no_volume_is_refused(tmp_path: Path) -> None:
    surface = made(tmp_path / "lh.thickness.mgh", RNG.normal(size=(100, 1, 1)), "float32")
    with pytest.raises(ReadError, match="100 points of a surface"):
        io.read(surface)
    (tmp_path / "b.mgh").write_bytes(b"no volume at all" * 40)
    with pytest.raises(ReadError, match="does not begin as an MGH file"):
        io.read(tmp_path / "b.mgh")
    content = bytearray(made(tmp_path / "c.mgh").read_bytes())
    content[20:24] = struct.pack(">i", 2)
    (tmp_path / "c.mgh").write_bytes(content)
    with pytest.raises(ReadError, match="type 2"):
        io.read(tmp_path / "c.mgh")
    sheared = RAS.copy()
    sheared[0, 1] += 0.5
    image = Image(DATA.T.astype(np.uint8), "ZYX", tuple(np.linalg.norm(sheared[:3, :3], axis=0)), ("mm",) * 3, sheared)
    with pytest.raises(WriteError, match="shears"):
        io.write(tmp_path / "d.mgz", image)
