"""Geodesic distance transforms: exact, incremental, on the CPU and on GPUs."""

from napari_medseg.geodesic.distance import geodesic_distance, geodesic_distances
from napari_medseg.geodesic.incremental import GeodesicMap

__all__ = ["GeodesicMap", "geodesic_distance", "geodesic_distances"]
