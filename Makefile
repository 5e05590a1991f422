# make setup | build | demo | test | lint | torch
SHELL := /bin/bash
PYTHON ?=
export PERCEPT_DATA ?= $(abspath ../shared/data)

.PHONY: setup build demo test lint torch clean
setup:
	@scripts/setup
build:
	@scripts/setup --build
demo: setup
	@.venv/bin/percept demo
lint: setup
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
test: lint
	@.venv/bin/python -m pytest
torch: setup
	@.venv/bin/python -m pip install --disable-pip-version-check -r requirements/torch.txt
clean:
	rm -rf .venv build log install
