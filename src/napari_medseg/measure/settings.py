"""Settings of measurements; importing them loads nothing that measures."""

from __future__ import annotations

from pydantic import Field

from napari_medseg.settings import Settings

RING_GAP = 3  # pixels between a nerve in a movie and the ring of background that it is compared with
RING_WIDTH = 10  # pixels


class NerveSettings(Settings):
    """How centrelines are cleaned and classified."""

    spur: float = Field(
        10.0, ge=0, le=1000, title="Spur length", description="Side branches shorter than this (pixels) are pruned",
        json_schema_extra={"step": 1.0},
    )  # fmt: skip
    shortest: int = Field(20, ge=0, le=10_000, title="Shortest nerve", description="Pieces of fewer pixels are dropped")
    angle: float = Field(
        60.0, ge=0, le=180, title="Joining angle", description="Largest turn (degrees) of a nerve at a junction",
        json_schema_extra={"step": 5.0},
    )  # fmt: skip
    main_length: float = Field(
        100.0, ge=0, le=10_000, title="Main nerve length",
        description="Least length of a main nerve (um; pixels where no pixel size is known)",
        json_schema_extra={"step": 5.0},
    )  # fmt: skip
    field: float = Field(
        400.0, gt=0, le=100_000, title="Field of view",
        description="Side of one frame (um; pixels where no pixel size is known); larger images are mosaics",
        json_schema_extra={"step": 10.0},
    )  # fmt: skip


SETTINGS: dict[str, type[Settings]] = {"nerve": NerveSettings}
