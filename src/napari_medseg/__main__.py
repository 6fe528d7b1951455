"""``python -m napari_medseg`` is the ``medseg`` command."""

from napari_medseg.cli.main import entry

entry()
