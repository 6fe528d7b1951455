"""Work that is killed in `test_kill.py`: each goes on in its folder from where the one before was killed."""

from __future__ import annotations

import hashlib
import importlib
import json
import time
import zipfile
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from kill_save import halves, scribble
from PIL import Image as Pillow
from torch import Tensor, nn
from toy import ToyMethod, write_cases

from napari_medseg.batch import BatchSettings, predict_files
from napari_medseg.errors import MedSegError
from napari_medseg.image import Image
from napari_medseg.io import read, write, write_table
from napari_medseg.io.movies.movie import Movie
from napari_medseg.jobs import run
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.methods.double_unet.method import DoubleUnet, DoubleUnetSettings
from napari_medseg.methods.frame_classifier.method import FrameClassifier, FrameClassifierSettings
from napari_medseg.models.checkpoint import read_checkpoint
from napari_medseg.refinement import RefinementSession
from napari_medseg.refinement.log import SavedElsewhereError
from napari_medseg.samples.video import nerve_video, write_movie
from napari_medseg.settings import PredictSettings, TrainSettings
from napari_medseg.slides import SlideSettings, predict_slide
from napari_medseg.training.loop import train
from napari_medseg.video import VideoSettings, segment_video

CPU = PredictSettings(device="cpu")
LATE = ("dask.array", "distributed", "imagecodecs", "skimage.measure", "sympy", "tifffile", "zarr")
EXPORTS = ("a.tif", "a.png", "a.npy", "a.nii.gz", "a.nrrd", "a.geojson", "a_rois.zip", "a.ome.zarr", "a.csv")

for name in (*LATE, "torch.utils.tensorboard"):  # else every process would import them again
    with suppress(ImportError):
        importlib.import_module(name)


class Measured(ToyMethod):
    measure = "volume"


class Dark(nn.Module):
    """Inside where a picture is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        dark = (x[:, 1] < -1.5).float() * 20 - 10
        return torch.stack([-dark, dark, torch.full_like(dark, -30)], 1)


class Bright(nn.Module):
    """A likely nerve where a frame is bright, or (as a segmenter) where its pixels are."""

    def __init__(self, pixels: bool) -> None:
        super().__init__()
        self.pixels, self.bias = pixels, nn.Parameter(torch.tensor(0.65), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.pixels:
            logits = (x.mean(1, keepdim=True) - self.bias) * 100
            return torch.cat([torch.full_like(logits, 9.0), logits], 1)
        nerve = torch.sigmoid(x.amax((1, 2, 3)) - self.bias)
        return torch.log(torch.stack([nerve, (1 - nerve) * 0.7, (1 - nerve) * 0.3], 1))


def prepare(kind: str, source: Path) -> None:
    """Write what the work reads."""
    rng = np.random.default_rng(0)
    if kind == "batch":
        for k in range(12):
            Pillow.fromarray(rng.integers(0, 255, (48, 40), np.uint8)).save(source / f"{k}.png")
    elif kind == "slide":
        rgb = np.full((380, 500, 3), (230, 170, 200), np.uint8)
        for y, x in rng.integers(20, 360, (60, 2)):
            rgb[y - 6 : y + 6, x - 5 : x + 5] = (80, 20, 110)
        import tifffile

        options = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
        with tifffile.TiffWriter(source / "block.tif") as tiff:
            tiff.write(rgb, subfiletype=0, resolution=(40000, 40000), **options)
            tiff.write(rgb[::4, ::4], subfiletype=1, resolution=(10000, 10000), **options)
    elif kind == "movie":
        write_movie(source / "movie.mkv", nerve_video(0, 40, (40, 56))[0])
    elif kind == "training":
        write_cases(source / "cases")


def work(kind: str, source: Path, out: Path) -> None:
    """Do the work, or what is left of it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if kind == "batch":
        model = Model(method := Measured(), method.build_network().eval(), {"sha256": "a", "file": "m.pt"})
        run(predict_files(model, [source], out, CPU, options=BatchSettings(overlays=True)))
    elif kind == "slide":
        model = Model(create("fullnet", {"preset": "light"}), Dark(), {"sha256": "oracle", "file": "oracle.pt"})
        settings, options = CPU.updated(tile=128, overlap=40), SlideSettings(core=128, reach=20)
        run(predict_slide(model, source / "block.tif", out, settings, options))
    elif kind == "movie":
        small = {"input_size": 32, "encoder_weights": "none"}
        classifier = Model(
            FrameClassifier(FrameClassifierSettings(**small)), Bright(pixels=False).eval(), {"sha256": "c"}
        )
        segmenter = Model(DoubleUnet(DoubleUnetSettings(**small)), Bright(pixels=True).eval(), {"sha256": "s"})
        settings = VideoSettings(batch=5, device="cpu", threads=2, vote=3)
        run(segment_video(source / "movie.mkv", classifier, segmenter, out, settings))
    elif kind == "training":
        settings = TrainSettings(epochs=8, batch_size=2, learning_rate=0.05, device="cpu")
        run(train(ToyMethod(), source / "cases", out, settings, resume=True))


