# Every target sets up what it needs by itself: python3 (3.11 or newer) and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: help demo results reports notebooks test slow faults lint docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v >= (3, 11) or sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {v[0]}.{v[1]}. Name another: make PYTHON=python3.12")'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: $(VENV)/pyvenv.cfg requirements.txt
	@echo "installing requirements.txt into $(VENV) (once; torch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	@echo "installing requirements-dev.txt into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

demo: $(VENV)/.runtime  ## six losses, three seeds, real digits: the study and its comparison
	$(BIN)/python -m experiments run demo --workers $$(getconf _NPROCESSORS_ONLN)
	$(BIN)/python -m analyze report runs/demo --out reports/demo

data/cifar10-jpeg: | $(VENV)/.runtime
	$(BIN)/python scripts/cifar10_jpegs.py

results: $(VENV)/.runtime | data/cifar10-jpeg  ## train the published study again, hours on a CPU, and write its report
	$(BIN)/python -m experiments run results/losses/study.yaml --workers $$(getconf _NPROCESSORS_ONLN)
	$(BIN)/python -m analyze report runs/losses --out results/losses --keep-runs

reports: $(VENV)/.runtime  ## the pages of the published studies, from their kept runs, into reports/
	grep '^python -m analyze report results/' results/README.md | PATH="$(abspath $(BIN)):$$PATH" bash -ex

notebooks: $(VENV)/.runtime  ## run the notebooks over the demo study, in place
	$(BIN)/python -m experiments run demo --workers $$(getconf _NPROCESSORS_ONLN)
	$(BIN)/python -m experiments evaluate runs/demo --on "corruptions:kinds=fog|gaussian_noise|jpeg_compression|contrast|pixelate,severities=1|3|5" ood:noise ood:textures
	$(BIN)/python -m analyze.execute

test: $(VENV)/.dev  ## the whole test suite (without the slow tests)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

slow: $(VENV)/.dev  ## the slow tests: long simulations, faults, studies
	$(BIN)/python -m pytest -m slow

faults: $(VENV)/.dev  ## a hundred real kill -9 at random moments: the result stays the same
	$(BIN)/python -m pytest -m slow tests/experiments/runs/test_faults.py

lint: $(VENV)/.dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev  ## the pages and the reference as a site, in build/docs/site
	$(BIN)/python docs/build.py

clean:  ## remove the environment and the caches, keep runs and data
	rm -rf $(VENV) build/docs .pytest_cache .mypy_cache .ruff_cache .hypothesis
