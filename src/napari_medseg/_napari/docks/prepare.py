"""The Prepare dock: raw images and annotations become a training folder."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import napari
from qtpy.QtWidgets import QFileDialog, QLabel

from napari_medseg._napari.widgets.dock import Dock, FoldedSettings, path_in
from napari_medseg._napari.widgets.form import SettingsForm
from napari_medseg._napari.widgets.named import Choices, folder_edit, push_button
from napari_medseg._napari.widgets.run_bar import RunBar
from napari_medseg.jobs import Job, Progress
from napari_medseg.method import PrepareReport
from napari_medseg.methods import settings_class, title_of, trained_methods
from napari_medseg.settings import as_flags
from napari_medseg.training.preparation import check_source, is_prepared, note_of, prepare

SHOWN = 20


def check_job(method: str, source: Path) -> Job[tuple[str, ...]]:
    """Look what a folder holds."""
    yield Progress(0, 1, f"looking into {source}")
    return check_source(method, source)


class PrepareDock(Dock):
    """Make a training folder."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.source = folder_edit("Source folder", "Raw images with their annotations")
        self.destination = folder_edit(
            "Training folder", "Where the prepared cases go; an empty one, or one to go on with"
        )
        self.check_bar = RunBar(
            self.make_check,
            self.show_check,
            text="Check source",
            tip="Say what the folder holds, and what is wrong with it",
        )
        self.method, self.note = Choices("Method", "The network that will be trained on it"), QLabel("")
        for name in trained_methods():
            self.method.addItem(title_of(name), name)
        own = {name: getattr(settings_class(name), "preparation", None) for name in trained_methods()}
        self.forms = {name: SettingsForm(cls()) for name, cls in own.items() if cls is not None}
        self.folded = {name: FoldedSettings(form, self.command) for name, form in self.forms.items()}
        self.method.setCurrentIndex(max(0, self.method.findData(next(iter(self.forms), ""))))
        kept = "Prepared cases are kept; Prepare goes on with the others."
        self.run_bar = RunBar(
            self.make_job, self.show_report, text="Prepare", kept=kept, tip="Write the training folder"
        )
        self.findings = QLabel("")
        for label in (self.note, self.findings):
            label.setWordWrap(True)
        sample = push_button("Make sample data ...", "Four generated pictures of stained tissue with their nuclei")
        sample.clicked.connect(lambda: self.make_sample())
        self.section("Source folder", self.source.native, sample, self.check_bar)
        self.section("For the method", self.method, self.note, *self.folded.values())
        self.section("Training folder", self.destination.native)
        self.section("Run", self.run_bar)
        self.section("Findings", self.findings)
        self.method.currentIndexChanged.connect(lambda _: self.update_state())
        for field in (self.source, self.destination):
            field.changed.connect(lambda _: self.update_state())
        self.update_state()

    @property
    def chosen(self) -> str:
        """Name of the chosen method."""
        return str(self.method.currentData())

    def update_state(self) -> None:
        """Show the settings that the method has, and enable what can run."""
        note = note_of(self.chosen)
        self.note.setText(note)
        for name, folded in self.folded.items():
            folded.setVisible(name == self.chosen)
        source, destination = path_in(self.source), path_in(self.destination)
        missing = "" if source else "Choose the folder of raw images and annotations."
        self.check_bar.set_reason(missing)
        if not missing and not is_prepared(self.chosen):
            missing = note
        elif not missing and not destination:
            missing = "Choose the training folder to write."
        self.run_bar.set_reason(missing)

    def command(self) -> str:
        """Return the ``medseg prepare`` line that does the same."""
        folders = [str(path_in(self.source) or "SRC"), str(path_in(self.destination) or "DST")]
        flags = as_flags(self.forms[self.chosen].value) if self.chosen in self.forms else []
        return shlex.join(["medseg", "prepare", self.chosen, *folders, *flags])

    def make_check(self) -> Job[Any]:
        """Return the job that looks into the source."""
        return check_job(self.chosen, Path(self.source.value))

    def show_check(self, lines: tuple[str, ...]) -> None:
        """Show how many cases there are, and list what has no partner."""
        self.check_bar.say(lines[0])
        self.show_findings(lines[1:])

    def make_job(self) -> Job[Any]:
        """Return the preparation."""
        self.findings.clear()
        form = self.forms.get(self.chosen)
        return prepare(
            self.chosen, Path(self.source.value), Path(self.destination.value), form.value if form is not None else None
        )

    def show_report(self, report: PrepareReport) -> None:
        """Say what was made, list the problems, offer training."""
        kept = f" ({len(report.skipped)} were there already)" if report.skipped else ""
        cases = f"{len(report.cases)} case{'s' * (len(report.cases) != 1)}"
        self.run_bar.say(f"{cases} in {report.folder}{kept}. {self.run_bar.message.text()}")
        self.show_findings(report.problems)
        self.run_bar.offer("Train", lambda: self.train(report.folder))

    def show_findings(self, problems: tuple[str, ...]) -> None:
        """List problems in words."""
        lines = [f"<b>!</b> {problem}" for problem in problems[:SHOWN]]
        more = [f"... and {len(problems) - SHOWN} more"] * (len(problems) > SHOWN)
        self.findings.setText("<br>".join([*lines, *more]) or "No problems found.")

    def train(self, folder: Path) -> None:
        """Open the Train dock with the folder and the method."""
        dock = self.open_next("Train")
        dock.method.setCurrentIndex(dock.method.findData(self.chosen))
        dock.data.value = folder

    def make_sample(self, folder: str = "", size: int = 256) -> None:
        """Write generated tissue with its nuclei into a folder and choose it."""
        from napari_medseg.io import write
        from napari_medseg.samples.histology import nuclei_tile

        folder = folder or QFileDialog.getExistingDirectory(self, "Folder for sample data")
        if not folder:
            return
        for seed in range(4):
            image, labels = nuclei_tile(seed, size)
            write(Path(folder) / "images" / f"{image.name}.png", image)
            write(Path(folder) / "labels" / f"{labels.name}.png", labels)
        self.source.value = Path(folder)
