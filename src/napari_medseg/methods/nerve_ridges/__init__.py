"""Corneal nerves by line filters, without training."""
