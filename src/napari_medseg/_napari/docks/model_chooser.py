"""Choose a trained model: what fits the input first, the rest greyed with the reason, a card below."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.preferences import model_folder
from napari_medseg._napari.widgets.dock import FoldedSettings
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import Choices, push_button
from napari_medseg.image import Image
from napari_medseg.methods import create
from napari_medseg.models.catalog import Entry, entry, list_models, load_model, with_settings
from napari_medseg.models.purpose import TITLES, likely_field, no_cell_fits
from napari_medseg.settings import Role, as_flags

CHOOSE = "choose a model ..."


class ModelChooser(QWidget):
    """List of models from the package, the model folder and this session.

    With `none` no model is a choice too; `without` says what that means.
    """

    changed = Signal()
    session: ClassVar[list[Path]] = []

    def __init__(
        self, role: Role | None = None, none: str = "", planes: bool = True, movies: bool = False, without: str = ""
    ) -> None:
        super().__init__()
        self.without, self.declined = without, False
        self.role, self.movies, self.none, self.planes, self.image = role, movies, none, planes, None
        self.picked: Path | None = None
        self.entries: list[Entry] = []
        self.box, self.card = (
            Choices("Model", "What fits the image comes first; what does not is grey, with the reason"),
            QLabel(""),
        )
        self.card.setWordWrap(True)
        self.card.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.form: SettingsForm | None = None  # of a method without training
        self.folded: FoldedSettings | None = None
        self.formed: Path | None = None
        self.command: Callable[[], str] = lambda: shlex.join(self.flags)
        browse = push_button("Browse ...", "Open a model file (.pt, .onnx or a package .zip)")
        again = push_button("Refresh", "Look into the folder of models again")
        browse.clicked.connect(lambda: self.browse())
        again.clicked.connect(lambda: self.refresh())
        row = QHBoxLayout()
        row.addWidget(browse)
        row.addWidget(again)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box)
        layout.addLayout(row)
        layout.addWidget(self.card)
        self.column = layout
        self.box.currentIndexChanged.connect(self._pick)
        self.refresh()

    @property
    def entry(self) -> Entry | None:
        """The chosen model, or ``None``."""
        index = self.box.currentData()
        return self.entries[index] if isinstance(index, int) and 0 <= index < len(self.entries) else None

    @property
    def word(self) -> str:
        """What names the model on the command line; there methods without training take `flags` by their name alone."""
        if self.entry is None:
            return "MODEL"
        return self.entry.path.stem if self.entry.bundled and not self.entry.trained else str(self.entry.path)

    @property
    def flags(self) -> list[str]:
        """The settings of a method without training, where they are not those of its file, as flags."""
        return [] if self.form is None else as_flags(self.form.value, self.form.defaults)

    def file(self, folder: Path | None = None) -> Path:
        """Return the chosen model's file; at other settings one that is written to `folder`, or for this session.

        Raises
        ------
        SettingsError
            If a setting is out of range.
        """
        assert self.entry is not None
        if self.form is None or not self.flags:
            return self.entry.path
        place = folder or Path(tempfile.mkdtemp(prefix="medseg-"))
        place.mkdir(parents=True, exist_ok=True)
        changed = with_settings(load_model(self.entry.path), self.form.value.model_dump(), place)
        return Path(changed.card["file"])

    @property
    def reason(self) -> str:
        """Why the chosen model cannot run on the image; empty when it can."""
        if self.entry is not None:
            return self._unfit(self.entry)
        if self.none:
            return ""
        return self._nothing_fits() if self.entries else "There is no model yet: train one, or browse for a .pt file."

    def set_image(self, image: Image | None) -> None:
        """Judge the models against `image`; unless one was picked, one that was made for it is chosen, if any."""
        self.image = image
        self._fill()

    def refresh(self, choose: Path | None = None) -> None:
        """Look for models again and choose the file `choose`, if given."""
        self.picked = choose or self.picked
        found = list_models(model_folder(), self.session)
        self.entries = [e for e in found if e.problem or e.serves(self.role, self.movies)]
        self._fill()

    def browse(self, path: str = "") -> None:
        """Add a checkpoint file to this session's list and choose it."""
        path = (
            path
            or QFileDialog.getOpenFileName(self, "Open model", str(model_folder()), "Models (*.pt *.onnx *.zip)")[0]
        )
        if path:
            self.add(Path(path))

    def add(self, path: Path) -> None:
        """Add a file to this session's list and choose it."""
        if path not in self.session:
            self.session.insert(0, path)
        if not any(e.path == path for e in self.entries):
            self.entries.insert(0, entry(path))
        self.refresh(path)

    def _fill(self) -> None:
        self.box.blockSignals(True)
        self.box.clear()
        if self.none:
            self.box.addItem(self.none, -1)
        judged = sorted(self._judged(), key=lambda judged: (bool(judged[0]), *judged[1]))
        proposed = self._proposed(judged) and not self.declined
        if not self.none and not proposed:
            self.box.addItem(CHOOSE, -1)
        for problem, _, index in judged:
            self.box.addItem(self.entries[index].title, index)
            if problem:
                item = self.box.model().item(self.box.count() - 1)
                item.setEnabled(False)
                item.setToolTip(problem)
            if self.entries[index].path == self.picked:
                self.box.setCurrentIndex(self.box.count() - 1)
        if self.none and proposed and self.picked is None:
            self.box.setCurrentIndex(1)
        self.box.blockSignals(False)
        self._chosen()

    def _judged(self) -> list[tuple[str, tuple[float, ...], int]]:
        """Return why each model cannot run, empty when it can, how far it is from the image, and its index."""
        image = self.image
        return [
            (self._unfit(e), () if image is None or e.problem else e.distance(image), i)
            for i, e in enumerate(self.entries)
        ]

    def _proposed(self, judged: list[tuple[str, tuple[float, ...], int]]) -> bool:
        """Whether the first model of the list may be chosen unasked."""
        if not judged or judged[0][0]:
            return False
        return self.image is not None and self.entries[judged[0][2]].made_for(self.image)

    def _nothing_fits(self) -> str:
        """Say that no model was made for the image, and what works now."""
        field = likely_field(self.image) if self.image is not None else None
        what = f"this image ({TITLES[field]})" if field else "images like this one, as far as it says"
        if self.image is None:
            return "Choose a model."
        small = no_cell_fits(self.image)
        what = f"what is on such a scan. {small.removesuffix('.')}" if small else what
        works = "Choose one, draw strokes in Refine with scribbles, or train your own."
        return f"No model here was made for {what}. {works}"

    def _unfit(self, entry: Entry) -> str:
        """Say why a model cannot take the image, or, unless `planes` is off, its planes."""
        image = _plane(self.image, entry) if self.planes else self.image
        return entry.unfit(image) if self.role else entry.unfit_alone(image)

    def _pick(self, index: int = 0) -> None:
        self.picked = self.entry.path if self.entry else None
        self.declined = bool(self.none) and self.picked is None
        self._chosen()

    def _chosen(self) -> None:
        self._show_form()
        self.card.setText(self.entry.describe() if self.entry else self.without if self.none else self.reason)
        self.changed.emit()

    def _show_form(self) -> None:
        """Offer the settings of a method without training where masks are made with it."""
        entry = self.entry
        if entry is not None and entry.path == self.formed:
            return
        if self.folded is not None:
            self.column.removeWidget(self.folded)
            self.folded.deleteLater()
        self.form = self.folded = self.formed = None
        if entry is None or entry.problem or entry.trained or self.role is not None:
            return
        self.formed = entry.path
        self.form = SettingsForm(create(entry.card["method"], entry.card["settings"]).settings)
        self.folded = FoldedSettings(self.form, lambda: self.command(), "Settings of the method")
        self.column.addWidget(self.folded)


def _plane(image: Image | None, model: Entry) -> Image | None:
    """Return one plane of a stack, when the stack is one axis more than the model takes."""
    if image is None or model.problem:
        return image
    ndim: Any = create(model.card["method"], model.card["settings"]).ndim
    if len(image.spatial_shape) != ndim + 1:
        return image
    axis = image.axes.index(image.spatial_axes[0])
    data = image.data[(slice(None),) * axis + (0,)]
    return image.replace(
        data=data,
        axes=image.axes.replace(image.spatial_axes[0], ""),
        scale=image.scale[1:],
        units=image.units[1:],
        affine=None,
    )
