# Everything one does with this project. Needs Python 3.11 or newer with venv, make and git.
PYTHON ?= python3
IMAGE ?= fm-algo
DOCKER ?= docker
DEVICE ?= cpu
TORCH ?=

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := .cache/uv/bin/uv
FLOORS := .cache/floors
# These need torch, whose one version is no floor.
NEED_TORCH := $(addprefix tests/unit/training/,distributed gradient/gpu gradient/test_select.py)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

.DEFAULT_GOAL := help
.PHONY: help setup check test floors-test demo bench docs notebooks image local-test hosts-test lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(INSTALLED) ## make .venv with the project and its tools

$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

check: setup ## format, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then every test that needs no Docker and no hosts
	$(BIN)/pytest -n 3 -rs -m 'not docker and not hosts'
	@echo 'not run: the tests in Docker (`make local-test`) and of several hosts (`make hosts-test`)'

hosts-test: setup ## test several hosts; kills, freezes and cuts them off where root may
	$(BIN)/pytest -n 4 -rs -m 'hosts and not docker'

floors-test: $(UV) ## the unit tests with the oldest dependencies that pyproject.toml allows
	$(PYTHON) -m venv --clear $(FLOORS)
	$(UV) pip install --quiet --python $(FLOORS) --resolution lowest-direct --editable '.[test]'
	$(FLOORS)/bin/pytest -n 2 -m 'not docker and not hosts' tests/unit $(addprefix --ignore=,$(NEED_TORCH))

demo: setup ## train and serve on MovieLens-100k
	@$(BIN)/python local_test/demo.py

bench: setup ## measure speed and quality; the other benchmarks want a GPU, root, peers or 20 GB
	@for name in train passes decode end_to_end checkpoint serve; do \
	  $(BIN)/python "benchmarks/bench_$$name.py" || exit; \
	done

docs: setup ## renew the generated pages
	@for page in docs/*.py; do $(BIN)/python "$$page" || exit; done

notebooks: setup ## run the notebooks again and keep what they print and draw
	$(BIN)/python examples/notebooks/renew.py

image: ## build the image; DEVICE=gpu: one for GPUs, too; TORCH=none: a small one, for one host
	$(DOCKER) build --tag $(IMAGE) --build-arg DEVICE=$(DEVICE) $(if $(TORCH),--build-arg TORCH=$(TORCH)) \
	  --label org.opencontainers.image.version=$(VERSION) \
	  --label org.opencontainers.image.revision=$(REVISION) .

local-test: setup image ## build the image and test it as SageMaker would run it
	FM_IMAGE=$(IMAGE) $(BIN)/pytest -n 2 -m docker -rs

lock: $(UV) ## renew requirements.lock
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(UV) pip compile --quiet --upgrade \
	  --python-version 3.11 --python-platform linux --no-strip-markers --generate-hashes --extra report --extra tensorboard \
	  --output-file requirements.lock pyproject.toml

$(UV):
	$(PYTHON) -m venv $(@D)/..
	$(@D)/python -m pip install --quiet --disable-pip-version-check uv

clean: ## remove what was built; .venv stays
	rm -rf build dist *.egg-info .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	rm -rf .hypothesis local_test/test_dir/model local_test/test_dir/output
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +
