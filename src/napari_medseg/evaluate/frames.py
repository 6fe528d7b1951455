"""Compare what a classifier says of frames with the truth: class folders or a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medseg.errors import DataError, ReadError
from napari_medseg.evaluate.metrics.video import classification_scores
from napari_medseg.io import read_one
from napari_medseg.io.files import read_json
from napari_medseg.io.movies.frames import SYNONYMS, class_folders, frame_number, movie_name
from napari_medseg.io.pairs import list_images
from napari_medseg.io.spreadsheets import table_of
from napari_medseg.jobs import Job, Progress
from napari_medseg.models.checkpoint import bundled

if TYPE_CHECKING:
    from pandas import DataFrame

TABLE = "frames.csv"
BATCH = 16
KEYS = ("movie", "frame", "name")


@dataclass(frozen=True)
class FrameScores:
    """Agreement of frame classes.

    Parameters
    ----------
    scores
        Rows class, metric (TPR, TNR, PPV, NPV, ACC, MCC, AUC), value, low, high; each class against the rest.
    confusion
        Frames by true class (rows) and predicted class (columns).
    unpaired
        Frames of either side that the other does not have.
    """

    scores: DataFrame
    confusion: DataFrame
    unpaired: int

    @property
    def frames(self) -> int:
        """Number of frames compared."""
        return int(self.confusion.to_numpy().sum())

    @property
    def accuracy(self) -> float:
        """Share of frames with the right class."""
        right = sum(int(self.confusion.loc[name].get(name, 0)) for name in self.confusion.index)
        return right / self.frames


def evaluate_frames(predictions: Path, references: Path, only: str = "") -> Job[FrameScores]:
    """Score predicted frame classes against true ones.

    Parameters
    ----------
    predictions
        ``frames.csv`` of a run, its folder, a folder of run folders, or a frame-classifier model (file, or the name of
        a bundled one), which then classifies the frames of `references`.
    references
        Class folders whose files are named ``<movie>_<frame number>``, or a table with ``label`` and ``frame`` or
        ``name``.
    only
        Score this class alone; then the other classes may have other names in the reference.

    Raises
    ------
    DataError
        If files or columns are missing, no frame is in both, or the classes differ.
    """
    predictions, truth = Path(predictions), _truth(Path(references))
    if predictions.suffix == ".pt" or (not predictions.exists() and bundled(predictions.name).is_file()):
        found = yield from _classified(predictions, truth)
    else:
        found = _tables(predictions)
    yield Progress(1, 1, "comparing the classes")
    both = _join(found, truth)
    unpaired = len(found) + len(truth) - 2 * len(both)
    return _scores(both, only, unpaired)


def _scores(both: DataFrame, only: str, unpaired: int) -> FrameScores:
    """Return the scores of each class from a table of frames with both labels: ``label`` and ``label_true``."""
    import pandas as pd

    columns = [name[2:] for name in map(str, both) if name.startswith("p_")]
    predicted = both["label"].map(lambda label: _code(label, columns))
    true = both["label_true"].map(lambda label: _code(label, columns))
    known = columns or list(dict.fromkeys(predicted))
    wanted = [_code(only, columns)] if only else known
    if not set(wanted) <= set(known) or (not only and not set(true) <= set(known)):
        raise DataError(
            f"The result knows the classes {', '.join(known)}; the reference has {', '.join(sorted(set(true)))}. "
            "Rename the reference's classes, or give --class with the one to compare."
        )
    rows = []
    for name in wanted:
        chosen = (predicted == name).to_numpy()
        p = both[f"p_{name}"].to_numpy(float) if columns else chosen.astype(float)
        table = classification_scores((true == name).to_numpy(), p, predicted=chosen)
        rows.append(table.assign(**{"class": name})[["class", *table.columns]])
    confusion = pd.crosstab(true.rename("true class"), predicted.rename("predicted"))
    return FrameScores(pd.concat(rows, ignore_index=True), confusion, unpaired)


def _code(label: Any, columns: Sequence[str]) -> str:
    """Return what the columns of probabilities call a class: its words joined, or the first; synonyms count as one."""
    name = str(label).strip().lower()
    name = next((known for known, others in SYNONYMS.items() if name in others), name)
    whole = "_".join(name.split())
    return whole if not columns or whole in columns or not name else name.split()[0]


# ---- the truth
def _truth(path: Path) -> DataFrame:
    """Return movie, frame, label of the frames of a folder for each class, or of a table."""
    if path.is_dir() and any(class_folders(path)):
        import pandas as pd

        rows = [
            {"movie": movie_name(file.stem), "frame": frame_number(file)[0], "name": file.stem, "label": folder.name,
             "path": file}
            for folder in class_folders(path) for file in list_images(folder)
        ]  # fmt: skip
        return pd.DataFrame(rows)
    if path.is_file() and path.suffix.lower() == ".csv":
        return _table(path)
    raise DataError(f"{path}: the true classes are one folder of frames per class, or a .csv with frame and label.")


# ---- the predictions
def _tables(path: Path) -> DataFrame:
    import pandas as pd

    files = (
        [path] if path.is_file() else [path / TABLE] if (path / TABLE).is_file() else sorted(path.glob(f"*/{TABLE}"))
    )
    if not files or any(file.suffix.lower() != ".csv" for file in files):
        raise DataError(f"{path} is no {TABLE}, no result folder of medseg video and no frame-classifier model (.pt).")
    return pd.concat([_table(file) for file in files], ignore_index=True)


def _table(path: Path) -> DataFrame:
    try:
        table = table_of(path, words=("name",))
    except ReadError as error:
        raise DataError(str(error)) from error
    if "label" not in table or not {"frame", "name"} & set(table):
        raise DataError(
            f"{path.name} has the columns {', '.join(map(str, table))}; needed are label, and frame or name."
        )
    return table if "movie" in table else table.assign(movie=_movie(path))


def _movie(table: Path) -> str:
    """Return the name of the movie that a run's table is of: its summary's, else the folder's."""
    try:
        return Path(read_json(table.parent / "summary.json")["run"]["source"]).stem
    except (ReadError, KeyError, TypeError):
        return table.parent.name


