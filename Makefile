# What can I do with a checkout?  `make` alone lists it.  Needs Python 3.11-3.13 and make.

PYTHON ?= python3
# Extras that `make install` adds, besides what medseg needs to run.
EXTRAS ?= dev
# The second environment of `make test-all`.
OTHER_PYTHON ?= python3.12
OTHER_TORCH ?= 2.6.0

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# One thread a process: pytest runs two processes, and busy OpenMP pools slow each other down.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
PYTEST := $(ONE_THREAD) $(PY) -m pytest
PIP := PYTHONUNBUFFERED=1 $(PY) -m pip --disable-pip-version-check --no-input
# Of pip's talk, one name a package; what it complains about is kept, and shown if it fails.
COMPLAINTS := $(VENV)/pip-complaints.log
NAMES_ONLY := awk '/^ *(Collecting|Processing) / { n = split($$2, part, "/"); name = part[n]; \
	sub(/[<>=!~;[].*/, "", name); sub(/-[0-9].*/, "", name); printf "%s ", name; fflush() } \
	/^Installing collected/ { printf "\n  unpacking %d packages\n", NF - 3; fflush() }'

.DEFAULT_GOAL := help
.PHONY: help install demo test tests test-all test-other gpu bench docs dist lint types lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      install, then train, segment and evaluate phantoms; results in demo/"
	@echo "make test      install, then lint, types, the fast tests (layers among them) and docs"
	@echo "make docs      build the documentation into site/"
	@echo "make dist      build and check wheel and sdist in dist/"
	@echo "make test-all  the slow and the GPU tests too, and the fast ones with $(OTHER_PYTHON) and torch $(OTHER_TORCH)"
	@echo "make gpu       on a CUDA device: the GPU tests, then benchmarks/bench_gpu.py (GPU_DATA=DIR)"
	@echo "make bench     install other people's tools beside it (.venv-bench), then measure"
	@echo "make install   only make $(VENV) (PYTHON=python3.12 picks another Python)"
	@echo "make lock      renew constraints.txt from pyproject.toml"
	@echo "make clean     remove the environments, caches and demo/"

install: $(STAMP)

# Done again only when the requirements or the lock changed; an environment that a broken or
# interrupted attempt left without pip is made anew.
$(STAMP): pyproject.toml constraints.txt
	@$(call refuse_wrong_python,$(PYTHON))
	@rm -f $(STAMP)
	@if ! $(PY) -m pip --version >/dev/null 2>&1; then \
		echo "Making $(VENV) with $$($(PYTHON) --version)"; \
		$(PYTHON) -m venv --clear $(VENV) || { echo "Could not make $(VENV). On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; \
	fi
	@$(call refuse_wrong_python,$(PY))
	@echo "Installing medseg and what it needs into $(VENV) (a few minutes the first time)"
	@{ $(PIP) install -c constraints.txt pip hatchling editables && \
	   $(PIP) install -c constraints.txt --no-build-isolation -e ".[$(EXTRAS)]" && \
	   touch $@; } 2>$(COMPLAINTS) | $(NAMES_ONLY)
	@test -f $@ || { cat $(COMPLAINTS) >&2; echo "Installation failed: pip says why above" >&2; exit 1; }
	@echo "  ready: $(VENV)/bin/medseg"

# $(call refuse_wrong_python,PYTHON) ends the recipe with one clear line.
define refuse_wrong_python
$(1) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	echo "medseg needs Python 3.11, 3.12 or 3.13; '$(1)' is $$($(1) --version 2>&1 | head -n 1). Try: make PYTHON=python3.12 (after make clean, if $(VENV) is of the wrong version)" >&2; \
	exit 1; }
endef

demo: install
	@$(VENV)/bin/medseg demo --output demo

lint: install
	@echo "ruff"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: install
	@echo "mypy --strict medseg (about a minute the first time)"
	@$(PY) -m mypy

# The types (one process of a minute) and the docs are checked beside the tests, not after one another.
test: lint
	@$(MAKE) --no-print-directory -j 2 tests types docs

tests: install
	@echo "pytest"
	@$(PYTEST) -q -n 2 --dist worksteal

docs: install
	@echo "mkdocs build --strict"
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

dist: install
	@rm -rf dist
	@$(PY) -m build --no-isolation --outdir dist .
	@$(PY) -m twine check --strict dist/*

test-all: lint types
	@MEDSEG_EXAMPLES=300 $(PYTEST) -q -n 2 --dist worksteal -m "not bench"
	@$(MAKE) --no-print-directory test-other

# The fast tests once more, with another Python and the oldest torch that medseg is written for.
test-other:
	@$(OTHER_PYTHON) --version >/dev/null 2>&1 || { echo "not run: there is no $(OTHER_PYTHON); make test-other OTHER_PYTHON=python3.13"; exit 0; }
	@test -x .venv-other/bin/python || $(OTHER_PYTHON) -m venv .venv-other
	@echo "Installing medseg with torch $(OTHER_TORCH) into .venv-other"
	@.venv-other/bin/python -m pip install -q --disable-pip-version-check "torch==$(OTHER_TORCH)" -e ".[dev]"
	@$(ONE_THREAD) .venv-other/bin/python -m pytest -q -n 2 --dist worksteal

# Each part has its own time limit and leaves its results at once; in an environment that has what
# medseg needs, `make -o install gpu PY=python3` installs nothing.
gpu: install
	@mkdir -p gpu-results
	-timeout 300 $(PY) -m pytest -q -m gpu -p no:cacheprovider --junitxml gpu-results/tests.xml
	$(PY) benchmarks/bench_gpu.py --output gpu-results $(if $(GPU_DATA),--data $(GPU_DATA))

# In an environment of its own: other people's tools bring decoders that would change ours.
bench:
	@$(MAKE) --no-print-directory install VENV=.venv-bench EXTRAS=dev,bench
	@set -e; for script in benchmarks/bench_*.py; do \
		test -f "$$script" || { echo "no benchmarks"; break; }; \
		echo "$$script"; .venv-bench/bin/python "$$script"; \
	done

# A fresh environment made from pyproject.toml alone, written down. Local version suffixes and the
# packages of one platform's CUDA are dropped, so that pip picks each machine's own build.
# torch stays at the version that the results were measured with.
lock:
	@$(call refuse_wrong_python,$(PYTHON))
	@$(PYTHON) -m venv --clear .venv-lock
	@echo "Resolving every extra in a fresh environment (several minutes)"
	@.venv-lock/bin/python -m pip install -q --disable-pip-version-check --upgrade pip
	@.venv-lock/bin/python -m pip install -q --disable-pip-version-check \
		"torch==2.13.0" hatchling editables -e ".[dev,cluster,onnx,openvino,tensorboard,bench]"
	@{ echo "# Every version that \`make install\` may install; written by \`make lock\`."; \
	   .venv-lock/bin/python -m pip freeze --all --exclude-editable \
	   | sed -n 's/^\([A-Za-z0-9._-]*==[A-Za-z0-9.]*\).*/\1/p' | grep -Eiv '^(nvidia|cuda|triton)'; } > constraints.new
	@mv constraints.new constraints.txt
	@rm -rf .venv-lock
	@echo "constraints.txt holds $$(grep -c == constraints.txt) pins"

clean:
	rm -rf $(VENV) .venv-lock .venv-bench .venv-other demo gpu-results dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis constraints.new
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
