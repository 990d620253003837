"""A run that this version cannot read: its conditions say so, once, and the rest of its status is left alone."""

from __future__ import annotations

from typing import Any

from tests.support.runs import T0, at
from trainmaster.adapters.kubernetes.unreadable import status_patch

Json = dict[str, Any]


def stored(*, rerun: object = "", **status: object) -> Json:
    meta = {"name": "r", "namespace": "n", "generation": 3, "resourceVersion": "7"}
    return {"metadata": meta, "spec": {"rerun": rerun}, "status": status}


def merged(raw: Json, patch: Json) -> Json:
    return raw | {"status": raw["status"] | patch["status"]}


def test_it_says_that_it_is_stalled_and_keeps_what_others_have_said() -> None:
    foreign = {"type": "Foreseen", "status": "True", "reason": "Later", "lastTransitionTime": "then"}
    reconciling = foreign | {"type": "Reconciling"}
    patch = status_patch(stored(conditions=[foreign, reconciling]), "spec.cpu: no number", now=T0)
    assert patch is not None
    assert patch["metadata"] == {"resourceVersion": "7"}
    said = {c["type"]: c for c in patch["status"]["conditions"]}
    assert {kind: c["status"] for kind, c in said.items()} == {"Foreseen": "True", "Ready": "False", "Stalled": "True"}
    assert said["Foreseen"] == foreign
    assert (said["Stalled"]["reason"], said["Stalled"]["message"]) == ("InvalidConfiguration", "spec.cpu: no number")
    assert said["Stalled"]["observedGeneration"] == 3


def test_what_is_said_already_is_not_written_again() -> None:
    raw = stored()
    patch = status_patch(raw, "wrong", now=T0)
    assert patch is not None
    assert status_patch(merged(raw, patch), "wrong", now=at(60)) is None
    other = status_patch(merged(raw, patch), "wrong in another way", now=at(60))
    assert other is not None
    times = {c["lastTransitionTime"] for c in other["status"]["conditions"]}
    assert times == {"2026-03-01T12:00:00Z"}, "the status of the conditions is what it was"


def test_a_run_seen_for_the_first_time_takes_note_of_its_rerun() -> None:
    patch = status_patch(stored(rerun="two"), "wrong", now=T0)
    assert patch is not None
    assert (patch["status"]["observedGeneration"], patch["status"]["observedRerun"]) == (3, "two")
    known = status_patch(stored(rerun="two", observedGeneration=1, observedRerun="one"), "wrong", now=T0)
    assert known is not None
    assert "observedRerun" not in known["status"], "that it was changed is still to be seen"
