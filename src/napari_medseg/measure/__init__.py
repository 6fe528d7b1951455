"""Measurements of each field, as tables with units in the headers."""
