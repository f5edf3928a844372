# The commands of this repository. The first one that needs it sets up .venv; `make` lists them.

PYTHON ?= python3
BACKEND ?= optuna
KILLS ?= 20

BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH := .venv-bench/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test properties soak bench check lint docs clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## search a small vision transformer on real digits [BACKEND=optuna|ray|sigopt|wandb]
	@$(BIN)/python examples/digits.py --backend $(BACKEND)

test: $(INSTALLED)  ## the tests and every example in the documentation
	@$(BIN)/python -m pytest -q -n 2

properties: $(INSTALLED)  ## every property, on 20,000 new spaces each: hours
	@$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=thorough tests/space tests/translators

soak: $(INSTALLED)  ## nonsense for each reader, and kill -9 of searches on each backend [KILLS=20]
	@HPCOMPAT_HOSTILE=200000 $(BIN)/python -m pytest -q -n 2 -o timeout=7200 tests/translators/test_hostile_input.py
	@HPCOMPAT_KILLS=$(KILLS) $(BIN)/python -m pytest -q -o timeout=0 tests/tuning/test_killed.py

bench: $(BENCH)  ## measure against the alternatives, into docs/benchmarks.md [ITEMS="imports sampling"]: half an hour
	@.venv-bench/bin/python -m benchmarks $(ITEMS)

check: lint docs  ## lint, formatting, types, documentation

lint: $(INSTALLED)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@mkdir -p build; $(BIN)/lint-imports --no-cache --no-logo > build/imports.txt || { cat build/imports.txt; exit 1; }
	@$(BIN)/python docs/completeness.py --check

docs: $(INSTALLED)  ## the documentation, into build/docs
	@$(BIN)/python -m sphinx -q -W --keep-going -d build/doctrees docs build/docs

clean:  ## remove what the other commands made, but for .venv and runs
	@rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache

# sigoptlite and libsigopt run beside numpy 2, which their metadata still forbids: hence --no-deps.
$(INSTALLED): export PIP_DISABLE_PIP_VERSION_CHECK := 1
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Setting up .venv: some minutes, once"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@$(BIN)/python -m pip install -qq -c constraints.txt --no-deps sigoptlite libsigopt
	@touch $@

# The peers of the benchmarks, beside what .venv holds: they are none of the project's own dependencies.
$(BENCH): export PIP_DISABLE_PIP_VERSION_CHECK := 1
$(BENCH): $(INSTALLED) benchmarks/requirements.txt
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -c "import sysconfig; place = sysconfig.get_path('purelib'); \
	text = 'import site; site.addsitedir(%r)' % place.replace('.venv-bench', '.venv'); open(place + '/beside.pth', 'w').write(text)"
	@.venv-bench/bin/python -m pip install -qq --no-deps -r benchmarks/requirements.txt
	@touch $@
