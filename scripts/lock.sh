#!/usr/bin/env bash
# Resolve the locks anew: universal (3.11 and newer), with hashes, without hosts.
set -euo pipefail
compile() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
  --no-annotate --no-emit-package trainmaster "$@"; }
compile pyproject.toml requirements/build.in --extra dev --output-file requirements/dev.lock
compile pyproject.toml requirements/build.in --extra local --constraint requirements/dev.lock \
  --output-file requirements/local.lock
compile --no-deps requirements/data.in --output-file requirements/data.lock
# What the images hold, at the versions that are tested.
compile pyproject.toml --extra operator --constraint requirements/dev.lock --output-file requirements/operator.lock
compile pyproject.toml --extra trainer --extra s3 --constraint requirements/dev.lock \
  --output-file requirements/trainer.lock
compile requirements/build.in --constraint requirements/dev.lock --output-file requirements/build.lock
