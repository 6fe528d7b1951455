"""Settings of a refinement."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_medseg.settings import Device, Precision, PredictSettings, Settings


class RefinementSettings(Settings):
    """How scribbles change a mask."""

    engine: Literal["geodesic", "deepigeos"] = Field(
        "geodesic", title="Engine", description="geodesic: works on anything; deepigeos: needs an R-Net model"
    )
    classes: int = Field(1, ge=1, le=250, title="Classes", description="Foreground classes")
    weight: float = Field(
        0.95, ge=0, le=1, title="Image weight",
        description="Share of contrast in the geodesic distance; the rest is the way in physical units",
        json_schema_extra={"step": 0.01},
    )  # fmt: skip
    metric: Literal["linear", "harmonic", "product"] = Field(
        "linear", title="Metric", description="Cost of a step: linear is (1 - weight) way + weight contrast"
    )
    tau: float = Field(
        0.2, gt=0, le=1000, title="Softness",
        description="How soft the border between classes is: logits are the log-ratio of distances over this",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    reach: float = Field(
        0.0, ge=0, le=1e9, title="Reach",
        description="Geodesic distance up to which a stroke changes the mask; 0: found from image, mask and stroke",
        json_schema_extra={"step": 0.1},
    )  # fmt: skip
    crf: bool = Field(True, title="Smooth (CRF)", description="Smooth what changed along image edges")
    roi_margin: float = Field(
        40.0, ge=0, le=10_000, title="Region margin",
        description="Geodesic maps and R-Net see this far (mm) around strokes and mask; 0: the whole image",
        json_schema_extra={"step": 5.0},
    )  # fmt: skip
    max_history_mb: int = Field(
        256, ge=1, le=65_536, title="History (MB)", description="Memory for undo; the oldest rounds are dropped first"
    )
    device: Device = Field("auto", title="Device", description="Where the network runs")
    precision: Precision = Field(
        "auto", title="Precision", description="auto: bfloat16 on GPU and on processors that compute in it"
    )
    tile: int = Field(0, ge=0, le=8192, title="Tile", description="Tile edge of the network in voxels; 0: automatic")

    def predict_settings(self) -> PredictSettings:
        """Return how the network is run."""
        return PredictSettings(device=self.device, precision=self.precision, tile=self.tile)
