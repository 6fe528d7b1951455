"""How a scheduler is trusted: certificates, or the user's word that its network is safe."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import Field

from napari_medseg.errors import SettingsError
from napari_medseg.settings import Settings

VARIABLES = {
    "tls_ca": "MEDSEG_TLS_CA",
    "tls_cert": "MEDSEG_TLS_CERT",
    "tls_key": "MEDSEG_TLS_KEY",
    "unencrypted": "MEDSEG_UNENCRYPTED",
}


class ClusterSettings(Settings):
    """Certificate files for a scheduler of one's own; who reaches an unencrypted one can run code on its workers."""

    tls_ca: str = Field(
        "", title="TLS authority", description="Certificate (.pem) that the scheduler's one is signed by"
    )
    tls_cert: str = Field(
        "", title="TLS certificate", description="Own certificate (.pem), signed by the same authority"
    )
    tls_key: str = Field("", title="TLS key", description="Private key (.pem) of the own certificate")
    unencrypted: bool = Field(
        False,
        title="Unencrypted",
        description="Connect without certificates too; only where nobody else can reach the scheduler",
    )

    @classmethod
    def of_environment(cls) -> Self:
        """Return what ``MEDSEG_TLS_CA``, ``_CERT``, ``_KEY`` and ``MEDSEG_UNENCRYPTED`` say."""
        found = {name: os.environ[variable] for name, variable in VARIABLES.items() if os.environ.get(variable)}
        return cls.parse(found)

    def files(self) -> dict[str, str]:
        """Return the three files by the names that Dask gives them; nothing where none is given.

        Raises
        ------
        SettingsError
            If only some are given, or one is not there.
        """
        given = {"tls_ca_file": self.tls_ca, "tls_client_cert": self.tls_cert, "tls_client_key": self.tls_key}
        if not any(given.values()):
            return {}
        missing = [path or name for name, path in given.items() if not path or not Path(path).expanduser().is_file()]
        if missing:
            raise SettingsError(
                f"Certificates are three files: authority, certificate and key; not there: {', '.join(missing)}."
            )
        return {name: str(Path(path).expanduser()) for name, path in given.items()}
