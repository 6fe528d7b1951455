"""Docks of networks: their window appears at once, and what they need is loaded beside it the first time."""

from __future__ import annotations

import atexit
import sys
from importlib import import_module
from typing import Any, ClassVar

import napari
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QThreadPool, QTimer
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_medseg._napari.view import keep_whole, seen_whole
from napari_medseg._napari.worker import JobWorker
from napari_medseg.jobs import Job, Progress

HEAVY = "torch"
REMOTE = "napari_medseg._napari.remote"  # with what it needs: every dock of networks says where it computes


class _Later(QWidget):
    """Stands in for a dock until `HEAVY` is loaded, then makes room for it; is the dock itself where it is already."""

    module: ClassVar[str]
    dock: ClassVar[str]
    needs: ClassVar[str]  # the heaviest module without widgets

    def __new__(cls, napari_viewer: napari.Viewer) -> Any:
        """Return the dock, or what stands in for it."""
        if is_loaded():
            return getattr(import_module(cls.module), cls.dock)(napari_viewer)
        return super().__new__(cls)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        if seen_whole(napari_viewer):
            keep_whole(napari_viewer, self)
        self.line = QLabel("Loading the networks. This takes a few seconds, the first time only ...")
        self.line.setWordWrap(True)
        column = QVBoxLayout(self)
        column.setAlignment(Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.line)
        self.worker: JobWorker | None = None
        QTimer.singleShot(0, self._load)  # when this is in view

    def _load(self) -> None:
        if isalive(self):
            atexit.register(QThreadPool.globalInstance().waitForDone)  # no import survives Python's end
            told = {"on_result": self._open, "on_error": lambda error: self.line.setText(str(error))}
            self.worker = JobWorker(loaded(self.needs), on_progress=_nothing, on_end=_nothing, quick=True, **told)

    def _open(self, result: Any = None) -> None:
        """Put the dock in this one's place, unless it was closed meanwhile."""
        if isalive(self) and self.parent() is not None:
            whole = seen_whole(self.viewer)  # beside this one, which leaves its room for a moment
            name = self.parent().windowTitle()  # by which napari's menu knows whether it is open
            self.viewer.window.remove_dock_widget(self)
            dock = getattr(import_module(self.module), self.dock)(self.viewer)
            self.viewer.window.add_dock_widget(dock, name=name)
            if whole:
                keep_whole(self.viewer, dock)


def is_loaded() -> bool:
    """Whether `HEAVY` is there as a whole; while another thread imports it, it is not."""
    spec = getattr(sys.modules.get(HEAVY), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


def loaded(module: str) -> Job[None]:
    """Import what a dock and its list of models need; widgets are left to the window's thread."""
    yield Progress(0, 1, "loading the networks")
    for needed in (module, REMOTE):
        import_module(needed)
    from napari_medseg.methods import create
    from napari_medseg.models.catalog import list_models

    for entry in list_models():
        if not entry.problem:
            create(entry.card["method"], entry.card["settings"])


def _nothing(*_: Any) -> None:
    pass


def _later(name: str, module: str, dock: str, needs: str) -> type[_Later]:
    """Return what stands in for the dock `dock` of `module`; both modules are given below this package."""
    about = {"module": f"napari_medseg._napari.{module}", "dock": dock, "needs": f"napari_medseg.{needs}"}
    return type(dock, (_Later,), {**about, "__doc__": f"The dock {name}."})


Segment = _later("Segment", "docks.segment", "SegmentDock", needs="batch.memory")
Batch = _later("Batch", "docks.batch", "BatchDock", needs="batch.predict")
Train = _later("Train", "docks.train", "TrainDock", needs="training.loop")
Prepare = _later("Prepare training data", "docks.prepare", "PrepareDock", needs="training.preparation")
Evaluate = _later("Evaluate", "docks.evaluate", "EvaluateDock", needs="evaluate.masks")
NerveMovie = _later("Nerve movie", "video.dock", "VideoDock", needs="video.pipeline")
