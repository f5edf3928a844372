# The commands of this repository. The first one that needs it sets up .venv; `make` lists them.

PYTHON ?= python3
BACKEND ?= optuna
KILLS ?= 20

BIN := .venv/bin
INSTALLED := .venv/.installed
BENCH := .venv-bench/.installed

# Sets of versions: constraints/NAME.in says what is pinned, and NAME.txt is made from it by constraints/lock.sh.
SETS := oldest transformers-4.46 transformers-4.57 transformers-5.0 newest
TESTS ?=
ENDS := tests/compat tests/backends/test_conformance.py tests/tuning/test_same_as_transformers.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-ends package $(SETS:%=test-%) properties soak bench check lint docs clean
.PRECIOUS: $(SETS:%=.venv-%/.installed)

help:  ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## search a small vision transformer on real digits [BACKEND=optuna|ray|sigopt|wandb]
	@$(BIN)/python examples/digits.py --backend $(BACKEND)

test: $(INSTALLED)  ## the tests and every example in the documentation
	@$(BIN)/python -m pytest -q -n 2

test-oldest:  ## the same with the oldest versions [TESTS="tests/backends"]
test-newest:  ## the same with the newest versions
$(SETS:%=test-%): test-%: .venv-%/.installed
	@.venv-$*/bin/python -m pytest -q -n 2 $(or $(TESTS),--junit-xml=build/tests-$*.xml)

test-ends:  ## what touches each system, with the oldest and the newest versions: some minutes
	@$(MAKE) --no-print-directory test-oldest test-newest TESTS="$(ENDS)"

properties: $(INSTALLED)  ## every property, on 20,000 new spaces each: hours
	@$(BIN)/python -m pytest -q -n 2 --hypothesis-profile=thorough tests/space tests/translators

soak: $(INSTALLED)  ## nonsense for each reader, and kill -9 of searches on each backend [KILLS=20]
	@HPCOMPAT_HOSTILE=200000 $(BIN)/python -m pytest -q -n 2 -o timeout=7200 tests/translators/test_hostile_input.py
	@HPCOMPAT_KILLS=$(KILLS) $(BIN)/python -m pytest -q -o timeout=0 tests/tuning/test_killed.py

bench: $(BENCH)  ## measure against the alternatives, into docs/benchmarks.md [ITEMS="imports sampling"]: half an hour
	@.venv-bench/bin/python -m benchmarks $(ITEMS)

package: $(INSTALLED)  ## build the wheel and the sdist, and try the wheel in an environment of its own
	@rm -rf dist build/package
	@$(BIN)/uv build -q --out-dir dist
	@$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	@$(BIN)/uv venv -q build/package
	@$(BIN)/uv pip install -q --python build/package "$$(ls dist/*.whl)[optuna]"
	@cd build && package/bin/hpcompat versions && echo '{"parameters": {"lr": {"min": 0.1, "max": 0.2}}}' | package/bin/hpcompat show -

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

# Bytecode is compiled because warnings of the compiler would be errors in the tests. pyenv shows the selected versions only.
.venv-%/.installed: export PYENV_VERSION := 3.11:3.10:3.12:3.13
.venv-%/.installed: constraints/%.txt pyproject.toml | $(INSTALLED)
	@echo "Setting up .venv-$*: a minute, once"
	@$(BIN)/uv venv -q --clear --python "$$(sed -n 's/^# Python \([0-9.]*\),.*/\1/p' constraints/$*.in)" .venv-$*
	@$(BIN)/uv pip install -q --python .venv-$* --compile-bytecode -c $< -e '.[test]'
	@$(BIN)/uv pip install -q --python .venv-$* --no-deps -c constraints.txt sigoptlite libsigopt
	@touch $@

# The peers of the benchmarks, beside what .venv holds: they are none of the project's own dependencies.
$(BENCH): export PIP_DISABLE_PIP_VERSION_CHECK := 1
$(BENCH): $(INSTALLED) benchmarks/requirements.txt
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -c "import sysconfig; place = sysconfig.get_path('purelib'); \
	text = 'import site; site.addsitedir(%r)' % place.replace('.venv-bench', '.venv'); open(place + '/beside.pth', 'w').write(text)"
	@.venv-bench/bin/python -m pip install -qq --no-deps -r benchmarks/requirements.txt
	@touch $@
