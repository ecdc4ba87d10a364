# `make demo` and `make test` do all the set-up on a fresh machine: a virtual environment in .venv, then the rest.
PYTHON ?= python3
# One exact version: a range would take the newest build with gigabytes of CUDA where a CPU build is at hand.
# On a GPU machine: make demo TORCH='torch --index-url https://download.pytorch.org/whl/cu128'
TORCH ?= torch==2.13.0
JOBS ?= 2
BIN := .venv/bin

.PHONY: demo test test-long test-all lint completions docs benchmarks emg-reading clean

demo: .venv/installed
	$(BIN)/medreport demo

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -q

test-long: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -q -m long

test-all: test test-long

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/mypy

completions: .venv/ready
	$(BIN)/python -m emgecg_cli.commands.completion completions

# make benchmarks ROOT=DIR, a PTB-XL root
benchmarks: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/score_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generate_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/report_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/store_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/prepare_scale.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/read_speed.py $(ROOT)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/measure_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/beats_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pages_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/ecg_labels.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/emg_speed.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/facts.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/near_pairs.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_start.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/loss_memory.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/pretrained_reading.py --only recipe
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/certify_rule.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/grpo.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/modalities.py

# hours; it may be stopped and started again
emg-reading: .venv/ready
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/emg_reading.py

# the site in site/, with search; warnings and broken links are errors
docs: .venv/ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# What the commands need, and nothing of what only tests and rare options do.
.venv/installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or later is needed, this is {sys.version}"'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -c 'import torch, transformers' 2>/dev/null || echo "downloading about 400 MB (3 GB where torch comes with CUDA) into .venv"
	$(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python -m pip install -q -e .
	touch $@

.venv/ready: .venv/installed
	@$(BIN)/python -c 'import pytest, ray, wandb' 2>/dev/null || echo "downloading about 450 MB more, for the tests"
	$(BIN)/python -m pip install -q -e '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache demo
