"""Settings of corrections; importing them loads nothing that corrects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_medseg.settings import Settings


class VolumeSettings(Settings):
    """Corrections of a volume, in the order in which they are done; by default none."""

    n4: bool = Field(False, title="N4 bias correction", description="Remove the smooth bias field inside the head (N4)")
    n4_shrink: int = Field(4, ge=1, le=16, title="N4 shrink", description="Estimate it on a grid this much coarser")
    n4_iterations: int = Field(
        50, ge=1, le=500, title="N4 iterations", description="Iterations on each of the 4 levels"
    )
    orient: Literal["keep", "RAS", "LPS"] = Field(
        "keep", title="Orientation", description="Flip and permute the axes to this anatomical orientation"
    )
    resample: float = Field(
        0.0, ge=0, le=20, title="Resample (mm)", description="Isotropic voxel size; 0 keeps the voxels",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    crop: bool = Field(False, title="Crop to brain", description="Cut to the box of the brain, or of the head")
    crop_margin: int = Field(4, ge=0, le=100, title="Crop margin", description="Voxels kept around that box")
