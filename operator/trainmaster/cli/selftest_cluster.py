"""`trainmaster selftest --cluster`: would the operator find there what it needs, as whoever asks?"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence

from trainmaster.adapters.kubernetes.client import ApiClient
from trainmaster.adapters.kubernetes.connection import load_connection
from trainmaster.adapters.kubernetes.inspection import ClusterInspection, Missing
from trainmaster.adapters.kubernetes.permissions import PERMISSIONS, Permission, roles
from trainmaster.api.crds import all_crds
from trainmaster.api.errors import TrainmasterError
from trainmaster.cli.output import to_yaml
from trainmaster.cli.selftest_outcome import Outcome

GRANT = "# What is missing; `trainmaster selftest --cluster --rbac | kubectl apply --server-side -f -` grants it:\n"
NEEDED = ("api server", "user")
"""Checks without which nothing can be said of permissions."""
ROLE_NAME = "trainmaster-missing"
"""A role of its own: what an administrator has made is not overwritten."""


def inspect_cluster(
    namespaces: Sequence[str], *, lease_namespace: str, needed: Sequence[Permission] = PERMISSIONS
) -> tuple[list[Outcome], str]:
    """All checks; and the YAML that grants what permissions are missing, if any. Raises TrainmasterError: no server."""
    return asyncio.run(_inspect(namespaces, lease_namespace=lease_namespace, needed=needed))


async def _inspect(
    namespaces: Sequence[str], *, lease_namespace: str, needed: Sequence[Permission]
) -> tuple[list[Outcome], str]:
    own = lease_namespace or load_connection().namespace
    async with ApiClient(load_connection) as client:
        cluster = ClusterInspection(client, namespaces=namespaces, lease_namespace=own)
        outcomes = [await _perform(NEEDED[0], cluster.version())]
        if not outcomes[0].passed:
            return outcomes, ""
        outcomes.append(await _perform(NEEDED[1], cluster.user()))
        if not outcomes[1].passed:
            return outcomes, ""
        user = outcomes[-1].detail
        outcomes += [await _perform(f"kind {crd['metadata']['name']}", cluster.kind(crd)) for crd in all_crds()]
        lacking: list[Missing] = []
        for permission in needed:
            told, missing = f"permission {permission.name}", await cluster.missing(permission)
            lacking += missing
            outcomes.append(await _perform(told, _permitted(", ".join(permission.verbs), missing, why=permission.why)))
    granted = roles([(each.permission, each.namespace) for each in lacking], user=user, name=ROLE_NAME)
    return outcomes, "---\n".join(to_yaml(role) for role in granted)


async def _permitted(verbs: str, missing: Sequence[Missing], *, why: str) -> str:
    if not missing:
        return f"{verbs}: to {why}"
    places = [f"{', '.join(each.permission.verbs)} {_place(each.namespace)}" for each in missing]
    message = f"missing: {'; '.join(places)}: to {why}; --rbac prints the rules"
    raise MissingPermissionError(message)


def _place(namespace: str) -> str:
    return f"in namespace {namespace}" if namespace else "in all namespaces"


class MissingPermissionError(TrainmasterError):
    """A verb on a kind is refused to us."""


async def _perform(name: str, check: Awaitable[str]) -> Outcome:
    start = time.monotonic()
    try:
        detail, passed = await check, True
    except TrainmasterError as error:
        detail, passed = str(error), False
    return Outcome(name=name, passed=passed, detail=detail, seconds=time.monotonic() - start)


def print_grant(grant: str) -> None:
    """Print the YAML that grants what is missing, if anything is, for people."""
    sys.stdout.write(f"\n{GRANT}{grant}" if grant else "")


def print_rbac(outcomes: Sequence[Outcome], grant: str) -> bool:
    """Print that YAML and nothing else, for kubectl; whether it could be found out what is missing."""
    failed = [outcome for outcome in outcomes if outcome.name in NEEDED and not outcome.passed]
    for outcome in failed:
        sys.stderr.write(f"{outcome.name}: {outcome.detail}\n")
    if not grant and not failed:
        sys.stderr.write("nothing is missing\n")
    sys.stdout.write(grant)
    return not failed
