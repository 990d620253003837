"""What a cluster needs before anybody uses it: DNS, and storage without a cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.node.addresses import BRIDGE_IP, DNS_IP, NODE
from tests.support.node.pki import COREDNS, USERS

Json = dict[str, Any]

VOLUMES = 40
"""Claims that the tests of one cluster may make: a released volume is not used again."""
VOLUME_SIZE = "10Gi"
"""Said, not enforced: a volume is a folder."""
STORAGE_CLASS = "standard"
RBAC = "rbac.authorization.k8s.io"
DNS_PORT = 53


def first_objects(volumes: Path) -> Json:
    """A List of all of them; the folders of the volumes are made."""
    return {"apiVersion": "v1", "kind": "List", "items": [*_dns(), *_storage(volumes)]}


def _dns() -> Iterator[Json]:
    """CoreDNS is a process of the node: the Service has no selector, its endpoint is written by hand."""
    name = "trainmaster-coredns"
    watched = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    yield {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": name}, "rules": watched}
    yield {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "User", "name": USERS[COREDNS][0], "apiGroup": RBAC}],
    }
    ports = [{"name": f"dns-{p.lower()}", "protocol": p, "port": DNS_PORT} for p in ("UDP", "TCP")]
    head = {"name": "kube-dns", "namespace": "kube-system"}
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": head,
        "spec": {"clusterIP": DNS_IP, "ports": [port | {"targetPort": DNS_PORT} for port in ports]},
    }
    yield {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": head | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [BRIDGE_IP], "conditions": {"ready": True}}],
    }


def _storage(volumes: Path) -> Iterator[Json]:
    """A default class and a pool of local volumes: of all kinds without a provisioner, they honour fsGroup."""
    yield {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    for number in range(VOLUMES):
        path = volumes / str(number)
        path.mkdir(parents=True)
        yield volume(f"local-{number}", path)


def volume(name: str, path: Path, *, storage_class: str = STORAGE_CLASS) -> Json:
    """A volume that is a folder of the node."""
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
            "capacity": {"storage": VOLUME_SIZE},
            "storageClassName": storage_class,
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(path)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    }
