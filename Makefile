# CI calls these targets; only on Windows, which has no make, it runs the commands of test-fast itself.

PYTHON ?= python3
# Workers for the fast and the slow tests: many slow tests wait for other programs, which leaves a core idle.
JOBS ?= auto
SLOW_JOBS ?= 4
# `make lock` keeps the pinned versions that still fit; `make lock UPGRADE=--upgrade` takes the newest.
UPGRADE ?=
# Compile the tests once for all three runs: Python treats an empty variable as unset.
test test-core test-fast: export PYTHONDONTWRITEBYTECODE =
# `make fuzz RUNS=10000` is a quick run.
RUNS ?= 1000000
LIFE ?=
DECADE ?=
# `make screenshots README=--readme` also takes the one in the README.
README ?=

VENV := .venv
DEMO := .venv-demo
BIN := $(VENV)/bin
UV ?= $(BIN)/uv
COVERAGE := --cov=keyvault.core --cov=keyvault.crypto --cov-branch --cov-report=term-missing:skip-covered --cov-fail-under=95
# Each worker starts with whole files, so module fixtures are set up once; idle workers then take over tests.
PYTEST := $(BIN)/python -m pytest --dist worksteal

# Aborts with a clear message; pip would fail much later, in the middle of its output.
CHECK_PYTHON = $(PYTHON) -c 'import sys; sys.exit("keyvault needs Python 3.11 or later, e.g. make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# `make lint test` with -j must not run two installations into the same environment.
.NOTPARALLEL:
.PHONY: demo test test-core test-fast sweep interop lint bench life decade fuzz mutation screenshots lock clean help prepare

demo: $(DEMO)/installed  ## Create a vault with two years of history in build/demo, and print the page to open
	$(DEMO)/bin/keyvault demo --replace build/demo

test: prepare $(VENV)/installed  ## Run all tests; requires 95 % branch coverage of core and crypto
	$(PYTEST) -m 'not slow and measured' -n $(JOBS) $(COVERAGE)
	$(PYTEST) -m 'not slow and not measured' -n $(JOBS)
	$(PYTEST) -m slow -n $(SLOW_JOBS)

test-core: $(VENV)/installed  ## Run the tests of the rules, without any process
	$(PYTEST) -m 'not slow' -n $(JOBS) tests/core tests/vectors

test-fast: $(VENV)/installed  ## Run the tests not marked slow; takes some minutes
	$(PYTEST) -m 'not slow' -n $(JOBS)

sweep: $(VENV)/installed  ## Simulate more than a million schedules with the real planners
	$(BIN)/python -m pytest tests/core/test_sweep.py tests/core/test_machine.py tests/core/test_rehearsal.py

interop: prepare $(VENV)/installed  ## Test sites and broken documents with every verifier; write docs/interop.md, lint.md
	$(BIN)/python -m tests.interop.page
	$(BIN)/python -m tests.interop.lint_table

lint: $(VENV)/installed  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

# This takes half an hour on two idle cores; `python bench/run.py --help` shows how to measure a part.
bench: $(VENV)/bencher  ## Compare keyvault with other programs, and write docs/performance.md
	bench/prepare
	$(BIN)/python bench/run.py

# This takes hours on 100,000 keys; `make life LIFE='--keys 3000'` is a quick run.
life: $(VENV)/installed  ## Interrupt the commands of a large vault with Ctrl-C at many moments
	$(BIN)/python bench/interrupts.py $(LIFE)

decade: $(VENV)/bencher  ## Measure a repository after ten years of weekly rotation, and write docs/scale.md
	$(BIN)/python bench/ten_years.py $(DECADE)

# New inputs that a run finds stay in build/fuzz; the next run starts with them.
fuzz: $(VENV)/fuzzer  ## Run each fuzz target RUNS times
	for target in record envelope config jwk_set key_file; do \
	  mkdir -p build/fuzz/$$target; \
	  $(BIN)/python -m tests.fuzz $$target -runs=$(RUNS) -artifact_prefix=build/fuzz/$$target- \
	    build/fuzz/$$target tests/fuzz/corpus/$$target || exit; \
	done

# An interrupted run continues; `rm -r build/mutation` starts from scratch.
mutation: $(VENV)/mutator  ## Change the rules in a thousand ways, and check that tests fail
	nice $(BIN)/python -m tests.mutation

screenshots: prepare $(VENV)/installed  ## Write screenshots of the demo's pages to build/screenshots
	$(BIN)/python -m tests.site.browser.screenshots build/screenshots $(README)

lock: $(VENV)/locked  ## Resolve the dependencies again and write the lock files
	$(call compile,requirements.lock,pyproject.toml --extra stores --extra aws)
	$(call compile,requirements-dev.lock,pyproject.toml --extra stores --extra aws --group dev --constraints requirements.lock)
	$(call compile,requirements-fuzz.lock,--group fuzz --constraints requirements-dev.lock)
	$(call compile,requirements-mutation.lock,--group mutation --constraints requirements-dev.lock)
	$(call compile,requirements-bench.lock,--group bench --constraints requirements-dev.lock)
	$(call compile,requirements-build.lock,--group build --constraints requirements-dev.lock)
	cp requirements.lock requirements-build.lock keyvault/ci/

clean:  ## Remove everything that make created
	rm -rf build dist $(VENV) $(DEMO) .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/node/node_modules tests/interop/*/target tests/interop/rust/Cargo.lock
	find $(wildcard bench keyvault tests) -name __pycache__ -type d -prune -exec rm -rf {} +

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

prepare:  # Install the foreign programs that some tests run, if possible
	PYTHON='$(PYTHON)' .ci/prepare

# A changed lock file gets a new environment, so that no removed package stays installed.
$(VENV)/locked: requirements-dev.lock
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	touch $@

$(DEMO)/locked: requirements.lock requirements-build.lock
	$(CHECK_PYTHON)
	$(PYTHON) -m venv --clear $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --require-hashes \
	  --requirement requirements.lock --requirement requirements-build.lock
	touch $@

$(VENV)/fuzzer: requirements-fuzz.lock $(VENV)/installed
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-fuzz.lock
	touch $@

$(VENV)/mutator: requirements-mutation.lock $(VENV)/installed
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-mutation.lock
	touch $@

$(VENV)/bencher: requirements-bench.lock $(VENV)/installed
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-bench.lock
	touch $@

# The build backend comes from the lock file too: nothing is downloaded here.
%/installed: %/locked pyproject.toml
	$*/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# A lock file must not name an index, a host or a path of this machine.
define compile
$(UV) pip compile $(2) --universal --no-strip-extras --python-version 3.11 --generate-hashes $(UPGRADE) \
  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --quiet --output-file $(1)
endef
