"""A volume that is soon full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.node.cluster import Cluster
from tests.support.node.objects import volume
from tests.support.node.team import Team, claim

SIZE = "64k"
"""Of the file system: some hundred steps of the stub's journal."""
CLAIM = "tiny"
CLASS = "tiny"
"""Of its own, so that nobody else's claim is bound to it."""


@contextmanager
def tiny_volume(cluster: Cluster, team: Team) -> Iterator[str]:
    """Name of a claim whose volume is a file system of a few pages, in the node's own mounts."""
    if cluster.node is None:
        pytest.skip("a given cluster's node is not ours to mount things in")
    name = f"{CLAIM}-{team.name}"
    path = cluster.node.folders.volumes / name
    path.mkdir()
    cluster.node.holder.inside("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path))
    wanted = claim(CLAIM)
    wanted["spec"]["storageClassName"] = CLASS
    team.apply(volume(name, path, storage_class=CLASS), wanted)
    try:
        yield CLAIM
    finally:
        cluster.kubectl("delete", "persistentvolume", name, "--wait=false")
        # A pod that ends may still have it: it goes with the last mount.
        cluster.node.holder.inside("umount", "--lazy", str(path))
