"""P-Net and R-Net as methods: channels, intensities, training samples, refinement input, a round through `fit`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from shorthand import trainable

from napari_medseg import io
from napari_medseg.errors import CheckpointError, DataError, SettingsError
from napari_medseg.image import Image
from napari_medseg.inference.network import predict
from napari_medseg.io.pairs import Pair
from napari_medseg.jobs import run
from napari_medseg.method import Model, RefinementMethod
from napari_medseg.methods import create, get_method
from napari_medseg.methods.deepigeos.inputs import decode_proposal, encode_proposal
from napari_medseg.methods.deepigeos.method import PNet, RNet
from napari_medseg.methods.deepigeos.network import RefinedNet
from napari_medseg.models.catalog import load_model
from napari_medseg.settings import TrainSettings
from napari_medseg.training.data import Batches, Cases
from napari_medseg.training.loop import fit

EUCLIDEAN = {"metric": "euclidean"}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def disc(shape: tuple[int, ...] = (32, 36), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    grid = np.indices(shape)
    centre = np.array(shape).reshape(-1, *[1] * len(shape)) / 2
    truth = (((grid - centre) ** 2).sum(0) < (min(shape) / 4) ** 2).astype(np.uint8)
    return (100 + 80 * truth + rng(seed).normal(0, 8, shape)).astype(np.float32), truth


def cases(folder: Path, n: int = 2) -> tuple[Pair, ...]:
    pairs = []
    for index in range(n):
        image, truth = disc(seed=index)
        files = folder / f"case{index}.tif", folder / f"case{index}_label.tif"
        io.write(files[0], Image(image, "YX"))
        io.write(files[1], Image(truth, "YX", kind="labels"))
        pairs.append(Pair(*files, f"case{index}"))
    return tuple(pairs)


@pytest.mark.parametrize(
    ("name", "ndim", "expected"),
    [("p-net", 2, 485_122), ("r-net", 2, 486_850), ("p-net", 3, 48_262), ("r-net", 3, 49_558)],
)
def test_registered_with_the_papers_size(name: str, ndim: int, expected: int) -> None:
    method = create(name, {"ndim": ndim})
    assert trainable(method.build_network()) == expected
    assert method.ndim == ndim
    assert get_method(name).name == name


def test_schedule_is_the_papers() -> None:
    t = PNet.training
    assert t.epochs * t.steps_per_epoch == 60_000
    assert (t.learning_rate, t.weight_decay, t.batch_size, t.halve_steps) == (1e-3, 5e-4, 1, 5000)
    optimizer = PNet().optimizer(PNet().build_network(), t, 1)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.99


@pytest.mark.parametrize(("settings", "halo"), [({}, 90), ({"ndim": 3}, 43), ({"crf": "freeform"}, 105),
                                                ({"ndim": 3, "crf": "gaussian", "downsample": 2}, 108)])  # fmt: skip
def test_halo(settings: dict[str, object], halo: int) -> None:
    assert create("p-net", settings).halo == halo


def test_intensities_ignore_zero_background_and_bad_voxels() -> None:
    data = np.zeros((6, 6), np.float32)
    data[2:5, 2:5] = [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    x = create("p-net", {"clip": 0}).prepare(Image(data, "YX"))
    assert x.shape == (1, 6, 6)
    inside = x[0, 2:5, 2:5]
    assert inside.mean() == pytest.approx(0, abs=1e-6)
    assert inside.std() == pytest.approx(1, rel=1e-6)
    assert x[0, 0, 0] == inside.min()
    data[0, 0], data[0, 1] = np.nan, np.inf
    assert np.isfinite(create("p-net").prepare(Image(data, "YX"))).all()


@pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
def test_constant_images_become_zero(value: float) -> None:
    assert not PNet().prepare(Image(np.full((5, 5), value), "YX")).any()


def test_wrong_images_are_refused() -> None:
    with pytest.raises(DataError, match="2D"):
        PNet().prepare(Image(np.zeros((3, 4, 5)), "ZYX"))
    with pytest.raises(DataError, match="1 channel"):
        PNet().prepare(Image(np.zeros((4, 5, 3)), "YXC"))
    with pytest.raises(SettingsError, match="width"):
        create("p-net", {"width": 6})


def test_targets() -> None:
    labels = Image(np.array([[0, 1], [2, 4]]), "YX", kind="labels")
    assert PNet().target(labels).tolist() == [[0, 1], [1, 1]]
    assert create("p-net", {"classes": 5}).target(labels).tolist() == [[0, 1], [2, 4]]
    with pytest.raises(DataError, match="holds label 4"):
        create("p-net", {"classes": 3}).target(labels)


def test_postprocess_cleans_and_keeps_the_grid() -> None:
    labels = np.zeros((12, 12), np.uint8)
    labels[1:7, 1:7], labels[9:11, 9:11], labels[11, 0] = 1, 1, 1
    image = Image(np.zeros((12, 12)), "YX", (0.5, 0.5), ("millimeter",) * 2)
    probabilities = np.stack([1 - labels, labels]).astype(np.float32)
    result = create("p-net", {"min_size": 3, "class_names": "rest,tumour"}).postprocess(probabilities, image)
    assert result.data.sum() == 40
    assert result.scale == (0.5, 0.5)
    assert result.data.dtype == np.uint8
    assert result.metadata["classes"] == ["rest", "tumour"]
    assert create("p-net", {"largest_component": True}).postprocess(probabilities, image).data.sum() == 36


@pytest.mark.parametrize("ndim", [2, 3])
def test_patches_are_full_and_reach_the_foreground(ndim: int) -> None:
    image, truth = disc((20, 30, 26)[-ndim:])
    method = create("p-net", {"ndim": ndim, "crop": 24, "downsample": 2})
    sampled = [method.sample(image[None], truth.astype(np.int64), rng(seed)) for seed in range(4)]
    assert all(x.shape == (1, *(24,) * ndim) and y.shape == (24,) * ndim for x, y in sampled)
    assert any(y.any() for _, y in sampled)


@pytest.mark.parametrize("ndim", [2, 3])
def test_augmentation_moves_image_and_target_together(ndim: int) -> None:
    _, truth = disc((24, 26, 28)[-ndim:])
    method = create("p-net", {"ndim": ndim})
    for seed in range(4):
        x, y = method.augment(truth[None].astype(np.float32), truth.astype(np.int64), rng(seed))
        again = method.augment(truth[None].astype(np.float32), truth.astype(np.int64), rng(seed))
        assert np.array_equal(x, again[0])
        assert x.dtype == np.float32
        middle = (x.max() + x.min()) / 2
        assert np.mean((x[0] > middle) == (y > 0)) > 0.9
        assert 0.4 < y.sum() / truth.sum() < 2.2


def test_rotation_is_in_true_degrees() -> None:
    bar = np.zeros((41, 41), np.int64)
    bar[19:22, 3:38] = 1
    angles = []
    for seed in range(30):
        _, y = PNet().augment(bar[None].astype(np.float32), bar, rng(seed))
        points = np.argwhere(y) - 20
        direction = np.linalg.eigh(points.T @ points)[1][:, 1]
        angles.append(abs(np.degrees(np.arctan2(direction[0], direction[1]))))
    folded = np.minimum(angles, 180 - np.array(angles))
    assert 12 < folded.max() < 28


def test_augmentation_can_be_weakened() -> None:
    _, truth = disc((24, 26))
    picture = truth[None].astype(np.float32)
    still = create("p-net", {"strength": 0, "flip": False})
    x, y = still.augment(picture, truth.astype(np.int64), rng(1))
    np.testing.assert_allclose(x, picture, atol=1e-5)
    assert np.array_equal(y, truth)
    mirrored = create("p-net", {"strength": 0})
    seen = {mirrored.augment(picture, truth.astype(np.int64), rng(k))[1].tobytes() for k in range(12)}
    assert seen <= {
        np.ascontiguousarray(np.flip(truth, axes).astype(np.int64)).tobytes() for axes in ((), 0, 1, (0, 1))
    }
    assert len(seen) > 1


@pytest.mark.parametrize(("ndim", "halo"), [(2, 181), (3, 87)])
def test_packed_network_keeps_the_size_and_sees_farther(ndim: int, halo: int) -> None:
    method = create("p-net", {"ndim": ndim, "width": 8, "pack": 2})
    assert (method.size_multiple, method.halo) == (2, halo)
    shape = (6, 10, 8)[-ndim:]
    assert method.build_network()(torch.zeros(1, 1, *shape)).shape == (1, 2, *shape)


def test_dice_and_cross_entropy_terms() -> None:
    output = torch.tensor([[[[9.0, -9.0]], [[-9.0, 9.0]]]])
    good, bad = torch.tensor([[[0, 1]]]), torch.tensor([[[1, 0]]])
    method = create("p-net", {"loss": "dice_ce"})
    image = torch.zeros(1, 1, 1, 2)
    assert method.loss(output, good, image)["loss"] < 1e-3
    terms = method.loss(output, bad, image)
    assert terms["loss"] == terms["ce"] + terms["dice_loss"]
    assert set(PNet().loss(output, bad, image)) == {"loss"}
    assert method.score(torch.softmax(output, 1), good)["dice"] == 1.0


def test_crf_joins_in_the_second_phase() -> None:
    method = create("p-net", {"crf": "freeform", "crf_start": 0.5, "width": 4})
    settings = TrainSettings(epochs=10)
    assert [method.phase(epoch, settings) for epoch in (0, 4, 5, 9)] == [0, 0, 1, 1]
    network = method.build_network()
    assert isinstance(network, RefinedNet)
    assert "pairwise" in method.initialise(network)
    assert network.crf is not None
    assert network.crf.pretrained.item() == 1
    for phase in (0, 1):
        method.optimizer(network, settings, phase)
        assert network.crf_active.item() == phase


def test_network_input_of_r_net() -> None:
    method = create("r-net", EUCLIDEAN)
    assert isinstance(method, RefinementMethod)
    image, truth = disc()
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[16, 18], scribbles[2, 2] = 2, 1
    x = method.prepare_refinement(Image(image, "YX"), truth, scribbles)
    assert x.dtype == np.float32
    assert x.shape == (method.in_channels, *truth.shape) == (5, 32, 36)
    np.testing.assert_array_equal(x[0], create("p-net").prepare(Image(image, "YX"))[0])
    np.testing.assert_array_equal(x[1], truth)
    assert x[2, 16, 18] == 1.0  # foreground map
    assert x[2, 16, 8] == pytest.approx(np.exp(-1))
    assert x[3, 2, 2] == 1.0  # background map
    np.testing.assert_array_equal(x[4], scribbles)
    kept = method.distances(x[:1], scribbles)
    np.testing.assert_array_equal(method.prepare_refinement(Image(image, "YX"), truth, scribbles, kept), x)


def test_r_net_input_without_proposal_or_scribbles() -> None:
    method = create("r-net", EUCLIDEAN)
    image, _ = disc()
    x = method.prepare_refinement(Image(image, "YX"), None, np.zeros(image.shape, np.uint8))
    np.testing.assert_array_equal(x, method.prepare(Image(image, "YX")))
    assert not x[1:].any()


def test_r_net_refuses_another_grid() -> None:
    image, truth = disc()
    for proposal, scribbles in ((truth[1:], truth), (truth, truth[1:])):
        with pytest.raises(DataError, match="image's grid"):
            create("r-net").prepare_refinement(Image(image, "YX"), proposal, scribbles)


def test_through_plane_step_counts() -> None:
    method = create("r-net", {"ndim": 3, "through_plane": 4.0, **EUCLIDEAN})
    scribbles = np.zeros((3, 4, 4), np.uint8)
    scribbles[0, 0, 0] = 2
    assert method.distances(np.zeros((1, 3, 4, 4), np.float32), scribbles)[1, 2, 0, 0] == 8


def test_proposal_channels() -> None:
    labels = np.array([[0, 1, 2]])
    p = np.array([[[0.6, 0.2, 0.1]], [[0.3, 0.7, 0.1]], [[0.1, 0.1, 0.8]]])
    assert encode_proposal(labels, 3, 2)[:, 0].tolist() == np.eye(3).tolist()
    assert encode_proposal(p, 3, 2)[:, 0].tolist() == np.eye(3).tolist()
    np.testing.assert_allclose(encode_proposal(p, 3, 2, soft=True), p, rtol=1e-6)
    assert encode_proposal(labels, 2, 2).tolist() == [[[0, 1, 1]]]
    np.testing.assert_allclose(encode_proposal(p[:2], 2, 2, soft=True), p[1:2], rtol=1e-6)
    assert decode_proposal(encode_proposal(labels, 3, 2)).tolist() == labels.tolist()


@pytest.mark.parametrize(
    "settings", [{}, {"rounds": 3, "rule": "mixed", "mark_radius": 1}, {"classes": 3, "crf": "gaussian"}]
)
def test_r_net_samples(settings: dict[str, object], tmp_path: Path) -> None:
    method = create("r-net", {**EUCLIDEAN, "crop": 24, "width": 4, **settings})
    x, y = method.load_pair(cases(tmp_path, 1)[0])
    marked = 0
    for seed in range(4):
        cut = method.sample(x, y, rng(seed))
        first = method.complete(*cut, rng(seed))
        augmented = method.complete(*method.augment(*cut, rng(seed)), rng(seed))
        for sampled, truth in (first, augmented, method.validation_sample(x, y, rng(seed))):
            assert sampled.shape[0] == method.in_channels
            assert sampled.dtype == np.float32
            marks = sampled[-1].astype(int)
            assert (truth[marks > 0] == marks[marks > 0] - 1).all()
            marked += np.count_nonzero(marks)
        assert np.array_equal(first[0], method.complete(*cut, rng(seed))[0])
        output = method.build_network()(torch.from_numpy(first[0][None]))
        assert output.shape == (1, method.out_channels, 24, 24)
    assert marked > 0


def test_geodesic_samples_follow_the_edges() -> None:
    image, truth = disc()
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[16, 18] = 2
    x = create("r-net").prepare_refinement(Image(image, "YX"), truth, scribbles)
    assert x[2, 16, 23] > 1.3 * x[2, 16, 30]


def test_case_folders(tmp_path: Path) -> None:
    image, truth = disc()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for word, data in (("Flair", image), ("T1c", image * 2), ("OT", truth)):
            if (name, word) != ("b", "OT"):
                io.write(
                    tmp_path / name / f"{word}_x.tif", Image(data, "YX", kind="labels" if word == "OT" else "image")
                )
    method = create("p-net", {"modality_files": "Flair,T1c", "label_file": "OT", "channels": 2})
    found = method.find_pairs(tmp_path)
    assert [p.subject for p in found.pairs] == ["a"]
    assert [p.name for p in found.unpaired] == ["b"]
    x, y = method.load_pair(found.pairs[0])
    assert x.shape == (2, 32, 36)
    np.testing.assert_allclose(x[0], x[1], atol=1e-5)
    assert np.array_equal(y, truth)
    with pytest.raises(DataError, match="label_file"):
        create("p-net", {"modality_files": "Flair"}).find_pairs(tmp_path)


def test_p_net_then_r_net_through_fit(tmp_path: Path) -> None:
    pairs = cases(tmp_path)
    common = {"width": 4, "modern": True, "optimiser": "adamw", "loss": "dice_ce", "crf": "gaussian"}
    settings = TrainSettings(epochs=2, batch_size=1, learning_rate=0.01, device="cpu")
    model = run(fit(create("p-net", common), pairs, pairs[:1], settings, tmp_path / "p"))
    assert isinstance(model, Model)
    path = tmp_path / "p" / "best.pt"
    image = io.read_one(pairs[0].image)
    result = run(predict(load_model(path, "p-net"), image))
    assert result.labels.data.shape == image.spatial_shape
    r_net = create("r-net", {**common, **EUCLIDEAN, "proposal": str(path), "soft_proposal": True})
    x, _ = r_net.load_pair(pairs[0])
    np.testing.assert_allclose(x[1], result.probabilities[1], atol=1e-5)
    trained = run(fit(r_net, pairs, pairs[:1], settings, tmp_path / "r"))
    scribbles = np.zeros(image.spatial_shape, np.uint8)
    scribbles[0, 0], scribbles[16, 18] = 2, 1
    x = r_net.prepare_refinement(image, result.labels.data, scribbles)
    with torch.no_grad():
        p = trained.method.activate(trained.network.eval()(torch.from_numpy(x)[None]))[0]
    assert (p[1, 0, 0], p[0, 16, 18]) == (1.0, 1.0)  # the CRF-Net(fu) obeys


@pytest.mark.parametrize("augment", [False, True])
def test_marks_are_drawn_once_and_from_the_proposal_itself(
    augment: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[np.ndarray] = []

    def nothing(truth: np.ndarray, proposal: np.ndarray, *_: object, **__: object) -> tuple[np.ndarray, np.ndarray]:
        calls.append(proposal)
        return proposal, np.zeros(truth.shape, np.uint8)

    monkeypatch.setattr("napari_medseg.methods.deepigeos.method.simulate_rounds", nothing)
    method = create("r-net", {**EUCLIDEAN, "rounds": 3})
    batches = Batches(Cases(method, cases(tmp_path, 1)), TrainSettings(augment=augment, batch_size=1))
    x = next(batches.epoch(0))[0]
    assert len(calls) == 1
    assert x.shape[1] == method.in_channels
    np.testing.assert_array_equal(x[0, 1], calls[0])


def test_r_net_starts_from_its_p_net(tmp_path: Path) -> None:
    pairs, settings = cases(tmp_path), TrainSettings(epochs=1, batch_size=1, device="cpu")
    common = {"width": 4, "modern": True, "optimiser": "adamw"}
    run(fit(create("p-net", common), pairs, pairs[:1], settings, tmp_path / "p"))
    path = tmp_path / "p" / "best.pt"
    p_net = load_model(path).network.eval()
    method = create("r-net", {**common, **EUCLIDEAN, "inherit": str(path), "crf": "freeform"})
    network = method.build_network().eval()
    note = method.initialise(network)
    assert all(word in note for word in ("best.pt", "pairwise"))
    network.crf_active.fill_(0)
    x = torch.randn(1, method.in_channels, 16, 16)
    torch.testing.assert_close(network(x), p_net(x[:, :1]))  # the new channels are silent at first
    other = create("r-net", {**common, "width": 8, "inherit": str(path)})
    wider = other.build_network()
    with pytest.raises(CheckpointError, match="width"):
        other.initialise(wider)


def test_parallel_training_goes_through_the_phase_without_crf(tmp_path: Path) -> None:
    method = create("p-net", {"width": 4, "crf": "freeform"})
    network = method.build_network()
    settings = TrainSettings(epochs=10)
    before = [p.clone() for p in network.crf.parameters()]  # type: ignore[union-attr]
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        wrapped = torch.nn.parallel.DistributedDataParallel(network)
        optimizer = method.optimizer(network, settings, 0)
        for _ in range(2):
            optimizer.zero_grad()
            wrapped(torch.randn(1, 1, 12, 12)).sum().backward()
            optimizer.step()
    finally:
        torch.distributed.destroy_process_group()
    assert all(torch.equal(a, b) for a, b in zip(before, network.crf.parameters(), strict=True))  # type: ignore[union-attr]


def test_loss_falls_on_one_sample() -> None:
    torch.manual_seed(0)
    method = RNet(RNet.Settings.parse({**EUCLIDEAN, "width": 8, "modern": True, "optimiser": "adamw"}))
    image, truth = disc()
    start = np.concatenate([PNet().prepare(Image(image, "YX")), np.zeros((1, *truth.shape), np.float32)])
    x, y = (torch.from_numpy(a)[None] for a in method.complete(start, truth.astype(np.int64), rng()))
    network = method.build_network()
    optimizer = method.optimizer(network, TrainSettings(learning_rate=0.01), 1)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = method.loss(network(x), y, x)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
