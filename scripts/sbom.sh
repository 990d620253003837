#!/usr/bin/env bash
# Write dist/sbom-TARGET.spdx.json: the Python packages of an image, asked of the image itself, built by scripts/images.sh.
# scripts/sbom.sh [operator|trainer ...]; BUILDER and TAG as there. The base image's own packages are its maker's to list.
set -euo pipefail
. "$(dirname "$0")/image_settings.sh"
inside() { # IMAGE NAME: run scripts/sbom.py with the image's Python
  case $builder in
    buildah)
      local container
      container=$(buildah from --pull-never "$1")
      buildah run --isolation chroot "$container" -- python - "$2" <scripts/sbom.py
      buildah rm "$container" >/dev/null
      ;;
    *) "$builder" run --rm --interactive --entrypoint python "$1" - "$2" <scripts/sbom.py ;;
  esac
}
mkdir -p dist
for target in "${targets[@]}"; do
  inside "trainmaster/$target:$TAG" "trainmaster-$target-$version" >"dist/sbom-$target.spdx.json.new"
  mv "dist/sbom-$target.spdx.json.new" "dist/sbom-$target.spdx.json"
  echo "dist/sbom-$target.spdx.json"
done
