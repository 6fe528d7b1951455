"""``medseg refine``: refine a mask with scribbles, or replay an interaction log."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medseg import __version__
from napari_medseg.cli.flags import add_flags, given
from napari_medseg.cli.output import drain, keep_apart, show
from napari_medseg.errors import SettingsError
from napari_medseg.refinement.settings import RefinementSettings

if TYPE_CHECKING:
    from napari_medseg.image import Image

SCRIBBLES = "label image of strokes: 1 background, 2 foreground, 3 ... further classes, 0 nothing"


def add(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Add the arguments; `words` are those of the command line after the command."""
    parser.description = (
        f"Refine a mask with scribbles. SCRIBBLES is a {SCRIBBLES}. MASK: 1 foreground, 2 ... classes. Of a slide or "
        "another pyramid the part and level that SCRIBBLES were drawn on is refined."
    )
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("scribbles", type=Path, nargs="?", metavar="SCRIBBLES", help=SCRIBBLES)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="MASK", help="mask on the image's grid")
    parser.add_argument("--proposal", type=Path, metavar="PNET.pt", help="P-Net model whose mask is the start")
    parser.add_argument("--model", type=Path, metavar="RNET.pt", help="R-Net model; makes deepigeos the engine")
    parser.add_argument("--initial", type=Path, metavar="MASK", help="mask to start from")
    parser.add_argument(
        "--replay", type=Path, metavar="SESSION", help="session folder or log.jsonl to repeat, instead of SCRIBBLES"
    )
    parser.add_argument(
        "--channel",
        type=Path,
        action="append",
        default=[],
        metavar="IMAGE",
        help="further modality of the case, on the same grid; may be given again",
    )
    parser.add_argument("--time", type=int, metavar="N", help="refine time point N (from 0) of a 4D image or a movie")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    add_flags(parser, RefinementSettings)
    parser.set_defaults(call=_refine)


def _refine(arguments: argparse.Namespace) -> None:
    from napari_medseg.io import read_channels, write
    from napari_medseg.models.catalog import load_model
    from napari_medseg.refinement.state import elements

    _check(arguments)
    image = _at(read_channels((arguments.image, *arguments.channel)), arguments.time)
    rnet = load_model(arguments.model, role="refine") if arguments.model else None
    pnet = load_model(arguments.proposal, role="propose") if arguments.proposal else None
    if arguments.replay:
        from napari_medseg.refinement.replay import replay

        mask, text = replay(image, arguments.replay, model=rnet, pnet=pnet), "replayed"
    else:
        mask, text = drain(_rounds(image, arguments, rnet, pnet), arguments.json)
    kept = {
        "method": rnet.method.name if rnet else "geodesic", "checkpoint": str(arguments.model or ""),
        "proposal": str(arguments.proposal or ""), "settings": mask.metadata.get("settings", {}),
        "version": __version__, "source_file": str(arguments.image),
    }  # fmt: skip
    path = write(arguments.output, mask.replace(metadata={**mask.metadata, "medseg": kept}))
    voxels = int((mask.data > 0).sum())
    record = {"mask": str(path), "voxels": voxels, "rounds": text}
    show(record, arguments.json, f"{text}\n{elements(voxels, mask.data.ndim)} in {path}")


def _rounds(image: Any, arguments: argparse.Namespace, rnet: Any, pnet: Any) -> Any:
    """Propose if there is a P-Net, refine once, and return the mask and what the round did."""
    from napari_medseg.io import read_labels
    from napari_medseg.io.geometry import describe_grid, sized_like
    from napari_medseg.io.grids import moved_notes, on_grid, part_under, same_grid
    from napari_medseg.measure.files import notes_of
    from napari_medseg.measure.labels import foreground, is_mask
    from napari_medseg.refinement import RefinementSession

    scribbles = _of_time(read_labels(arguments.scribbles, image), arguments.time)
    image = sized_like(image if arguments.channel else part_under(image, scribbles), scribbles)
    initial = read_labels(arguments.initial, image) if arguments.initial else None
    initial = on_grid(_of_time(initial, arguments.time), image, "initial mask") if initial else None
    if initial is not None and is_mask(initial.data):
        initial = initial.replace(data=foreground(initial.data).astype("uint8"))
    implied: dict[str, Any] = {"classes": max(1, int(initial.data.max(initial=0)))} if initial is not None else {}
    implied |= {"engine": "deepigeos", "classes": rnet.method.out_channels - 1} if rnet else {}
    settings = RefinementSettings.parse({**implied, **given(arguments, RefinementSettings)})
    session = RefinementSession(image, proposal=initial, model=rnet, pnet=pnet, settings=settings)
    yield from session.propose()
    scribbles = sized_like(scribbles, image)
    state = yield from session.refine(scribbles)
    moved = "" if same_grid(scribbles, image) else (
        f"The scribbles ({describe_grid(scribbles)}) lie elsewhere than the image ({describe_grid(image)}); they were "
        "moved onto it by the positions in the files. Save them with the image's header if that is not meant."
    )  # fmt: skip
    said = (state.describe(), state.message, moved, *(moved_notes(initial) if initial is not None else ()))
    said += tuple(notes_of(image))
    return session.mask_image(), "\n".join(text for text in said if text)


def _at(image: Image, time: int | None) -> Image:
    """Return the time point asked for; a movie needs one."""
    from napari_medseg.io.volumes.space import at_time

    movie = image.spatial_axes.startswith("T")
    if movie and time is None:
        last = image.spatial_shape[0] - 1
        raise SettingsError(f"{image.name or 'The image'} has time points 0 to {last}. Say which one: --time N.")
    return image if time is None else at_time(image, time)


def _of_time(labels: Image, time: int | None) -> Image:
    """Return labels of that time point; labels without time are of it already."""
    return _at(labels, time) if labels.spatial_axes.startswith("T") else labels


def _check(arguments: argparse.Namespace) -> None:
    from napari_medseg.io.write import check_image

    keep_apart(arguments.output, arguments.image, *arguments.channel, arguments.scribbles)
    check_image(arguments.output)
    if (arguments.scribbles is None) == (arguments.replay is None):
        raise SettingsError("Give either SCRIBBLES or --replay SESSION.")
    if arguments.initial and arguments.proposal:
        raise SettingsError("Give either --initial MASK or --proposal PNET.pt, not both: there is one start.")
    if arguments.replay and (arguments.initial or given(arguments, RefinementSettings)):
        raise SettingsError("--replay repeats the session with its own settings and start. Leave out other settings.")
