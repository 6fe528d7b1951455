"""Shared fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the local labelled data; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("the local labelled data folder (shared/data beside the repository) is not here")
    return SHARED
