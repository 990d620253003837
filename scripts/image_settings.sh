# shellcheck shell=bash
# Sourced by images.sh and sbom.sh with their arguments, the targets: sets `targets`, `builder` and `version`.
# BUILDER is docker, podman or buildah (the first that is there); TAG is the version unless it is given.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(operator trainer)
builder=${BUILDER:-}
for known in docker podman buildah; do
  [ -n "$builder" ] || { command -v "$known" >/dev/null && builder=$known; } || :
done
[ -n "$builder" ] || { echo "${0##*/}: no docker, podman or buildah on the PATH to work on images with" >&2; exit 2; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
TAG=${TAG:-$version}
