"""``python -m napari_medseg`` is the ``medseg`` command."""

from napari_medseg.cli import entry

entry()