def export(out: Path) -> None:
    """Write two versions of every kind of file in turn, without end."""
    for value in cycle((1, 2)):
        for name in EXPORTS:
            export_one(out / name, value)


def export_one(path: Path, value: int) -> None:
    labels = (np.arange(32 * 32).reshape(32, 32) // 64 % 3 + value).astype(np.uint8)
    if path.suffix == ".csv":
        write_table(path, pd.DataFrame(labels))
    elif path.name.endswith((".nii.gz", ".nrrd")):
        volume = np.stack([labels, labels[::-1]])
        write(path, Image(volume, "ZYX", (1.0,) * 3, ("millimeter",) * 3, np.eye(4), kind="labels"))
    else:
        write(path, Image(labels, "YX", kind="labels"))


def result(kind: str, out: Path) -> dict[str, str]:
    """Return a digest of every result, without what no two runs have in common (seconds, and so file sizes)."""
    found = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".pt":
            content: object = {k: v.tolist() for k, v in read_checkpoint(path)["state_dict"].items()}
        elif kind == "movie" and path.suffix == ".mkv":
            film = Movie(path)
            content = [len(film), *(film.frame(k).tobytes() for k in range(len(film)))]
        elif path.name == "frames.csv":
            content = pd.read_csv(path).drop(columns=["cls_ms", "seg_ms"]).to_csv()
        elif path.name == "history.csv":
            content = pd.read_csv(path).drop(columns=["seconds"]).to_csv()
        elif path.name == "run.json":
            rows = json.loads(path.read_text(encoding="utf-8"))["files"].values()
            content = sorted(str((row["name"], row["status"], row["labels"], row["summary"])) for row in rows)
        elif path.name in ("summary.json", "summary.csv", "split.json") or "tensorboard" in name:
            content = "there"
        else:
            content = path.read_bytes()
        found[name if "tensorboard" not in name else "tensorboard"] = hashlib.sha256(repr(content).encode()).hexdigest()
    return found


def exported(path: Path) -> str:
    """Return a digest of one written file or store; it must read."""
    content: list[object] = []
    if path.suffix == ".zip":  # which holds the time of writing
        with zipfile.ZipFile(path) as archive:
            content = [(name, archive.read(name)) for name in archive.namelist()]
    elif path.suffix == ".csv":
        content = [path.read_bytes()]
    else:
        assert read(path)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        content = [(p.relative_to(path).as_posix(), p.read_bytes()) for p in files]
    return hashlib.sha256(repr(content).encode()).hexdigest()


def attempt(kind: str, source: Path, out: Path, report: Path) -> None:
    """Do the work beside somebody else who does it, and note how it went."""
    try:
        work(kind, source, out)
        said = "done"
    except MedSegError as error:
        said = f"{type(error).__name__}: {error}"
    report.write_text(said, encoding="utf-8")


def go_on(folder: Path, other: Path, first: int, start: Path) -> None:
    """Go on with a saved session beside somebody else: three rounds, each saved; into `other` once they save too."""
    session = RefinementSession.load(folder, halves())
    start.with_suffix(f".{first}").touch()
    while not start.exists():
        time.sleep(0.001)
    for k in range(first, first + 3):
        run(session.refine(scribble(k)))
        try:
            session.save(folder)
        except SavedElsewhereError:
            session.save_token, folder = "", other
            session.save(folder)
