"""Whole slides: stitched equals whole, objects once, resume, tissue only."""

from __future__ import annotations

import errno
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
from skimage.draw import ellipse
from skimage.measure import label as components
from torch import Tensor, nn

from napari_medseg.batch import BatchSettings, predict_files
from napari_medseg.errors import DataError, WriteError
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io import read_one
from napari_medseg.io.slide import is_slide, read_slide
from napari_medseg.io.write import disk_errors
from napari_medseg.jobs import run
from napari_medseg.measure import measure
from napari_medseg.method import Model
from napari_medseg.methods import create
from napari_medseg.settings import PredictSettings
from napari_medseg.slides import SlideSettings, boxes, centred, predict_slide, tissue_mask
from napari_medseg.slides.predict import margin
from napari_medseg.slides.pyramid import Pyramid
from napari_medseg.slides.tiles import sample_of, tissue_sample

pytest.importorskip("dask")
SHAPE = (1200, 1500)
SETTINGS = PredictSettings(device="cpu", tile=512, overlap=80)
OPTIONS = SlideSettings(core=400, reach=40)


class Dark(nn.Module):
    """An oracle: inside where the picture is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        dark = (x[:, 1] < -1.5).float() * 20 - 10
        return torch.stack([-dark, dark, torch.full_like(dark, -30)], 1)


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark nuclei on pink tissue that fills the left part, nothing but glass on the right."""
    rng = np.random.default_rng(0)
    rgb = np.full((*SHAPE, 3), 245, np.uint8)
    rgb[:, :900] = (230, 170, 200)
    for y, x in rng.uniform((0, 0), (1200, 880), (400, 2)):
        radii = rng.uniform(4, 16, 2)
        rows, columns = ellipse(y, x, *radii, SHAPE, rotation=rng.uniform(0, 3))
        rgb[rows, np.minimum(columns, 899)] = (80, 20, 110)
    path = tmp_path_factory.mktemp("slide") / "block.tif"
    options = {"tile": (256, 256), "photometric": "rgb", "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(rgb, subfiletype=0, resolution=(40000, 40000), **options)
        tiff.write(rgb[::4, ::4], subfiletype=1, resolution=(10000, 10000), **options)
    return path


@pytest.fixture
def model() -> Model:
    return Model(create("fullnet", {"preset": "light"}), Dark(), {"sha256": "oracle", "file": "oracle.pt"})


def test_stitched_equals_whole(slide: Path, model: Model, tmp_path: Path) -> None:
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, OPTIONS))
    image = read_slide(slide)
    whole = np.asarray(run(predict(model, image.replace(data=np.asarray(image.data)), SETTINGS)).labels.data)
    labels = read_one(tmp_path / row["labels"], kind="labels")
    stitched = np.asarray(labels.data)
    np.testing.assert_array_equal(stitched > 0, whole > 0)
    pairs = np.unique(np.stack([stitched[whole > 0], whole[whole > 0]]), axis=1)
    assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1])) == whole.max() > 100
    assert row["summary"]["objects"] == whole.max()
    assert row["summary"]["objects cut by their tile"] == 0
    assert labels.scale == pytest.approx((0.25, 0.25))
    assert labels.metadata["medseg"]["checkpoint_sha256"] == "oracle"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "block_labels.json", "block_labels.ome.zarr", "block_labels.tif", "block_measurements.csv",
    ]  # fmt: skip
    with tifffile.TiffFile(tmp_path / "block_labels.tif") as tiff:
        assert tiff.is_bigtiff
        assert tiff.pages[0].is_tiled


@pytest.mark.parametrize("trained", [0.5, 0.2, 0.4])
def test_a_slide_of_another_pixel_size_equals_the_whole_picture(
    slide: Path, model: Model, tmp_path: Path, trained: float
) -> None:
    """At the pixel size of the training images (--resample) tiles and the whole picture find the same objects."""
    model = replace(model, card={**model.card, "pixel_size": {"unit": "micrometer", "median": [trained] * 2}})
    settings = SETTINGS.model_copy(update={"resample": True})
    row = run(predict_slide(model, slide, tmp_path, settings, OPTIONS))
    labels = np.asarray(read_one(tmp_path / row["labels"]).data)
    image = read_slide(slide)
    whole = np.asarray(run(predict(model, image.replace(data=np.asarray(image.data)), settings)).labels.data)
    assert ((labels > 0) != (whole > 0)).sum() <= 0.001 * (whole > 0).sum()
    assert len(np.unique(labels)) == len(np.unique(whole)) > 200


