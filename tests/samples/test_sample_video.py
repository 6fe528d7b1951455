from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_medseg.errors import DataError
from napari_medseg.io import read
from napari_medseg.io.grids import same_grid
from napari_medseg.samples.video import CLASSES, nerve_video, video_folders, write_movie


def test_only_nerve_frames_have_a_mask_and_all_classes_occur() -> None:
    movie, labels = nerve_video(1, 30, (64, 80))
    assert movie.data.shape == (30, 64, 80, 3)
    assert movie.axes == "TYXC"
    assert labels.axes == "TYX"
    assert same_grid(movie, labels)
    classes = movie.metadata["classes"]
    assert set(classes) == set(CLASSES)
    assert [bool(mask.any()) for mask in labels.data] == [name == "Nerve" for name in classes]
    assert set(np.unique(labels.data)) == {0, 1}


def test_nerve_is_brighter_than_muscle_and_some_pixels_saturate() -> None:
    movie, labels = nerve_video(2, 20, (96, 96))
    k = movie.metadata["classes"].index("Nerve")
    frame, mask = movie.data[k, ..., 0].astype(float), labels.data[k] == 1
    assert frame[mask].mean() > 1.5 * np.median(frame[~mask])
    assert (frame == 255).mean() > 0.01


def test_seed_decides_everything() -> None:
    np.testing.assert_array_equal(nerve_video(4, 5, (32, 32))[0].data, nerve_video(4, 5, (32, 32))[0].data)
    assert not np.array_equal(nerve_video(4, 5, (32, 32))[0].data, nerve_video(5, 5, (32, 32))[0].data)


def test_movie_survives_the_disk(tmp_path: Path) -> None:
    pytest.importorskip("av")
    movie, _ = nerve_video(0, 6, (32, 48))
    again = read(write_movie(tmp_path / "movie.mkv", movie))[0]
    np.testing.assert_array_equal(np.asarray(again.data), movie.data)
    assert again.scale == pytest.approx(movie.scale)


def test_folders_hold_every_frame_under_its_class(tmp_path: Path) -> None:
    video_folders(tmp_path, videos=2, frames=10, size=(32, 32))
    files = list((tmp_path / "classification").rglob("*.png"))
    assert len(files) == 20
    images = sorted(p.name for p in (tmp_path / "segmentation/image").iterdir())
    assert images == sorted(p.name for p in (tmp_path / "segmentation/mask").iterdir())
    assert images == sorted(p.name for p in (tmp_path / "classification/Nerve").iterdir())


def test_too_small_movies_are_refused() -> None:
    with pytest.raises(DataError, match="at least 5 frames"):
        nerve_video(0, 4)
