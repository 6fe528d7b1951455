"""Settings of a refinement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from napari_medseg.settings import Device, DistanceEngine, Metric, Precision, PredictSettings, Settings, check_metric

RETIRED = ("tau", "reach")  # settings of older versions


class RefinementSettings(Settings):
    """How scribbles change a mask."""

    engine: Literal["geodesic", "deepigeos"] = Field(
        "geodesic", title="Engine", description="geodesic: works on anything; deepigeos: needs an R-Net model"
    )
    classes: int = Field(1, ge=1, le=250, title="Classes", description="Foreground classes")
    weight: float = Field(
        0.998, ge=0, le=1, title="Image weight",
        description="Share of contrast in the geodesic distance; the rest is the way",
        json_schema_extra={"step": 0.001},
    )  # fmt: skip
    metric: Metric = Field(
        "linear", title="Metric", description="Cost of a step: linear is (1 - weight) way + weight contrast"
    )
    distance_engine: DistanceEngine = Field(
        "numba", title="Distance engine",
        description="numba: ours, exact; geodistk (harmonic, product) and fastgeodis (linear): as published, two scans",
    )  # fmt: skip
    network: bool = Field(
        True,
        title="Network",
        description="geodesic: a small network for objects of any kind helps strokes to make and to correct them",
    )
    crf: bool = Field(True, title="Smooth", description="Smooth borders, along image edges")
    islands: bool = Field(
        False, title="Keep islands", description="Keep pieces of a new object that none of its strokes touches"
    )
    roi_margin: int = Field(
        40, ge=0, le=10_000, title="Region margin",
        description="R-Net sees so many voxels around strokes and mask, more where its answer ends there; 0: all",
    )  # fmt: skip
    max_history_mb: int = Field(
        256, ge=1, le=65_536, title="History (MB)", description="Memory for undo; the oldest rounds are dropped first"
    )
    device: Device = Field("auto", title="Device", description="Where P-Net and R-Net run")
    precision: Precision = Field(
        "auto", title="Precision", description="auto: bfloat16 on GPU and on processors that compute in it"
    )
    tile: int = Field(0, ge=0, le=8192, title="Tile", description="Tile edge of P-Net and R-Net; 0: automatic")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        check_metric(self.distance_engine, self.metric)
        return self

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Validate `values`; what older versions saved and this one does not need is left out."""
        kept = {name: value for name, value in values.items() if name not in RETIRED}
        if isinstance(kept.get("roi_margin"), float):
            kept["roi_margin"] = round(kept["roi_margin"])
        return super().parse(kept)

    def predict_settings(self) -> PredictSettings:
        """Return how the network is run."""
        return PredictSettings(device=self.device, precision=self.precision, tile=self.tile)
