#!/usr/bin/env bash
# Build the images operator and trainer: scripts/images.sh [operator|trainer ...]
# BUILDER and TAG as image_settings.sh says; BASE_IMAGE as you like.
set -euo pipefail
. "$(dirname "$0")/image_settings.sh"
options=(--build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
[ -z "${BASE_IMAGE:-}" ] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
for target in "${targets[@]}"; do
  "$builder" build --target "$target" --tag "trainmaster/$target:$TAG" "${options[@]}" .
done
