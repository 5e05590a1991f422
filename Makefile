# make setup | build | demo | test | lint
SHELL := /bin/bash
PYTHON ?=
export PERCEPT_DATA ?= $(abspath ../shared/data)

.PHONY: setup build demo test lint clean
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
clean:
	rm -rf .venv build log install
