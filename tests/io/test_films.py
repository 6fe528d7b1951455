"""Films as recorders, phones and editors write them: every frame, its time, its shape; PyAV from the start is right."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ome_files import ome_of, write_parts
from PIL import Image as Pillow

from napari_medseg.batch.inputs import list_inputs, source_files
from napari_medseg.errors import ReadError
from napari_medseg.image import Image
from napari_medseg.io import read, read_one, write
from napari_medseg.io.movies.film import Frames
from napari_medseg.io.movies.movie import Movie
from napari_medseg.io.movies.reader import read_movie
from napari_medseg.io.movies.writer import MovieWriter
from napari_medseg.video.settings import VideoSettings
from napari_medseg.video.source import Source

av = pytest.importorskip("av")
TURNS = {  # display matrix (a, b, c, d) -> what a player shows
    (1, 0, 0, 1): lambda frame: frame,
    (0, 1, -1, 0): lambda frame: np.rot90(frame, -1),
    (-1, 0, 0, -1): lambda frame: np.rot90(frame, 2),
    (0, -1, 1, 0): lambda frame: np.rot90(frame),
    (-1, 0, 0, 1): lambda frame: frame[:, ::-1],
    (0, 1, 1, 0): lambda frame: frame.swapaxes(0, 1),
}


def film(
    path: Path, times: Sequence[int] = range(50), rate: int = 25, codec: str = "libx264", b_frames: int = 2, **more: Any
) -> Path:
    """Write textured frames that move, shown at `times` / `rate` seconds, key frames 12 apart."""
    base = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    with av.open(str(path), "w", format=more.pop("container", None)) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = 48, 64, "yuv420p", 12
        stream.codec_context.time_base, stream.codec_context.max_b_frames = Fraction(1, rate), b_frames
        for name, value in more.items():
            setattr(stream.codec_context, name, value)
        for k, pts in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(base, 3 * k, 1)), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def patched(source: Path, target: Path, atom: bytes, at: int, content: bytes) -> Path:
    data = bytearray(source.read_bytes())
    start = data.find(atom) + at
    data[start : start + len(content)] = content
    target.write_bytes(data)
    return target


def trimmed(source: Path, target: Path, seconds: float) -> Path:
    """Let the edit list of an MP4 skip its beginning (ISO 14496-12, elst), as a trim without loss does."""
    data = source.read_bytes()
    media, movie = (struct.unpack(">I", data[(at := data.find(name) + 16) : at + 4])[0] for name in (b"mdhd", b"mvhd"))
    start = data.find(b"elst") + 12
    length, first = struct.unpack(">Ii", data[start : start + 8])
    entry = struct.pack(">Ii", length - round(seconds * movie), first + round(seconds * media))
    return patched(source, target, b"elst", 12, entry)


def check_frames(path: Path, right: list[np.ndarray]) -> Movie:
    """Compare all frames: in order, backwards and at random."""
    movie = Movie(path, cache_bytes=1)
    assert len(movie) == len(right)
    orders = (range(len(right)), reversed(range(len(right))), np.random.default_rng(0).integers(0, len(right), 30))
    for order in orders:
        for k in order:
            np.testing.assert_array_equal(movie.frame(int(k)), right[int(k)])
    return movie


def test_mpeg_program_stream(tmp_path: Path) -> None:
    """Seeking jumps behind the key frame there; no frame is lost for that."""
    path = film(tmp_path / "a.mpg", codec="mpeg2video", b_frames=0, container="mpeg", bit_rate=2_000_000)
    movie = check_frames(path, decoded(path))
    assert (len(movie), movie.missing) == (50, 0)
    assert float(movie.fps or 0) == pytest.approx(25)


@pytest.mark.parametrize("suffix", [".mts", ".vob"])
def test_transport_streams_and_discs(tmp_path: Path, suffix: str) -> None:
    disc = suffix == ".vob"
    more: dict[str, Any] = {"codec": "mpeg2video", "b_frames": 0, "bit_rate": 2_000_000} if disc else {}
    path = film(tmp_path / f"a{suffix}", container="vob" if disc else "mpegts", **more)
    assert read(path)[0].data.shape[0] == 50
    assert check_frames(path, decoded(path)).missing == 0


@pytest.mark.parametrize("skip", [0.04, 0.32, 0.6])
def test_frames_before_an_edit_are_hidden_and_no_others(tmp_path: Path, skip: float) -> None:
    path = trimmed(film(tmp_path / "a.mp4"), tmp_path / "b.mp4", skip)
    movie = check_frames(path, decoded(path))
    assert (len(movie), movie.missing) == (50 - round(skip * 25), 0)


def test_a_clock_that_starts_late_lacks_nothing(tmp_path: Path) -> None:
    movie = Movie(film(tmp_path / "a.mkv", range(125, 175)))
    assert (len(movie), movie.missing, movie.times()[0]) == (50, 0, 0)
    assert movie.times()[-1] == pytest.approx(49 / 25, abs=1e-3)


def test_b_frames_in_avi_keep_the_clock_of_dropped_frames(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", [*range(20), *range(40, 50)])
    movie = check_frames(path, decoded(path))
    assert (len(movie), movie.missing) == (30, 0)
    assert movie.times()[-1] == pytest.approx(1.96, abs=0.1)
    assert np.diff(movie.times()).max() == pytest.approx(21 / 25, abs=0.01)


def test_fast_cameras(tmp_path: Path) -> None:
    image = read(film(tmp_path / "a.mp4", range(200), rate=2000))[0]
    assert image.scale[0] == pytest.approx(1 / 2000)


@pytest.mark.parametrize("matrix", TURNS)
def test_films_are_turned_as_players_show_them(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """ISO 14496-12, track matrix: (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, c, d = (n << 16 for n in matrix)
    plain = film(tmp_path / "a.mp4", range(20))
    content = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = patched(plain, tmp_path / "b.mp4", b"tkhd", 44, content)
    check_frames(path, [TURNS[matrix](frame) for frame in decoded(plain)])


@pytest.mark.parametrize("turn", [False, True])
def test_pixel_aspect_is_kept(tmp_path: Path, turn: bool) -> None:
    path = film(tmp_path / "a.mp4", range(5), sample_aspect_ratio=Fraction(16, 11))
    if turn:
        one = 1 << 16
        content = struct.pack(">9i", 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
        path = patched(path, tmp_path / "b.mp4", b"tkhd", 44, content)
    assert read(path)[0].metadata["video"]["pixel_aspect"] == ("11/16" if turn else "16/11")


@pytest.mark.parametrize("codec", ["ffv1", "libx264", "mpeg4"])
def test_written_films_look_and_play_like_their_source(tmp_path: Path, codec: Any) -> None:
    path = tmp_path / ("a.mkv" if codec == "ffv1" else "a.mp4")
    times = [0.0, 0.04, 0.08, 1.5, 1.54]
    with MovieWriter(path, 25, (48, 64), codec, aspect=Fraction(3, 2), timed=True) as writer:
        for k, seconds in enumerate(times):
            writer.write(np.full((48, 64, 3), 40 * k, np.uint8), seconds)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.width * float(stream.sample_aspect_ratio or 1) / stream.height == pytest.approx(2, abs=0.02)
        assert [float(frame.time) for frame in file.decode(video=0)] == pytest.approx(times, abs=2e-3)


@pytest.mark.parametrize(("rows", "matrix", "shares"), [(720, 1, (0.2126, 0.0722)), (480, 6, (0.299, 0.114))])
def test_colours_are_coded_as_players_decode_them(
    tmp_path: Path, rows: int, matrix: int, shares: tuple[float, float]
) -> None:
    """BT.709 for HD, BT.601 below, and tagged (H.273); decoded here by the standard's own formula."""
    colour = 200, 40, 60
    with MovieWriter(tmp_path / "a.mp4", 25, (rows, 640), "libx264", options={"crf": "1"}) as writer:
        writer.write(np.full((rows, 640, 3), colour, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as file:
        frame = next(file.decode(video=0))
    assert int(frame.colorspace) == matrix
    y, cb, cr = (float(np.median(plane)) for plane in frame.reformat(format="yuv444p").to_ndarray())
    red, blue = shares
    light, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
    found = np.array([r, (light - red * r - blue * b) / (1 - red - blue), b]) * 255
    np.testing.assert_allclose(found, colour, atol=6)


def test_any_frame_of_a_long_film_costs_the_same() -> None:
    """The array does no work for frames that are not asked for."""
    used = {}
    for count in (2_000, 200_000):
        data = Frames(lambda k: np.full((4, 4), k % 251, np.uint8), (count, 4, 4), np.uint8)
        start = time.process_time()
        for k in np.linspace(0, count - 1, 200).astype(int):
            assert data[int(k)][0, 0] == k % 251
        used[count] = time.process_time() - start
    assert used[200_000] < 10 * used[2_000]


def test_a_film_is_indexed_like_an_array() -> None:
    whole = np.arange(5 * 4 * 3).reshape(5, 4, 3)
    data = Frames(whole.__getitem__, whole.shape, whole.dtype)
    for key in (3, -1, slice(1, 4), (slice(None, None, 2), 1), (..., 2), (2, ...), ([0, 3], slice(0, 2)), slice(0, 0)):
        np.testing.assert_array_equal(data[key], whole[key])
    np.testing.assert_array_equal(np.asarray(data), whole)
    assert (len(data), data.size, data.ndim, data.nbytes) == (5, 60, 3, whole.nbytes)
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.parametrize(
    "names",
    [
        ("2021-03-04_12-30-58", "2021-03-04_12-30-59", "2021-03-04_12-31-00", "2021-03-04_12-31-01"),
        ("20210304_235958", "20210304_235959", "20210305_000000", "20210305_000001"),
        ("clip1_1", "clip1_2", "clip2_1", "clip2_2"),
        tuple(f"frame_{k}" for k in range(8, 13)),
        ("Opening Wound_9", "Tendon_10", "Nerve_11", "Nerve_100"),
        ("clipA_1", "clipA_2", "clipA_10", "clipB_1", "clipB_2"),
        ("1_nerve", "2_tendon", "9_nerve", "10_tendon"),
        ("frame_0.5s", "frame_1.0s", "frame_1.25s", "frame_1.5s", "frame_10.0s"),
        ("t0.9", "t1", "t1.5", "t2"),
        ("0,5", "1,0", "1,25", "1,5"),
        ("clip1.9", "clip1.10", "clip1.11"),
        ("shot 2021-03-04 at 9.59.58 AM", "shot 2021-03-04 at 12.30.01 PM", "shot 2021-03-04 at 1.00.00 PM"),
        ("31-12-2020_23-59-59", "01-01-2021_00-00-01"),
        ("12-31-2020_235959", "01-01-2021_000001"),
        ("20210304123058123456", "20210304123058123457"),
    ],
)
def test_frames_of_a_folder_play_in_order(tmp_path: Path, names: tuple[str, ...]) -> None:
    for k, name in enumerate(names):
        Pillow.fromarray(np.full((8, 8, 3), 10 * k, np.uint8)).save(tmp_path / f"{name}.png")
    assert [int(frame[0, 0, 0]) // 10 for frame in read_movie(tmp_path).data] == list(range(len(names)))


@pytest.mark.parametrize(
    ("numbers", "between"),
    [
        ((1, 2, 3, 4), ""),
        ((0, 10, 20, 30), ""),
        ((3, 17, 90, 111), ""),  # picked by hand: no movie with a gap
        ((1, 2, 4, 5), "f_0002.png and f_0004.png"),
        ((0, 10, 30, 40, 70), "f_0010.png and f_0030.png, f_0040.png and f_0070.png"),
    ],
)
def test_frames_that_are_missing_by_their_numbers_are_named(
    tmp_path: Path, numbers: tuple[int, ...], between: str
) -> None:
    for k in numbers:
        Pillow.fromarray(np.full((8, 8, 3), k, np.uint8)).save(tmp_path / f"f_{k:04}.png")
    notes = " ".join(read(tmp_path)[0].metadata.get("notes", ()))
    assert bool(between) == ("missing by their numbers" in notes)
    assert between in notes


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_masks_of_a_set_are_turned_as_their_pictures(tmp_path: Path, turn: int, suffix: str) -> None:
    (tmp_path / "order").mkdir()
    (tmp_path / "annotation" / "Nerve").mkdir(parents=True)
    stored = np.zeros((10, 12), np.uint8)
    stored[1:4, 2:10], stored[6:, 2] = 255, 255
    turned = Pillow.Exif()
    turned[274] = turn
    for k in range(2):
        picture = Pillow.fromarray(np.repeat(stored[..., None], 3, 2))
        picture.save(tmp_path / "order" / f"Nerve_{k}.{suffix}", exif=turned)
        Pillow.fromarray(stored).save(tmp_path / "annotation" / "Nerve" / f"Nerve_{k}.{suffix}", exif=turned)
    image, labels = read(tmp_path)
    assert image.data.shape == (*labels.data.shape, 3)
    np.testing.assert_array_equal(np.asarray(labels.data) > 0, np.asarray(image.data)[..., 0] > 0)
    assert np.asarray(labels.data).any()


RNG = np.random.default_rng(5)
GREY = RNG.integers(0, 60_000, (3, 10, 12))
COLOUR = RNG.integers(0, 256, (3, 10, 12, 3))


@pytest.mark.parametrize(
    ("frames", "options"),
    [
        (GREY.astype(np.uint16), {"byteorder": ">"}),
        (GREY.astype(np.uint32) * 3, {}),
        (GREY.astype(np.float32) / 7, {}),
        (COLOUR.astype(np.uint16) * 200, {"photometric": "rgb"}),
        (COLOUR.astype(np.uint8), {"photometric": "rgb"}),
    ],
    ids=str,
)
def test_frames_of_a_folder_keep_their_numbers(tmp_path: Path, frames: np.ndarray, options: dict[str, Any]) -> None:
    for k, frame in enumerate(frames):
        sizes = {"resolution": (20_000, 40_000), "resolutionunit": "CENTIMETER"}
        tifffile.imwrite(tmp_path / f"frame_{k}.tif", frame, **options, **sizes)
    (image,) = read(tmp_path)
    np.testing.assert_array_equal(np.asarray(image.data), frames)
    assert image.data.dtype == frames.dtype
    assert (image.scale[1:], image.units[1:]) == ((0.25, 0.5), ("micrometer",) * 2)


def test_frames_of_a_folder_are_shown_as_single_pictures_are(tmp_path: Path) -> None:
    turned = Pillow.Exif()
    turned[274] = 6
    clear = np.dstack([COLOUR[0], np.zeros((10, 12))]).astype(np.uint8)
    clear[-1, :, 3] = 255
    for k in range(2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "glass").mkdir(exist_ok=True)
        Pillow.fromarray(COLOUR[k].astype(np.uint8)).save(tmp_path / "photos" / f"photo_{k}.jpg", exif=turned)
        Pillow.fromarray(clear).save(tmp_path / "glass" / f"tile_{k}.png")
    (photos,), (glass,) = read(tmp_path / "photos"), read(tmp_path / "glass")
    assert photos.data.shape == (2, 12, 10, 3)
    np.testing.assert_array_equal(photos.data[1], read(tmp_path / "photos" / "photo_1.jpg")[0].data)
    assert (np.asarray(glass.data)[:, :-1] == 255).all()
    np.testing.assert_array_equal(glass.data[0, -1], clear[-1, :, :3])


def test_frames_of_a_folder_are_of_one_kind(tmp_path: Path) -> None:
    Pillow.fromarray(GREY[0].astype(np.uint8)).save(tmp_path / "frame_0.png")
    Pillow.fromarray(COLOUR[1].astype(np.uint8)).save(tmp_path / "frame_1.png")
    Pillow.fromarray(GREY[2].astype(np.uint16)).save(tmp_path / "frame_2.png")
    Pillow.fromarray(np.repeat(GREY[2].astype(np.uint8)[..., None], 3, 2)).save(tmp_path / "frame_3.png")
    tifffile.imwrite(tmp_path / "frame_4.tif", GREY.astype(np.uint8), photometric="minisblack")
    (image,) = read(tmp_path)
    np.testing.assert_array_equal(image.data[3], GREY[2].astype(np.uint8))  # grey, stored as colour
    for k, reason in ((1, "is in colour, uint8"), (2, "is grey, uint16"), (4, "holds several pictures")):
        with pytest.raises(ReadError, match=reason):
            image.data[k]


def test_masks_of_a_published_set_count_by_number_whatever_their_colours(tmp_path: Path) -> None:
    (tmp_path / "order").mkdir()
    (tmp_path / "annotation" / "Nerve").mkdir(parents=True)
    numbers = np.zeros((10, 12), np.uint8)
    numbers[2:5, 3:8], numbers[6:8, 3:8] = 1, 2
    masks = [Pillow.fromarray(numbers, "P") for _ in range(2)]
    masks[0].putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])  # class 2 is green: it has no red
    masks[1] = Pillow.fromarray(np.where(numbers > 0, 255, 0).astype(np.uint8))
    masks[1].putalpha(Pillow.fromarray(np.where(numbers > 0, 255, 0).astype(np.uint8)))
    for k in range(2):
        Pillow.fromarray(COLOUR[k].astype(np.uint8)).save(tmp_path / "order" / f"Nerve_{k}.png")
        masks[k].save(tmp_path / "annotation" / "Nerve" / f"Nerve_{k}.png")
    labels = read(tmp_path)[1]
    np.testing.assert_array_equal(np.asarray(labels.data), np.stack([numbers > 0] * 2))


@pytest.mark.parametrize(("dots", "known"), [(300, False), (72, False), (1271, True)])
def test_inches_of_printers_are_no_pixel_size_in_imagej_files_either(tmp_path: Path, dots: int, known: bool) -> None:
    stated = {"axes": "ZYX", "unit": "inch", "spacing": 1}
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.uint8), imagej=True, resolution=(dots, dots), metadata=stated)
    (image,) = read(tmp_path / "a.tif")
    assert image.calibrated == known
    np.testing.assert_allclose(image.scale, (25_400, 25_400 / dots, 25_400 / dots) if known else (1, 1, 1), rtol=1e-6)


def test_pictures_whose_white_is_zero_say_so(tmp_path: Path) -> None:
    for name, axes in (("a.tif", "YX"), ("film.tif", "TYX")):
        data = GREY.astype(np.uint8) if axes == "TYX" else GREY[0].astype(np.uint8)
        tifffile.imwrite(tmp_path / name, data, photometric="miniswhite", metadata={"axes": axes})
        (image,) = read(tmp_path / name)
        np.testing.assert_array_equal(np.asarray(image.data), data)
        assert "Large numbers are dark" in image.metadata["notes"][0]


def test_channels_one_after_the_other_are_frames_of_channels(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 999, (2, 4, 6, 5), np.uint16)
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "CTYX"}, compression=compression)
        (film,) = read(tmp_path / "a.tif")
        assert (film.axes, film.data.shape) == ("TCYX", (4, 2, 6, 5))
        np.testing.assert_array_equal(film.data[2], data[:, 2])


