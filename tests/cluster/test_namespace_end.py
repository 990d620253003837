"""What the API server says of a namespace that is being deleted: what our client takes its refusals for."""

from __future__ import annotations

from tests.support.cluster_runs import fresh_namespace
from tests.support.control_plane import ControlPlane
from trainmaster.ports.cluster import NAMESPACE_TERMINATING


def test_a_refusal_to_make_something_in_it_has_a_cause_of_its_own(plane: ControlPlane) -> None:
    with fresh_namespace(plane) as name:
        configs = f"/api/v1/namespaces/{name}/configmaps"
        kept = {"metadata": {"name": "kept", "finalizers": ["test.trainmaster.io/keep"]}}
        assert plane.request("POST", configs, kept).status == 201
        assert plane.request("DELETE", f"/api/v1/namespaces/{name}").status in {200, 202}

        refused = plane.request("POST", configs, {"metadata": {"name": "new"}})

        assert plane.request("PATCH", f"{configs}/kept", {"metadata": {"finalizers": None}}).status == 200
    assert (refused.status, refused.body["reason"]) == (403, "Forbidden")
    assert NAMESPACE_TERMINATING in {cause["reason"] for cause in refused.body["details"]["causes"]}
