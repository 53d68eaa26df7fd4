# All commands for working on this project. Everything stays in the checkout, except pip's download cache.
# `make PYTHON=/path/to/python ...` selects the interpreter for a new .venv.
# `make bench ARGS="--runs 3 --json"` passes options to the program.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
PIP_SHOWN := $(BIN)/python -m pip --disable-pip-version-check --no-input
TOO_OLD := machines-mcp needs Python 3.11 or newer with its venv and ensurepip modules (Debian: python3-venv). \
	Name one with make PYTHON=/path/to/python.

# Newest first. Skips interpreters that don't run (a version manager's empty shim) or lack ensurepip.
SUITABLE := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	"$$p" -c '$(SUITABLE)' >/dev/null 2>&1 && echo "$$p" && break; done)

# Processes that share the tests; 0 runs them all in one. Quick tests often wait for a thread, so four share two cores.
WORKERS ?= 2
UNIT_WORKERS ?= 4

# Sizes of `make long`. For example, `make long KILLS=200 MINUTES=1` makes it shorter.
KILLS ?= 3000
STEPS ?= 15000
CALLS ?= 50000
REVEALS ?= 200
MINUTES ?= 60

# Test folders are in memory if possible. Beside a build on the same disk, SQLite's syncs can wait for many seconds.
IN_MEMORY := $(shell test -w /dev/shm && ! grep -q ' /dev/shm .*noexec' /proc/mounts && \
	test "$$(df --output=avail /dev/shm | tail -n 1)" -gt 4000000 && echo TMPDIR=/dev/shm)

# These variables of the caller's shell would make Python or pip use files outside the virtual environment.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX

.DEFAULT_GOAL := help
.PHONY: help demo chain test lint types imports unit check long docs pictures wheel bundle bench bench-peers bench-filter bench-size evals lock clean

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | while IFS='|' read -r name what; do \
		printf '  make %-12s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.runtime $(VENV)/.project ## Run the full journey on the embedded simulator, step by step
	@$(BIN)/machines-mcp demo

chain: $(VENV)/.chain $(VENV)/.project ## Install the extras for withdrawals on chain, and the simulator's chains
	@echo 'Try it: $(BIN)/machines-mcp demo --withdraw'

# The four run side by side: the types need one core for most of a minute, or for seconds with mypy's cache.
test: $(VENV)/.dev $(VENV)/.project ## Run the linter, strict types, import rules and quick tests (5 minutes)
	@$(MAKE) --no-print-directory --jobs=4 lint types imports unit

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev
	$(BIN)/mypy

imports: $(VENV)/.dev $(VENV)/.project
	$(BIN)/lint-imports --no-logo

unit: $(VENV)/.dev $(VENV)/.project
	$(IN_MEMORY) $(BIN)/python -m pytest -m 'not check' -n $(UNIT_WORKERS) --dist worksteal

check: $(VENV)/.dev $(VENV)/.project ## Run the other tests: processes, builds, a browser, npm, short campaigns (40 minutes)
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo 'Installing chromium ...' && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; fi || \
		echo 'Could not install chromium; the tests in a browser are skipped.' >&2
	$(IN_MEMORY) $(BIN)/python -m pytest -m 'check and not long' -rs -n $(WORKERS) --dist worksteal --durations=20

# A quarter of the kills each: with and without idempotency keys upstream, at any moment and at failpoints.
long: $(VENV)/.dev $(VENV)/.project ## Run the campaigns at full size and the tests on every Python (hours)
	$(IN_MEMORY) $(BIN)/python -m pytest -m long -rs -n $(WORKERS) --dist worksteal --durations=20
	for options in '' --no-keys --points '--no-keys --points'; do \
		$(IN_MEMORY) $(BIN)/python -m tests.crashes --kills $$(($(KILLS) / 4)) $$options || exit 1; done
	$(IN_MEMORY) $(BIN)/python -m tests.machine --steps $(STEPS)
	$(IN_MEMORY) $(BIN)/python -m tests.leaks --calls $(CALLS)
	$(IN_MEMORY) $(BIN)/python -m tests.leaks.memory --reveals $(REVEALS)
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

docs: $(VENV)/.dev $(VENV)/.project ## Update the generated parts of the pages
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/sandbox_page.py
	$(BIN)/python -m distribution

pictures: $(VENV)/.dev $(VENV)/.project ## Retake the pictures of the demo, a conversation, the desk, the views and the vault's page
	@fc-list | grep -q 'Inter:' || apt-get install -y -qq fonts-inter >/dev/null || echo 'Install the font Inter.' >&2
	$(BIN)/python -m tests.docs.pictures
	$(BIN)/python -m tests.docs.conversation
	$(BIN)/python -m tests.desk.pictures
	$(BIN)/python -m tests.tools.view_pictures
	$(BIN)/python -m tests.vault.pictures

wheel: $(VENV)/.runtime ## Build dist/machines_mcp-*.whl
	@$(BIN)/python -m hatchling build --target wheel --directory dist

