"""Make docs/images/nerves.png: nerves as editable paths beside their table (needs a display)."""

from __future__ import annotations

from pathlib import Path

import napari

from napari_medseg._napari.demo import PLUGIN, picture, wait_for


def main() -> None:
    """Trace the nerves of the sample and picture the window."""
    viewer = napari.Viewer(title="napari-medseg")
    viewer.window.resize(1280, 800)
    viewer.open_sample(PLUGIN, "ccm")
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, "Measure")
    dock.kind.setCurrentIndex(dock.kind.findData("nerve"))
    dock.paths.show_button.click()
    wait_for(lambda: len(dock.table.frame) > 0 and dock.paths.worker is None)
    dock.labels.layer.opacity = 0.15
    viewer.reset_view()
    picture(viewer, Path(__file__).parents[1] / "docs" / "images" / "nerves.png")
    viewer.close()


if __name__ == "__main__":
    main()
