"""Models at hand: bundled with the package, in the model folder, and trained in this session."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medseg.errors import CheckpointError, MedSegError
from napari_medseg.image import Image
from napari_medseg.io.places import home
from napari_medseg.method import Model
from napari_medseg.methods import create, for_movies, get_method, known_methods, role_of
from napari_medseg.models.checkpoint import bundled, card, find_model, read_checkpoint, rebuild
from napari_medseg.settings import Role

DEFAULT_FOLDER = home() / "napari-medseg-models"


@dataclass(frozen=True)
class Entry:
    """One model file with its card; `problem` says why it cannot be loaded."""

    path: Path
    card: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def title(self) -> str:
        """Short line for a list: ``afm-unet · best``."""
        folder = self.path.parent.name if self.path.stem in {"best", "last"} else self.path.stem
        method = self.card.get("method", "unreadable")
        return method if folder == method else f"{method} · {folder}"

    def serves(self, role: Role | None, movies: bool = False) -> bool:
        """Whether the model is for `role` (any role where that is ``None``), and for movies where that is asked for."""
        method = self.card.get("method", "")
        return role is None or (method in known_methods() and role_of(method) == role and for_movies(method) >= movies)

    def unfit(self, image: Image | None) -> str:
        """Say why the model cannot take `image`; an empty string when it can."""
        if self.problem or image is None:
            return self.problem
        try:
            create(self.card["method"], self.card["settings"]).check(image)
        except MedSegError as error:
            return str(error)
        return ""

    def unfit_alone(self, image: Image | None) -> str:
        """Say why the model cannot make a mask of `image` by itself; an empty string when it can."""
        method = self.card.get("method", "")
        return (get_method(method).needs if not self.problem and method in known_methods() else "") or self.unfit(image)

    def distance(self, image: Image) -> tuple[bool, bool, bool]:
        """Say how far `image` is from what the model was made for (smaller is nearer): axes, movie or not, channels."""
        try:
            method = create(self.card["method"], self.card["settings"])
        except (MedSegError, KeyError):
            return True, True, True
        other = for_movies(method.name) != ("T" in image.axes)
        return len(image.spatial_shape) != method.ndim, other, method.in_channels != image.n_channels

    def describe(self) -> str:
        """Return the model's card as lines: method, paper, data, score, authors, licence, origin."""
        if self.problem:
            return self.problem
        card = self.card
        best = {k: v for k, v in card.get("best", {}).items() if k.startswith("val_") and isinstance(v, float)}
        epoch = f"epoch {card['epoch']}" if card.get("epoch") else "not trained"
        lines = [f"{card['method']}, {epoch}, version {card.get('version', '?')}"]
        lines += [f"paper: doi:{card['doi']}"] if card.get("doi") else []
        lines += [f"trained on: {card['trained_on']}"] if card.get("trained_on") else []
        if best.keys() - {"val_loss", "val_score"}:  # the score that chose the epoch is one of the others
            best.pop("val_score", None)
        lines += ["held-out cases: " + ", ".join(f"{k[4:]} {v:.3f}" for k, v in best.items())] if best else []
        lines += [f"authors: {card['authors']}"] if card.get("authors") else []
        lines += [f"licence: {card['license']}"] if card.get("license") else []
        lines += [f"trained further from: {card['started_from'][:12]}"] if card.get("started_from") else []
        ours = self.path.parent == bundled(self.path.stem).parent
        return "\n".join([*lines, "bundled with napari-medseg" if ours else str(self.path)])


def list_models(folder: Path | None = None, extra: Iterable[Path] = ()) -> list[Entry]:
    """List bundled models, those below `folder`, and the files in `extra`, each once."""
    paths = dict.fromkeys([*extra, *_bundled(), *_below(folder or DEFAULT_FOLDER)])
    return [entry(path) for path in paths]


def entry(path: Path) -> Entry:
    """Read one model's card (from the side-car ``.json`` when there is one, else from the checkpoint)."""
    try:
        side_car = path.with_suffix(".json")
        if side_car.exists() and path.stem not in {"best", "last"}:
            return Entry(path, {**json.loads(side_car.read_text(encoding="utf-8")), "file": str(path)})
        return Entry(path, card(read_checkpoint(path), path))
    except (MedSegError, ValueError) as error:
        return Entry(path, problem=str(error))


def load_model(path: str | Path, method: str | None = None, role: Role | None = None) -> Model:
    """Load a checkpoint as a `Model` on the CPU, in evaluation mode.

    Parameters
    ----------
    path
        The ``.pt`` file, or the name of a bundled model.
    method
        Name of the method it must be of, if only one will do.
    role
        What it must be for, if only that will do.

    Raises
    ------
    CheckpointError
        If the file is unsafe, damaged, newer, or of another method.
    """
    path = find_model(path)
    content = read_checkpoint(path)
    name = str(content["method"])
    if method is not None and name != method:
        raise CheckpointError(f"{path.name} is a {name} model; here a {method} model is needed. Choose another file.")
    if role is not None and name in known_methods() and role_of(name) != role:
        raise CheckpointError(
            f"{path.name} is a {name} model, made to {role_of(name)}; here a model made to {role} is needed. "
            "Choose another file."
        )
    if name not in known_methods():
        raise CheckpointError(
            f"{path.name} was made with the method {name!r}, which is not installed here. Install the package that "
            f"brings it; known are {', '.join(known_methods())}."
        )
    return rebuild(get_method(name), content, path)


def _bundled() -> Iterator[Path]:
    yield from sorted(bundled("x").parent.glob("*.pt"))


def _below(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(p for p in folder.rglob("*.pt") if p.name != "last.pt" and not p.name.startswith("."))
