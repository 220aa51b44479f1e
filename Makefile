# The commands of a clone. Needs Python 3.11 or later and, the first time, PyPI.
#   make demo    the example site and its own identity provider, ready to sign in
#   make test    every check that needs no server
#   make interop OAuth clients of other people, from PyPI and npm, against the demo
#   make matrix  every Python and Django with every database; needs PostgreSQL, MariaDB and Redis
#   make bench   the comparison of docs/performance.md; needs PostgreSQL and Redis
# They install the exact versions that were tested: constraints/ has a file for each Python,
# benchmarks/requirements.txt the peers.
PYTHON ?= python3
VENV ?= .venv
# More words for pytest: make test PYTEST_ARGS="-k rotate -x"; "-n 0" runs them in one process.
PYTEST_ARGS ?=
# More words for the benchmarks: make bench BENCH_ARGS="--without million".
BENCH_ARGS ?=

bin := $(VENV)/bin
chromium := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# What needs a database server runs in .ci/run.
markers := not servers and not postgres and not redis
# The browser tests drop out only where there is no browser and nobody called this CI.
ifeq ($(chromium)$(CI),)
markers += and not browser
endif

# Expanded late (=), because the environment may not exist yet when make reads this.
python_version = $(shell $(bin)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
newest_constraints := $(lastword $(sort $(wildcard constraints/py*.txt)))
constraints = $(or $(wildcard constraints/py$(python_version).txt),$(newest_constraints))

define install
@test -e constraints/py$(python_version).txt || \
    echo "Python $(python_version) was not tested yet; installing the versions in $(constraints)."
$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint $(constraints) --editable
endef

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test matrix bench interop run-interop lint format docs constraints clean

help:
	@sed -n 's/^#   //p' Makefile
	@echo "make lint    ruff, mypy and the import contracts"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    the documentation site, in docs/_build/html"
	@echo "make clean   remove $(VENV), builds and caches"
	@echo "make constraints"
	@echo "             renew constraints/ with the newest releases"

demo: $(VENV)/.installed-demo
	@exec $(bin)/python -m example_project.demo

test: lint
	$(bin)/python -m django makemigrations authmodes --check --dry-run --settings=tests.settings
ifeq ($(chromium)$(CI),)
	@echo "No Chromium found: the browser tests are left out. Install chromium to run them."
endif
	$(bin)/python -m pytest -n auto --dist worksteal -m "$(markers)" $(PYTEST_ARGS)

# Some of it: make matrix NOX_ARGS="-s py3.13 -- tests/test_login.py"
matrix: $(VENV)-tools/.installed
	$(VENV)-tools/bin/nox $(NOX_ARGS)

# In an environment and a folder for npm of its own; a client that is missing is a failure.
interop:
	@$(MAKE) --no-print-directory VENV=$(VENV)-interop run-interop

run-interop: $(VENV)/.installed-interop
	CI=true INTEROP_NODE_MODULES=$(abspath $(VENV))/node_modules \
	    $(bin)/python -m pytest -n 0 tests/interop/cases.py $(PYTEST_ARGS)

# The peers have an environment of their own: they must not change what the tests run with.
bench: $(VENV)-bench/.installed
	@exec $(VENV)-bench/bin/python -m benchmarks $(BENCH_ARGS)

lint: $(VENV)/.installed-test
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/lint-imports --no-logo

format: $(VENV)/.installed-test
	$(bin)/ruff check --fix
	$(bin)/ruff format

docs: $(VENV)-docs/.installed
	$(VENV)-docs/bin/sphinx-build --fail-on-warning --keep-going --quiet docs docs/_build/html

constraints:
	.ci/constraints

clean:
	rm -rf $(VENV) $(VENV)-* .nox docs/_build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps keep a second run quick and offline.
$(VENV)/.installed-demo: setup.cfg pyproject.toml constraints/*.txt | $(bin)/python
	$(install) ".[demo]"
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml constraints/*.txt | $(bin)/python
	$(install) ".[test,demo,deploy,jwe,redis,spectacular]"
	@touch $@ $(VENV)/.installed-demo

$(VENV)-docs/.installed: docs/requirements.txt
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)-tools/.installed: .ci/requirements.txt
	$(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/.installed-interop: tests/interop/requirements.txt tests/interop/package.json | $(VENV)/.installed-test
	@command -v npm >/dev/null || { echo "make interop needs Node.js and npm." >&2; exit 1; }
	$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint $(constraints) \
	    --requirement tests/interop/requirements.txt
	cp tests/interop/package.json $(VENV)/
	npm install --prefix $(VENV) --no-audit --no-fund --loglevel=error
	@touch $@

$(VENV)-bench/.installed: setup.cfg pyproject.toml benchmarks/requirements.txt
	@test -x $(@D)/bin/python || $(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
	    --requirement benchmarks/requirements.txt --editable .
	@touch $@

$(bin)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "$(PYTHON) was not found. Python 3.11 or later is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or later is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name another: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot create a virtual environment; on Debian, install python3-venv." >&2; exit 1; }
