# The verbs. Each works from a fresh clone with Python 3.11 to 3.13 and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/installed
# The CUDA compilers and tools live in an environment of their own: 1.2 GB that nothing else needs.
GPU_VENV  := .venv-gpu-check
GPU_STAMP := $(GPU_VENV)/installed
PROOFS    := tests/gpu/test_twins.py tests/gpu/test_mutations.py

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix gpu-check gpu bench soak fuzz docs lock clean

help:            ## list the verbs
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(STAMP): requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else f"Python {v[0]}.{v[1]} found, 3.11 to 3.13 needed: make PYTHON=python3.12 ...")'
	@echo "[1/3] creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] installing $$(grep -c '==' requirements-dev.txt) pinned packages, about a minute on a first run"
	@$(BIN)/pip install --disable-pip-version-check --no-input --require-hashes -r requirements-dev.txt | sed -u -n -E 's/^(Collecting|Installing|Successfully) ([^ ]*).*/      \1 \2/p'
	@$(BIN)/python -c 'import numba, pyarrow, aiohttp' || { echo "installation failed: run $(BIN)/pip install --require-hashes -r requirements-dev.txt to see why"; exit 1; }
	@echo "[3/3] linking the project"
	@$(BIN)/pip install --disable-pip-version-check --no-input --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

setup: $(STAMP)  ## create .venv and install the pinned dependencies

demo: $(STAMP)   ## local venue servers and the scanner on them, one minute, no network
	@$(BIN)/scanner demo $(ARGS)

test: $(STAMP)   ## the test suite
ifdef ARGS
	@$(BIN)/python -m pytest -q $(ARGS)
else
	@# Two halves side by side, of about the same length; that of the feeds is printed when both are done.
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/feeds > $(VENV)/feeds.log 2>&1 & \
	feeds=$$!; \
	$(BIN)/python -m pytest -q tests kernels/laws --ignore=tests/feeds; rest=$$?; \
	wait $$feeds; first=$$?; cat $(VENV)/feeds.log; [ $$first = 0 ] && [ $$rest = 0 ]
endif

check: $(STAMP)  ## lint, types, imports, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

fix: $(STAMP)    ## format and apply safe fixes
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

$(GPU_STAMP): requirements-gpu-check.txt
	@echo "[1/2] creating $(GPU_VENV)"
	@$(PYTHON) -m venv $(GPU_VENV)
	@echo "[2/2] installing $$(grep -c '==' requirements-gpu-check.txt) pinned packages, 1.2 GB, about a minute on a first run"
	@$(GPU_VENV)/bin/pip install --disable-pip-version-check --no-input --require-hashes -r requirements-gpu-check.txt | sed -u -n -E 's/^(Collecting|Installing|Successfully) ([^ ]*).*/      \1 \2/p'
	@$(GPU_VENV)/bin/python -c 'import numba.cuda, cuda.core' || { echo "installation failed: run $(GPU_VENV)/bin/pip install --require-hashes -r requirements-gpu-check.txt to see why"; exit 1; }
	@touch $(GPU_STAMP)

gpu-check: $(STAMP) $(GPU_STAMP)  ## checks of the CUDA target that need no GPU
	@$(BIN)/python -m pytest -q tests/test_architecture.py -k law
	@# Two halves side by side, of about the same length; the second is printed when both are done.
	@$(GPU_VENV)/bin/python -m pytest -q -m "gpu_check and not slow" $(ARGS) $(PROOFS) > $(GPU_VENV)/proofs.log 2>&1 & \
	proofs=$$!; \
	$(GPU_VENV)/bin/python -m pytest -q -m "gpu_check and not slow" $(ARGS) tests/gpu $(PROOFS:%=--ignore=%); first=$$?; \
	wait $$proofs; second=$$?; cat $(GPU_VENV)/proofs.log; [ $$first = 0 ] && [ $$second = 0 ]

gpu: $(GPU_STAMP) ## bits, sanitizer and timings on a GPU; fails where there is none
	@$(GPU_VENV)/bin/python benchmarks/gpu.py $(ARGS)

.venv-bench/installed: requirements-bench.txt
	@echo "creating .venv-bench for the peers, $$(grep -c '==' requirements-bench.txt) pinned packages"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/pip install --disable-pip-version-check --no-input --quiet --require-hashes -r requirements-bench.txt
	@touch $@

bench: $(STAMP) .venv-bench/installed  ## baselines, printed with the machine, and beside peers
	@$(BIN)/python benchmarks/run.py $(ARGS)

soak: $(STAMP)   ## two simulated hours of all venues with every fault; writes docs/SOAK.md
	@$(BIN)/python benchmarks/soak.py $(ARGS)

fuzz: $(STAMP)   ## every decoder against inputs that reach new lines of it; writes docs/FUZZ.md
	@$(BIN)/python benchmarks/fuzz.py $(ARGS)

docs: $(STAMP)   ## regenerate what is generated: METRICS.md, the alert schema, the README picture
	@$(BIN)/python docs/generate.py

lock:            ## compile the pinned requirements (needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group dev pyproject.toml -o requirements-dev.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group gpu-check --constraint requirements-dev.txt pyproject.toml -o requirements-gpu-check.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --group pyproject.toml:bench -o requirements-bench.txt

clean:           ## remove the environments and caches
	rm -rf $(VENV) $(GPU_VENV) .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
