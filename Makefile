# Two commands: `make demo` runs a real search on synthetic photos, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-dataset
SEED ?= 0
# Tests wait more than they compute. Those of one file run in one process, which makes once what they share. In the
# order of the folders the unit tests come last, so that neither process waits for a long file of the other's.
PROCESSES ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all install lint lock clean

$(VENV)/.runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# Small photos and trials of seconds: sixty of them show more than sixteen longer ones.
demo: $(VENV)/.runtime
	$(BIN)/python prepare.py --demo $(DEMO) --photos 2400 --image-size 32
	$(BIN)/python -m search.launch --gpus auto --dataset $(DEMO) --tag demo-$$(date +%b%d-%H%M%S | tr A-Z a-z) \
		--space spaces/quick.toml --trials 64 --proof-share 0.2 --experiments-per-round 16 --max-train-seconds 5 --seed $(SEED)

install: $(VENV)/.runtime

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PROCESSES) -m "not full"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest $(PROCESSES)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every package with the hashes of its files: pip install --require-hashes -r requirements.lock
lock: $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-annotate --no-header \
		requirements.txt --output-file requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
