"""Preparation of H&E images for instance segmentation: ternary labels, weight maps, colour normalisation, patches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """Constants of one of the paper's two data sets.

    Parameters
    ----------
    disk
        Radius in pixels of the element that makes ternary labels from instances.
    sigma
        Width of the weight map in pixels.
    encoding
        Radius in pixels of the second erosion, at the network's scale.
    min_area
        Smallest object kept, in pixels at the network's scale.
    grow
        Radius in pixels of the dilation that restores the eroded rim, at the image's scale.
    short_side
        Length in pixels to which the image's short side is brought; 0 keeps the image's size.
    mean, std
        Per-channel statistics of RGB / 255 of the paper's training images.
    """

    disk: int
    sigma: float
    encoding: int
    min_area: int
    grow: int
    short_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


TISSUES = {
    "nuclei": Tissue(
        1, 5.0, 1, 20, 2, 0,
        (0.74408994, 0.53806349, 0.66497889), (0.15811703, 0.19705941, 0.15046222),
    ),
    "glands": Tissue(
        2, 20.0, 2, 100, 4, 208,
        (0.78780321, 0.5120167, 0.78493782), (0.16766301, 0.24838048, 0.13225162),
    ),
}  # fmt: skip
