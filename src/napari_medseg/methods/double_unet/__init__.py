"""Outlines of nerves in frames of a movie."""