def _classified(path: Path, truth: DataFrame) -> Job[DataFrame]:
    """Classify the frames of class folders."""
    import torch

    from napari_medseg.device import choose_device
    from napari_medseg.models.catalog import load_model

    model = load_model(path, role="classify")
    if "path" not in truth:
        raise DataError("A model needs frames to classify: give one folder of frames per class as the reference.")
    device = choose_device("auto")[0]
    network = model.network.to(device).eval()
    found: list[np.ndarray] = []
    for files in _batches(list(truth["path"])):
        x = torch.from_numpy(np.stack([model.method.prepare(read_one(file)) for file in files]))
        with torch.inference_mode():
            found.append(model.method.activate(network(x.to(device)).float()).cpu().numpy())
        yield Progress(sum(map(len, found)), len(truth), "classifying the frames")
    p = np.concatenate(found)
    classes: Sequence[str] = model.method.classes  # type: ignore[attr-defined]
    table = truth[[*KEYS]].assign(label=[classes[k] for k in p.argmax(1)])
    return table.assign(**{f"p_{_code(name, ())}": p[:, k] for k, name in enumerate(classes)})


def _batches(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), BATCH):
        yield files[start : start + BATCH]


# ---- both
def _join(found: DataFrame, truth: DataFrame) -> DataFrame:
    """Pair frames by name, else by movie and number; where there is one movie on each side its name does not matter."""
    from pandas.errors import MergeError

    named = "name" in found and "name" in truth
    single = found["movie"].nunique() == truth["movie"].nunique() == 1
    keys = ["name"] if named else ["frame"] if single else ["movie", "frame"]
    try:
        both = found.merge(truth[[*keys, "label"]], on=keys, suffixes=("", "_true"), validate="one_to_one")
    except (MergeError, KeyError) as error:
        raise DataError(f"Frames cannot be paired by {' and '.join(keys)}: {error}. Give each frame once.") from error
    if not len(both):
        raise DataError(
            f"No frame is in both: the result has {found[keys[-1]].iloc[0]!r} ..., the reference "
            f"{truth[keys[-1]].iloc[0]!r} ... (paired by {' and '.join(keys)}; movies "
            f"{', '.join(sorted(map(str, found['movie'].unique())))} and "
            f"{', '.join(sorted(map(str, truth['movie'].unique())))})."
        )
    return both
