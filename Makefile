# Storybrush. `make run` opens the app and `make test` tests it; each sets up what it needs.
#
#   make run PORT=7861              another port
#   make run ARGS="--share"         any option of app.py (of pytest with `make test`)
#   make setup PYTHON=python3.13    make .venv with this Python
#
# On Linux pip takes PyTorch's CUDA build from PyPI (several gigabytes). For the CPU build:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make run

PY := .venv/bin/python
PYTHON ?=
PORT ?=
ARGS ?=
# `make check TESTED=1` leaves the tests out, for a caller that has just run `make test`.
TESTED ?=
PIP := pip>=26

# Compiled modules are kept, whatever the caller's habit: without them each start takes 2 s longer.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup dev run test lint types check bench format venv

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: venv ## .venv with what the app needs
	$(call install,requirements.txt)

dev: venv ## .venv with what tests, checks and training need, too
	$(call install,requirements.txt requirements-dev.txt)

run: setup ## the app; PORT=7861 chooses a port, ARGS="--share" passes options on
	@$(PY) app.py $(if $(PORT),--port $(PORT)) $(ARGS)

test: dev ## the tests; ARGS="-k gallery" passes options to pytest
	@$(PY) -m pytest $(ARGS)

lint: dev ## formatting and lint
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .

# The variable keeps pyright from asking the network for a newer version of itself.
types: dev ## types
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright

check: lint types $(if $(TESTED),,test) ## lint, types and tests

bench: dev ## speed and memory on this machine; ends in one line of JSON
	@$(PY) -m tests.bench $(ARGS)

format: dev ## puts the code into the house format
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

# The virtual environment, made (again) when there is none that works.
# Debian's Python comes without ensurepip, the part of venv that brings pip: python3-venv has it.
venv:
	@if ! $(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	  new= ; usable= ; \
	  for p in "$(PYTHON)" python3.12 python3.11 python3 python3.13 python3.14 python; do \
	    if "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	      new=$$p; \
	      if "$$p" -c 'import ensurepip, venv' >/dev/null 2>&1; then usable=$$p; break; fi; \
	    fi; \
	  done; \
	  if [ -z "$$new" ]; then \
	    echo "Storybrush needs Python 3.11 or newer, and found none on the PATH." >&2; \
	    echo "  Debian 12, Ubuntu 24.04 or newer:  sudo apt-get install python3 python3-venv" >&2; \
	    echo "  macOS:  brew install python@3.12     others:  https://www.python.org/downloads/" >&2; \
	    echo "  Is it elsewhere?  make $(or $(MAKECMDGOALS),setup) PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  if [ -z "$$usable" ]; then \
	    echo "$$new has no venv module with pip, which Storybrush installs its packages with." >&2; \
	    echo "  Debian, Ubuntu:  sudo apt-get install python3-venv" >&2; \
	    echo "  (python3.12-venv for a python3.12 that is not the system's own, and so on)" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making .venv with $$("$$usable" --version)"; \
	  "$$usable" -m venv --clear .venv || { \
	    rm -f $(PY); \
	    echo "The virtual environment .venv could not be made; the lines above say why." >&2; \
	    echo "  Often: no space left, or a folder that cannot be written." >&2; \
	    exit 1; \
	  }; \
	fi

# $(call install,FILES): pip install -r the last of FILES, which includes those before it, unless they
# are what was installed last time. A file's stamp holds the checksum of it and those before it, and
# is written only when everything is installed.
# The pip that Python 3.11 brings takes a minute longer to find out what fits together than a newer
# one; without the newer one it goes on.
# pip would compile every module, which takes longer than all else; the app uses a third of them.
# Those are compiled by importing what uses them, side by side.
define install
	@stamp=.venv/$(lastword $(1)).installed; \
	if [ "$$(cat "$$stamp" 2>/dev/null)" != "$$(cat $(1) | cksum)" ]; then \
	  rm -f "$$stamp"; \
	  echo "Installing $(lastword $(1)) into .venv (a few minutes the first time)"; \
	  $(PY) -m pip install --disable-pip-version-check --quiet --upgrade "$(PIP)" || true; \
	  $(PY) -m pip install --disable-pip-version-check --no-compile -r $(lastword $(1)) || { \
	    echo "Not everything in $(lastword $(1)) could be installed; pip's last lines say why." >&2; \
	    echo "  Often: no way to the package index, or no space left. Then run make again." >&2; \
	    exit 1; \
	  }; \
	  for module in ui.page pipelines.colorize.stablepaint; do $(PY) -c "import $$module" & done; wait; \
	  before= ; for file in $(1); do \
	    before="$$before $$file"; cat $$before | cksum > ".venv/$$file.installed"; \
	  done; \
	fi
endef
