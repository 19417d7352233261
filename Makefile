# Everything a developer or an installation needs; `make` alone explains it.
.DEFAULT_GOAL := help
.PHONY: help setup run test check check-files clean system-libraries
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
MODELS := .venv/.models-pulled
ROOMS := detectors enforcement feeds media pipelines review settings storage

help: ## show this text
	@echo "Sightline: make TARGET"
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON=python3.12 (interpreter for setup), ARGS='-k gate -x' (for test)"

setup: $(STAMP) $(MODELS) ## make .venv with everything, and fetch the models
	@:

run: setup ## start the whole system with the demo feeds; Ctrl-C ends it
	@exec $(BIN)/sightline up --demo

# A worker that died is not replaced: pytest-xdist 3.8 would give its finished files out again, as
# empty work, and wait for ever.
test: setup ## run every test (ARGS='-k gate' picks some)
	@$(BIN)/pytest -n 2 --dist loadfile --max-worker-restart 0 $(ARGS)

check: $(STAMP) check-files ## lint, format, types, import directions, shipped files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo

# Weights, footage and secrets have owners of their own, and a big file never leaves git's history.
# Weights that this project trained itself lie in one folder, beside their figures.
check-files:
	@git rev-parse --git-dir >/dev/null 2>&1 || exit 0; \
	alien=$$(git ls-files -co --exclude-standard | grep -v '^detectors/weights/' | grep -iE \
	  '\.(pt|onnx|bin|xml|avi|mkv|mov|mp4|ts|srt|whl|pem|key|p12|sqlite|parquet)$$|(^|/)\.env$$'); \
	if [ -n "$$alien" ]; then echo "not ours to ship:"; echo "$$alien"; exit 1; fi; \
	big=$$(git ls-files -coz --exclude-standard | xargs -0 -r -I{} find {} -maxdepth 0 -size +1024k); \
	if [ -n "$$big" ]; then echo "larger than 1 MiB:"; echo "$$big"; exit 1; fi

clean: ## remove .venv, caches and builds (state under SIGHTLINE_HOME stays)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find $(ROOMS) dags tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(MAKE) system-libraries
	@echo "making .venv with everything in it: a few minutes, about 2 GB"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check -qq -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check -qq --no-deps -e .
	@touch $@

$(MODELS): $(STAMP) detectors/models.yaml
	@$(BIN)/sightline models pull
	@touch $@

system-libraries:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Sightline needs Python 3.11 or newer; $(PYTHON) is: $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another with: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python cannot make virtual environments here. On Debian or Ubuntu:"; \
	  echo "  sudo apt-get install python3-venv"; exit 1; }
	@[ "$$(uname -s)" != Linux ] || $(PYTHON) -c \
	  'import ctypes; [ctypes.CDLL(n) for n in ("libGL.so.1", "libgthread-2.0.so.0")]' 2>/dev/null || { \
	  echo "OpenCV needs the libraries libGL and libgthread. On Debian or Ubuntu:"; \
	  echo "  sudo apt-get install libgl1 libglib2.0-0"; exit 1; }
