# Seven verbs. Each makes the environment it needs; nothing is installed outside .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Tests wait more than they work.
TESTERS ?= 3
STAMP := $(VENV)/.installed

.PHONY: setup demo test check fmt docs bench

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "forgia needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup ## the main job end to end, on generated data of three firms
	$(BIN)/forgia demo

test: setup ## every test; those that need a real SLURM fetch it on Debian, else they are skipped and listed
	$(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder

check: setup ## what a machine can see without running the program
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python docs/generate.py --check

fmt: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup ## the reference, generated from the code
	$(BIN)/python docs/generate.py

bench: setup ## figures for docs/log.md
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/ingest.py
	$(BIN)/python bench/training_loop.py
	$(BIN)/python bench/data_path.py
