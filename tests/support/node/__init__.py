"""A whole Kubernetes node for tests: pods that really run, on one machine, with nothing of it left afterwards.

1. A holder, one process in mount, PID, network, UTS and IPC namespaces of its own, is the init of all that follows:
   etcd, API server, controller-manager, scheduler, containerd, kubelet, kube-proxy, CoreDNS and the pods (`holder`,
   `init.sh`). Ending the holder ends them all at once; their mounts, interfaces and firewall rules go with the
   namespaces.
2. What does not go with a namespace is made and removed by name: the host's end of a veth pair, one cgroup in each
   hierarchy, a few sysctls that the kubelet changes (`machine`).
3. Programs come from Debian (`scripts/packages.sh`) and from Go modules, as those of `tests.support.control_plane` do;
   their flags are in `daemons`, their files in `configs`, credentials in `pki`, first objects in `objects`.
4. Images are built from the project's Dockerfile by buildah on a base that debootstrap makes, and handed to containerd
   (`images`). Its store outlives a cluster: the second start imports nothing.
5. There is no default route: no packet of a pod leaves the machine.

One at a time on a machine. `cluster` starts, joins and ends it; `leftovers` looks for what should be gone.
"""

from __future__ import annotations

from tests.support.node.cluster import Cluster, NodeError, use_cluster

__all__ = ["Cluster", "NodeError", "use_cluster"]
