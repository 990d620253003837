#!/usr/bin/env bash
# Debian packages that the node for tests is made of: scripts/packages.sh [--check]
set -euo pipefail
packages=(containerd runc containernetworking-plugins buildah debootstrap iptables iproute2 util-linux)
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || :)" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "${1:-}" = --check ] || [ "$(id --user)" != 0 ]; then
  echo "missing Debian packages: ${missing[*]}; install them as root with: scripts/packages.sh" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet=2
# No daemon starts on this machine: the node starts its own containerd, in namespaces of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get install --yes --quiet=2 --no-install-recommends "${missing[@]}"
