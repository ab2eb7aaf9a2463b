# make run    everything on a fresh machine: environment, package, default experiment (CONFIG=FILE: another)
# make test   the same environment, then checks and tests (test-long: long campaigns; coverage: lines that no test runs)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 8
# Changes with the pins and with the checkout to which the editable install points.
STAMP := $(VENV)/installed-$(shell (cat constraints.txt pyproject.toml; pwd) | cksum | cut -d" " -f1)

# Programs are started through python: in a folder named a$(b), the shell lines of pip's scripts would be expanded.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: run test test-long test-slurm coverage lint schema envs docs tiny-clip clean

run: $(STAMP)
	@python -m oodgrid unlock
	$(if $(CONFIG),@python -m oodgrid check "$(CONFIG)")
	python -m snakemake --cores $(CORES) $(if $(CONFIG),--configfile "$(CONFIG)")

test: $(STAMP) lint
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow and not slurm"

# Campaigns; TESTS="--ignore tests/workflow" leaves out those of whole runs, and so on.
test-long: $(STAMP)
	python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m slow $(TESTS)

# Which lines no test runs; not part of `test`, which it makes slower. Jobs of whole runs are not counted.
coverage: $(STAMP)
	python -m pytest -n auto --dist loadfile -m "not slow and not slurm" --cov --cov-report=term --cov-report=html:build/coverage

test-slurm: $(STAMP)
	python -m pytest -m slurm

lint: $(STAMP)
	python -m ruff check .
	python -m ruff format --check .
	python -m snakefmt --check Snakefile workflow
	python -m snakemake --lint
	lint-imports
	python -m mypy

schema: $(STAMP)
	python -m oodgrid schema > workflow/schemas/config.schema.json

# The documentation as a site in build/site; a broken link fails.
docs: $(STAMP)
	python -m zensical build --strict

envs: $(STAMP)
	python tools/conda_envs.py

tiny-clip: $(STAMP)
	python tools/train_tiny_clip.py

# Pinned versions; the stamp changes with the pins, so that an old environment is brought up to date.
$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))" \
		|| { echo "oodgrid needs Python 3.11, 3.12 or 3.13; found $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned versions into $(VENV): one to three minutes."
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e ".[encode,workflow,text,real,dev]"
	rm -f $(VENV)/installed-*
	touch $@

clean:
	rm -rf $(VENV)
