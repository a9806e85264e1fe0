# The targets install what they need; only Python 3.11 or newer and make are required.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test test-matrix mutants mutants-quick prove bench generated check format clean

help: ## List the targets.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.installed ## Run the demo on an embedded Supabase.
	$(BIN)/ehg-tasks demo --embedded

test: $(VENV)/.installed ## Run all tests on an embedded Supabase.
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Tests that depend on the PostgreSQL version. `make test` runs them on 18.
VERSIONED := tests/access tests/lifecycle tests/clients tests/migrations tests/reliability/test_concurrency.py tests/versions

test-matrix: test-postgres-18 test-postgres-17 test-postgres-15 ## Run the SQL and HTTP tests on PostgreSQL 18, 17 and 15.

test-postgres-%: $(VENV)/.installed
	@[ $* != 15 ] || tests/versions/debian.sh
	EHG_TASKS_POSTGRES=$* $(BIN)/python -m pytest -n 2 --dist loadfile $(VERSIONED)

mutants: $(VENV)/.installed ## Break one rule in five, check that the tests notice, and write docs/mutation-report.md.
	$(BIN)/python -m tests.mutants --every 5 --report docs/mutation-report.md

mutants-quick: $(VENV)/.installed ## Run a sample of the mutants.
	$(BIN)/python -m tests.mutants --quick

prove: $(VENV)/.installed ## Test the lifecycle with many more examples, and recovery with default leases.
	$(BIN)/python -m pytest tests/lifecycle/test_state_machine.py tests/reliability/recovery.py --hypothesis-profile=long

$(VENV)/.bench: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	@touch $@

bench: $(VENV)/.bench ## Compare the SQL functions with other queues, and write docs/benchmarks.md.
	$(BIN)/python -m bench $(or $(ARGS),--report docs/benchmarks.md)

generated: $(VENV)/.installed ## Write the generated files: sync clients, expected.json, docs/access-rules.md, docs/functions.md.
	$(BIN)/python -m tools.generate

check: $(VENV)/.installed ## Run the linters, the type checker and the import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed ## Format the Python code.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove generated files and the virtual environment.
	rm -rf $(VENV) .ehg-tasks .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build dist
