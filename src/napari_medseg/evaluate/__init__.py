"""Compare results with references."""