bundle: $(VENV)/.dev $(VENV)/.project $(VENV)/lock/.made ## Pack dist/machines-mcp-*.mcpb for desktop clients; needs node
	@$(BIN)/python -m distribution.bundle --uv $(VENV)/lock/bin/uv $(ARGS)

bench: $(VENV)/.runtime $(VENV)/.project ## Compare start, latency, throughput and memory with a bare MCPServer; time the output filter
	@$(BIN)/python -m benchmarks $(ARGS)
	@$(if $(ARGS),:,$(BIN)/python -m benchmarks.output_filter)

bench-peers: $(VENV)/.runtime $(VENV)/.project ## Compare with published servers, installed under .venv/peers
	@$(BIN)/python -m benchmarks.peers $(ARGS)

bench-filter: $(VENV)/.runtime $(VENV)/.project ## Time the output filter
	@$(BIN)/python -m benchmarks.output_filter $(ARGS)

bench-size: $(VENV)/.runtime $(VENV)/.project ## Time reads with 10, 1,000 and 100,000 rows
	@$(BIN)/python -m benchmarks.size $(ARGS)

# `make evals MODEL=anthropic/<model>` runs that model; its key comes from the provider's variable.
evals: $(if $(MODEL),$(VENV)/evals/.made,$(VENV)/.dev $(VENV)/.project) ## Run the scripted agents, or MODEL=provider/name, on the evals; ARGS=--record stores the figures
	$(IN_MEMORY) $(if $(MODEL),XDG_DATA_HOME=$(CURDIR)/$(VENV)/evals/data $(VENV)/evals/bin/python -m evals.inspect_models --model $(MODEL),$(BIN)/python -m evals) $(ARGS)

# `make lock` keeps versions that still fit; `make lock UPGRADE=--upgrade` takes the newest.
COMPILE = $(VENV)/lock/bin/uv pip compile --quiet --no-config --cache-dir $(VENV)/lock/cache \
	--universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' $(UPGRADE)

PLANS = --extra chain --extra solana
# The tests need all extras.
EXTRAS = $(PLANS) --extra sandbox-chain

lock: $(VENV)/lock/.made ## Update locks/*.txt from pyproject.toml
	$(COMPILE) pyproject.toml --group build --output-file locks/runtime.txt
	$(COMPILE) pyproject.toml $(EXTRAS) --group dev --constraint locks/runtime.txt --output-file locks/dev.txt
	$(COMPILE) pyproject.toml $(PLANS) --group build --constraint locks/dev.txt --output-file locks/chain.txt
	$(COMPILE) pyproject.toml $(EXTRAS) --group build --constraint locks/dev.txt --output-file locks/sandbox-chain.txt
	$(COMPILE) pyproject.toml --extra evals --group build --constraint locks/runtime.txt --output-file locks/evals.txt
	$(COMPILE) pyproject.toml $(EXTRAS) --group dev --resolution lowest-direct --output-file locks/lowest.txt
	$(COMPILE) --group pyproject.toml:scanners --output-file locks/scanners.txt
	$(COMPILE) --group pyproject.toml:lock --output-file locks/lock.txt

clean: ## Remove everything that the other targets created
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find machines_mcp tests benchmarks distribution evals -type d -name __pycache__ -prune -exec rm -rf {} +

# Each stamp file is newer than its inputs, so a second run does nothing.
$(VENV)/.made:
	@'$(PYTHON)' -c '$(SUITABLE)' >/dev/null 2>&1 || { echo '$(TOO_OLD)' >&2; exit 1; }
	@echo 'Creating $(VENV) with $(PYTHON) ...'
	@'$(PYTHON)' -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.made locks/runtime.txt
	@echo 'Installing locks/runtime.txt ...'
	@$(PIP_SHOWN) install --require-hashes --no-deps -r locks/runtime.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.made locks/dev.txt
	@echo 'Installing locks/dev.txt ...'
	@$(PIP_SHOWN) install --require-hashes --no-deps -r locks/dev.txt
	@touch $@ $(VENV)/.runtime

$(VENV)/.chain: $(VENV)/.made locks/sandbox-chain.txt
	@echo 'Installing locks/sandbox-chain.txt ...'
	@$(PIP_SHOWN) install --require-hashes --no-deps -r locks/sandbox-chain.txt
	@touch $@ $(VENV)/.runtime

# An environment of its own: none of it is for the server or its tests.
$(VENV)/evals/.made: locks/evals.txt pyproject.toml | $(VENV)/.made
	@echo 'Installing locks/evals.txt ...'
	@$(BIN)/python -m venv $(VENV)/evals
	@$(VENV)/evals/bin/python -m pip --disable-pip-version-check --no-input install --require-hashes --no-deps -r locks/evals.txt
	@$(VENV)/evals/bin/python -m pip --disable-pip-version-check --no-input --quiet install --no-deps \
		--no-build-isolation --no-index --editable .
	@touch $@

# All locks include the build backend.
$(VENV)/.project: pyproject.toml machines_mcp/__init__.py | $(VENV)/.runtime
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/lock/.made: locks/lock.txt | $(VENV)/.made
	@$(BIN)/python -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r locks/lock.txt
	@touch $@
