"""Corneal nerves in the window: editable paths, eyes."""
