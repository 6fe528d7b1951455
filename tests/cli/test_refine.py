"""``medseg refine``: strokes in, mask on the image's grid out; the log of a session gives its mask again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from shorthand import call

from napari_medseg.image import Image
from napari_medseg.io import read_one, write
from napari_medseg.io.geometry import at_level, cut_out
from napari_medseg.io.grids import same_grid
from napari_medseg.io.volumes.space import at_time
from napari_medseg.jobs import run
from napari_medseg.methods import create
from napari_medseg.models.checkpoint import pack, write_checkpoint
from napari_medseg.refinement import RefinementSession, RefinementSettings
from napari_medseg.samples.mri import brain_volume, slice_2d


class Case:
    """A generated volume, its lesion, and one stroke in it, as files."""

    def __init__(self, folder: Path, seed: int = 3) -> None:
        self.folder = folder
        self.image, truth = brain_volume(seed, (24, 40, 36))
        self.truth = np.asarray(truth.data) > 0
        self.centre = tuple(np.round(np.argwhere(self.truth).mean(0)).astype(int))
        self.path = write(folder / "case.nii.gz", self.image)
        self.strokes = np.zeros(self.truth.shape, np.uint8)
        self.strokes[self.centre] = 2
        self.scribbles = self.write("strokes.nii.gz", self.strokes)
        self.out = folder / "out" / "mask.nii.gz"

    def write(self, name: str, labels: np.ndarray) -> Path:
        return write(self.folder / name, self.image.labels_like(labels))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    code, _, message = call(capsys, "refine", *words)
    assert code == 2
    assert "Traceback" not in message
    return message


def test_strokes_on_a_part_of_a_slide_refine_that_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    inside = np.hypot(*np.ogrid[-300:300, -300:300]) < 120
    picture = np.where(inside[..., None], (150, 80, 160), 230) + rng.normal(0, 8, (600, 600, 1))
    picture = picture.clip(0, 255).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "s.tif") as file:
        for k in (1, 2, 4):
            level = picture.reshape(600 // k, k, 600 // k, k, 3).mean((1, 3)).astype(np.uint8)
            resolution = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"} if k == 1 else {"subfiletype": 1}
            file.write(level, tile=(128, 128), photometric="rgb", **resolution)
    slide = read_one(tmp_path / "s.tif")
    part = cut_out(at_level(slide, 1), (slice(60, 240), slice(70, 250)))
    session = RefinementSession(
        part.replace(data=np.asarray(part.data), metadata={**part.metadata, "part": {
            "level": 1, "box": [[60, 240], [70, 250]], "of": [600, 600, 3]}})
    )  # fmt: skip
    strokes = np.zeros((180, 180), np.uint8)
    strokes[60:120, 80] = 2
    run(session.refine(strokes))
    scribbles = write(tmp_path / "strokes.tif", part.labels_like(strokes))
    code, _, _ = call(capsys, "refine", tmp_path / "s.tif", scribbles, "-o", tmp_path / "mask.tif")
    assert code == 0
    mask = read_one(tmp_path / "mask.tif", "labels")
    np.testing.assert_array_equal(mask.data, session.mask)
    assert mask.scale == (1.0, 1.0)
    world = np.argwhere(mask.data) @ mask.affine[:2, :2].T + mask.affine[:2, 2]
    np.testing.assert_allclose(world.mean(0), (149.75, 149.75), atol=1)  # (299.5 pixels of 0.5 um)
    assert mask.data.sum() == pytest.approx(np.pi * 60**2, rel=0.05)

    folder = session.save(tmp_path / "session")
    assert call(capsys, "refine", tmp_path / "s.tif", "--replay", folder, "-o", tmp_path / "again.tif")[0] == 0
    np.testing.assert_array_equal(read_one(tmp_path / "again.tif", "labels").data, session.mask)
    np.testing.assert_array_equal(RefinementSession.load(folder).mask, session.mask)


def test_a_stroke_makes_a_mask_on_the_grid_of_the_image(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = call(capsys, "refine", case.path, case.scribbles, "-o", case.out, "--json")
    assert code == 0
    record = json.loads(text)
    mask = read_one(case.out, "labels")
    assert same_grid(mask, read_one(case.path))
    assert record["voxels"] == np.count_nonzero(mask.data)
    assert 2 * (case.truth & (mask.data > 0)).sum() / (case.truth.sum() + (mask.data > 0).sum()) > 0.7
    session = RefinementSession(read_one(case.path), settings=RefinementSettings())
    run(session.refine(case.strokes))
    np.testing.assert_array_equal(mask.data, session.mask)
    kept = json.loads((case.out.parent / "mask.json").read_text())
    assert "geodesic" in json.dumps(kept)


def test_an_initial_mask_of_255_is_one_of_1(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    initial = np.zeros_like(case.strokes)
    initial[2:5, 2:5, 2:5] = 1
    found = []
    for value in (1, 255):
        path = case.write(f"initial{value}.nii.gz", initial * value)
        assert call(capsys, "refine", case.path, case.scribbles, "-o", case.out, "--initial", path)[0] == 0
        found.append(np.asarray(read_one(case.out, "labels").data))
    np.testing.assert_array_equal(*found)
    assert found[0].max() == 1


def test_an_initial_mask_is_corrected(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    initial = np.zeros_like(case.strokes)
    initial[2:5, 2:5, 2:5] = 1
    path = case.write("initial.nii.gz", initial)
    assert call(capsys, "refine", case.path, case.scribbles, "-o", case.out, "--initial", path)[0] == 0
    mask = read_one(case.out).data
    assert mask[3, 3, 3] == 1
    assert mask[case.centre] == 1


def test_strokes_without_geometry_take_that_of_the_image(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    plain = case.folder / "strokes.npy"
    np.save(plain, case.strokes)
    assert call(capsys, "refine", case.path, plain, "-o", case.out)[0] == 0
    assert read_one(case.out).data[case.centre] == 1


def test_strokes_that_lie_elsewhere_are_named(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    affine = np.array(case.image.affine)
    affine[0, -1] += 1
    strokes = write(case.folder / "moved.nii.gz", case.image.replace(affine=affine).labels_like(case.strokes))
    code, text, _ = call(capsys, "refine", case.path, strokes, "-o", case.out)
    assert code == 0
    assert "lie elsewhere than the image" in text
    assert "lie elsewhere" not in call(capsys, "refine", case.path, case.scribbles, "-o", case.out)[1]


def test_a_session_folder_is_replayed(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    session = RefinementSession(read_one(case.path))
    run(session.refine(case.strokes))
    case.strokes[3, 3, 3] = 1
    run(session.refine(case.strokes))
    session.undo()
    folder = session.save(case.folder / "session")
    assert call(capsys, "refine", case.path, "--replay", folder, "-o", case.out)[0] == 0
    np.testing.assert_array_equal(read_one(case.out).data, session.mask)
    other = write(case.folder / "other.nii.gz", brain_volume(4, (24, 40, 36))[0])
    assert "Open the image it was made on" in refused(capsys, other, "--replay", folder, "-o", case.out)


def test_networks_propose_and_refine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, _ = slice_2d(3, (48, 48))
    strokes = np.zeros((48, 48), np.uint8)
    strokes[20, 20], strokes[4, 4] = 2, 1
    source, scribbles = write(tmp_path / "a.tif", image), write(tmp_path / "s.tif", image.labels_like(strokes))
    models = {}
    for name in ("p-net", "r-net"):
        method = create(name, {"ndim": 2})
        models[name] = tmp_path / f"{name}.pt"
        write_checkpoint(models[name], pack(method, method.build_network().state_dict()))
    out, deep = tmp_path / "mask.tif", ["--model", models["r-net"], "--proposal", models["p-net"], "--device", "cpu"]
    code, text, _ = call(capsys, "refine", source, scribbles, "-o", out, *deep)
    assert code == 0
    assert "ms network" in text
    mask = read_one(out, "labels").data
    assert (mask[20, 20], mask[4, 4]) == (1, 0)
    assert "p-net" in refused(capsys, source, scribbles, "-o", out, "--model", models["p-net"])
    assert "R-Net model" in refused(capsys, source, scribbles, "-o", out, "--engine", "deepigeos")
    assert "one start" in refused(capsys, source, scribbles, "-o", out, *deep, "--initial", scribbles)


def test_bad_input_is_one_message(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("-o", case.out)
    assert "either SCRIBBLES or --replay" in refused(capsys, case.path, *out)
    assert "own settings" in refused(capsys, case.path, *out, "--replay", case.folder, "--weight", "0.3")
    assert "interaction log" in refused(capsys, case.path, *out, "--replay", case.folder)
    empty = case.write("empty.nii.gz", np.zeros_like(case.strokes))
    assert "Paint at least one stroke" in refused(capsys, case.path, empty, *out)
    three = case.write("three.nii.gz", case.strokes * 2)
    assert "set classes" in refused(capsys, case.path, three, *out)
    small = write(case.folder / "small.nii.gz", Image(np.ones((4, 4, 4), np.uint8), "ZYX", kind="labels"))
    assert "4 x 4 x 4" in refused(capsys, case.path, case.scribbles, *out, "--initial", small)
    far = Image(np.ones((4, 4, 4), np.uint8), "ZYX", (1, 1, 1), ("millimeter",) * 3, np.diag([1, 1, 1, 1.0]) +
                np.pad(np.full((3, 1), 900.0), ((0, 1), (3, 0))), "labels")  # fmt: skip
    assert "outside the image" in refused(capsys, case.path, write(case.folder / "far.nii.gz", far), *out)
    assert not case.out.exists()


def test_one_time_point_of_a_film_is_refined(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    still = np.asarray(case.image.data)
    film = Image(
        np.stack([still[::-1], still]), "TZYX", (2.0, *case.image.scale), ("second", *case.image.units), name="film"
    )
    path = write(case.folder / "film.nii.gz", film)
    strokes = write(case.folder / "one.nii.gz", Image(case.strokes, "ZYX", case.image.scale, case.image.units))
    assert "time points 0 to 1. Say which one: --time N" in refused(capsys, path, strokes, "-o", case.out)
    assert "time points 0 to 1, not 5" in refused(capsys, path, strokes, "-o", case.out, "--time", 5)
    assert call(capsys, "refine", path, strokes, "-o", case.out, "--time", 1)[0] == 0
    mask = read_one(case.out)
    assert mask.axes == "ZYX"
    alone = write(case.folder / "alone.nii.gz", at_time(film, 1))
    other = case.folder / "other.nii.gz"
    assert call(capsys, "refine", alone, strokes, "-o", other)[0] == 0
    np.testing.assert_array_equal(mask.data, read_one(other).data)
    assert mask.data[case.centre]