@pytest.mark.parametrize("axes", ["CZYX", "CTYX", "ZCYX", "TZCYX", "TYXC", "ZYXC"])
def test_channels_of_a_written_tif_keep_every_step_without_side_car(tmp_path: Path, axes: str) -> None:
    sizes, steps = dict(zip("TZYXC", (3, 4, 6, 5, 3), strict=True)), {"T": 0.5, "Z": 2.0, "Y": 0.5, "X": 0.25}
    spatial = axes.replace("C", "")
    data = np.random.default_rng(1).integers(0, 255, [sizes[a] for a in axes]).astype(np.uint8)
    units = tuple("second" if a == "T" else "micrometer" for a in spatial)
    image = Image(data, axes, tuple(steps[a] for a in spatial), units)
    path = write(tmp_path / "a.tif", image)
    for again in range(2):
        (back,) = read(path)
        assert dict(zip(back.spatial_axes, back.scale, strict=True)) == pytest.approx({a: steps[a] for a in spatial})
        assert set(zip(back.spatial_axes, back.units, strict=True)) == set(zip(spatial, units, strict=True))
        order = [axes.index(a) for a in back.axes]
        np.testing.assert_array_equal(np.asarray(back.data), data.transpose(order))
        if not again:
            (tmp_path / "a.json").unlink()


