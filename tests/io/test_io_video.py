from __future__ import annotations

import hashlib
import threading
from dataclasses import replace
from fractions import Fraction
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from napari_medseg.errors import DataError, MissingDependencyError, ReadError, WriteError
from napari_medseg.io import read
from napari_medseg.io.movies import reader as video
from napari_medseg.io.movies.movie import Movie
from napari_medseg.io.movies.writer import MovieWriter
from napari_medseg.samples.video import nerve_video, write_movie

av = pytest.importorskip("av")
SIZE = (48, 64)
ENCODINGS = {
    "h264_open_gop.mp4": ("libx264", {"g": "13", "bf": "3", "x264-params": "open_gop=1"}),
    "h264_scene_cuts.mkv": ("libx264", {"g": "250", "keyint_min": "2", "bf": "2", "sc_threshold": "1"}),
    "h264.avi": ("libx264", {"g": "9", "bf": "2"}),
    "mpeg4.mov": ("mpeg4", {"g": "12", "bf": "2"}),
    "mpeg4.avi": ("mpeg4", {"g": "12"}),
    "ffv1.mkv": ("ffv1", {"g": "7"}),
}


@pytest.fixture(scope="module")
def movie_frames() -> np.ndarray:
    return np.asarray(nerve_video(3, 60, SIZE)[0].data)


@pytest.fixture(scope="module")
def movies(tmp_path_factory: pytest.TempPathFactory, movie_frames: np.ndarray) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("movies")
    for name, (codec, options) in ENCODINGS.items():
        with MovieWriter(folder / name, Fraction(30000, 1001), SIZE, codec, options=options) as writer:
            for frame in movie_frames:
                writer.write(frame)
    return {name: folder / name for name in ENCODINGS}


def checksum(frame: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(frame)).hexdigest()


def linear_checksums(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [checksum(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def write_packets(path: Path, sizes: list[tuple[int, int]], times: list[int], rate: int = 25) -> Path:
    """Write a motion-JPEG file whose packets have the given sizes and times; packet k is 10 k bright."""
    packets = []
    for k, size in enumerate(sizes):
        codec = av.CodecContext.create("mjpeg", "w")
        codec.height, codec.width = size
        codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, rate)
        frame = av.VideoFrame.from_ndarray(np.full((*size, 3), 10 * k, np.uint8), format="rgb24")
        frame.pts = 0
        packets += [*codec.encode(frame), *codec.encode(None)]
    ascending, decoded = times == sorted(set(times)), count(-100)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=rate)
        stream.height, stream.width = sizes[0]
        stream.pix_fmt = "yuvj420p"
        for packet, time in zip(packets, times, strict=True):
            packet.stream, packet.time_base = stream, Fraction(1, rate)
            packet.pts, packet.dts = time, time if ascending else next(decoded)
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ENCODINGS)
def test_frame_k_is_frame_k(movies: dict[str, Path], name: str) -> None:
    expected = linear_checksums(movies[name])
    movie = Movie(movies[name], cache_bytes=6 * SIZE[0] * SIZE[1] * 3)
    assert len(movie) == len(expected) == 60
    assert [checksum(movie.frame(k)) for k in range(60)] == expected
    seeks = np.random.default_rng(0).integers(0, 60, 60)
    assert [checksum(movie.frame(int(k))) for k in seeks] == [expected[k] for k in seeks]
    assert [checksum(movie.frame(k)) for k in reversed(range(60))] == expected[::-1]
    assert len(movie._cache) <= movie.capacity == 6


def test_variable_groups_of_pictures_are_indexed(movies: dict[str, Path]) -> None:
    steps = np.diff(Movie(movies["h264_scene_cuts.mkv"]).index.keys)
    assert len(set(steps)) > 1


def test_lossless_movie_gives_the_written_frames(movies: dict[str, Path], movie_frames: np.ndarray) -> None:
    image = read(movies["ffv1.mkv"])[0]
    assert image.axes == "TYXC"
    assert image.units == ("second", "pixel", "pixel")
    assert image.scale[0] == pytest.approx(1001 / 30000)
    assert image.metadata["video"]["fps"] == "30000/1001"
    np.testing.assert_array_equal(np.asarray(image.data), movie_frames)
    np.testing.assert_array_equal(np.asarray(image.data[7, 3:9, ::2]), movie_frames[7, 3:9, ::2])


def test_gray_movie_is_read_without_channels(tmp_path: Path) -> None:
    movie, _ = nerve_video(0, 6, (32, 32))
    gray = movie.replace(data=movie.data[..., 0], axes="TYX", channels=())
    image = read(write_movie(tmp_path / "gray.mkv", gray))[0]
    assert image.axes == "TYX"
    assert image.scale[0] == pytest.approx(gray.scale[0])
    np.testing.assert_array_equal(np.asarray(image.data), gray.data)


