"""What helm does with the release: its test passes; what is uninstalled is gone."""

from __future__ import annotations

from tests.support.launcher import wait_until
from tests.support.node import Cluster
from tests.support.node.release import NAME, Release
from tests.support.node.team import PATIENCE


def test_helm_test_trains_to_success(release: Release) -> None:
    said = release.test()

    assert said.count("Succeeded") == said.count("TEST SUITE:") > 0, said


def test_an_uninstalled_release_leaves_nothing_but_the_kinds(cluster: Cluster, release: Release) -> None:
    """They are kept by choice (`crds.keep`), and with them every run."""
    kinds = ("runrecords.trainmaster.io", "trainingruns.trainmaster.io")
    kept = [f"customresourcedefinition.apiextensions.k8s.io/{kind}" for kind in kinds]
    cluster.helm("uninstall", NAME, "--namespace", NAME, "--wait")
    try:
        # Of pods helm does not wait for the end.
        wait_until(lambda: release.operators() == [], what="the end of the operators", timeout=PATIENCE)
        assert sorted(release.objects()) == kept
    finally:
        release.install()
