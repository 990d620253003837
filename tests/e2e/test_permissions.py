"""What the chart grants its operator is what the operator uses, by the API server's audit log."""

from __future__ import annotations

import pytest

from tests.support.node import Cluster
from tests.support.node.audit import Request, Verb, read_audit
from tests.support.node.release import Release
from tests.support.node.team import Team
from trainmaster.adapters.kubernetes.permissions import PERMISSIONS

GRANTED = {Verb(group=each.group, resource=each.resource, verb=verb) for each in PERMISSIONS for verb in each.verbs}
SELDOM = {
    Verb(group="", resource="events", verb="get"): "the count of an Event that is told again",
    Verb(group="", resource="events", verb="patch"): "an Event that is told again",
    Verb(group="", resource="pods", verb="get"): "a pod that reports before its watch has told of it",
    Verb(group="trainmaster.io", resource="runrecords", verb="get"): "a record that an operator before has written",
}
"""Verbs that a run's life need not use, and what does."""


@pytest.fixture
def asked(cluster: Cluster, release: Release, team: Team) -> list[Request]:
    """What operators have asked for until runs were trained, suspended, resumed, and led by a second operator."""
    if cluster.node is None:
        pytest.skip("a given cluster's audit log is not ours to read")
    run = team.train("life", {"steps": 100_000, "seconds_per_step": 0.1})
    run.wait_phase("Running")
    for suspend, phase in (("true", "Suspended"), ("false", "Running")):
        patch = f'{{"spec":{{"suspend":{suspend}}}}}'
        team.kubectl("patch", "trainingrun", "life", "--type=merge", f"--patch={patch}")
        run.wait_phase(phase)
    release.kill()
    team.train("end", {"steps": 2}).wait_phase("Succeeded")
    return list(read_audit(cluster.node.folders))


def test_every_verb_that_is_granted_is_used_and_none_is_missing(release: Release, asked: list[Request]) -> None:
    """In all namespaces, whatever other tests have done there.

    Rights of an installation that another test has removed went before its operators did: what those were refused then
    is no lack of ours.
    """
    used = {request.verb for request in asked}

    assert [request for request in asked if request.forbidden and request.at > release.granted_at()] == []
    assert used <= GRANTED
    assert sorted(GRANTED - used - SELDOM.keys()) == [], "granted and never used: take it out, or say when it is"
