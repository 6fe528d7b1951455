"""The napari side: thin widgets over the headless package."""
