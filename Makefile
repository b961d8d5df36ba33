# Everything happens in .venv, which `make setup` builds from requirements.lock.
# Needed: Python 3.11 and a package index. No system packages.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.installed
# make test PYTEST_ARGS="-m 'not integration' -k masking"; make demo DEMO_ARGS="--stage 3"
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCHMARK_ARGS ?=

# One thread per process: two test workers on two cores, and sums in a repeatable order.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
export PATH := $(BIN):$(PATH)

.PHONY: help setup demo test lint format benchmark wheel lock clean distclean

help:
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-10s %s\n", $$1, $$2 }'

setup: $(STAMP) ## build .venv (again only when the lock or setup.py changed)

$(STAMP): requirements.lock setup.py
	@.ci/setup_venv.sh $(VENV)
	@touch $@

demo: $(STAMP) ## speech -> teacher -> student -> S3PRL score, on this machine
	@cd egs/mini/armhubert1 && ./run.sh $(DEMO_ARGS)

test: $(STAMP) ## all tests
	@python -m pytest -n 2 --dist loadgroup $(PYTEST_ARGS)

lint: $(STAMP) ## ruff (rules and format), mypy (strict), spelling
	ruff check .
	ruff format --check .
	mypy
	codespell

format: $(STAMP) ## let ruff format and mend what it can
	ruff check --fix .
	ruff format .

benchmark: $(STAMP) ## speed against transformers (minutes)
	@python -m benchmarks $(BENCHMARK_ARGS)

wheel: $(STAMP) ## dist/espnet_kd-*.whl
	@rm -rf build/lib
	@uv build --quiet --wheel --no-build-isolation --out-dir dist && ls dist

lock: $(STAMP) ## resolve requirements.lock again (Linux x86-64, Python 3.11)
	@uv pip compile --quiet --upgrade --extra dev \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--no-header --no-emit-index-url --no-emit-find-links -o requirements.lock setup.py

clean: ## remove what builds and tests leave behind
	@rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## also remove .venv
	@rm -rf $(VENV) .uv
