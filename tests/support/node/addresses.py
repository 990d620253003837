"""Names and addresses of the node. They lie in its own network, but for the host's end of the link to it."""

from __future__ import annotations

NODE = "node1"
LINK = "tm-node"
"""The host's end of the veth pair; its other end is eth0 in the node."""
HOST_IP = "10.243.0.1"
"""The host, as pods see it: an operator under a debugger."""
NODE_IP = "10.243.0.2"
LINK_BITS = 30
"""Prefix of the link: two addresses."""
POD_RANGE = "10.244.0.0/24"
BRIDGE_IP = "10.244.0.1"
"""The pods' gateway; CoreDNS listens there."""
SERVICE_RANGE = "10.96.0.0/24"
KUBERNETES_IP = "10.96.0.1"
"""Service default/kubernetes: the first of the range."""
DNS_IP = "10.96.0.10"
API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
DOMAIN = "cluster.local"
URL = f"https://{NODE_IP}:{API_PORT}"
"""The API server, from the host and from pods alike."""
