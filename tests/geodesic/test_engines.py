"""Other engines against the default one."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from napari_medseg.errors import DataError, MissingDependencyError, SettingsError
from napari_medseg.geodesic import geodesic_distance
from napari_medseg.geodesic.distance import choose_engine
from tests.geodesic.oracle import dijkstra_distance
from tests.geodesic.test_distance import agree, scene

_SHAPES = [(20, 33), (40, 3), (6, 9, 17), (5, 1, 9)]


@pytest.mark.parametrize("metric", ["linear", "harmonic", "product"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_torch_equals_numba(shape: tuple[int, ...], metric: str) -> None:
    pytest.importorskip("torch")
    image, seeds = scene(shape)
    options = {"metric": metric, "weight": 1.0, "spacing": tuple(np.linspace(0.6, 2, len(shape)))}
    agree(geodesic_distance(image, seeds, engine="torch", **options), geodesic_distance(image, seeds, **options))


def test_torch_channels_and_empty_seeds() -> None:
    pytest.importorskip("torch")
    image = np.random.default_rng(0).random((2, 12, 20))
    seeds = scene((12, 20))[1]
    agree(geodesic_distance(image, seeds, engine="torch"), geodesic_distance(image, seeds))
    assert np.isinf(geodesic_distance(image, seeds & False, engine="torch")).all()


def test_tensors_are_accepted() -> None:
    torch = pytest.importorskip("torch")
    image, seeds = scene((12, 20))
    got = geodesic_distance(torch.from_numpy(image), torch.from_numpy(seeds), device="cpu")
    agree(got, dijkstra_distance(image, seeds))


_TRITON_CASE = """
import sys
import numpy as np
from napari_medseg.geodesic import geodesic_distance
from napari_medseg.geodesic.distance import choose_engine
rng = np.random.default_rng(0)
for channels, shape, metric in ((1, (20, 35), "linear"), (2, (9, 10, 11), "harmonic"), (1, (9, 4, 17), "product")):
    image = rng.random((channels, *shape)).astype(np.float32)
    seeds = np.zeros(shape, bool)
    seeds.flat[[0, 40]] = True
    options = dict(weight=0.9, metric=metric, spacing=tuple(np.linspace(0.6, 2, len(shape))))
    got = geodesic_distance(image, seeds, engine="triton", **options)
    np.testing.assert_allclose(got, geodesic_distance(image, seeds, **options), rtol=1e-4, atol=1e-6)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_triton_equals_numba_when_interpreted() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    command = [sys.executable, "-c", _TRITON_CASE]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.stdout.strip() == "equal", result.stderr


_TRITON_COMPILE = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from napari_medseg.geodesic import _triton
kernel = _triton._settle
for channels, harmonic, tile in ((1, False, (8, 8, 8)), (2, True, (1, 16, 32))):
    fixed = {"CHANNELS": channels, "HARMONIC": harmonic, "STEPS": 32, **dict(zip(("TZ", "TY", "TX"), tile))}
    kinds = {"eps": "fp32", "fell": "*i32", "falls": "*i32", **dict.fromkeys(("distance", "image", "a", "b"), "*fp32")}
    kinds = {name: "constexpr" if name in fixed else kinds.get(name, "i32") for name in kernel.arg_names}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=fixed)
    for capability in (80, 90):
        built = compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": _triton._WARPS})
        assert built.asm["cubin"], capability
print("compiled")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_triton_compiles_without_a_gpu() -> None:
    result = subprocess.run([sys.executable, "-c", _TRITON_COMPILE], capture_output=True, text=True, timeout=300)
    assert result.stdout.strip() == "compiled", result.stderr


@pytest.mark.parametrize(
    ("version", "engine"), [("3.9.0", "triton"), ("3.3.0+git1", "triton"), ("3.2.0", "torch"), (None, "torch")]
)
def test_default_engine_on_a_gpu(monkeypatch: pytest.MonkeyPatch, version: str | None, engine: str) -> None:
    torch = pytest.importorskip("torch")
    module = None if version is None else SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "triton", module)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_engine(None, "cuda:1") == (engine, "cuda:1")


