#!/usr/bin/env bash
# The first process of the node's namespaces: init.sh FOLDER. Makes the mounts, says so, then reaps orphans for ever.
set -euo pipefail
folder=$1
# The kubelet needs shared propagation among its own mounts; the host must not see them.
mount --make-rprivate /
mount --make-rshared /
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/lock
for place in lib log; do
  mkdir -p "$folder/overlay/$place/upper" "$folder/overlay/$place/work"
  mount -t overlay overlay "/var/$place" \
    -o "lowerdir=/var/$place,upperdir=$folder/overlay/$place/upper,workdir=$folder/overlay/$place/work"
done
touch "$folder/init.ready"
trap : CHLD
while :; do
  sleep 3600 &
  wait $! || :
done
