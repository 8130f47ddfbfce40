# `make` installs into .venv, `make demo` shows, `make test` proves, `make help` says the rest.
# Needs python3 (3.10 to 3.13) with its venv module, and make; nothing else of the system.
#
#   PYTHON=python3.12         which Python
#   CV2=display|headless      which build of OpenCV; unset, the machine's libraries decide
#   RUNTIME=tflite-runtime    for armv7 and old boards (Python 3.10 or 3.11): its own .venv-tflite

PYTHON ?= python3
RUNTIME ?= litert

# The GUI build of OpenCV cannot even be imported without these.
GUI_LIBRARIES := libGL.so.1 libxcb.so.1 libglib-2.0.so.0 libgthread-2.0.so.0
ifndef CV2
MISSING := $(shell $(PYTHON) -c 'import ctypes, sys; [*map(ctypes.CDLL, sys.argv[1:])]' $(GUI_LIBRARIES) 2>&1 \
             | sed -n 's/^OSError: //p')
CV2 := $(if $(MISSING),headless,display)
WHY := $(or $(MISSING),$(GUI_LIBRARIES) load)
else ifeq ($(filter $(CV2),display headless),)
$(error CV2=$(CV2): must be display or headless)
endif

export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifeq ($(RUNTIME),litert)
VENV := .venv
ADAPT := -e ''
else ifeq ($(RUNTIME),tflite-runtime)
VENV := .venv-tflite
# Whatever is pinned for certain machines only comes with LiteRT; what replaces it
# is the newest that a runtime built against numpy 1 runs with; of OpenCV, the newest
# but 4.10 and 4.11, whose pictures do not grow with their window.
ADAPT := -e '/platform_machine/d; /^numpy==/d; s/^opencv-python==.*/opencv-python==4.9.0.80/' \
         -e '$$a numpy==1.26.4' -e '$$a tflite-runtime==2.14.0'
else
$(error RUNTIME=$(RUNTIME): must be litert or tflite-runtime)
endif

BIN := $(VENV)/bin
VISION := $(BIN)/python main.py
# Named after the build, so that a machine whose libraries change gets the other one.
OPENCV := opencv-python$(if $(filter headless,$(CV2)),-headless)
INSTALLED := $(VENV)/installed-$(CV2)
TESTABLE := $(VENV)/installed-tests

define CHECK_PYTHON
import sys
newest = (3, 11) if '$(RUNTIME)' == 'tflite-runtime' else (3, 13)
here = sys.version_info[:2]
if not (3, 10) <= here <= newest:
    sys.exit('$(RUNTIME) needs Python 3.10 to %d.%d and this is %d.%d: make PYTHON=python%d.%d'
             % (*newest, *here, *newest))
try:
    import ensurepip, venv
except ImportError:
    sys.exit('Python has no venv module here: apt install python3-venv')
endef
export CHECK_PYTHON

.PHONY: install demo test lint bench pins clean help
.DELETE_ON_ERROR:

install: $(INSTALLED)  ## install into .venv

demo: $(INSTALLED)  ## ten seconds of the real line; no camera, screen or GPU needed
	$(VISION) models pull face-short demo-picture
	$(VISION) demo

test: lint  ## lint, then every test
	$(VISION) models pull face-short face-full demo-picture
	$(BIN)/python -m pytest

lint: $(TESTABLE)  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(INSTALLED)  ## throughput and latency by stage, against the bare model
	$(VISION) models pull face-short demo-picture
	$(VISION) bench

PIN = $(BIN)/uv pip compile pyproject.toml --quiet --upgrade --universal --python-version 3.10 \
      --no-python-downloads --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins'

pins: $(INSTALLED)  ## choose newer versions of everything
	$(BIN)/python -m pip install --quiet uv
	$(PIN) --extra litert --extra display --output-file requirements.txt
	$(PIN) --extra test --constraint requirements.txt --output-file tests/requirements.txt

clean:  ## remove the environments and what tools left
	rm -rf .venv .venv-tflite .mypy_cache .pytest_cache .ruff_cache .hypothesis out

help:  ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1  \2/p' Makefile

$(BIN)/python:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	$(PYTHON) -m venv $(VENV)

# OpenCV's two builds share their files: removing one breaks the other, so both go first.
$(INSTALLED): $(BIN)/python requirements.txt pyproject.toml
	@echo 'Installing into $(VENV) with the $(CV2) build of OpenCV ($(or $(WHY),as asked for))'
	@rm -f $(VENV)/installed-*
	@sed $(ADAPT) -e 's/^opencv-python==/$(OPENCV)==/' requirements.txt > $(VENV)/requirements.txt
	@$(BIN)/python -m pip uninstall --quiet --yes opencv-python opencv-python-headless 2>/dev/null
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@touch $@

$(TESTABLE): $(INSTALLED) tests/requirements.txt
	@sed $(ADAPT) tests/requirements.txt > $(VENV)/requirements-tests.txt
	$(BIN)/python -m pip install --quiet --requirement $(VENV)/requirements-tests.txt
	@touch $@