def test_tiff_films_keep_pixel_size_time_unit_and_channels(tmp_path: Path) -> None:
    data = np.arange(5 * 3 * 6 * 7).reshape(5, 3, 6, 7).astype(np.uint16)
    meta = {"axes": "TCYX", "unit": "um", "finterval": 5.0, "tunit": "min"}
    tifffile.imwrite(tmp_path / "a.tif", data, imagej=True, metadata=meta, resolution=(4, 2))
    image = read(tmp_path / "a.tif")[0]
    assert (image.axes, image.units) == ("TCYX", ("second", "micrometer", "micrometer"))
    np.testing.assert_allclose(image.scale, (300, 0.5, 0.25))
    np.testing.assert_array_equal(np.asarray(image.data), data)
    ome = {"axes": "TYX", "TimeIncrement": 500, "TimeIncrementUnit": "ms", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "a.ome.tif", data[:, 0], metadata=ome, compression="zlib")
    image = read(tmp_path / "a.ome.tif")[0]
    np.testing.assert_allclose(image.scale, (0.5, 0.5, 0.25))
    np.testing.assert_array_equal(np.asarray(image.data), data[:, 0])


@pytest.mark.parametrize(
    ("interval", "unit", "seconds"),
    [(1500, "sec", 1500), (1, "hour", 3600), (2, "days", 172_800), (250, "milliseconds", 0.25), (3, "frames", None)],
)
def test_any_time_between_frames(tmp_path: Path, interval: float, unit: str, seconds: float | None) -> None:
    meta = {"axes": "TYX", "finterval": interval, "tunit": unit}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 8), np.uint8), imagej=True, metadata=meta)
    image = read(tmp_path / "a.tif")[0]
    source = Source(image, VideoSettings(fps=7))
    times = [source.time(k) for k in range(5)]
    np.testing.assert_allclose(times, np.arange(5) * (seconds or 1 / 7))
    assert source.assumed == (seconds is None)
    assert ("'frames', no known unit" in str(image.metadata.get("notes"))) == (seconds is None)


