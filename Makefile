# The way in: every target below creates .venv and installs what it needs first, once.
# `make help` lists them.  Nothing here is needed to use the `physlm` command itself.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PHYSLM := $(VENV)/bin/physlm
STAMP  := $(VENV)/.installed

# The tier of the sweep: gpu where torch finds a CUDA device, else demo.  Asked by the recipe's shell, so after the installation.
TIER ?= $$($(PY) -c 'import torch; print("gpu" if torch.cuda.is_available() else "demo")')

# One process a GPU, or a CPU core (up to eight), where several runs are to be trained; targets that train a single run at
# tier demo, which is faster with all cores, use several only where PROCESSES is given.
PROCESSES ?= $$($(PY) -c 'import os, torch; print(torch.cuda.device_count() or min(8, os.cpu_count()))')
GIVEN_PROCESSES = $(if $(filter command environment,$(firstword $(origin PROCESSES))),--processes $(PROCESSES))
CLAIMS := $(notdir $(basename $(wildcard experiments/[a-z]*.py)))

.DEFAULT_GOAL := help
.PHONY: help install test test-extras test-lowest lint types capacity-sweep knowledge grammar probes manipulation math playground night mixers capacity-figure figures verify notebooks report site docs bench list sample clean clean-runs

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(STAMP)  ## create .venv and install physlm with its tools, again when what they are changes

$(STAMP): pyproject.toml constraints.txt
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
	    command -v $(PYTHON) >/dev/null 2>&1 || \
	        { echo "make: no '$(PYTHON)' here; expected Python 3.11 or newer (name one: make PYTHON=python3.12 ...)" >&2; exit 2; }; \
	    $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	        { echo "make: $(PYTHON) is $$($(PYTHON) -V 2>&1); expected Python 3.11 or newer (name one: make PYTHON=python3.12 ...)" >&2; exit 2; }; \
	    $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	        { echo "make: $(PYTHON) has no venv or no ensurepip; install them (Debian, Ubuntu: apt install python3-venv) or name another Python: make PYTHON=..." >&2; exit 2; }; \
	    echo "creating $(VENV)"; $(PYTHON) -m venv $(VENV); \
	fi
	@echo "installing physlm into $(VENV) (the first time takes some minutes)"
	@$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: lint types  ## lint, types and tests (ARGS="-k name" passes on to pytest)
	$(PY) -m pytest -n auto $(ARGS)

# Of each extra: what pyproject.toml calls it, then its tests.  Each is installed in an environment of its own that sees .venv.
EXTRAS := \
  hf,parquet,datasets=tests/hf,tests/commands/test_model_commands.py,tests/test_docs.py::test_python_runs_as_it_stands[docs/probe-your-own-model.md] \
  tensorboard,wandb,trackio=tests/lab/test_trackers.py \
  battery=tests/battery,tests/commands/test_battery_commands.py \
  linear=tests/lab/test_fla_kernels.py,tests/lab/test_bench_fla.py \
  ray,slurm=tests/lab/test_executor_ray.py,tests/lab/test_executor_slurm.py \
  docs=tests/test_site.py

test-extras: $(STAMP)  ## tests of what needs an extra, each extra installed in turn in .venv/extras/
	@for extra in $(foreach one,$(EXTRAS),"$(one)"); do .ci/extra "$${extra%%=*}" "$${extra#*=}" || exit; done

# With these tests every library of the package is at work.
LIBRARIES := tests/test_cli.py,tests/test_storage.py,tests/commands,tests/figures,tests/laws/test_forms.py,tests/report,tests/tasks/test_every_task.py

test-lowest: $(STAMP)  ## tests with the oldest libraries that pyproject.toml admits, in .venv/lowest/
	@for extra in "=$(LIBRARIES)" $(foreach one,$(EXTRAS),"$(one)"); do .ci/extra --oldest "$${extra%%=*}" "$${extra#*=}" || exit; done

lint: $(STAMP)  ## ruff
	$(PY) -m ruff check .

