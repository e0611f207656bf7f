# `make test` and `make bench` set up what they need on a fresh Debian machine and do their job; a second run starts at once.
# `make help` lists the rest. ARGS goes to the command: make test ARGS="-k recall", make bench ARGS="--threads 1".

PYTHON ?= python3
ARGS ?=
export ADANNS_WERROR = 1

BIN := .venv/bin
INSTALLED := .venv/.adanns-installed
BUILT := build/.adanns-built
# Folders too, so that a removed file is noticed.
CPP_INPUTS := CMakeLists.txt $(shell find cmake csrc 2>/dev/null)

CPP_FILES := csrc tests/cuda_emulator -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh'

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help test bench build lint ruff mypy clang-format format check-symbols sanitize sanitize-threads clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

test: build ## run the tests
	$(BIN)/python -m pytest $(ARGS)

bench: build ## measure our indices beside FAISS on the icons (table, CSV, JSON, plots, one HTML page)
	$(BIN)/python -m benchmarks speedup --dataset icons $(ARGS)

build: $(BUILT) ## make .venv and compile adanns._core

# A virtual environment with the dependencies, the extras the tests need, and this folder installed as an editable package.
# Without build isolation, so that later builds find the same pybind11 and compile only what changed.
$(INSTALLED): pyproject.toml constraints.txt setup.py
	PYTHON="$(PYTHON)" tools/system_packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip setuptools pybind11 cmake ninja
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[bench,dev,files,mrl]'
	touch $@

$(BUILT): $(INSTALLED) $(CPP_INPUTS)
	$(BIN)/python setup.py --quiet build_ext --inplace
	@mkdir -p build && touch $@

lint: ruff mypy clang-format ## ruff, mypy --strict, clang-format (make -k lint: all of them, whichever fails)

ruff: build
	$(BIN)/ruff check
	$(BIN)/ruff format --check

mypy: build
	$(BIN)/mypy --strict

clang-format: build
	find $(CPP_FILES) | sort | xargs $(BIN)/clang-format --dry-run -Werror

format: build ## let ruff and clang-format rewrite the sources
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	find $(CPP_FILES) | sort | xargs $(BIN)/clang-format -i

check-symbols: build ## one symbol per kernels object, no AVX outside them
	$(BIN)/python tools/check_symbols.py build/cmake-*

sanitize: build ## the kernel tests under AddressSanitizer and UBSan, in a build of their own
	tools/sanitize.sh $(ARGS)

sanitize-threads: build ## threads that change and search indices, under ThreadSanitizer, in a build of their own
	tools/sanitize_threads.sh $(ARGS)

clean: ## remove everything built, but keep .venv
	rm -rf build dist *.egg-info adanns/_core.*.so .mypy_cache .ruff_cache .pytest_cache $(INSTALLED)
