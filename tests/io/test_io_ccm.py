from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from tifffile import imwrite

from napari_medseg.errors import MedSegError
from napari_medseg.io import ccm, read, read_one, reader_for


def save(path: Path, data: np.ndarray) -> Path:
    if path.suffix == ".tif":
        imwrite(path, data)
    else:
        Pillow.fromarray(data).save(path)
    return path


@pytest.mark.parametrize("suffix", [".tif", ".png", ".bmp"])
def test_field_of_the_instrument_is_applied_and_said(tmp_path: Path, suffix: str) -> None:
    data = np.arange(384 * 384, dtype=np.uint32).reshape(384, 384).astype(np.uint8)
    image = read_one(save(tmp_path / f"P07_OD_whorl_3_org{suffix}", data))
    assert image.scale == pytest.approx((400 / 384, 400 / 384))
    assert image.units == ("micrometer", "micrometer")
    assert "400x400 um" in image.metadata["notes"][0]
    assert {k: image.metadata[k] for k in ("subject", "eye", "site", "frame")} == {
        "subject": "P07", "eye": "OD", "site": "whorl", "frame": "3",
    }  # fmt: skip
    np.testing.assert_array_equal(image.data, data)


def test_other_sizes_stay_in_pixels(tmp_path: Path) -> None:
    image = read_one(save(tmp_path / "a_org.tif", np.ones((300, 384), np.uint16)))
    assert not image.calibrated
    assert "results are in pixels" in image.metadata["notes"][0]
    assert image.data.dtype == np.uint16


def test_a_stored_pixel_size_wins(tmp_path: Path) -> None:
    path = tmp_path / "a_org.tif"
    imwrite(path, np.ones((384, 384), np.uint8), imagej=True, resolution=(2, 2), metadata={"unit": "um"})
    assert read_one(path).scale == pytest.approx((0.5, 0.5))


def test_a_mask_takes_the_pixel_size_of_its_picture(tmp_path: Path) -> None:
    save(tmp_path / "P07_OS_1_org.tif", np.zeros((384, 384), np.uint8))
    mask = read_one(save(tmp_path / "P07_OS_1_lab.tif", np.ones((384, 384), np.uint8)), kind="labels")
    assert mask.scale == pytest.approx((400 / 384, 400 / 384))
    assert (mask.metadata["subject"], mask.metadata["eye"]) == ("P07", "OS")
    assert "400x400 um" in mask.metadata["notes"][0]
    save(tmp_path / "b_org.tif", np.zeros((384, 384), np.uint8))
    assert not read_one(save(tmp_path / "b_lab.tif", np.ones((384, 300), np.uint8))).calibrated
    assert not read_one(save(tmp_path / "alone_lab.tif", np.ones((384, 384), np.uint8))).calibrated


def test_plain_pictures_of_that_size_are_left_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png", np.ones((384, 384), np.uint8))
    assert reader_for(path) is not ccm
    assert not read_one(path).calibrated


def test_colour_photographs_become_luma(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 3), np.uint8)
    data[..., 0], data[..., 1], data[..., 2] = 100, 50, 200
    image = read_one(save(tmp_path / "a_org.png", data))
    assert image.axes == "YX"
    assert (image.data == round(0.2989 * 100 + 0.587 * 50 + 0.114 * 200)).all()


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("P07_OD_3", {"subject": "P07", "eye": "OD", "frame": "3"}),
        ("a_b_os_inferior_12", {"subject": "a_b", "eye": "OS", "site": "inferior", "frame": "12"}),
        ("Image_01L", {"subject": "Image_01", "eye": "OS"}),
        ("Image_01R", {"subject": "Image_01", "eye": "OD"}),
        ("14", {}),
        ("SCALE", {}),
    ],
)
def test_names(stem: str, expected: dict[str, str]) -> None:
    assert ccm.parse_name(stem) == expected


def test_one_pixel_and_damaged_pictures(tmp_path: Path) -> None:
    assert read_one(save(tmp_path / "a_org.png", np.zeros((1, 1), np.uint8))).spatial_shape == (1, 1)
    (tmp_path / "b_org.tif").write_bytes(b"II*\0 not a picture")
    with pytest.raises(MedSegError, match="b_org"):
        read(tmp_path / "b_org.tif")


def test_tracing_is_drawn_on_the_grid_of_its_picture(tmp_path: Path) -> None:
    save(tmp_path / "P1_OD_1_org.tif", np.zeros((384, 384), np.uint8))
    head = "# positions in pixels\n# id type x y z radius parent\n"  # as this program writes classes
    (tmp_path / "P1_OD_1.swc").write_text(head + "1 2 10 20 0 1 -1\n2 2 30 20 0 1 1\n")
    labels = read_one(tmp_path / "P1_OD_1.swc", kind="labels")
    assert labels.kind == "labels"
    assert labels.calibrated
    assert labels.metadata["classes"] == ["main"]
    assert labels.metadata["paths"] == [[[20, 10], [20, 30]]]
    assert labels.data[20, 10:31].all()
    assert labels.data.sum() == 21


def test_tracing_without_a_picture(tmp_path: Path) -> None:
    (tmp_path / "a.swc").write_text("1 0 10 500 0 1 -1\n2 0 30 500 0 1 1\n")
    labels = read_one(tmp_path / "a.swc")
    assert labels.spatial_shape == (501, 384)
    assert not labels.calibrated


def test_every_real_image_has_the_field(shared_data: Path) -> None:
    files = sorted((shared_data / "ccm" / "nottingham" / "train").glob("*_org.tif"))
    images = [read_one(path) for path in files]
    assert len(images) == 20
    assert all(image.calibrated and image.data.shape == (384, 384) for image in images)
