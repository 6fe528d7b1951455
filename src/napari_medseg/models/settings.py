"""What a person adds to a model's card."""

from __future__ import annotations

from pydantic import Field

from napari_medseg.settings import Settings


class CardSettings(Settings):
    """What a model's card says besides what training knows; a model trained from another one takes over its card."""

    authors: str = Field("", title="Authors", description="Who trained the model; names separated by commas")
    license: str = Field("", title="Licence", description="SPDX name of the model's licence, such as CC-BY-4.0")
    trained_on: str = Field("", title="Trained on", description="One line on the data")
