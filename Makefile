# Two commands for a newcomer: `make demo` and `make test`. Everything lives in .venv; run twice, both start at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
TORCHQUANTUM := .venv-torchquantum

.PHONY: demo test test-long check lint types bench bench-peers bench-torchquantum clean help

help:             ## what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Q-Store needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11"; exit 2; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || { echo "hnswlib is compiled during installation: install a C++ compiler (Debian/Ubuntu: apt install g++ python3-dev; macOS: xcode-select --install)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(BIN)/qstore warm-up
	@touch $@

demo: $(VENV)/.ready   ## set up, run the main job on real data, write plots to demo-out/
	$(BIN)/qstore demo

test: $(VENV)/.ready   ## set up, run every test
	$(BIN)/python -m pytest

test-long: $(VENV)/.ready ## the crash suites fifty times longer, for a night
	QSTORE_TEST_SCALE=50 $(BIN)/python -m pytest tests/crash

lint: $(VENV)/.ready   ## format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.ready  ## strict types
	$(BIN)/mypy

check: lint types test ## what CI runs

bench: $(VENV)/.ready  ## search, training, durability and noise, beside what is installed
	$(BIN)/python benchmarks/ann.py
	$(BIN)/python benchmarks/build.py
	$(BIN)/python benchmarks/churn.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/durability.py
	$(BIN)/python benchmarks/noise.py
	$(BIN)/python benchmarks/search_verbs.py

$(PEERS)/.ready: benchmarks/peers.txt pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[demo]' -r benchmarks/peers.txt
	@touch $@

bench-peers: $(PEERS)/.ready ## beside PennyLane and others, in an environment of their own
	$(PEERS)/bin/python benchmarks/ann.py --peers
	$(PEERS)/bin/python benchmarks/training.py --peers
	$(PEERS)/bin/python benchmarks/noise.py --peers
	$(PEERS)/bin/python benchmarks/frameworks.py

$(TORCHQUANTUM)/.ready: benchmarks/peers_torchquantum.txt
	$(PYTHON) -m venv $(TORCHQUANTUM)
	$(TORCHQUANTUM)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers_torchquantum.txt
	@touch $@

bench-torchquantum: $(VENV)/.ready $(TORCHQUANTUM)/.ready ## training beside TorchQuantum, which needs NumPy 1
	$(BIN)/python benchmarks/training.py --case 'W(' --torchquantum $(TORCHQUANTUM)/bin/python

clean:            ## remove the environments and all caches
	rm -rf $(VENV) $(PEERS) $(TORCHQUANTUM) demo-out .pytest_cache .mypy_cache .ruff_cache build *.egg-info
