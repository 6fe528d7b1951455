"""Geodesic distance transforms."""
