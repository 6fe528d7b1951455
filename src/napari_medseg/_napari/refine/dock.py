"""The dock Refine with scribbles: what to start from, Start, and the refinement under way."""

from __future__ import annotations

from typing import Any

import napari
from napari.layers import Layer
from qtpy.compat import isalive
from qtpy.QtWidgets import QLabel

from napari_medseg._napari.refine.jobs import Opened, Start, open_session
from napari_medseg._napari.refine.live import Live
from napari_medseg._napari.refine.panel import Panel
from napari_medseg._napari.refine.saves import Autosave
from napari_medseg._napari.refine.setup import Setup
from napari_medseg._napari.refine.steps import timer
from napari_medseg._napari.view import show_part
from napari_medseg._napari.widgets.dock import Dock
from napari_medseg._napari.widgets.export_button import ExportButton
from napari_medseg._napari.widgets.listening import listen
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.jobs import Job

LOOK_MS = 200


class RefineDock(Dock):
    """Refine a mask with scribbles; closing the dock, the viewer or a layer ends the refinement and saves it."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.live: Live | None = None
        self.continuing = False
        self.source: Layer | None = None  # the chosen layer; `target` may be a part of it
        self.target: Layer | None = None
        self.made: Layer | None = None
        self.setup, self.panel = Setup(napari_viewer), Panel(napari_viewer)
        self.run_bar = RunBar(self.make_job, self.open, text="Start", tip="Begin to paint")
        self.column.addWidget(self.setup)
        self.run_title = QLabel("<b>Run</b>")
        self.column.addWidget(self.run_title)
        self.column.addWidget(self.run_bar)
        self.save_button = ExportButton(self, lambda: self.made, self.run_bar.say)
        self.column.addWidget(self.save_button)
        self.column.addWidget(self.panel)
        self.panel.hide()
        self.save_button.hide()
        self.setup.changed.connect(self.update_reason)
        self.setup.resume.connect(self.resume)
        self.destroyed.connect(lambda: self.close_session())
        listen(self.viewer.layers.events.removed, self.forget)
        self.update_reason()

    def update_reason(self) -> None:
        """Enable Start, or say why not."""
        self.run_bar.set_reason(self.setup.reason)

    def resume(self) -> None:
        """Continue the saved session of this image."""
        self.continuing = True
        self.run_bar.start()

    def make_job(self) -> Job[Opened]:
        """Return the job that opens the session."""
        saved, self.continuing = self.setup.saved if self.continuing else None, False
        self.source = self.setup.picture.input.layer
        self.target = self.setup.picture.target(saved)
        self.save_button.hide()
        self.scroll_to(self.run_bar)
        start: Start = self.setup.start(self.target) if saved is None else self.setup.resumed(saved)
        self.close_session()
        self.begun = self.source.data
        return open_session(start)

    def open(self, opened: Opened) -> None:
        """Show the refinement instead of the choices."""
        if any(layer is None or layer not in self.viewer.layers for layer in (self.source, self.target)):
            self.run_bar.say("The image was closed meanwhile. Choose another one.")
            return
        if self.source.data is not self.begun:
            self.run_bar.say(f"The picture in {self.source.name} was replaced meanwhile: press Start for the new one.")
            return
        pyramid = getattr(self.source, "multiscale", False)
        if opened.start.saved is not None and pyramid and self.viewer.dims.ndisplay == 2:
            show_part(self.viewer, self.target)
        self.live = Live(self.viewer, self.target, opened, self.panel, self.show_end, self.source)
        self.setup.picture.time.begin(self.source, self.target)
        self.setFocus()  # the Start button goes, and Space must not press what comes next
        self._show_panel(True)

    def show_end(self, reason: str) -> None:
        """Show the choices again, why the refinement ended, and the next step for what it made."""
        ended, self.live = self.live, None
        if not isalive(self) or ended is None or self.ending:
            return
        self._show_panel(False)
        self.setup.picture.time.end(self.source, self.target)
        self.setup.sessions.clear()  # the newest is proposed again
        self.setup.picture.update_input()
        self.run_bar.bar.reset()
        self.made = made = ended.layers.result
        anything = made in self.viewer.layers and bool(made.data.any())
        self.save_button.setVisible(anything)
        if anything:
            said = f"The result is the layer {made.name}.", ended.layers.left_out, ended.below, reason
            reason = " ".join(filter(None, said))
            self.run_bar.offer("Measure", lambda: self.measure_next(made))
        self.run_bar.say(reason or self.setup.reason)
        self.scroll_to(self.run_bar)
        self.saved = timer(LOOK_MS, lambda: self._look_again(ended.autosave))
        self.saved.start()

    def forget(self, event: Any = None) -> None:
        """Offer nothing of a result that was removed."""
        if self.live is None and self.made is not None and self.made not in self.viewer.layers:
            self.made = None
            self.save_button.hide()
            self.run_bar.clear()

    def _look_again(self, autosave: Autosave) -> None:
        """Offer to continue the refinement as soon as it is saved."""
        if not isalive(self) or self.live is not None:
            return
        if autosave.pending:
            self.saved.start()
        else:
            self.setup.picture.update_input()
            self.scroll_to(self.run_bar)

    def _show_panel(self, shown: bool) -> None:
        self.panel.setVisible(shown)
        for widget in (self.setup, self.run_title, self.run_bar):
            widget.setVisible(not shown)

    def close_session(self, reason: str = "") -> None:
        """End the refinement, if one is under way, and save it."""
        if self.live is not None:
            self.live.close(reason)

    def leave(self) -> None:
        """End the refinement when the dock is closed."""
        super().leave()
        self.close_session()
        self.deleteLater()
