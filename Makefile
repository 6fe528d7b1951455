# make demo: set up, train a small net on generated scans, open napari with the result (screenshots without a display)
# make test: set up, then lint, types, documentation, headless tests, manifest check and the tests in a real window
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TORCH := torch==2.13.0
APT := xvfb xauth libegl1 libgl1 libopengl0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1 libglib2.0-0 \
	libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 \
	libxcb-util1 libxcb-xfixes0 libxcb-xinerama0 libxcb-xkb1 fonts-dejavu-core
XVFB := xvfb-run -a -s "-screen 0 1400x1000x24"

.PHONY: all setup system demo test lint types headless viewer manifest docs pictures torture clean
all: test

setup: $(STAMP)

# system libraries: only as root, only where apt is, only what is missing
system:
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		missing=$$(for p in $(APT) python3-venv; do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
		if [ -n "$$missing" ]; then \
			echo "Installing system libraries:" $$missing; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
		fi; \
	fi

$(STAMP): pyproject.toml constraints.txt | system
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/pip install -q "$(TORCH)"
	$(BIN)/pip install -q -c constraints.txt -e ".[gui,slide,video,export,figure,foreign]" --group dev
	touch $@

demo: setup
	$(BIN)/medseg demo -o demo-output

test: setup lint types docs headless manifest viewer

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# napari and Qt cannot be imported here: the library stands without them
headless: setup
	MEDSEG_HEADLESS=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -p xdist -n auto -m "not viewer" --ignore=tests/_napari

manifest: setup
	$(BIN)/npe2 validate napari-medseg

viewer: setup
	@if [ -n "$$DISPLAY" ]; then $(BIN)/python -m pytest tests/_napari; \
	elif command -v xvfb-run >/dev/null; then $(XVFB) $(BIN)/python -m pytest tests/_napari; \
	else echo "No display and no xvfb-run: install xvfb to run the window tests" && exit 1; fi

# the documentation as a site in site/, without warnings and without network
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# every picture of it, from the real window
pictures: setup
	OMP_NUM_THREADS=1 $(BIN)/python scripts/make_pictures.py

# damaged files, wrong arguments, kill -9, long sessions: the full set (the short cut of it is in `make test`)
torture: setup
	MEDSEG_TORTURE=1000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/torture

clean:
	rm -rf $(VENV) demo-output build dist site .pytest_cache .mypy_cache .ruff_cache
