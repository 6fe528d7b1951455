"""The napari side: thin widgets over the headless package."""

PLUGIN = "napari-medseg"  # by which napari knows it
