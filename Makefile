# Everything a checkout can do. Needs Python >= 3.11 (PYTHON=...) and make; the
# targets with real Node workers also need Node >= 20. No other tool is assumed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
QUICKSTART := examples/quickstart
NODE_MODULES := $(QUICKSTART)/node_modules/.package-lock.json

# Ports of `make quickstart`: the standard ones of iii.
PORT ?= 49134
HTTP_PORT ?= 3111
# How often `make flakes` runs the tests that are not about cancellation.
REST ?= 300
# Bad frames of `make hostile` in a second, at most.
RATE ?= 2000
# More arguments for pytest, such as ARGS="-k quickstart -x".
ARGS ?=

.PHONY: help env quickstart test test-full deep check bench bench-full autobahn flakes crash mutations hostile cuts matrix pythons lock clean
.DEFAULT_GOAL := help

help:
	@echo "make quickstart  server, real SDK workers, the 20 steps; PORT=, HTTP_PORT="
	@echo "make test        all tests but the long forms; ARGS= goes to pytest"
	@echo "make test-full   the long forms too"
	@echo "make deep        the property tests with 200,000 programs: an hour"
	@echo "make check       formatter, linters, types, layers, coverage of pure modules"
	@echo "make bench       short benchmarks; bench-full: the published ones"
	@echo "make autobahn    Autobahn's fuzzing client against the front door"
	@echo "make flakes      tests again and again, shuffled; counts add up; RUNS=, REST="
	@echo "make crash       kills a server RUNS times while SDKs write; RUNS=1000"
	@echo "make hostile     bad frames and requests against a server under load; RUNS=, RATE="
	@echo "make mutations   spoils copies of the code; the tests must notice"
	@echo "make cuts        cuts links of real workers at random bytes; RUNS="
	@echo "make matrix      every generation of the public SDKs on one script; needs cargo"
	@echo "make pythons     the tests on every Python that is installed"
	@echo "make lock        compile the lock files anew"

env: $(INSTALLED)

$(INSTALLED): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("iii_trio needs Python >= 3.11; this is %d.%d: make PYTHON=python3.11 ..." % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(NODE_MODULES): $(QUICKSTART)/package.json $(QUICKSTART)/package-lock.json
	@command -v npm >/dev/null || { echo "this target needs Node >= 20 with npm on PATH (Debian: apt-get install nodejs npm)" >&2; exit 1; }
	cd $(QUICKSTART) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

quickstart: $(INSTALLED) $(NODE_MODULES)
	@$(BIN)/python $(QUICKSTART)/run.py --port $(PORT) --http-port $(HTTP_PORT)

test: $(INSTALLED)
	$(BIN)/python -m pytest -m "not full" $(ARGS)

test-full: $(INSTALLED)
	$(BIN)/python -m pytest -m "full or not full" $(ARGS)

# No watchdog: these tests take minutes each, and a dump of a running thread may crash.
deep: $(INSTALLED)
	$(BIN)/python -m pytest -o faulthandler_timeout=0 --hypothesis-profile=deep tests/property $(ARGS)

check: $(INSTALLED)
	$(BIN)/python tests/check.py

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks

bench-full: $(INSTALLED)
	$(BIN)/python -m benchmarks --full

autobahn: $(INSTALLED)
	$(BIN)/python tests/autobahn.py

flakes: RUNS = 10000
flakes: $(INSTALLED)
	$(BIN)/python -m tests.flakes cancellation $(RUNS)
	$(BIN)/python -m tests.flakes rest $(REST)

crash: RUNS = 1000
crash: $(INSTALLED) $(NODE_MODULES)
	CRASH_RUNS=$(RUNS) $(BIN)/python -m pytest -o log_cli=true --log-cli-level=INFO -o faulthandler_timeout=0 tests/integration/test_crash.py $(ARGS)

# RUNS bad frames and a tenth as many bad requests; the full form is RUNS=1000000.
hostile: RUNS = 50000
hostile: $(INSTALLED)
	$(BIN)/python -m tests.hostile.run --runs $(RUNS) --rate $(RATE)

mutations: $(INSTALLED)
	$(BIN)/python -m tests.mutations

matrix: $(INSTALLED) $(NODE_MODULES)
	@$(BIN)/python -m tests.matrix

# Cuts of links on public SDKs; a fifth as many of workers of ours.
cuts: RUNS := 1000
cuts: $(INSTALLED) $(NODE_MODULES)
	@nice -n 15 $(BIN)/python -m tests.cuts $(RUNS)

pythons:
	@for python in python3.11 python3.12 python3.13 python3.14; do \
		$$python -c pass 2>/dev/null || { echo "$$python: not installed, skipped"; continue; }; \
		$(MAKE) test PYTHON=$$python VENV=.venvs/$$python || exit 1; \
	done

# uv resolves for every platform at once and writes the hashes; it is used here only.
lock:
	$(PYTHON) -m venv .stamps/uv
	.stamps/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.stamps/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --output-file requirements.lock
	.stamps/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock" pyproject.toml --group dev --all-extras --output-file requirements-dev.lock
	rm -r .stamps/uv

clean:
	rm -rf $(VENV) .venvs .sdks .stamps $(QUICKSTART)/node_modules
