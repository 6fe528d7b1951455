"""Models at hand: bundled with the package, in the model folder, and trained in this session."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_medseg.errors import CheckpointError, MedSegError, ReadError
from napari_medseg.image import Image
from napari_medseg.io.files import read_json
from napari_medseg.method import Model
from napari_medseg.methods import (
    FOREIGN_SUFFIXES,
    TRAINING_FREE,
    create,
    field_of,
    for_movies,
    get_method,
    known_methods,
    read_foreign,
    role_of,
    settings_class,
)
from napari_medseg.models.checkpoint import (
    DEFAULT_FOLDER,
    bundled,
    card,
    find_model,
    read_checkpoint,
    rebuild,
    write_checkpoint,
)
from napari_medseg.models.purpose import FIELDS, TITLES, Field, PixelSize, likely_field, no_cell_fits
from napari_medseg.settings import Role

SHOWN_SCORES = 3
SHORT = 40  # letters of what a card says that a model finds, up to which its line in a list says so
UNTRAINED = "a method that needs no training: it works by rule on each image"
GENERATED = "_generated"  # how names of scores on generated images end


@dataclass(frozen=True)
class Entry:
    """One model file with its card; `problem` says why it cannot be loaded."""

    path: Path
    card: dict[str, Any] = field(default_factory=dict)
    problem: str = ""

    @property
    def title(self) -> str:
        """Short line for a list: ``corneal nerves · run1``."""
        folder = self.path.parent.name if self.path.stem in {"best", "last"} else self.path.stem
        if self.problem:
            return f"{folder} (unreadable)"
        finds = str(self.card.get("finds", ""))
        finds = finds if 0 < len(finds) <= SHORT else TITLES[self.field] if self.field else ""
        return f"{finds} · {folder}" if finds else folder

    @property
    def field(self) -> Field | None:
        """What the model is made for: as its card says, else as its method does."""
        method = self.card.get("method", "")
        said = self.card.get("field") or (field_of(method) if method in known_methods() else "")
        return next((known for known in FIELDS if known == said), None)

    @property
    def bundled(self) -> bool:
        """Whether the model ships with the package."""
        return self.path.parent == bundled(self.path.stem).parent

    @property
    def demo(self) -> bool:
        """Whether the model knows nothing but generated images and shows how a method works."""
        return self.bundled and self.path.stem.startswith("demo_")

    @property
    def trained(self) -> bool:
        """Whether the model has learnt anything."""
        return self.card.get("method", "") not in TRAINING_FREE

    def made_for(self, image: Image) -> bool:
        """Whether the model may be proposed for `image` unasked: made for its field, or trained by the user.

        What knows only generated images is proposed for generated images alone.
        """
        if self.demo:
            return bool(image.metadata.get("generated"))
        field = likely_field(image)
        if self.bundled:
            fits = self._has_extent_of(image) and not (field == "afm" and no_cell_fits(image))
            return field is not None and self.field == field and fits
        return field in (None, self.field) or self.field is None

    def _has_extent_of(self, image: Image) -> bool:
        """Whether the edges of `image` lie within the card's range in mm, where it has one."""
        known = self.card.get("extent_mm")
        if not known:
            return True
        edges = [n * step for n, step in zip(image.spatial_shape, image.scale, strict=True)]
        return set(image.units) == {"millimeter"} and all(known[0] <= edge <= known[1] for edge in edges)

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

    def distance(self, image: Image) -> tuple[float, ...]:
        """Say how far `image` is from what the model was made for; smaller is nearer.

        In this order: axes, movie or not, channels, field, only generated images known, nothing learnt, how many times
        the pixels are larger or smaller.
        """
        try:
            method = create(self.card["method"], self.card["settings"])
        except (MedSegError, KeyError):
            return (math.inf,)
        other = for_movies(method.name) != (likely_field(image) == "movie")
        shape = len(image.spatial_shape) != method.ndim, other, method.in_channels != image.n_channels
        size = PixelSize.of_card(self.card)
        return *shape, not self.made_for(image), self.demo, not self.trained, size.factor(image) if size else 1.0

    def describe(self) -> str:
        """Return the card as lines: what it finds in which images, scores, licence; then method, paper and file."""
        if self.problem:
            return self.problem
        card = self.card
        lines = [str(card.get("finds") or (f"finds {TITLES[self.field]}" if self.field else ""))]
        lines += ["A demonstration: it knows nothing but generated images."] if self.demo else []
        learnt = card.get("trained_on") if self.trained else ""
        lines += [f"trained on: {learnt}"] if learnt else [] if self.trained else [UNTRAINED]
        lines += [f"scores: {scores}"] if (scores := self._scores()) else []
        lines += [f"fails on: {card['fails_on']}"] if card.get("fails_on") else []
        lines += [f"expects: {card['expects']}"] if card.get("expects") else []
        lines += [f"pixel size: {size}"] if (size := PixelSize.of_card(card)) else []
        lines += [f"licence: {card['license']}"] if card.get("license") else []
        lines += [f"authors: {card['authors']}"] if card.get("authors") else []
        lines += ["trained further from another model"] if card.get("started_from") else []
        epoch = f", epoch {card['epoch']}" if card.get("epoch") else ", not trained" if self.trained else ""
        lines += [f"{card['method']}{epoch}, version {card.get('version', '?')}"]
        lines += [f"paper: doi:{card['doi']}"] if card.get("doi") else []
        lines += ["bundled with napari-medseg" if self.bundled else str(self.path)]
        return "\n".join(line for line in lines if line)

    def _scores(self) -> str:
        """Return the scores of the card, or of the held-out cases of a training."""
        known = self.card.get("scores") or {}
        means = [
            f"{name.replace('_', ' ')} {v['mean']:.3f}{' ' * ('unit' in v)}{v.get('unit', '')} (n = {v['n']})"
            for name, v in sorted(known.items(), key=lambda item: item[0].endswith(GENERATED))  # real images first
            if isinstance(v, dict) and "mean" in v
        ]
        if means:
            return ", ".join(means[:SHOWN_SCORES])
        best = {k: v for k, v in self.card.get("best", {}).items() if k.startswith("val_") and isinstance(v, float)}
        if best.keys() - {"val_loss", "val_score"}:  # the score that chose the epoch is one of the others
            best.pop("val_score", None)
        return "held-out cases: " + ", ".join(f"{k[4:]} {v:.3f}" for k, v in best.items()) if best else ""