def test_table_of_a_slide_equals_that_of_the_whole_picture(slide: Path, model: Model, tmp_path: Path) -> None:
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, OPTIONS))
    image = read_slide(slide)
    image = image.replace(data=np.asarray(image.data))
    labels = read_one(tmp_path / row["labels"], kind="labels")
    expected = measure("nuclei", labels, image)
    table = pd.read_csv(tmp_path / row["measurements"])
    assert list(table.columns) == list(expected.columns)
    assert len(table) == row["summary"]["objects"] > 100
    found = table.set_index("label").sort_index()
    pd.testing.assert_frame_equal(found, expected.set_index("label"), check_dtype=False, rtol=1e-9)
    assert not [path.name for path in tmp_path.iterdir() if "part" in path.name]


def test_a_pixel_size_that_was_entered_counts(slide: Path, model: Model, tmp_path: Path) -> None:
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, OPTIONS, pixel_size=0.5))
    labels = read_one(tmp_path / row["labels"], kind="labels")
    assert labels.scale == pytest.approx((0.5, 0.5))
    assert read_one(tmp_path / row["pyramid"]).scale == pytest.approx((0.5, 0.5))
    table = pd.read_csv(tmp_path / row["measurements"]).set_index("label")
    pixels = np.bincount(np.asarray(labels.data).ravel())[table.index]
    np.testing.assert_allclose(table["area (um^2)"], pixels * 0.25)


def test_labels_are_a_pyramid_and_probabilities_are_on_request(slide: Path, model: Model, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    options = OPTIONS.updated(slide_probabilities=True)
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, options))
    labels = tifffile.imread(tmp_path / row["labels"])
    group = zarr.open_group(str(tmp_path / row["pyramid"]), mode="r")
    (scales,) = group.attrs["ome"]["multiscales"]
    levels = [np.asarray(group[entry["path"]]) for entry in scales["datasets"]]
    assert [level.shape for level in levels] == [(1200, 1500), (600, 750), (300, 375), (150, 188)]
    for k, level in enumerate(levels):
        np.testing.assert_array_equal(level, labels[:: 2**k, :: 2**k])
    steps = [entry["coordinateTransformations"][0]["scale"] for entry in scales["datasets"]]
    np.testing.assert_allclose(steps, [[0.25 * 2**k] * 2 for k in range(4)], rtol=1e-3)
    back = read_one(tmp_path / row["pyramid"])
    assert back.kind == "labels"
    assert back.scale == pytest.approx((0.25, 0.25))
    assert [level.shape for level in back.metadata["levels"]] == [level.shape for level in levels]
    np.testing.assert_array_equal(back.data, labels)
    assert read_one(tmp_path / row["probabilities"]).axes == "CYX"
    maps = zarr.open_group(str(tmp_path / row["probabilities"]), mode="r")
    inside = np.asarray(maps["0"])[0]
    image = read_slide(slide)
    dark = np.asarray(image.data)[..., 1] < 100
    np.testing.assert_array_equal(inside[:, :800], np.where(dark, 255, 0)[:, :800])
    assert [axis["type"] for axis in maps.attrs["ome"]["multiscales"][0]["axes"]] == ["channel", "space", "space"]


def test_a_full_disk_is_one_sentence_and_the_slide_goes_on_later(
    slide: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Pyramid.__setitem__
    calls = []

    def full(self: Pyramid, box: tuple[slice, ...], values: np.ndarray) -> None:
        calls.append(box)
        with disk_errors(self.path):
            if len(calls) == 4:
                self._levels[0][(slice(0, 9), slice(0, 9))] = 1  # a part of the tile is on the disk already
                raise OSError(errno.ENOSPC, "No space left on device")
        write(self, box, values)

    monkeypatch.setattr(Pyramid, "__setitem__", full)
    with pytest.raises(WriteError, match=r"No space left on device.*has room"):
        run(predict_slide(model, slide, tmp_path / "out", SETTINGS, OPTIONS))
    monkeypatch.setattr(Pyramid, "__setitem__", write)
    row = run(predict_slide(model, slide, tmp_path / "out", SETTINGS, OPTIONS))
    expected = run(predict_slide(model, slide, tmp_path / "whole", SETTINGS, OPTIONS))
    assert row["summary"]["objects"] == expected["summary"]["objects"]


@pytest.mark.parametrize("where", ["labels", "table"])
def test_a_file_larger_than_the_disk_allows_is_refused_in_words(
    where: str, slide: Path, model: Model, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource")
    code = f"""
import resource
from pathlib import Path
import numpy as np
from napari_medseg.errors import WriteError
from napari_medseg.io.slide import read_slide
from napari_medseg.slides.objects import ObjectTable
from napari_medseg.slides.pyramid import Pyramid
from napari_medseg.slides.tiles import sample_of, tissue_sample
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    if {where!r} == "labels":
        store = Pyramid(Path({str(tmp_path / "a.zarr")!r}), (512, 512), np.uint32)
        store[:512, :512] = np.random.default_rng(0).integers(0, 2**32, (512, 512), np.uint32)
    else:
        table = ObjectTable(Path({str(tmp_path / "a.csv")!r}), read_slide(Path({str(slide)!r})))
        labels = np.arange(40 * 40).reshape(40, 40).repeat(3, 0).repeat(3, 1)
        table.add(labels, 0, (slice(0, 120), slice(0, 120)), np.zeros((120, 120, 3), np.uint8))
except WriteError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert resource is not None
    assert done.stdout.startswith("refused:")
    assert "has room" in done.stdout


class Brightness(nn.Module):
    """An oracle: the probability of the second class is the sigmoid of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), x], 1)


