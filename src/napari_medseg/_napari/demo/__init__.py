"""Open napari on the results of a demo."""