def test_white_of_dark_films_is_what_the_file_states(tmp_path: Path) -> None:
    """A tenth of the range of 10 and 12 bits; the decoder spreads 10 bits over 16."""
    dark = np.full((3, 32, 32), 400, np.uint16)
    ome = {"axes": "TYX", "SignificantBits": 12}
    tifffile.imwrite(tmp_path / "a.ome.tif", dark, metadata=ome)
    tifffile.imwrite(tmp_path / "b.tif", dark, metadata={"axes": "TYX"}, extratags=[(281, "H", 1, 400, True)])
    with av.open(str(tmp_path / "c.mkv"), "w") as file:
        stream = file.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "gray10le"
        for k in range(3):
            frame = av.VideoFrame(32, 32, "gray10le")
            rows = np.full((32, frame.planes[0].line_size // 2), 100, "<u2")
            frame.planes[0].update(rows.tobytes())
            frame.pts, frame.time_base = k, Fraction(1, 25)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    found = {}
    for name in ("a.ome.tif", "b.tif", "c.mkv"):
        source = Source(tmp_path / name, VideoSettings())
        found[name] = round(float(next(source.frames(0))[1].max()))
    assert found == {"a.ome.tif": 25, "b.tif": 100, "c.mkv": 25}  # b states nothing of white: 10 bits are assumed


def test_a_frame_every_so_many_milliseconds_goes_by_the_clock(tmp_path: Path) -> None:
    """Frames 0.05 s apart, then 0.25 s apart: of each quarter of a second the first is taken."""
    times = [*range(8), *(7 + 5 * k for k in range(1, 9))]
    source = Source(film(tmp_path / "v.mkv", times, rate=20), VideoSettings(every_ms=250))
    assert [round(source.time(k), 2) for k in source.numbers] == [0, 0.25, 0.6, 0.85, 1.1, 1.35, 1.6, 1.85, 2.1, 2.35]
    assert source.output_fps == 4


def test_speed_of_the_player_is_no_time_between_frames(tmp_path: Path) -> None:
    meta = {"axes": "TYX", "fps": 7.0}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 8), np.uint8), imagej=True, metadata=meta)
    image = read(tmp_path / "a.tif")[0]
    assert image.units[0] == "pixel"
    assert "speed of the player" in image.metadata["notes"][0]


