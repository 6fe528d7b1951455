"""Outlines and tracings of other programs, in and out."""
