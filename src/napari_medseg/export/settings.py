"""What a package says besides what the checkpoint knows."""

from __future__ import annotations

from pydantic import Field

from napari_medseg.settings import Settings


class PackageInfo(Settings):
    """What a bioimage.io package says besides what the checkpoint knows."""

    name: str = Field("", title="Name", description="Name of the model; empty: the method's title")
    authors: str = Field("", title="Authors", description="Names, separated by commas; empty: the checkpoint's")
    license: str = Field("", title="Licence", description="SPDX name, such as CC-BY-4.0; empty: the checkpoint's")
