"""What has to be known of another program's network to run it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from napari_medseg.settings import MethodSettings


class ForeignSettings(MethodSettings):
    """How an image becomes the input of another program's network, and what its answer means."""

    title: ClassVar[str] = "Network of another program (ONNX)"
    axes: str = Field("bcyx", title="Axes", description="Of the input, such as bcyx, bczyx or byxc")
    output_axes: str = Field("", title="Output axes", description="Of the answer; empty: as the input")
    steps: str = Field(
        "[]", title="Steps", description="What is done to the intensities, as bioimage.io writes it, in JSON"
    )
    normalise: Literal["as-stated", "none", "zscore", "percentile", "255"] = Field(
        "as-stated",
        title="Intensities",
        description="as-stated: by the steps; zscore: each channel mean 0, SD 1; percentile: 1 and 99.8 % to 0 and 1; "
        "255: divided by 255",
    )
    activation: Literal["none", "sigmoid", "softmax"] = Field(
        "none", title="Activation", description="What makes probabilities of the answer; none: it holds them"
    )
    threshold: float = Field(
        0.5, gt=0, lt=1, title="Threshold", description="Probability of foreground, where there is one channel",
        json_schema_extra={"step": 0.05},
    )  # fmt: skip
    channels: int = Field(1, ge=1, le=1024, title="Channels", description="Of the input")
    classes: int = Field(1, ge=1, le=1024, title="Classes", description="Channels of the answer")
    size: int = Field(0, ge=0, le=16384, title="Size", description="Edge of the only input it takes; 0: any")
    multiple: int = Field(1, ge=1, le=4096, title="Multiple", description="Sizes that it takes are multiples of this")
    border: int = Field(
        32, ge=0, le=4096, title="Border", description="Pixels at the edges of a tile whose answer does not count"
    )
    method: str = Field("", title="Method", description="This program's method that prepares and labels, if it is one")
    method_settings: str = Field("{}", title="Method settings", description="Its settings, in JSON")
