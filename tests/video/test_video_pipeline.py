from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from napari_medseg.errors import DataError, ReadError, SettingsError
from napari_medseg.image import Image
from napari_medseg.io.movies.movie import Movie
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods.double_unet.method import DoubleUnet, DoubleUnetSettings
from napari_medseg.methods.frame_classifier.method import FrameClassifier, FrameClassifierSettings
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.video import VideoSettings, apply_edits, segment_video
from napari_medseg.video.decision import Decision
from napari_medseg.video.edits import discard_edits, keep_outline, relabel, save_edits
from napari_medseg.video.networks import Networks
from napari_medseg.video.output import paint
from napari_medseg.video.stages import ordered_map, prefetch

pytest.importorskip("av")
SIZE = (40, 56)
FRAMES = 24
QUICK = {"batch": 5, "device": "cpu", "threads": 2}


class Scripted(nn.Module):
    """Stand-in classifier: gives the frames, in order, the nerve probabilities it was made with."""

    def __init__(self, p: list[float]) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p), requires_grad=False)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        nerve = self.p[self.seen : self.seen + len(x)]
        self.seen += len(x)
        return torch.log(torch.stack([nerve, (1 - nerve) * 0.7, (1 - nerve) * 0.3], 1).clamp_min(1e-6))


class BrightPixels(nn.Module):
    """Stand-in segmenter: nerve where a median-centred pixel is bright, in the last output only."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(0.65), requires_grad=False)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += len(x)
        logits = (x.mean(1, keepdim=True) - self.bias) * 100
        return torch.cat([torch.full_like(logits, 9.0), logits], 1)


def classifier(p: list[float]) -> Model:
    settings = FrameClassifierSettings(input_size=32, encoder_weights="none")
    return Model(FrameClassifier(settings), Scripted(p).eval(), {"sha256": "c"})


def segmenter() -> Model:
    settings = DoubleUnetSettings(input_size=32, encoder_weights="none")
    return Model(DoubleUnet(settings), BrightPixels().eval(), {"sha256": "s"})


@pytest.fixture(scope="module")
def sample() -> tuple[Image, Image]:
    return nerve_video(0, FRAMES, SIZE)


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory, sample: tuple[Image, Image]) -> Path:
    return write_movie(tmp_path_factory.mktemp("movie") / "movie.mkv", sample[0])


def truth(sample: tuple[Image, Image]) -> list[float]:
    return [0.9 if name == "Nerve" else 0.1 for name in sample[0].metadata["classes"]]


def test_corrections_are_rendered_again(movie: Path, sample: tuple[Image, Image], tmp_path: Path) -> None:
    """Intervals and a drawn outline change table, masks and overlay; the run's own files stay as they were."""
    out, p = tmp_path / "out", truth(sample)
    settings = VideoSettings(**QUICK, ring_gap=0, ring_width=4)
    run(segment_video(movie, classifier(p), segmenter(), out, settings))
    everywhere = tmp_path / "all"
    run(segment_video(movie, None, segmenter(), everywhere, settings))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "summary.json"}
    drawn = np.zeros(SIZE, bool)
    drawn[5:15, 20:40] = True
    keep_outline(out, "frame_000003", drawn)
    summary = run(apply_edits(movie, out, [(0.1, 0.6)], segmenter()))  # frames 2 to 11
    rows = pd.read_csv(out / "frames_edited.csv")
    nerve = (rows["label"] == "Nerve").to_numpy()
    assert np.flatnonzero(nerve).tolist() == list(range(2, 12))
    assert rows["mask_area_px"][3] == 200
    assert rows["centroid_y"][3] == pytest.approx(9.5)
    whole = pd.read_csv(everywhere / "frames.csv")
    others = [k for k in range(2, 12) if k != 3]
    assert rows["mask_area_px"][others].tolist() == whole["mask_area_px"][others].tolist()
    np.testing.assert_allclose(rows["nbr"][others], whole["nbr"][others])
    assert summary["edited"]["nerve_frames_without_mask"] == int((rows["mask_area_px"][2:12] == 0).sum())
    source, overlay = Movie(movie), Movie(out / "overlay_edited.mkv")
    for k in range(FRAMES):
        mask = drawn if k == 3 else _png(everywhere / f"masks/frame_{k:06d}.png") > 0
        wanted = paint(source[k], mask if nerve[k] else np.zeros(SIZE, bool), settings)
        np.testing.assert_array_equal(overlay[k], wanted)
    assert all(path.read_bytes() == content for path, content in before.items())
    job = apply_edits(movie, out, [(0.0, 0.2)])
    for _ in range(3):
        next(job)
    job.close()
    assert len(Movie(out / "overlay_edited.mkv")) == FRAMES  # a stopped one leaves the overlay of before
    assert not list(out.glob("*.part*"))
    discard_edits(out)
    assert {path for path in out.rglob("*") if path.is_file()} == {*before, out / "summary.json"}
    with pytest.raises(DataError, match="result of another movie"):
        run(apply_edits(write_movie(tmp_path / "b.mkv", nerve_video(0, 5, (32, 40))[0]), out, []))


