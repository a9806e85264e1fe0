# Everything here sets itself up: Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-matrix mutants mutants-quick prove bench generated check format clean

help: ## This list.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## Agents check sample documents, through a real Supabase API.
	$(BIN)/ehg-tasks demo --embedded

test: $(VENV)/.installed ## All tests, on an embedded Supabase.
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What depends on PostgreSQL's version; make test has all of it on 18.
VERSIONED := tests/access tests/lifecycle tests/clients tests/migrations tests/reliability/test_concurrency.py tests/versions

test-matrix: test-postgres-18 test-postgres-17 test-postgres-15 ## The SQL and HTTP tests on PostgreSQL 18, 17 and 15.

test-postgres-%: $(VENV)/.installed
	@[ $* != 15 ] || tests/versions/debian.sh
	EHG_TASKS_POSTGRES=$* $(BIN)/python -m pytest -n 2 --dist loadfile $(VERSIONED)

mutants: $(VENV)/.installed ## Break the rules one by one; writes docs/mutation-report.md.
	$(BIN)/python -m tests.mutants --report docs/mutation-report.md

mutants-quick: $(VENV)/.installed ## A sample of the mutants, for CI.
	$(BIN)/python -m tests.mutants --quick

prove: $(VENV)/.installed ## The lifecycle against its model, for a hundred thousand steps.
	$(BIN)/python -m pytest tests/lifecycle/test_state_machine.py --hypothesis-profile=long

bench: $(VENV)/.installed ## What a claim costs, as ratios.
	$(BIN)/python bench/claims.py

generated: $(VENV)/.installed ## Write the generated files: sync clients, expected.json, docs/access-rules.md.
	$(BIN)/python -m tools.generate

check: $(VENV)/.installed ## Lint, types and the import contract.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed ## Put the Python code into its standard form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove what the commands above made here.
	rm -rf $(VENV) .ehg-tasks .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
