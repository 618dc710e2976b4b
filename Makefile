# `make run` and `make test` set up everything they need in `.venv`.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := kernel $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)) plugin-template
STAMP := .venv/.installed
# Only variables on the `make` command line count: some shells export HOST.
SERVE := $(if $(filter command,$(origin PORT)), --port $(PORT))$(if $(filter command,$(origin HOST)), --host $(HOST))
PAGES := README.md $(wildcard docs/*.md plugins/*/README.md)
T ?=
# The test files are distributed over this many processes, one more than cores, because tests often
# wait. Slow tests measure: they run in one.
WORKERS ?= $(if $(filter 1,$(PLUGWAY_SLOW)),0,$(shell $(PYTHON) -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))'))
# More options of pytest.
ARGS ?=
DIST ?= dist

.PHONY: run test check fix dev bench newest new dist clean

run: $(STAMP)  ## serve config.example.yaml on 127.0.0.1:8484, or `make run PORT=9000 HOST=::1`
	$(BIN)/plugway serve --config config.example.yaml$(SERVE)

test: $(STAMP)  ## all tests, or `make test T=plugins/router`; in several processes unless `WORKERS=0`
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS) $(T)

check: $(STAMP)  ## lint, types, generated docs up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/pyright --pythonplatform Windows
	PYTHONPATH=. $(BIN)/cog --check --diff -P $(PAGES)

fix: $(STAMP)  ## format, apply automatic fixes, write generated docs
	$(BIN)/ruff check --fix -q .
	$(BIN)/ruff format -q .
	PYTHONPATH=. $(BIN)/cog -r -P $(PAGES)

bench: $(STAMP)  ## the gateway against a direct connection and nginx
	$(BIN)/python -m bench.gateway

newest: $(STAMP)  ## run the client tests with the newest Claude Code, and list names that no plugin knows
	$(BIN)/python -m tools.newest $(VERSION)

new: $(STAMP)  ## make new NAME=my-plugin
	$(BIN)/plugway new $(NAME)

dist: $(STAMP)  ## one wheel per package, into dist/, or `make dist DIST=FOLDER`
	rm -f $(DIST)/plugway*.whl
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir $(DIST) $(addprefix ./,$(filter-out plugin-template,$(PACKAGES)))

dev: $(STAMP)  ## only install

clean:
	rm -rf .venv

$(STAMP): pyproject.toml constraints.txt $(PACKAGES:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Plugway needs Python 3.11 or newer; set PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@echo "installing the dependencies (llama.cpp is compiled once: about 5 minutes on 2 cores)"
	$(BIN)/pip install --quiet -c constraints.txt --group dev
	$(BIN)/pip install --quiet -c constraints.txt --no-build-isolation $(PACKAGES:%=-e ./%)
	@touch $@