def test_only_nerve_frames_get_a_mask_and_nothing_else_changes(
    movie: Path, sample: tuple[Image, Image], tmp_path: Path
) -> None:
    p, model = truth(sample), segmenter()
    result = run(segment_video(movie, classifier(p), model, tmp_path / "out", VideoSettings(**QUICK)))
    rows = pd.read_csv(result.table)
    nerve = np.array(p) > 0.5
    assert model.network.calls == nerve.sum()
    assert rows["frame"].tolist() == list(range(FRAMES))
    assert rows["time_s"].tolist() == pytest.approx([k / 20 for k in range(FRAMES)])
    assert (rows["label"] == "Nerve").tolist() == nerve.tolist()
    assert set(rows["label"]) == {"Nerve", "General Field"}
    assert rows["p_nerve"].tolist() == pytest.approx(p, abs=1e-5)
    assert rows[["p_nerve", "p_general", "p_tendon"]].sum(axis=1).tolist() == pytest.approx([1] * FRAMES, abs=1e-5)
    assert not rows.loc[~nerve, "mask_area_px"].any()
    assert rows.loc[nerve, "mask_area_px"].min() > 0
    assert rows.loc[nerve, "nbr"].mean() > 1
    source, overlay = Movie(movie), Movie(tmp_path / "out/overlay.mkv")
    assert overlay.shape == source.shape
    assert overlay.fps == source.fps == 20
    masks = [_png(tmp_path / f"out/masks/frame_{k:06d}.png") for k in range(FRAMES)]
    for k, mask in enumerate(masks):
        assert set(np.unique(mask)) <= {0, 255}
        inside = mask > 0
        before, after = source.frame(k), overlay.frame(k)
        np.testing.assert_array_equal(before[~inside], after[~inside])
        expected = np.rint(0.65 * before[inside].astype(float) + 0.35 * np.array([0, 255, 0]))
        assert np.abs(after[inside] - expected).max(initial=0) <= 1
        assert rows.loc[k, "mask_area_px"] == inside.sum()
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["finished"]
    assert summary["classes"]["Nerve"] == nerve.sum()
    assert [interval["frames"] for interval in summary["nerve_intervals"]] == [nerve.sum()]
    assert result.summary == summary


def _png(path: Path) -> np.ndarray:
    import imageio.v3 as iio

    return np.asarray(iio.imread(path))


def test_mask_equals_the_methods_own_prediction(movie: Path, sample: tuple[Image, Image], tmp_path: Path) -> None:
    from napari_medseg.inference.network import predict

    run(segment_video(movie, classifier(truth(sample)), segmenter(), tmp_path, VideoSettings(**QUICK)))
    k = truth(sample).index(0.9)
    alone = run(predict(segmenter(), Image(sample[0].data[k], "YXC", name="frame")))
    np.testing.assert_array_equal(_png(tmp_path / f"masks/frame_{k:06d}.png") > 0, alone.labels.data > 0)


