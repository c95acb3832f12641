# Two commands do everything on a fresh machine with Python 3.11+ and make: `make quickstart` and `make test`.
.PHONY: help setup quickstart test check clean

help:
	@echo "make quickstart   set up, then distil a real 135M model on this machine's CPU (minutes)"
	@echo "make test         set up, then run linters, type checker and tests"
	@echo "make setup        set up .venv only (EXTRA=gpu on a CUDA machine)"
	@echo "make check        linters, type checker and import rules only"

setup: .venv/.ready

.venv/.ready: pyproject.toml cluster/setup.sh cluster/overrides.txt cluster/overrides-cpu.txt
	sh cluster/setup.sh

quickstart: setup
	.venv/bin/tutelage run quickstart

check: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Two processes (tests/conftest.py says which has what). Ray's workers would yield to the other's tests.
test: check
	RAY_worker_niceness=0 .venv/bin/pytest --numprocesses 2 --no-loadscope-reorder --durations 25

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
