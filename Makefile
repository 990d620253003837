# Trainmaster: every task a developer or CI runs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STATE ?= .trainmaster
SEED ?=
# What `make install-yaml` hands to helm: --set image.tag=TAG, --values FILE.
CHART_ARGS ?=
# One more than the two cores of a small machine: many tests wait for processes.
WORKERS ?= 3

.PHONY: help
help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Two marks: what running needs, and what developing needs on top. Each is made again when its lock changes.
$(VENV)/.local: requirements/local.lock requirements/data.lock pyproject.toml scripts/install.sh
	scripts/install.sh "$(PYTHON)" "$(VENV)" local
$(VENV)/.dev: requirements/dev.lock requirements/data.lock pyproject.toml scripts/install.sh
	scripts/install.sh "$(PYTHON)" "$(VENV)" dev

.PHONY: install
install: $(VENV)/.local ## Make the virtual environment that runs Trainmaster (uv if there, else pip)

.PHONY: install-dev
install-dev: $(VENV)/.dev ## The same with linters and test tools

.PHONY: demo
demo: $(VENV)/.local ## Train the market classifier on real price bars, from a manifest
	$(BIN)/trainmaster demo --state-dir "$(STATE)"

.PHONY: check
check: $(VENV)/.dev ## Lint, types, layers, drift of generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --config pyproject.toml
	scripts/generate.sh --check
	scripts/chart_crds.sh --check

.PHONY: test
test: $(VENV)/.dev chart-tools ## All tests but the soak series
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(if $(SEED),--seed $(SEED))

.PHONY: control-plane
control-plane: $(VENV)/.dev ## Build the servers that tests use: control plane, object store (9-12 minutes the first time)
	$(BIN)/python -m tests.support.control_plane
	$(BIN)/python -m tests.support.object_store

.PHONY: playground
playground: $(VENV)/.dev ## Start an API server with a fake node, print how to reach it, and keep it until Ctrl-C
	$(BIN)/python -m tests.support.control_plane --playground

.PHONY: soak
soak: $(VENV)/.dev ## The kill series whole: every step, not a sample (about an hour)
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m soak --timeout 7200 $(if $(SEED),--seed $(SEED))

.PHONY: images
images: ## Build the images operator and trainer (docker, podman or buildah; BASE_IMAGE, TAG)
	scripts/images.sh

.PHONY: sbom
sbom: ## Write dist/sbom-*.spdx.json: what the built images hold
	scripts/sbom.sh

.PHONY: cluster-up
cluster-up: $(VENV)/.dev ## Start a cluster on this machine: real kubelet, containerd, pods (as root; no registry needed)
	scripts/packages.sh
	$(BIN)/python -m tests.support.node up

.PHONY: cluster-down
cluster-down: $(VENV)/.dev ## End it; nothing but its images stays
	$(BIN)/python -m tests.support.node down

.PHONY: e2e
e2e: $(VENV)/.dev ## Tests of real pods, in a cluster of their own or in the given one (TRAINMASTER_E2E_USE_CLUSTER=1)
	[ "$${TRAINMASTER_E2E_USE_CLUSTER:-}" = 1 ] || scripts/packages.sh
	TRAINMASTER_E2E=1 $(BIN)/pytest -n 0 --timeout 1800 tests/e2e

.PHONY: e2e-soak
e2e-soak: $(VENV)/.dev ## The slow ones among them: a node that is lost
	[ "$${TRAINMASTER_E2E_USE_CLUSTER:-}" = 1 ] || scripts/packages.sh
	TRAINMASTER_E2E=1 $(BIN)/pytest -n 0 --timeout 1800 -m soak tests/e2e

.PHONY: e2e-torch
e2e-torch: ## The same and the trainer's own image with torch: 15 minutes and 20 GB of disk more
	TRAINMASTER_E2E_TORCH=1 $(MAKE) e2e

.PHONY: generate
generate: $(VENV)/.dev ## Write crds/, the chart's kinds and docs/reference/ anew from the models
	scripts/generate.sh
	scripts/chart_crds.sh

.PHONY: chart-tools
chart-tools: $(VENV)/.dev ## Build helm for the chart's tests (2 minutes the first time; HELM=PATH is taken if set)
	$(BIN)/python -m tests.support.chart

.PHONY: chart-test
chart-test: chart-tools ## Tests of the Helm chart alone
	$(BIN)/pytest -n $(WORKERS) --dist worksteal tests/chart

.PHONY: install-yaml
install-yaml: chart-tools ## Write dist/install.yaml: the chart as one file for kubectl
	mkdir -p dist
	HELM="$$($(BIN)/python -m tests.support.chart)" scripts/chart_install_yaml.sh $(CHART_ARGS) >dist/install.yaml
	@echo "dist/install.yaml: kubectl apply --server-side -f dist/install.yaml"

.PHONY: format
format: $(VENV)/.dev ## Format and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lock
lock: ## Resolve requirements/*.lock anew (needs uv)
	scripts/lock.sh

.PHONY: clean
clean: ## Remove the virtual environment, caches and the local state directory
	rm -rf "$(VENV)" "$(STATE)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