def test_sequential_reading_decodes_each_frame_once(movies: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    movie = Movie(movies["h264_open_gop.mp4"])
    seeks: list[int] = []
    seek = Movie._seek
    monkeypatch.setattr(Movie, "_seek", lambda self, key, index: (seeks.append(key), seek(self, key, index))[1])
    for k in range(60):
        movie.frame(k)
    assert len(seeks) <= 1
    movie.frame(59)
    assert len(seeks) <= 1


def test_threads_get_their_own_frames(movies: dict[str, Path]) -> None:
    expected = linear_checksums(movies["h264_open_gop.mp4"])
    movie = Movie(movies["h264_open_gop.mp4"], cache_bytes=1)
    wrong: list[int] = []

    def look(seed: int) -> None:
        for k in np.random.default_rng(seed).integers(0, 60, 15):
            if checksum(movie.frame(int(k))) != expected[k]:
                wrong.append(int(k))

    threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_odd_sizes_are_kept(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 37, 51, 3), np.uint8)
    for codec, name in (("ffv1", "a.mkv"), ("libx264", "b.mp4")):
        with MovieWriter(tmp_path / name, 12.5, (37, 51), codec) as writer:
            for frame in frames:
                writer.write(frame)
        movie = Movie(tmp_path / name)
        assert movie.shape == (3, 37, 51, 3)
        assert movie.fps == Fraction(25, 2)


