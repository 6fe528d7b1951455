"""Metrics by the names that the papers use."""
