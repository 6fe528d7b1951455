"""The dock for movies."""