def test_series_of_an_ome_tiff_are_films_of_their_own(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for count in (5, 7):
            file.write(np.full((count, 8, 8), count, np.uint8), metadata={"axes": "TYX"})
    images = read(tmp_path / "a.ome.tif")
    assert [image.data.shape[0] for image in images] == [5, 7]
    assert all((np.asarray(image.data) == image.data.shape[0]).all() for image in images)


@pytest.mark.parametrize(("axis", "size"), [("T", 'SizeZ="1" SizeT="4"'), ("Z", 'SizeZ="4" SizeT="1"')])
def test_planes_of_an_ome_tiff_lie_in_many_files(tmp_path: Path, axis: str, size: str) -> None:
    """Whichever file is opened; tifffile reads the same."""
    names = [f"a{k}.ome.tif" for k in range(4)]
    write_parts(tmp_path, names, ome_of(names, size, axis))
    for name in names:
        (image,) = read(tmp_path / name)
        assert np.asarray(image.data)[:, 0, 0].tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(np.asarray(image.data), tifffile.imread(tmp_path / name))
    assert [path.name for path in list_inputs([tmp_path])[0]] == ["a0.ome.tif"]
    assert source_files(tmp_path / names[2]) == [tmp_path / names[k] for k in (2, 0, 1, 3)]
    (tmp_path / names[1]).unlink()
    with pytest.raises(ReadError, match=r"lacks 1 of the 4 planes.*a1\.ome\.tif is not beside it"):
        read(tmp_path / names[0])


def test_a_file_of_an_ome_tiff_of_several_images_gives_its_own_first(tmp_path: Path) -> None:
    names = ["p0.ome.tif", "p1.ome.tif"]
    write_parts(tmp_path, names, ome_of(names, 'SizeZ="1" SizeT="1"', images=2).replace('FirstT="1"', 'FirstT="0"'))
    assert [int(np.asarray(read(tmp_path / name)[0].data)[0, 0]) for name in names] == [0, 1]
    assert [path.name for path in list_inputs([tmp_path])[0]] == names


@pytest.mark.parametrize("size", ['SizeZ="1" SizeT="3"', 'SizeZ="3" SizeT="1"'])
@pytest.mark.parametrize("mapped", [0, 2**30])
def test_images_of_an_ome_tiff_are_read_from_the_files_that_they_lie_in(
    tmp_path: Path, size: str, mapped: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image lies in one piece in a file of its own, both files begin alike; tifffile reads the same of its own."""
    monkeypatch.setattr("napari_medseg.io.plain.LAZY_BYTES", mapped)
    names = ["a&b0.ome.tif", "a&b1.ome.tif"]
    named = [name.replace("&", "&amp;") for name in names]
    xml = ome_of(named, size, images=2).replace('FirstT="1"', 'FirstT="0"').replace('Count="1"', 'Count="3"')
    for k, name in enumerate(names):
        own = xml.replace("$", f"urn:uuid:{k:08}-0000-0000-0000-000000000000")
        data = 10 * k + np.arange(3, dtype=np.uint16)[:, None, None] + np.zeros((3, 6, 7), np.uint16)
        tifffile.imwrite(tmp_path / name, data, description=own, metadata=None, photometric="minisblack")
    for order, name in zip(([0, 1], [1, 0]), names, strict=True):
        found = [np.asarray(image.data) for image in read(tmp_path / name)]
        assert [data[:, 0, 0].tolist() for data in found] == [[10 * k, 10 * k + 1, 10 * k + 2] for k in order]
        for data, k in zip(found, order, strict=True):
            np.testing.assert_array_equal(data, tifffile.imread(tmp_path / names[k], series=k))


@pytest.mark.parametrize("size", ['SizeZ="1" SizeT="7"', 'SizeZ="7" SizeT="1"'])
def test_planes_that_an_ome_tiff_lacks_are_not_black(tmp_path: Path, size: str) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        for k in range(5):
            file.write(
                np.full((6, 7), k, np.uint16), description=ome_of([], size) if k == 0 else None, metadata=None,
                compression="zlib",
            )  # fmt: skip
    with pytest.raises(ReadError, match="lacks 2 of the 7 planes"):
        read(tmp_path / "a.ome.tif")


def test_pages_of_different_sizes_are_no_film(tmp_path: Path) -> None:
    from napari_medseg.io.movies.reader import read_movie

    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((8, 8), np.uint8), metadata=None)
        file.write(np.zeros((9, 8), np.uint8), metadata=None)
    with pytest.raises(ReadError, match="pages of different sizes"):
        read_movie(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32"])
def test_negative_numbers_are_no_mask_of_a_published_set(tmp_path: Path, dtype: str) -> None:
    """-1 is 255 in a type that is too small, or marks what is to be ignored: nobody can tell."""
    (tmp_path / "order").mkdir()
    (tmp_path / "annotation" / "Nerve").mkdir(parents=True)
    mask = np.zeros((10, 12), dtype)
    mask[2:5, 3:8] = 1
    for k in range(2):
        Pillow.fromarray(COLOUR[k].astype(np.uint8)).save(tmp_path / "order" / f"Nerve_{k}.png")
        tifffile.imwrite(tmp_path / "annotation" / "Nerve" / f"Nerve_{k}.tif", mask)
        mask[6:8, 3:8] = -1
    labels = read(tmp_path)[1]
    np.testing.assert_array_equal(np.asarray(labels.data[0]), mask > 0)
    with pytest.raises(ReadError, match=r"Nerve_1\.tif holds negative numbers \(-1\).*unsigned"):
        labels.data[1]


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (9, 200, 30)])
@pytest.mark.parametrize("drawn", [(0, 0, 0), (255, 255, 255), (200, 0, 0)])
def test_a_mask_drawn_on_a_transparent_ground(
    tmp_path: Path, drawn: tuple[int, int, int], hidden: tuple[int, int, int]
) -> None:
    """Whatever its one colour, and whatever colour the transparent part hides, as labels and in a set of frames."""
    inside = np.zeros((10, 12), bool)
    inside[2:5, 3:8] = True
    opacity = np.where(inside, 255, 0).astype(np.uint8)
    opacity[2, 3:8], opacity[1, 3:8] = 200, 60  # a soft edge
    picture = np.dstack([np.where(inside[..., None], drawn, hidden).astype(np.uint8), opacity])
    (tmp_path / "order").mkdir()
    (tmp_path / "annotation" / "Nerve").mkdir(parents=True)
    for k in range(2):
        Pillow.fromarray(COLOUR[k].astype(np.uint8)).save(tmp_path / "order" / f"Nerve_{k}.png")
        Pillow.fromarray(picture).save(tmp_path / "annotation" / "Nerve" / f"Nerve_{k}.png")
    np.testing.assert_array_equal(np.asarray(read(tmp_path)[1].data), np.stack([inside] * 2))
    Pillow.fromarray(picture).save(tmp_path / "a_mask.png")
    tifffile.imwrite(tmp_path / "a_mask.tif", picture, photometric="rgb", extrasamples=["unassalpha"])
    for name in ("a_mask.png", "a_mask.tif"):
        np.testing.assert_array_equal(read_one(tmp_path / name, "labels").data > 0, inside)


def two_streams(path: Path, sound: float = 0.0, cut: float = 1.0, default: int = 0) -> Path:
    """Write 2 s of film at 25 per second beside `sound` seconds of sound, or beside a second, smaller film."""
    with av.open(str(path), "w") as file:
        film = file.add_stream("mpeg4", rate=25)
        film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        beside = file.add_stream("pcm_s16le", rate=8000) if sound else file.add_stream("mpeg4", rate=25)
        if not sound:
            beside.width, beside.height, beside.pix_fmt = 32, 24, "yuv420p"
            for k, stream in enumerate((film, beside)):
                stream.disposition = av.stream.Disposition.default if k == default else av.stream.Disposition(0)
        for k in range(50):
            for stream in (film, beside)[: 1 if sound else 2]:
                pixels = np.full((stream.height, stream.width, 3), 4 * k, np.uint8)
                file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            if sound:
                _mux_sound(file, beside, k / 50 * sound, sound / 50)
        for stream in (film, beside):
            file.mux(stream.encode(None))
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * cut)])
    return path


def _mux_sound(file: Any, stream: Any, start: float, seconds: float) -> None:
    frame = av.AudioFrame.from_ndarray(np.zeros((1, round(8000 * seconds)), np.int16), format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 8000, round(8000 * start), Fraction(1, 8000)
    file.mux(stream.encode(frame))


@pytest.mark.parametrize("sound", [2, 3])
def test_sound_that_goes_on_is_no_loss_of_frames(tmp_path: Path, sound: float) -> None:
    """Matroska states the end of the last stream: what lies behind the film is missing only where no stream has it."""
    whole = Movie(two_streams(tmp_path / "whole.mkv", sound))
    assert (len(whole), whole.missing) == (50, 0)
    cut = Movie(two_streams(tmp_path / "cut.mkv", sound, 0.5))
    assert len(cut) < 45
    assert abs(len(cut) + cut.missing - 25 * sound) <= 2


@pytest.mark.parametrize("default", [0, 1])
def test_of_two_films_in_a_file_the_default_one_is_read_and_that_is_said(tmp_path: Path, default: int) -> None:
    """As recorders of two cameras write them; players show the stream that is marked as the default."""
    image = read(two_streams(tmp_path / "a.mkv", default=default))[0]
    sizes = [(48, 64), (24, 32)]
    assert image.spatial_shape == (50, *sizes[default])
    size = f"{sizes[default][1]}x{sizes[default][0]}"
    assert f"holds 2 films: the one that players show first, of {size} pixels, is" in image.metadata["notes"][0]


@pytest.mark.parametrize(("name", "codec"), [("a.mpg", "mpeg2video"), ("a.avi", "mpeg4")])
@pytest.mark.parametrize("interlaced", [True, False])
def test_interlaced_films_are_said(tmp_path: Path, name: str, codec: str, interlaced: bool) -> None:
    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream(codec, rate=25, options={"flags": "+ildct+ilme"} if interlaced else {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * k, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert ("interlaced" in " ".join(read_one(tmp_path / name).metadata.get("notes", ()))) == interlaced


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_pictures_of_the_web_are_refused_with_the_way_out(tmp_path: Path, suffix: str) -> None:
    Pillow.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / f"a{suffix}")
    for reader in (read, read_movie):
        with pytest.raises(ReadError, match=r"\.png") as caught:
            reader(tmp_path / f"a{suffix}")
        assert "*.[0-9]" not in str(caught.value)


def test_colours_of_tiff_films_are_shown_as_those_of_pictures_or_said(tmp_path: Path) -> None:
    frames = np.full((3, 16, 16, 4), (160, 80, 170, 255), np.uint8)
    frames[:, :8, :, 3] = 0

    def film(name: str, data: np.ndarray, axes: str, **options: Any) -> Path:
        tifffile.imwrite(tmp_path / name, data, metadata={"axes": axes}, **options)
        return tmp_path / name

    clear = read_one(film("a.tif", frames, "TYXS", photometric="rgb", extrasamples=["unassalpha"]))
    assert clear.axes == "TYXC"
    assert (np.asarray(clear.data)[:, :8] == 255).all()
    np.testing.assert_array_equal(np.asarray(clear.data)[:, 8:], frames[:, 8:, :, :3])
    with pytest.raises(ReadError, match="SEPARATED"):
        read(film("b.tif", frames, "TYXS", photometric="separated"))
    colours = np.zeros((3, 256), np.uint16)
    palette = read_one(film("c.tif", frames[..., 0], "TYX", photometric="palette", colormap=colours))
    assert "palette" in palette.metadata["notes"][0]
    np.testing.assert_array_equal(palette.data, frames[..., 0])


def test_frames_of_uneven_times_are_said(tmp_path: Path) -> None:
    """OME states the time of each plane (DeltaT): even ones are a step, others none."""
    for name, times, said in (("a", [0, 100, 200, 300], ""), ("b", [0, 100, 500, 600], "0.1 to 0.4 s apart")):
        plane = {"DeltaT": times, "DeltaTUnit": ["ms"] * 4}
        path = tmp_path / f"{name}.ome.tif"
        tifffile.imwrite(path, np.zeros((4, 8, 9), np.uint8), metadata={"axes": "TYX", "Plane": plane})
        image = read_movie(path)
        assert image.units[0] == ("pixel" if said else "second")
        assert said in " ".join(image.metadata.get("notes", ()))
        assert said or image.scale[0] == pytest.approx(0.1)


def test_masks_beside_frames_are_no_frames(tmp_path: Path) -> None:
    for k in range(3):
        for end in ("", "_mask"):
            Pillow.fromarray(np.full((8, 9), 10 * k + 5 * bool(end), np.uint8)).save(tmp_path / f"f_{k}{end}.png")
    film = read_movie(tmp_path)
    assert [int(frame[0, 0]) for frame in film.data] == [0, 10, 20]
    assert film.metadata["notes"] == ["Masks beside the frames are left out: f_0_mask.png, f_1_mask.png, f_2_mask.png."]
