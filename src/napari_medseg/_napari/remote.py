"""Where the docks compute: here, or on the scheduler that the preferences name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_medseg._napari.preferences import compute_address, security
from napari_medseg.batch import predict_files, predict_images
from napari_medseg.batch.settings import BatchSettings
from napari_medseg.errors import DeviceError
from napari_medseg.image import Image
from napari_medseg.jobs import Job, Progress
from napari_medseg.models.catalog import load_model
from napari_medseg.refinement import RefinementSession
from napari_medseg.settings import PredictSettings


def where(device: str, *, here: bool = False) -> str:
    """Say in words where networks run with the setting `device` and why; `here`: never on a scheduler."""
    from napari_medseg.device import choose_device

    address = "" if here else compute_address()
    if address:
        return f"Computed by the scheduler {address}, as the preferences say"
    try:
        return choose_device(device)[1]
    except DeviceError as error:
        return str(error)


def segment(path: Path, images: Sequence[Image], settings: PredictSettings, *, probabilities: bool) -> Job[list[Any]]:
    """Segment images held in memory."""
    address = compute_address()
    if not address:
        return predict_images(path, images, settings)
    from napari_medseg.cluster import predict_images_at
    from napari_medseg.cluster.connection import use

    use(security())
    return predict_images_at(address, path, images, settings, probabilities=probabilities)


def segment_folder(
    path: Path, folder: Path, out: Path, settings: PredictSettings, options: BatchSettings
) -> Job[dict[str, Any]]:
    """Segment a folder; a scheduler that cannot be reached is said in a sentence, and this computer does it."""
    yield Progress(0, 1, "loading the model")
    model, address = load_model(path), compute_address()
    if address:
        from napari_medseg.cluster import UnreachableError, connect, predict_on_cluster

        try:
            with connect(address, settings=security()) as client:
                return (yield from predict_on_cluster(client, model, [folder], out, settings, options=options))
        except UnreachableError as error:
            yield Progress(0, 1, f"{error} Computing here.")
    return (yield from predict_files(model, [folder], out, settings, options=options))


def refine(session: RefinementSession, rnet: Path | None, pnet: Path | None) -> Job[str]:
    """Let the scheduler do the rounds of `session`, if there is one; return a sentence on it, or nothing."""
    address = compute_address()
    if not address:
        return ""
    from napari_medseg.cluster import refine_at
    from napari_medseg.cluster.connection import use

    use(security())
    return (yield from refine_at(address, session, rnet, pnet))