types: $(STAMP)  ## mypy
	$(PY) -m mypy

capacity-sweep: $(STAMP)  ## bits of knowledge per parameter, from data to figure (TIER=smoke|demo|gpu|paper, PROCESSES=n)
	@tier=$(TIER) && set -x && $(PHYSLM) run p33_capacity --tier "$$tier" --processes $(PROCESSES)

knowledge: $(STAMP)  ## Part 3.3: bits at fewer exposures, of fixed texts, in weights of 8 and 4 bits (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p33_conditions --tier "$$tier" --processes $(PROCESSES)

grammar: $(STAMP)  ## Part 1: train on a grammar, let the model write, probe it, see its attention (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p1_generation p1_probing p1_attention --tier "$$tier" $(GIVEN_PROCESSES)

probes: $(STAMP)  ## Part 3.1: knowledge that is stored but cannot be told, and where it is stored (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p31_extraction p31_probing --tier "$$tier" --processes $(PROCESSES)

manipulation: $(STAMP)  ## Part 3.2: retrieval, classification, comparison, two hops, inverse search (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p32_manipulation p32_two_hop p32_inverse --tier "$$tier" --processes $(PROCESSES)

math: $(STAMP)  ## Part 2.1: learn to solve problems, and read one solution as the checker does (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p21_accuracy --tier "$$tier" $(GIVEN_PROCESSES) && $(PHYSLM) igsm solve p21_accuracy --tier "$$tier" --op 4

playground: $(STAMP)  ## Part 4.1: copying with Canon layers, hops along cycles, mental arithmetic (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run p41_copy p41_playground --tier "$$tier" --processes $(PROCESSES)

mixers: $(STAMP)  ## beyond softmax: a bit that has to be kept, with RoPE, FoX and PaTH (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run beyond_flip_flop --tier "$$tier" --processes $(PROCESSES)

night: $(STAMP)  ## every claim: their runs are trained and measured together, then reported (TIER as above)
	@tier=$(TIER) && set -x && $(PHYSLM) run $(CLAIMS) --tier "$$tier" --processes $(PROCESSES)

capacity-figure: $(STAMP)  ## draw the capacity figure again from its saved table
	$(PHYSLM) figure p33_capacity

figures: $(STAMP)  ## draw every figure of results/ again from its saved table, without a GPU
	$(PHYSLM) figure --all

verify: $(STAMP)  ## every claim: how many quantities agree, the worst miss; every law refitted from its saved table
	$(PHYSLM) verify --refit

notebooks: $(STAMP)  ## execute the tours; store their outputs anew where others come out
	OMP_NUM_THREADS=1 $(PY) notebooks/tours.py

report: $(STAMP)  ## the committed results as pages to look at, in report/index.html
	$(PHYSLM) report

site: $(STAMP)  ## the documentation site, in build/site/: pages, results, notebooks, commands, docstrings
	@.ci/extra docs
	.venv/extras/docs/bin/python docs/site/make_site.py

docs: $(STAMP)  ## write the tables of README.md and docs/results/ again from the committed results
	$(PHYSLM) verify --into README.md $(patsubst %,--into %,$(wildcard docs/results/*.md))

bench: $(STAMP)  ## speed on this machine: training, sampling, parsing, problems, tasks, probes
	$(PHYSLM) bench train
	$(PHYSLM) bench grammar
	$(PHYSLM) bench igsm
	$(PHYSLM) bench tasks
	$(PHYSLM) bench probes

list: $(STAMP)  ## the experiments
	$(PHYSLM) list

sample: $(STAMP)  ## three synthetic biographies
	$(PHYSLM) data sample bios --n 3

clean:  ## remove caches and build files (keeps .venv, runs/ and results/)
	rm -rf build dist report *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find physlm experiments tests -type d -name __pycache__ -prune -exec rm -rf {} +

clean-runs:  ## remove runs/: all trained models and unfinished runs (results/ stays)
	rm -rf runs
