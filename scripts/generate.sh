#!/usr/bin/env bash
# Write the generated files, or with --check fail where a committed one differs from what the models say.
set -euo pipefail
bin=${VENV:-.venv}/bin
generate() { # FOLDER: crds and pages of the reference, in FOLDER/crds and FOLDER/docs/reference
  "$bin/trainmaster" crds --write "$1/crds"
  "$bin/python" -m trainmaster.cli.reference_docs "$1/docs/reference"
}
if [ "${1:-}" != --check ]; then
  generate .
  exit
fi
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
generate "$fresh"
drift=0
diff -ru crds "$fresh/crds" || drift=1
# docs/reference also holds pages that people write: only the generated ones are compared.
for page in "$fresh"/docs/reference/*; do
  diff -u "docs/reference/${page##*/}" "$page" || drift=1
done
[ "$drift" = 0 ] || { echo "generated files differ from the models: run 'make generate' and commit" >&2; exit 1; }