def test_truncated_movie_keeps_what_can_be_decoded(movies: dict[str, Path], tmp_path: Path) -> None:
    content = movies["ffv1.mkv"].read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(content[: len(content) * 2 // 3])
    image = read(cut)[0]
    expected = linear_checksums(movies["ffv1.mkv"])
    n = image.data.shape[0]
    assert 20 < n < 60
    assert image.metadata["video"]["missing_frames"] in (60 - n, 59 - n)
    assert [checksum(np.asarray(image.data[k])) for k in (0, n - 1)] == [expected[0], expected[n - 1]]


def test_movie_without_its_index_is_refused(movies: dict[str, Path], tmp_path: Path) -> None:
    content = movies["mpeg4.mov"].read_bytes()
    cut = tmp_path / "cut.mov"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError, match=r"cut\.mov cannot be opened as a movie"):
        read(cut)


def test_zero_frames_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "zero.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "bgr0"
        container.start_encoding()
    with pytest.raises(ReadError, match=r"zero\.mkv"):
        read(path)


def test_variable_frame_size_is_refused(tmp_path: Path) -> None:
    path = write_packets(tmp_path / "sizes.mkv", [(64, 64)] * 4 + [(32, 48)] * 4, list(range(8)))
    image = read(path)[0]
    assert np.asarray(image.data[3]).shape == (64, 64, 3)
    with pytest.raises(ReadError, match="frame 4 is 48x32 pixels, the first 64x64"):
        np.asarray(image.data[4])


def test_uneven_times_are_kept(tmp_path: Path) -> None:
    times = [0, 1, 2, 5, 6, 20]
    image = read(write_packets(tmp_path / "vfr.mkv", [(32, 32)] * 6, times))[0]
    assert image.metadata["video"]["variable_rate"]
    assert image.metadata["video"]["times"] == pytest.approx([t / 25 for t in times], abs=1e-3)
    assert image.scale[0] == pytest.approx(20 / 25 / 5, rel=0.01)
    assert int(np.asarray(image.data[4]).mean()) in range(38, 43)


def test_odd_rate_in_the_header_gives_way_to_the_frame_times(tmp_path: Path) -> None:
    path = write_packets(tmp_path / "rate.mkv", [(32, 32)] * 10, [k * 100 for k in range(10)], rate=1000)
    assert float(Movie(path).fps or 0) == pytest.approx(10, rel=0.01)


def test_non_monotonic_times_are_replaced_by_counting(
    movies: dict[str, Path], movie_frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_medseg.io.movies import movie as _movie

    original = _movie.read_packets
    monkeypatch.setattr(_movie, "read_packets", lambda *of: replace(original(*of), trusted=False))
    movie = Movie(movies["ffv1.mkv"], cache_bytes=1)
    assert movie.index.counted
    for k in (0, 41, 12, 59, 3):
        np.testing.assert_array_equal(movie.frame(k), movie_frames[k])


@pytest.mark.parametrize(
    "times",
    [
        [0, 1, 2, 3, 4, 4, 6, 3, 8, 9],
        [0, 1, 2, 3, 3, 3, 3, 3, 3, 3],
        [0, 1, 2, 4, 3, 5, 6, 7, 8, 9],
        [0, 1, 2, 4, 3, 5, 6, 9, 8, 7],
    ],
)
def test_times_that_repeat_or_run_backwards_lose_no_frame(tmp_path: Path, times: list[int]) -> None:
    movie = Movie(write_packets(tmp_path / "times.mkv", [(32, 32)] * 10, times), cache_bytes=1)
    assert movie.index.counted
    assert len(movie) == 10
    for k in (*range(10), 3, 9, 0, 5):
        assert round(float(movie.frame(k).mean()) / 10) == k


def test_unknown_codec_says_how_to_get_it_decoded(movies: dict[str, Path], tmp_path: Path) -> None:
    content = movies["ffv1.mkv"].read_bytes()
    assert content.count(b"V_FFV1") == 1
    (tmp_path / "odd.mkv").write_bytes(content.replace(b"V_FFV1", b"V_ODD1"))
    with pytest.raises(ReadError, match=r"odd\.mkv uses a codec .*conda install -c conda-forge av.*ffmpeg -i"):
        read(tmp_path / "odd.mkv")


def test_missing_codec_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "codecs_available", {"ffv1"})
    with pytest.raises(MissingDependencyError, match=r"no encoder 'libx264'.*install"):
        MovieWriter(tmp_path / "a.mp4", 25, (32, 32), "libx264")


def test_missing_pyav_names_the_extra(movies: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"napari-medseg\[video\]"):
        Movie(movies["ffv1.mkv"])


def test_writer_refuses_bad_targets_and_frames(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="does not exist"):
        MovieWriter(tmp_path / "no" / "a.mkv", 25, (32, 32))
    with pytest.raises(WriteError, match="cannot be written as a movie"):
        MovieWriter(tmp_path / "a.nonsense", 25, (32, 32))
    with MovieWriter(tmp_path / "a.mkv", 25, (32, 32)) as writer, pytest.raises(DataError, match="Frame 0 is"):
        writer.write(np.zeros((16, 32, 3), np.uint8))
    assert not (tmp_path / "a.mkv").exists()


def test_frames_of_a_folder_play_in_the_order_of_the_last_number(tmp_path: Path) -> None:
    import imageio.v3 as iio

    for name, value in (("Tendon_10", 10), ("Opening Wound_9", 9), ("Nerve_100", 100), ("Nerve_11", 11)):
        iio.imwrite(tmp_path / f"{name}.png", np.full((8, 9), value, np.uint8))
    assert video.matches(tmp_path)
    image = read(tmp_path)[0]
    assert image.axes == "TYX"
    assert np.asarray(image.data[:, 0, 0]).tolist() == [9, 10, 11, 100]
    iio.imwrite(tmp_path / "Nerve_12.png", np.zeros((8, 10), np.uint8))
    with pytest.raises(ReadError, match=r"Nerve_12\.png is 10x8"):
        read(tmp_path)


def test_published_set_gives_playback_order_and_masks(tmp_path: Path) -> None:
    import imageio.v3 as iio

    for part in ("order", "input/Nerve", "annotation/Nerve"):
        (tmp_path / part).mkdir(parents=True)
    for k in (1, 2, 10):
        iio.imwrite(tmp_path / "order" / f"Nerve_{k}.jpg", np.full((16, 16, 3), 20 * k, np.uint8))
        iio.imwrite(tmp_path / "annotation" / "Nerve" / f"Nerve_{k}.jpg", np.full((16, 16, 3), 255 * (k > 1), np.uint8))
    movie, labels = read(tmp_path)
    assert np.asarray(movie.data)[:, 0, 0, 0].tolist() == [20, 40, 200]
    assert labels.kind == "labels"
    assert np.asarray(labels.data).mean((1, 2)).tolist() == [0, 1, 1]


def test_folders_of_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("image_1.dcm", "image_2.dcm"):
        (tmp_path / name).touch()
    assert not video.matches(tmp_path)
    assert not video.matches(tmp_path.parent / "nothing")


def test_tiff_with_time_axis_is_a_movie(tmp_path: Path) -> None:
    import tifffile

    frames = np.random.default_rng(0).integers(0, 255, (5, 12, 13), np.uint8)
    path = tmp_path / "series.tif"
    tifffile.imwrite(path, frames, imagej=True, metadata={"axes": "TYX", "finterval": 0.25})
    image = read(path)[0]
    assert image.axes == "TYX"
    assert image.scale[0] == 0.25
    np.testing.assert_array_equal(np.asarray(image.data), frames)
    plain = tmp_path / "pages.tif"
    tifffile.imwrite(plain, np.repeat(frames[..., None], 3, 3), photometric="rgb")
    assert not video.matches(plain)
    movie = video.read_movie(plain)
    assert movie.axes == "TYXC"
    np.testing.assert_array_equal(np.asarray(movie.data[3, ..., 1]), frames[3])


def test_read_movie_refuses_other_files(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="does not exist"):
        video.read_movie(tmp_path / "a.mp4")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ReadError, match="is no movie"):
        video.read_movie(tmp_path / "a.txt")
