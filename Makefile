# make report   the study of config/config.yaml, from nothing to results/report.html
#               with DATA=data.nc: S from your own time courses, and a page on it
# make test     all tests, in a process per core
# make stress   bad input, kills at random moments and odd conditions by the hundred; KILLS=100 SEED=1
# make lint     form and types of the Python files, form of the Snakefiles
#
# Each installs what it needs into .venv first. Another study: make report STUDY=config/studies/networks.yaml

PYTHON ?= python3
CORES ?= all
WORKERS ?= $(cores)
STUDY ?=
DATA ?=
KILLS ?= 100
SEED ?= 1

export STUDY DATA  # names with spaces and quotes reach the shell as they are

.PHONY: report test stress lint
.DEFAULT_GOAL := report

report: .venv/installed
ifneq ($(DATA),)
	@.venv/bin/stoirec recover -o "$${DATA%.*}.recovery.nc" -- "$$DATA"
else
	.venv/bin/snakemake --cores $(CORES) $(if $(STUDY),--config "study=$$STUDY")
endif

# The workflow's files come first, because they take longest; each file stays in one process, where its fixtures are
# made once.
test: .venv/installed
	.venv/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

stress: .venv/installed
	STRESS_KILLS=$(KILLS) STRESS_SEED=$(SEED) .venv/bin/python -m pytest tests/stress -rs

lint: .venv/installed
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/snakemake --lint
	.venv/bin/snakefmt --check Snakefile workflow tests/workflow/around.smk

# torch-scatter compiles against torch, which therefore comes first; a wheel that pip kept from a build against
# another torch does not load, and is built again. Its extensions compile side by side by setuptools' own option: its
# setup.py declines ninja.
.venv/installed: export DIST_EXTRA_CONFIG = $(CURDIR)/.venv/build.cfg
.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name another one: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))' || \
	  { echo "error: the headers of $(PYTHON) are missing; on Debian: apt-get install python3-dev"; exit 1; }
	@c++ --version > /dev/null || { echo "error: no C++ compiler; on Debian: apt-get install g++"; exit 1; }
	$(PYTHON) -m venv .venv
	@printf '[build_ext]\nparallel = %s\n' $(cores) > $(DIST_EXTRA_CONFIG)
	@echo "installing torch, then all else; torch-scatter is compiled on the way: 6 to 7 minutes on one core, 4 on two"
	.venv/bin/pip install --quiet $(torch) setuptools wheel
	.venv/bin/pip install --quiet --no-build-isolation -e ".[test]"
	.venv/bin/python -c 'import torch_scatter' || \
	  .venv/bin/pip install --quiet --no-build-isolation --no-cache-dir --no-deps --force-reinstall $(torch_scatter)
	@touch $@

cores = $(shell nproc 2> /dev/null || getconf _NPROCESSORS_ONLN)

# Versions stand in pyproject.toml alone.
torch = $(call pinned,torch)
torch_scatter = $(call pinned,torch-scatter)
pinned = $(shell sed -n 's/^ *"\($(1)==[^"]*\)".*/\1/p' pyproject.toml)
