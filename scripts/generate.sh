#!/usr/bin/env bash
# Write the generated files, or with --check fail where a committed one differs from what the models say.
set -euo pipefail
bin=${VENV:-.venv}/bin
if [ "${1:-}" != --check ]; then
  exec "$bin/trainmaster" crds --write crds
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
"$bin/trainmaster" crds --write "$fresh"
diff -ru crds "$fresh" || { echo "crds/ differs from the models: run 'make generate' and commit" >&2; exit 1; }
