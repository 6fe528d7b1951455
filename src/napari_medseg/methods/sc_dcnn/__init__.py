"""Corneal nerves from inaccurate traces (arXiv 2004.09443)."""
