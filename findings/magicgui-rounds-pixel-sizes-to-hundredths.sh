#!/usr/bin/env bash
# A magicgui function with a default of 0.00104 is called with 0.0: the spin box for floats keeps two decimals.
#
# napari plugins take a pixel size in millimetres, a learning rate or a p-value as `float`; magicgui makes a
# FloatSpinBox of it, which rounds the default and all that is assigned to it without a word, and the function is run
# with what is left. A `step` helps to as many decimals as it has: 0.001 makes 0.001 of it. FloatSlider keeps the value.
# Seen with magicgui 0.10.2, PyQt6 6.11.0 (needs the system libraries of Qt, no display), Python 3.11.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q --disable-pip-version-check "magicgui==0.10.2" "PyQt6==6.11.0"
QT_QPA_PLATFORM=offscreen "$work/venv/bin/python" - <<'PY'
from importlib.metadata import version

from magicgui import magicgui
from magicgui.widgets import FloatSlider


@magicgui
def plain(pixel_mm: float = 0.00104, pixel_um: float = 0.104):
    return pixel_mm, pixel_um


@magicgui(pixel_mm={"step": 0.001})
def stepped(pixel_mm: float = 0.00104):
    return pixel_mm


called = plain()
plain.pixel_um.value = 0.2079
print("magicgui", version("magicgui"), "calls the function with", called, "instead of (0.00104, 0.104)")
print("0.2079 assigned:", plain.pixel_um.value, "- with step 0.001:", stepped())
assert called == (0, 0.1), f"this has changed: {called}"
assert plain.pixel_um.value == 0.21 and stepped() == 0.001, f"this has changed: {plain.pixel_um.value} {stepped()}"
assert FloatSlider(value=0.00104, max=1).value == 0.00104, "this has changed: slider"
PY
