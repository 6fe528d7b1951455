"""Help pages load only what they show."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numba", "scipy", "skimage", "napari", "SimpleITK", "nibabel"}
PAGES = (
    ["--help"], ["--version"], ["doctor", "--help"], ["refine", "--help"], ["predict", "--help"], ["video", "--help"],
    ["export", "--help"], ["prepare", "fullnet", "--help"], ["measure", "--help"],
)  # fmt: skip
LEARNING = ("afm-unet", "sc-dcnn", "fullnet", "frame-classifier", "double-unet", "p-net", "r-net")


def loaded(words: list[str]) -> set[str]:
    """Return the modules that are loaded when the command has printed its page."""
    code = (
        f"import sys; sys.argv = ['medseg', *{words!r}]\n"
        "from napari_medseg.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nLOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    page, _, modules = done.stdout.rpartition("LOADED")
    assert "medseg" in page
    return set(modules.split())


@pytest.mark.parametrize("words", [*PAGES, *(["train", name, "--help"] for name in LEARNING)], ids=" ".join)
def test_help_loads_neither_networks_nor_numerics(words: list[str]) -> None:
    assert not loaded(words) & HEAVY


def test_the_list_of_commands_needs_no_settings() -> None:
    assert not loaded(["--help"]) & {"numpy", "pydantic"}
