# Everything here works in a fresh clone with Python 3.11 or later, and nothing else installed.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Many tests wait for a process or a lease, so there are more at once than twice as many as cores.
AT_ONCE ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) \* 5 / 2)
# Where it is set, each of these processes compiles for itself all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test faults-short faults bench check format lock sql soak clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# The stamp is the last thing written, so an interrupted set-up begins again.
$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("1ctl needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.ready ## Play the microservices guide on the sandbox, printing each command and its output
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.demo

test: $(VENV)/.ready ## Run the tests (a real cluster's need ONECTL_TEST_KUBECONFIG, ONECTL_FAULTS=short adds those that take long)
	$(BIN)/python -m pytest -n $(AT_ONCE) $(ARGS)

faults-short: $(VENV)/.ready ## Survive faults: the dose of continuous integration, some minutes
	ONECTL_FAULTS=short $(BIN)/python -m pytest -n $(AT_ONCE) tests/faults $(ARGS)

faults: $(VENV)/.ready ## Survive faults: the dose of a night (docs/reliability.md is written from it)
	ONECTL_FAULTS=long $(BIN)/python -m pytest -n $(AT_ONCE) --timeout 0 tests/faults $(ARGS)

# With the allocator set as docs/install sets it for a worker.
soak: $(VENV)/.ready ## Let 1,000 apps live through 10,000 commands and 100 faults (SCALE=0.05: a part; SEED=n)
	@MALLOC_ARENA_MAX=2 $(BIN)/python -m tests.soak --scale $(or $(SCALE),1) --seed $(or $(SEED),1) $(ARGS)

bench: $(VENV)/.ready ## Measure beside kubectl, helm and bare libraries, and write docs/performance.md (ROW="B1 B4": only these)
	@$(BIN)/python -m tests.bench $(ROW)

check: $(VENV)/.ready ## Format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.ready ## Format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

sql: $(VENV)/.ready ## Compile the statements ahead for SQLite
	$(BIN)/python -m ledger.compile_sql

lock: ## Pin the newest versions allowed, with hashes (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements.txt
	uv pip compile pyproject.toml --group dev -c requirements.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements-dev.txt
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | uv pip compile - -c requirements-dev.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q -o requirements-build.txt

clean: ## Remove what was set up and built here
	rm -rf $(VENV) dist .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