@pytest.mark.parametrize("done", [13, 12])
def test_resumed_run_equals_an_uninterrupted_one(
    movie: Path, sample: tuple[Image, Image], tmp_path: Path, done: int
) -> None:
    p = truth(sample)
    settings = VideoSettings(**QUICK, vote=3, release_probability=0.2)
    run(segment_video(movie, classifier(p), segmenter(), tmp_path / "whole", settings))
    job = segment_video(movie, classifier(p), segmenter(), tmp_path / "parts", settings)
    for progress in job:
        if progress.step == 13:
            break
    job.close()
    partial = pd.read_csv(tmp_path / "parts/frames.csv")
    assert len(partial) == 13
    assert len(Movie(tmp_path / "parts/overlay.mkv")) == 13
    assert not json.loads((tmp_path / "parts/summary.json").read_text())["finished"]
    lines = (tmp_path / "parts/frames.csv").read_text().splitlines(keepends=True)
    lines[done + 1 :] = [line.replace(",", ",x", 2) for line in lines[done + 1 :]]  # no numbers any more
    lines.append("13,0.6")  # as a killed process leaves it
    (tmp_path / "parts/frames.csv").write_text("".join(lines))
    rest = classifier(p[done:])
    result = run(segment_video(movie, rest, segmenter(), tmp_path / "parts", settings))
    assert rest.network.seen == FRAMES - done
    assert result.summary["frames_computed"] == FRAMES - done
    times = ["cls_ms", "seg_ms"]
    whole, parts = (pd.read_csv(tmp_path / name / "frames.csv").drop(columns=times) for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(whole, parts)
    a, b = Movie(tmp_path / "whole/overlay.mkv"), Movie(tmp_path / "parts/overlay.mkv")
    assert len(a) == len(b) == FRAMES
    for k in range(FRAMES):
        np.testing.assert_array_equal(a.frame(k), b.frame(k))


def test_resuming_without_a_movie_keeps_the_hysteresis(movie: Path, tmp_path: Path) -> None:
    p = [0.1, 0.9, 0.4, 0.4, 0.4] + [0.1] * (FRAMES - 5)
    settings = VideoSettings(**QUICK, release_probability=0.3, movie="none")
    job = segment_video(movie, classifier(p), segmenter(), tmp_path, settings)
    for progress in job:
        if progress.step == 3:
            break
    job.close()
    run(segment_video(movie, classifier(p[3:]), segmenter(), tmp_path, settings))
    rows = pd.read_csv(tmp_path / "frames.csv")
    assert (rows["label"] == "Nerve").tolist() == [False, True, True, True, True] + [False] * (FRAMES - 5)
    assert not list(tmp_path.glob("overlay*"))


def test_corrected_intervals_survive_resuming_but_not_a_new_start(
    movie: Path, sample: tuple[Image, Image], tmp_path: Path
) -> None:
    p, settings = truth(sample), VideoSettings(**QUICK, movie="none")
    job = segment_video(movie, classifier(p), segmenter(), tmp_path, settings)
    for progress in job:
        if progress.step == 6:
            break
    job.close()
    save_edits(tmp_path, [(0.1, 0.2)])
    result = run(segment_video(movie, classifier(p[6:]), segmenter(), tmp_path, settings))
    found = result.summary["edited"]["nerve_intervals"]
    assert [(row["start"], row["stop"]) for row in found] == [(2, 3), (p.index(0.9), p.index(0.9) + p.count(0.9) - 1)]
    assert result.summary["nerve_frames"] == p.count(0.9)
    again = run(segment_video(movie, classifier(p), segmenter(), tmp_path, settings.updated(resume=False)))
    assert "edited" not in again.summary
    assert not list(tmp_path.glob("frames_edited.csv"))


def test_a_folder_of_another_run_is_not_overwritten(movie: Path, sample: tuple[Image, Image], tmp_path: Path) -> None:
    p = truth(sample)
    run(segment_video(movie, classifier(p), segmenter(), tmp_path, VideoSettings(**QUICK)))
    other = VideoSettings(**QUICK, threshold=0.7)
    with pytest.raises(DataError, match="another movie, other models or settings"):
        run(segment_video(movie, classifier(p), segmenter(), tmp_path, other))
    run(segment_video(movie, classifier(p), segmenter(), tmp_path, other.updated(resume=False)))


def test_swapped_models_and_unknown_class_are_refused(movie: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="are swapped"):
        next(segment_video(movie, segmenter(), classifier([0.5]), tmp_path))
    with pytest.raises(DataError, match="segmenter must outline nerves in frames of movies, got a frame-classifier"):
        next(segment_video(movie, classifier([0.5]), classifier([0.5]), tmp_path))
    with pytest.raises(DataError, match="classifier must be a model that classifies frames, got one of double-unet"):
        next(segment_video(movie, segmenter(), segmenter(), tmp_path))
    with pytest.raises(DataError, match="knows the classes Nerve, General Field, Tendon"):
        next(segment_video(movie, classifier([0.5]), segmenter(), tmp_path, VideoSettings(nerve_class="Bone")))
    assert not list(tmp_path.iterdir())


def test_every_nth_frame_slows_the_overlay_down(movie: Path, sample: tuple[Image, Image], tmp_path: Path) -> None:
    p = truth(sample)
    settings = VideoSettings(**QUICK, every=5)
    result = run(segment_video(movie, classifier(p[::5]), segmenter(), tmp_path, settings))
    assert pd.read_csv(result.table)["frame"].tolist() == [0, 5, 10, 15, 20]
    overlay = Movie(tmp_path / "overlay.mkv")
    assert (len(overlay), float(overlay.fps or 0)) == (5, 4.0)
    ms = VideoSettings(**QUICK, every_ms=250, resume=False)
    again = run(segment_video(movie, classifier(p[::5]), segmenter(), tmp_path, ms))
    assert again.summary["frames_total"] == 5


def test_without_classifier_every_frame_is_segmented(sample: tuple[Image, Image], tmp_path: Path) -> None:
    grey = sample[0].replace(data=sample[0].data[:4, ..., 0], axes="TYX", channels=())
    result = run(segment_video(grey, None, segmenter(), tmp_path, VideoSettings(**QUICK, movie="mpeg4", pictures=True)))
    rows = pd.read_csv(result.table)
    assert (rows["label"] == "Nerve").all()
    assert "p_nerve" not in rows
    assert Movie(tmp_path / "overlay.mp4").shape == (4, *SIZE, 3)
    assert len(list((tmp_path / "overlays").iterdir())) == 4


def test_areas_are_in_the_unit_of_the_movie_too(sample: tuple[Image, Image], tmp_path: Path) -> None:
    grey = sample[0].replace(
        data=sample[0].data[:4, ..., 0], axes="TYX", channels=(), scale=(0.1, 0.5, 0.25), units=("s", "um", "um")
    )
    result = run(segment_video(grey, None, segmenter(), tmp_path, VideoSettings(**QUICK)))
    rows = pd.read_csv(result.table)
    assert rows["mask_area_px"].max() > 0
    np.testing.assert_allclose(rows["mask_area_um2"], rows["mask_area_px"] * 0.125)
    summary = json.loads((tmp_path / "summary.json").read_text("utf-8"))
    assert summary["mean_area_um2"] == pytest.approx(summary["mean_area_px"] * 0.125)
    edited = relabel(rows, np.zeros(4, bool), "Nerve")
    assert not edited[["mask_area_px", "mask_area_um2"]].to_numpy().any()


def test_rows_of_a_folder_name_the_frames_files(sample: tuple[Image, Image], tmp_path: Path) -> None:
    import imageio.v3 as iio

    (tmp_path / "frames").mkdir()
    for k in range(4):
        iio.imwrite(tmp_path / "frames" / f"Nerve_{k + 7}.png", sample[0].data[k])
    result = run(segment_video(tmp_path / "frames", None, segmenter(), tmp_path / "out", VideoSettings(**QUICK)))
    assert pd.read_csv(result.table)["name"].tolist() == [f"Nerve_{k + 7}" for k in range(4)]
    assert sorted(p.stem for p in (tmp_path / "out" / "masks").iterdir()) == sorted(f"Nerve_{k + 7}" for k in range(4))


def test_images_without_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected frames over time"):
        next(segment_video(Image(np.zeros((3, 8, 8), np.uint8), "ZYX"), None, segmenter(), tmp_path))


def test_progress_carries_numbers_and_a_picture(movie: Path, sample: tuple[Image, Image], tmp_path: Path) -> None:
    steps = list(segment_video(movie, classifier(truth(sample)), segmenter(), tmp_path, VideoSettings(**QUICK)))
    assert [p.step for p in steps] == list(range(FRAMES + 1))
    last = steps[-1]
    assert last.total == FRAMES
    assert last.metrics["frame"] == FRAMES - 1
    assert {"p_nerve", "mask_area_px", "nbr"} <= set(last.metrics)
    assert last.preview is not None
    assert last.preview.data.shape == (*SIZE, 3)


def test_damage_in_the_middle_keeps_the_frames_before(
    movie: Path, sample: tuple[Image, Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = Movie.frame

    def damaged(self: Movie, k: int) -> np.ndarray:
        if k == 11:
            raise ReadError("frame 11 cannot be decoded")
        return frame(self, k)

    monkeypatch.setattr(Movie, "frame", damaged)
    with pytest.raises(ReadError, match="frame 11"):
        run(segment_video(movie, classifier(truth(sample)), segmenter(), tmp_path, VideoSettings(threads=2, batch=1)))
    monkeypatch.undo()
    rows = pd.read_csv(tmp_path / "frames.csv")
    assert 0 < len(rows) <= 11
    assert len(Movie(tmp_path / "overlay.mkv")) == len(rows)


def test_a_change_of_the_frame_size_keeps_the_frames_before(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "sizes.mkv"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuvj420p"
        for k in range(8):
            size = 32 if k < 5 else 48
            codec = av.CodecContext.create("mjpeg", "w")
            codec.height = codec.width = size
            codec.pix_fmt, codec.time_base = "yuvj420p", Fraction(1, 25)
            picture = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90, np.uint8), format="rgb24")
            picture.pts = 0
            for packet in (*codec.encode(picture), *codec.encode(None)):
                packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), k, k
                container.mux(packet)
    with pytest.raises(ReadError, match=r"frame 5 is 48x48 pixels, the first 32x32.*re-encode"):
        run(segment_video(tmp_path / "sizes.mkv", None, segmenter(), tmp_path / "out", VideoSettings(batch=1)))
    rows = pd.read_csv(tmp_path / "out/frames.csv")
    assert 0 < len(rows) <= 5
    assert len(Movie(tmp_path / "out/overlay.mkv")) == len(rows)
    assert not json.loads((tmp_path / "out/summary.json").read_text())["finished"]


def decide(p: list[float], **settings: object) -> list[bool]:
    decision = Decision(("Nerve", "General Field"), VideoSettings.parse(settings))
    out: list[tuple[int, int]] = []
    for k, value in enumerate(p):
        out += decision.push(k, np.array([value, 1 - value]))
    out += decision.flush()
    assert [number for number, _ in out] == list(range(len(p)))
    return [label == 0 for _, label in out]


def test_cut_and_hysteresis() -> None:
    assert decide([0.6, 0.4]) == [True, False]
    assert decide([0.6, 0.8], nerve_probability=0.7) == [False, True]
    p = [0.2, 0.6, 0.8, 0.5, 0.4, 0.2, 0.6]
    expected = [False, False, True, True, True, False, False]
    assert decide(p, nerve_probability=0.7, release_probability=0.3) == expected


@pytest.mark.parametrize("vote", [3, 5, 9])
def test_majority_vote_equals_its_definition(vote: int) -> None:
    p = np.random.default_rng(vote).random(40)
    flags = p > 0.5
    expected = []
    for k in range(40):
        window = flags[max(k - vote // 2, 0) : k + vote // 2 + 1]
        votes = 2 * window.sum() - len(window)
        expected.append(bool(votes > 0 or (votes == 0 and flags[k])))
    assert decide(p.tolist(), vote=vote) == expected
    assert decide([0.9], vote=vote) == [True]


def test_even_votes_are_refused() -> None:
    with pytest.raises(SettingsError, match="must be odd"):
        VideoSettings.parse({"vote": 4})


def test_paint_is_the_stated_blend() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    mask = np.zeros((30, 30), bool)
    mask[5:20, 5:20] = True
    blended = np.where(mask[..., None], np.rint(0.5 * frame + 0.5 * np.array([255, 0, 0])), frame)
    out = paint(frame, mask, VideoSettings(colour="red", alpha=0.5))
    assert np.abs(out.astype(int) - blended).max() <= 1
    np.testing.assert_array_equal(out[~mask], frame[~mask])
    border = paint(frame, mask, VideoSettings(style="contour", colour="red"))
    assert (border == [255, 0, 0]).all(2).sum() >= 4 * 14
    np.testing.assert_array_equal(border[6:19, 6:19], frame[6:19, 6:19])


def test_stages_overlap_and_pass_errors_on() -> None:
    ahead = threading.Event()

    def first() -> Iterator[int]:
        for item in range(12):
            if item == 2:
                ahead.set()
            yield item

    def second(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            assert ahead.wait(60), "the stage before does not go on while this one works on its first item"
            yield item

    assert list(prefetch(second(prefetch(first(), 3)), 3)) == list(range(12))

    def broken() -> Iterator[int]:
        yield 1
        raise ReadError("cut short")

    stage = prefetch(broken(), 2)
    assert next(stage) == 1
    with pytest.raises(ReadError, match="cut short"):
        next(stage)


def test_closing_ends_the_threads_and_waiting_is_bounded() -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    stage = ordered_map(lambda x: x * 2, prefetch(endless(), 4), 2)
    assert [next(stage) for _ in range(3)] == [0, 2, 4]
    time.sleep(0.3)
    assert len(made) < 20
    stage.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("medseg")]


def test_memory_shortage_halves_the_batch(movie: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks(None, segmenter(), VideoSettings(**QUICK))
    sizes: list[int] = []

    def greedy(batch: Tensor) -> Tensor:
        sizes.append(len(batch))
        if len(batch) > 2:
            raise RuntimeError("CUDA out of memory")
        return batch

    assert networks._in_parts(greedy, torch.arange(8)).tolist() == list(range(8))
    assert sizes == [8, 4, 2, 2, 4, 2, 2]
