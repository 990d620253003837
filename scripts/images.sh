#!/usr/bin/env bash
# Build the images operator and trainer: scripts/images.sh [operator|trainer ...]
# BUILDER is docker, podman or buildah (the first that is there); TAG and BASE_IMAGE as you like.
set -euo pipefail
cd "$(dirname "$0")/.."
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(operator trainer)
builder=${BUILDER:-}
for known in docker podman buildah; do
  [ -n "$builder" ] || { command -v "$known" >/dev/null && builder=$known; } || :
done
[ -n "$builder" ] || { echo "no docker, podman or buildah on the PATH to build images with" >&2; exit 2; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
options=(--build-arg "VERSION=$version" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)")
[ -z "${BASE_IMAGE:-}" ] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
for target in "${targets[@]}"; do
  "$builder" build --target "$target" --tag "trainmaster/$target:${TAG:-$version}" "${options[@]}" .
done
