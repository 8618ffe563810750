# `make` alone lists the commands. The first use of each environment downloads its packages; later uses take no time.
#
# PYTHON      the interpreter that makes the environments, 3.11 or newer
# TORCH_ARGS  extra arguments for installing torch; on Linux without a GPU this saves several GB:
#             make test TORCH_ARGS="--index-url https://download.pytorch.org/whl/cpu"
# WORKERS     processes that run tests
# PYTEST_ARGS more arguments for pytest
# BENCH       arguments of make bench: names, --tier, --list
# UPDATE      1: make results replaces figures that were measured again
PYTHON ?= python3
TORCH_ARGS ?=
WORKERS ?= 2
PYTEST_ARGS ?=
BENCH ?=
UPDATE ?=

EXTRAS = hf lightning export quantize cluster search track comm gpu peers docs browser

# Every test process computes on one thread: two spinning thread pools on the same cores slow each other down a lot.
export OMP_NUM_THREADS ?= 1
export TORCH_ARGS
export PIP_DISABLE_PIP_VERSION_CHECK = 1

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.PHONY: help demo test test-all lint dist bench results docs

help:
	@echo "make demo      prune, retrain and measure a small network; writes a report (needs no data, no GPU)"
	@echo "make test      the tests that need core and dev packages only, at most 10 minutes on 2 cores"
	@echo "make test-all  every test, with all extras installed, at most 45 minutes on 2 cores"
	@echo "make lint      style, types and the direction of imports"
	@echo "make dist      a wheel in dist/"
	@echo "make bench     the benchmarks of a tier, minutes by default: make bench BENCH=\"--tier nightly\""
	@echo "make results   docs/results.md and the figures in README and docs, from benchmarks/results/; refuses false ones"
	@echo "make docs      the documentation, in build/docs/"

demo: .venv/ready
	.venv/bin/paretorch demo

test: .venv/ready
	.venv/bin/python -m pytest -n $(WORKERS) -m "not slow" $(PYTEST_ARGS)

test-all: .venv-all/ready
	.venv-all/bin/python tests/project/environment.py check .venv-all/torch.json $(EXTRAS)
	.venv-all/bin/python -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

dist: .venv/ready
	rm -rf build
	.venv/bin/python -m build --wheel --no-isolation

bench: .venv/ready
	.venv/bin/python benchmarks/run.py $(BENCH)

results: .venv/ready
	.venv/bin/python benchmarks/make_results.py $(if $(UPDATE),--update)

docs: .venv/docs
	.venv/bin/python -m sphinx -q -W -n -b html docs build/docs
	@echo "Open build/docs/index.html"

# torch first and alone, so that no other package chooses its build; then the rest; then a look whether torch moved.
define core_packages
@$(PYTHON) -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { echo "paretorch needs Python 3.11 or newer with venv, and '$(PYTHON)' is not that: install python3.11 and python3.11-venv (or newer), then run: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
$(@D)/bin/pip install $(TORCH_ARGS) "$$(grep '^torch==' constraints.txt)"
$(@D)/bin/python tests/project/environment.py record $(@D)/torch.json
$(@D)/bin/pip install -c constraints.txt -e ".[dev]"
$(@D)/bin/python tests/project/environment.py check $(@D)/torch.json
endef

.venv/ready: pyproject.toml constraints.txt
	$(core_packages)
	touch $@

.venv/docs: .venv/ready
	.venv/bin/pip install -c constraints.txt "paretorch[docs]"
	.venv/bin/python tests/project/environment.py check .venv/torch.json
	touch $@

# One extra at a time, each followed by a look, so that the extra that moves torch is known by name.
.venv-all/ready: pyproject.toml constraints.txt
	$(core_packages)
	for extra in $(EXTRAS); do \
	  echo "extra $$extra"; \
	  .venv-all/bin/pip install -c constraints.txt "paretorch[$$extra]"; \
	  .venv-all/bin/python tests/project/environment.py check .venv-all/torch.json; \
	done
	.venv-all/bin/pip check
	touch $@