def test_a_slide_is_normalised_as_a_whole_by_numbers_found_once(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(create("sc-dcnn", {}), Brightness(), {"sha256": "oracle", "file": "oracle.pt"})
    asked, statistics = [], type(model.method).statistics
    monkeypatch.setattr(type(model.method), "statistics", lambda self, i: asked.append(i) or statistics(self, i))
    options = SlideSettings(core=512, reach=0, tissue_only=False, slide_probabilities=True)
    run(predict_slide(model, slide, tmp_path, PredictSettings(device="cpu"), options))
    found = np.asarray(read_one(tmp_path / "block_probabilities.ome.zarr").channels_first()[0], float) / 255
    whole = read_slide(slide)
    grey = np.asarray(whole.data) @ np.array([0.299, 0.587, 0.114])
    wanted = 1 / (1 + np.exp(-(grey - grey.mean()) / grey.std()))
    assert np.abs(found - wanted).max() < 0.02
    assert len(asked) == 1


class DarkAfterNorm(Dark):
    """Inside where the picture is dark for a norm that was trained on brighter ones."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.norm.running_mean += 5

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


def test_a_slide_is_adapted_to_once_as_the_same_picture(slide: Path, tmp_path: Path) -> None:
    model = Model(create("fullnet", {"preset": "light", "adapt": 1}), DarkAfterNorm().eval(), {"sha256": "oracle"})
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, OPTIONS))
    image = read_slide(slide)
    image = image.replace(data=np.asarray(image.data))
    whole = run(predict(model, image, SETTINGS))
    unadapted = run(predict(model, image, SETTINGS, statistics=model.method.statistics(image)))
    stitched = np.asarray(read_one(tmp_path / row["labels"], kind="labels").data)
    np.testing.assert_array_equal(stitched > 0, np.asarray(whole.labels.data) > 0)
    assert 0.03 < (stitched > 0).mean() < 0.5
    assert np.asarray(unadapted.labels.data).all()
    row = run(predict_slide(model, slide, tmp_path / "plain", SETTINGS.updated(adapt=False), OPTIONS))
    plain = np.asarray(read_one(tmp_path / "plain" / row["labels"], kind="labels").data)
    assert (plain > 0).mean() > 1.5 * (stitched > 0).mean(), "the slide's statistics were taken all the same"


def test_a_large_slide_is_adapted_to_by_its_tissue(slide: Path) -> None:
    image = read_slide(slide)
    cores = [box for box in boxes(SHAPE, OPTIONS.core) if box[1].stop < 900]
    sample = np.asarray(tissue_sample(image, cores).data)
    assert sample.shape == (576, 576, 3)
    assert sample.min(-1).max() < 245, "there is no glass in the sample"
    part = np.asarray(image.data[104:296, 104:296])  # the middle of the first core
    np.testing.assert_array_equal(sample[:192, :192], part)


def test_margins_keep_the_poolings_where_they_are() -> None:
    method = create("sc-dcnn", {})
    assert method.halo % method.size_multiple, "the halo alone would shift the poolings"
    model, image = Model(method, method.build_network(), {}), Image(np.zeros((9, 9, 3), np.uint8), "YXC")
    around = margin(model, image, PredictSettings(), SlideSettings(reach=0))
    assert around % method.size_multiple == 0
    assert around >= method.halo


def test_a_large_slide_is_judged_by_blocks_of_full_resolution() -> None:
    data = np.random.default_rng(0).integers(0, 255, (600, 9000, 1), np.uint8).repeat(3, 2)
    image = Image(np.tile(data, (10, 1, 1)), "YXC")
    sample = np.asarray(sample_of(image).data, float)
    assert sample.size < image.data.size
    assert abs(sample.std() - float(np.std(data))) < 0.5


def test_glass_is_left_out(slide: Path, model: Model, tmp_path: Path) -> None:
    row = run(predict_slide(model, slide, tmp_path, SETTINGS, OPTIONS))
    assert row["summary"]["tiles with tissue"] == 9  # of 12: the right column is glass
    assert not tissue_mask(np.full((20, 20, 3), 250, np.uint8)).any()
    assert tissue_mask(np.full((20, 20, 3), (200, 100, 150), np.uint8)).all()


def test_a_stopped_slide_goes_on(slide: Path, model: Model, tmp_path: Path) -> None:
    run(predict_slide(model, slide, tmp_path / "whole", SETTINGS, OPTIONS))
    calls = model.network.calls
    job = predict_slide(model, slide, tmp_path / "out", SETTINGS, OPTIONS)
    while next(job).step < 5:
        pass
    job.close()
    assert (tmp_path / "out" / "block_tiles.json").is_file()
    model.network.calls = 0
    row = run(predict_slide(model, slide, tmp_path / "out", SETTINGS, OPTIONS))
    assert 0 < model.network.calls < calls / 2 + 1
    one, two = ((tmp_path / folder / row["measurements"]).read_text() for folder in ("out", "whole"))
    assert one == two
    stitched, wanted = (tifffile.imread(tmp_path / folder / row["labels"]) for folder in ("out", "whole"))
    np.testing.assert_array_equal(stitched, wanted)


@pytest.mark.parametrize("tiles", [5, 9])
def test_what_the_tiles_told_before_a_stop_is_kept(slide: Path, model: Model, tmp_path: Path, tiles: int) -> None:
    """Device, notes and objects that were cut are those of all tiles, also when only the writing is left to do."""
    settings, options = SETTINGS.updated(overlap=0), OPTIONS.updated(reach=0)
    rows = [run(predict_slide(model, slide, tmp_path / "whole", settings, options))]
    job = predict_slide(model, slide, tmp_path / "out", settings, options)
    while next(job).step < tiles:
        pass
    job.close()
    rows.append(run(predict_slide(model, slide, tmp_path / "out", settings, options)))
    for row in rows:
        row.pop("seconds")
    assert rows[0] == rows[1]
    assert rows[0]["summary"]["objects cut by their tile"] > 0
    told = [(tmp_path / folder / "block_labels.json").read_text("utf-8") for folder in ("whole", "out")]
    assert told[0] == told[1]
    assert '"device": "cpu"' in told[0]


def test_an_object_belongs_to_the_core_of_its_centre() -> None:
    labels = np.zeros((8, 8), int)
    labels[1:3, 1:6], labels[5:8, 5:8] = 1, 2
    kept = [centred(labels, core, [(False, True)] * 2) for core in boxes((8, 8), 4)]
    assert [n for _, n, _ in kept] == [1, 0, 0, 1]
    assert [cut for _, _, cut in kept] == [0, 0, 0, 1]
    np.testing.assert_array_equal(kept[0][0] > 0, labels == 1)
    np.testing.assert_array_equal(components(sum(k for k, _, _ in kept) > 0), components(labels > 0))


def test_glands_need_whole_pictures(slide: Path, tmp_path: Path) -> None:
    glands = Model(create("fullnet", {"preset": "light", "tissue": "glands"}), Dark(), {})
    with pytest.raises(DataError, match="whole pictures"):
        run(predict_slide(glands, slide, tmp_path, SETTINGS))


def test_a_batch_takes_slides(slide: Path, model: Model, tmp_path: Path) -> None:
    options = BatchSettings(overlays=True, core=1024)
    record = run(predict_files(model, [slide], tmp_path, SETTINGS, options=options))
    (row,) = record["files"].values()
    assert row["status"] == "done"
    assert row["summary"]["tiles with tissue"] == 2
    assert (tmp_path / row["labels"]).is_file()
    assert (tmp_path / row["overlay"]).stat().st_size > 10_000
    assert len(pd.read_csv(tmp_path / "measurements.csv")) == row["summary"]["objects"]
    again = options.updated(slide_probabilities=True)
    (row,) = run(predict_files(model, [slide], tmp_path, SETTINGS, options=again))["files"].values()
    assert (tmp_path / row["probabilities"]).is_dir()


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_pyramid_of_any_step_is_a_slide(tmp_path: Path, factor: int) -> None:
    rgb = np.zeros((640, 640, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(rgb, tile=(256, 256), photometric="rgb")
        tiff.write(rgb[::factor, ::factor], tile=(256, 256), photometric="rgb", subfiletype=1)
    assert is_slide(tmp_path / "a.tif")
