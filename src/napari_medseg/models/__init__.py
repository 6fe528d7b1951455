"""Trained networks as files: checkpoints, the catalogue, and the models that ship with the package."""
