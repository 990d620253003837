"""Configuration files of the node's daemons. Why each unusual value is there stands beside it."""

from __future__ import annotations

import json
from typing import Any

from tests.support.node.addresses import BRIDGE_IP, DNS_IP, DOMAIN, NODE, POD_RANGE
from tests.support.node.folders import Folders
from tests.support.node.machine import CGROUP

CNI_PROGRAMS = "/usr/lib/cni"
"""Where Debian puts the CNI plugins."""
OPERATOR_ACCOUNT = "system:serviceaccount:trainmaster:trainmaster"
"""The chart's, as the API server calls it."""
PAUSE_IMAGE = "localhost/trainmaster/pause:node"

CONTAINERD = """\
version = 2
root = "{containerd}"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  # Else it makes /opt/containerd.
  path = "{run}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  # Without CAP_SYS_RESOURCE no container starts otherwise.
  restrict_oom_score_adj = true
  sandbox_image = "{pause}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_programs}"
    conf_dir = "{config}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"""

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [OPERATOR_ACCOUNT]}, {"level": "None"}],
}
"""Only what the operator asks for: which of its permissions it uses."""

COREFILE = """\
{domain}:53 in-addr.arpa:53 {{
    bind {bridge}
    errors
    ready {bridge}:8181
    kubernetes {domain} in-addr.arpa {{
        kubeconfig {kubeconfig}
        ttl 5
    }}
    cache 5
}}
"""
"""No forward: names of the outside are refused at once."""


def write_configs(folders: Folders) -> None:
    """Write all of them."""
    cni = folders.config / "cni"
    cni.mkdir(parents=True)
    texts = {
        "containerd.toml": CONTAINERD.format(
            containerd=folders.containerd,
            socket=folders.socket,
            run=folders.run,
            config=folders.config,
            pause=PAUSE_IMAGE,
            cni_programs=CNI_PROGRAMS,
        ),
        "Corefile": COREFILE.format(domain=DOMAIN, bridge=BRIDGE_IP, kubeconfig=folders.kubeconfig("coredns")),
        "resolv.conf": f"nameserver {BRIDGE_IP}\n",
        "audit.json": json.dumps(AUDIT_POLICY, indent=1),
        "kubelet.json": json.dumps(_kubelet(folders), indent=1),
        "kube-proxy.json": json.dumps(_kube_proxy(folders), indent=1),
        "cni/10-node.conflist": json.dumps(_network(folders), indent=1),
    }
    for name, text in texts.items():
        (folders.config / name).write_text(text)


def _network(folders: Folders) -> dict[str, Any]:
    addresses = {
        "type": "host-local",
        "dataDir": str(folders.run / "addresses"),
        "ranges": [[{"subnet": POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": addresses,
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "node", "plugins": [bridge, ports]}


def _kubelet(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "failCgroupV1": False,
        "containerRuntimeEndpoint": f"unix://{folders.socket}",
        "clusterDNS": [DNS_IP],
        "clusterDomain": DOMAIN,
        "resolvConf": str(folders.config / "resolv.conf"),
        "volumePluginDir": str(folders.run / "volume-plugins"),
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        # A full disk would delete images that nobody can pull again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "authentication": {
            "x509": {"clientCAFile": str(folders.pki / "ca.crt")},
            "webhook": {"enabled": True},
            "anonymous": {"enabled": False},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(folders.pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(folders.pki / "kubelet.key"),
    }


def _kube_proxy(folders: Folders) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": POD_RANGE,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": str(folders.kubeconfig("kube-proxy"))},
        # The limits are the machine's, and not ours to write.
        "conntrack": {"maxPerCore": 0, "min": 0},
    }