@pytest.mark.gpu
def test_cuda_equals_cpu() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    image, seeds = scene((20, 33, 40))
    for engine in ("torch", "triton"):
        agree(geodesic_distance(image, seeds, device="cuda", engine=engine), geodesic_distance(image, seeds))


@pytest.mark.skipif(importlib.util.find_spec("triton") is not None, reason="Triton is installed")
def test_triton_absent() -> None:
    pytest.importorskip("torch")
    with pytest.raises(MissingDependencyError, match="pip install triton"):
        geodesic_distance(*scene((8, 9)), engine="triton")


_GEODISTK_CASE = """
import numpy as np
from napari_medseg.geodesic import geodesic_distance
rng = np.random.default_rng(0)
y, x = np.mgrid[:40, :50]
flat = np.sin(x / 9).astype(np.float32) * np.cos(y / 7).astype(np.float32)
volume = np.stack([flat + k for k in range(4)]).astype(np.float32) / 4
for image, spacing in ((flat, (1.0, 1.0)), (volume, (2.0, 1.0, 0.5))):
    seeds = np.zeros(image.shape, bool)
    seeds[(slice(0, 1),) * (image.ndim - 2) + (slice(3, 8), slice(3, 20))] = True
    for metric, most in (("product", 1e-4), ("harmonic", 0.05)):
        options = dict(metric=metric, weight=0.5, spacing=spacing)
        theirs = geodesic_distance(image, seeds, engine="geodistk", **options)
        ours = geodesic_distance(image, seeds, **options)
        assert (theirs >= ours - 1e-3 * ours - 1e-5).all(), "two scans found a cheaper path than the cheapest"
        error = np.median(np.abs(theirs - ours)[~seeds]) / np.median(ours[~seeds])
        assert error < most, (metric, error)
"""


def test_geodistk_built_here_equals_ours_where_its_scans_converge(tmp_path: Path) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(tmp_path)]
    environment = {**os.environ, "CXXFLAGS": "-DNPY_IN_ARRAY=NPY_ARRAY_IN_ARRAY"}
    built = subprocess.run([*pip, "GeodisTK==0.1.7"], env=environment, capture_output=True, text=True)
    if built.returncode:
        pytest.skip(f"GeodisTK cannot be had or built: {built.stderr[-200:]}")
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    result = subprocess.run(
        [sys.executable, "-c", _GEODISTK_CASE], env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("engine", ["geodistk", "fastgeodis"])
def test_external_engines(engine: str) -> None:
    package = {"geodistk": "GeodisTK", "fastgeodis": "FastGeodis"}[engine]
    metric = {"geodistk": "product", "fastgeodis": "linear"}[engine]
    image, seeds = scene((6, 9, 17))
    if importlib.util.find_spec(package) is None:
        with pytest.raises(MissingDependencyError, match="pip install"):
            geodesic_distance(image, seeds, engine=engine, metric=metric)
        return
    options = {"metric": metric, "weight": 0.3, "spacing": (2.0, 1.0, 0.5)}
    got = geodesic_distance(image, seeds, engine=engine, **options)
    np.testing.assert_allclose(got, geodesic_distance(image, seeds, **options), rtol=1e-3, atol=1e-4)
    flat = geodesic_distance(image[0], seeds.any(0), engine=engine, metric=metric, weight=0.3)
    assert ((flat == 0) == seeds.any(0)).all()
    assert np.isinf(geodesic_distance(image, seeds & False, engine=engine, metric=metric)).all()


def test_external_engines_refuse_what_they_lack() -> None:
    image, seeds = scene((8, 9))
    with pytest.raises(SettingsError, match="harmonic"):
        geodesic_distance(image, seeds, engine="geodistk", metric="linear")
    with pytest.raises(SettingsError, match="linear"):
        geodesic_distance(image, seeds, engine="fastgeodis", metric="product")
    with pytest.raises(SettingsError, match="no pixel size"):
        geodesic_distance(image, seeds, engine="fastgeodis", spacing=2)
    with pytest.raises(DataError, match="NaN"):
        geodesic_distance(image * np.nan, seeds, engine="fastgeodis")


def test_importing_stays_light() -> None:
    code = "import sys, napari_medseg.geodesic; print({'numba', 'torch', 'triton'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert result.stdout.strip() == "set()", result.stderr