def list_models(folder: Path | None = None, extra: Iterable[Path] = ()) -> list[Entry]:
    """List bundled models, those below `folder`, and the files in `extra`, each once."""
    paths = dict.fromkeys([*extra, *_bundled(), *_below(folder or DEFAULT_FOLDER)])
    return [entry(path) for path in paths]


def entry(path: Path) -> Entry:
    """Read one model's card (from the side-car ``.json`` when there is one, else from the checkpoint)."""
    try:
        side_car = None if path.stem in {"best", "last"} else _side_car(path.with_suffix(".json"))
        found = side_car or card(content_of(path), path)
        if not _can_be_shown(found):
            return Entry(path, problem=f"{path.name}: what it says of itself is damaged. Copy it again.")
        if found["method"] in known_methods():
            settings_class(found["method"])  # raises if another package's method cannot be imported
        return Entry(path, {**found, "file": str(path)})
    except (MedSegError, OSError) as error:
        return Entry(path, problem=str(error))


def _can_be_shown(found: dict[str, Any]) -> bool:
    """Whether the values of a card are of the kinds that they should be."""
    try:
        return bool(Entry(Path("model.pt"), found).describe())
    except (TypeError, ValueError, AttributeError, KeyError):
        return False


def _side_car(path: Path) -> dict[str, Any] | None:
    """Return the card in a JSON beside a model, ``None`` where there is none or it is another program's."""
    try:
        found = read_json(path)
    except ReadError:
        return None
    kinds = {
        "method": str,
        "settings": dict,
        "best": dict,
        "doi": str,
        "authors": str,
        "license": str,
        "trained_on": str,
    }
    ours = isinstance(found, dict) and {"method", "settings"} <= found.keys()
    if not ours or any(not isinstance(found[key], kind) for key, kind in kinds.items() if key in found):
        return None
    if not _can_be_shown(found):
        return None
    card_of_it: dict[str, Any] = found
    return card_of_it


def content_of(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, or of one that runs another program's model.

    Raises
    ------
    CheckpointError
        If it is neither.
    """
    return read_foreign(path) if path.suffix.lower() in FOREIGN_SUFFIXES else read_checkpoint(path)


def load_model(path: str | Path, method: str | None = None, role: Role | None = None) -> Model:
    """Load a checkpoint as a `Model` on the CPU, in evaluation mode.

    Parameters
    ----------
    path
        The ``.pt`` file, another program's ``.onnx`` file or bioimage.io package, or the name of a bundled model.
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
    content = content_of(path)
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
    model = rebuild(get_method(name), content, path)
    described = _side_car(path.with_suffix(".json")) or {}
    ours = described.get("sha256") == model.card["sha256"]  # else it describes an earlier file of this name
    for key in ("field", "pixel_size", "skewness"):
        if ours and key in described:
            model.card.setdefault(key, described[key])
    return model


def with_settings(model: Model, changes: dict[str, Any], folder: Path) -> Model:
    """Return a method without training at other settings.

    It is written to `folder` as a checkpoint of its own, so that results know which settings made them.

    Raises
    ------
    SettingsError
        If a value is out of range.
    """
    settings = model.method.settings.updated(**changes)
    content = read_checkpoint(Path(model.card["file"])) | {"settings": settings.model_dump()}
    content |= {key: model.card[key] for key in ("pixel_size", "skewness") if key in model.card}
    path = folder / f"{model.method.name}.pt"
    write_checkpoint(path, content)
    return load_model(path)


def _bundled() -> Iterator[Path]:
    yield from sorted(bundled("x").parent.glob("*.pt"))


def _below(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        found = (p for suffix in (".pt", *FOREIGN_SUFFIXES) for p in folder.rglob(f"*{suffix}"))
        yield from sorted(p for p in found if p.name != "last.pt" and not p.name.startswith("."))
