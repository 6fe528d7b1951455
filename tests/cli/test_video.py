from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from shorthand import call

from napari_medseg.cli.commands.video import report
from napari_medseg.cli.flags import given
from napari_medseg.cli.main import build_parser
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.settings import as_flags
from napari_medseg.video import VideoSettings

pytest.importorskip("av")
QUICK = ["--device", "cpu", "--batch", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def movie(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_movie(tmp_path_factory.mktemp("movie") / "movie.mkv", nerve_video(0, 6, (32, 40))[0])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Untrained networks of the smallest input."""
    folder = tmp_path_factory.mktemp("models")
    settings = {
        "frame-classifier": {"backbone": "densenet121", "input_size": 32, "encoder_weights": "none"},
        "double-unet": {"input_size": 32, "encoder_weights": "none"},
    }
    for name, changes in settings.items():
        method = create(name, changes)
        write_checkpoint(folder / f"{name}.pt", pack(method, method.build_network().state_dict()))
    return {name: folder / f"{name}.pt" for name in settings}


def test_movie_becomes_masks_table_and_summary(
    movie: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--classifier", models["frame-classifier"], "--segmenter", models["double-unet"])
    words = ("video", movie, "-o", tmp_path / "out", *both, "--every", 2, "--movie", "none", *QUICK)
    code, text, _ = call(capsys, *words, "--json")
    assert code == 0
    assert json.loads(text)["frames_total"] == 3
    rows = pd.read_csv(tmp_path / "out" / "frames.csv")
    assert rows["frame"].tolist() == [0, 2, 4]
    assert {"p_nerve", "label", "mask_area_px", "nbr"} <= set(rows)
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 3
    code, text, _ = call(capsys, *words)
    assert "3 frames of 40x32 pixels" in text
    code, out, err = call(capsys, *words, "--threshold", 0.9)
    assert (code, out) == (2, "")
    assert "--no-resume" in err


def test_swapped_or_missing_models_exit_2(
    movie: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    swapped = ("--segmenter", models["frame-classifier"])
    for words, part in (
        (("video", movie, "-o", out, "--segmenter", "missing.pt"), "missing.pt"),
        (("video", movie, "-o", out, *swapped), "segmenter must outline nerves"),
        (("video", "missing.avi", "-o", out, "--segmenter", models["double-unet"]), "missing.avi does not exist"),
        (("video", movie, "-o", out, "--segmenter", "s.pt", "--vote", "4"), "must be odd"),
    ):
        code, text, err = call(capsys, *words)
        assert (code, text) == (2, "")
        assert part in err
        assert "Traceback" not in err
    assert not out.exists()


def test_bad_movies_are_one_sentence(
    movie: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import av

    (tmp_path / "empty.mp4").touch()
    (tmp_path / "noise.avi").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "head.mkv").write_bytes(movie.read_bytes()[:400])
    with av.open(str(tmp_path / "zero.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width = stream.height = 32
        stream.pix_fmt = "bgr0"
        container.start_encoding()
    for name in ("empty.mp4", "noise.avi", "head.mkv", "zero.mkv"):
        words = ("video", tmp_path / name, "-o", tmp_path / "out", "--segmenter", models["double-unet"])
        code, text, err = call(capsys, *words)
        assert (code, text) == (2, "")
        assert name in err
        assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_truncated_movie_is_done_as_far_as_it_goes(
    movie: Path, models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = movie.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) * 3 // 4])
    words = ("video", tmp_path / "cut.mkv", "-o", tmp_path / "out", "--segmenter", models["double-unet"], *QUICK)
    code, text, _ = call(capsys, *words, "--json")
    summary = json.loads(text)
    assert code == 0
    assert summary["missing_frames_in_source"] >= 1
    assert 1 <= summary["frames_total"] == len(pd.read_csv(tmp_path / "out" / "frames.csv")) < 6


def test_report_lists_the_intervals() -> None:
    summary = {"frames_total": 40, "size": [32, 48], "nerve_frames": 10, "nerve_share": 0.25, "frames_computed": 40}
    summary |= {"nerve_intervals": [{"start_s": 1.0, "stop_s": 1.5}], "seconds": 2.0, "device": "CPU"}
    text = report(summary, Path("out"))
    assert "40 frames of 48x32 pixels into out" in text
    assert "nerve in 10 frames (25%), 1 interval\n" in text
    assert "1.00 s to 1.50 s" in text
    assert "20.0 frames/s; CPU" in text


def test_defaults_to_flags_and_back() -> None:
    changed = VideoSettings(
        nerve_class="Bone", nerve_probability=0.4, vote=5, fill_holes=True, every=3, colour="cyan", style="contour",
        movie="none", masks=False, contrast=False, resume=False, batch=2, device="cpu",
    )  # fmt: skip
    words = ["video", "MOVIE", "-o", "OUT", "--segmenter", "S.pt", *as_flags(changed)]
    assert VideoSettings.parse(given(build_parser(words).parse_args(words), VideoSettings)) == changed
