#!/bin/sh
# network.sh NODE_IP/BITS BRIDGE_IP/BITS SERVICE_RANGE: run in the node's network namespace, when eth0 has come.
set -eu
ip link set lo up
ip addr add "$1" dev eth0
ip link set eth0 up
ip link add cni0 type bridge
ip addr add "$2" dev cni0
ip link set cni0 up
# A Service's address needs a route before kube-proxy rewrites it.
ip route add "$3" dev cni0
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
