#!/usr/bin/env bash
# base.sh NAME FOLDER BUILDAH...: make a stand-in for the images' base image: Debian's Python. BUILDAH is the command with
# its options that say where its store is; FOLDER is for what lies around meanwhile.
set -euo pipefail
name=$1 system=$2/system log=$2/log
shift 2
mkdir "$system"
debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip bookworm "$system" >"$log" 2>&1 ||
  { tail -n 20 "$log" >&2; exit 1; }
rm -rf "$system"/var/lib/apt/lists/* "$system"/var/cache/apt/* "$system"/usr/share/doc "$system"/usr/share/man \
  "$system"/usr/lib/python3*/EXTERNALLY-MANAGED "$system"/dev
mkdir "$system/dev"
for alias in python python3 python3.11; do ln -s /usr/bin/python3.11 "$system/usr/local/bin/$alias"; done
container=$("$@" from scratch)
"$@" add --quiet "$container" "$system" / >/dev/null
"$@" config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin --cmd python3 "$container"
"$@" commit --quiet --rm "$container" "$name" >/dev/null
