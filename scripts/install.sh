#!/usr/bin/env bash
# Make or update the virtual environment: scripts/install.sh PYTHON VENV local|dev
# Uses uv where it is installed, else pip. Packages come by lock with hashes; the checkout itself is installed editable.
set -euo pipefail
python=$1 venv=$2 kind=$3
if ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))'; then
  echo "Trainmaster needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Say: make PYTHON=python3.12 ..." >&2
  exit 2
fi
if command -v uv >/dev/null; then
  [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
  # Like pip does: without it each start of the trainer compiles three thousand modules where nothing may be written.
  install=(uv pip install --compile-bytecode --python "$venv/bin/python")
else
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  # An environment that uv made has no pip in it.
  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || "$venv/bin/python" -m ensurepip --upgrade >/dev/null
  install=("$venv/bin/python" -m pip install --progress-bar off --disable-pip-version-check)
fi
echo "Installing requirements/$kind.lock into $venv (the first time PyTorch's wheels are large: a few GB)" >&2
"${install[@]}" --quiet --require-hashes -r "requirements/$kind.lock"
"${install[@]}" --quiet --require-hashes --no-deps -r requirements/data.lock
"${install[@]}" --quiet --no-deps --no-build-isolation --editable .
touch "$venv/.local"
if [ "$kind" = dev ]; then touch "$venv/.dev"; fi
