"""Pods that ask for next to no CPU: more of them than the machine has cores.

A run asks for a whole core at least, and the kubelet offers no more than there are. A policy of the API server changes
what pods ask for when they are created, so that neither runs nor operator know of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.launcher import wait_until
from tests.support.node.cluster import Cluster
from tests.support.node.team import PATIENCE, Json, Team

NAME = "small-pods"
GROUP = "admissionregistration.k8s.io/v1beta1"
CPU = "20m"
PATCH = f'[JSONPatch{{op: "replace", path: "/spec/containers/0/resources/requests/cpu", value: "{CPU}"}}]'
"""The launcher's container; the operator gives its request always."""


@contextmanager
def small_pods(cluster: Cluster, team: Team) -> Iterator[None]:
    """All pods of runs that are created in the team's namespace meanwhile."""
    cluster.kubectl("apply", "--filename=-", input=json.dumps(_policy(team.name)))
    try:
        wait_until(lambda: _request_of_a_pod(team) == CPU, what="the policy to be in force", timeout=PATIENCE)
        yield
    finally:
        kinds = "mutatingadmissionpolicybinding,mutatingadmissionpolicy"
        cluster.kubectl("delete", kinds, NAME, "--ignore-not-found")


def _policy(namespace: str) -> Json:
    head = {"apiVersion": GROUP, "metadata": {"name": NAME}}
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    there = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": PATCH}}
    spec = {
        "matchConstraints": {"resourceRules": [pods], "namespaceSelector": there},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [mutation],
    }
    policy = head | {"kind": "MutatingAdmissionPolicy", "spec": spec}
    binding = head | {"kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": NAME}}
    return {"apiVersion": "v1", "kind": "List", "items": [policy, binding]}


def _request_of_a_pod(team: Team) -> str:
    """What CPU a pod would ask for that asks for a whole core."""
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "probe",
        "image": "probe",
        "resources": {"requests": {"cpu": "1"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"containers": [container], "securityContext": security}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": spec}
    asked = ("create", "--dry-run=server", "--filename=-", "--output=json")
    made = json.loads(team.kubectl(*asked, input=json.dumps(pod)))
    return str(made["spec"]["containers"][0]["resources"]["requests"]["cpu"])
