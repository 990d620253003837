"""The chart, installed in a cluster, and what its operator tells about itself."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.support.launcher import wait_until
from tests.support.node.cluster import Cluster

CHART = Path(__file__).parents[3] / "charts" / "trainmaster"
NAME = "trainmaster"
"""Of the release, its namespace and its Service."""
IMAGES = "TRAINMASTER_E2E_IMAGES"
"""Environment variable: what precedes `/operator:e2e` and `/stub:e2e` in a given cluster's images."""
OPERATORS = "--selector=app.kubernetes.io/component=operator"
"""Pods of the Deployment."""
TEST_SECONDS = "240s"
"""For `helm test`: a run of half a minute, on a machine that is busy."""
GONE_SECONDS = 60.0
"""For a pod to be gone that has 30 s of grace."""
HELM_WAIT = "120s"
"""For a Deployment to be available: seconds where the image is there."""


def values_under_test(trainer: str, *, tag: str = "e2e") -> list[str]:
    """Values of the chart that name the images under test, and make room for runs beside the operator."""
    prefix = os.environ.get(IMAGES, "localhost/trainmaster")
    return [
        f"image.repository={prefix}/operator",
        f"image.tag={tag}",
        f"trainerImage.repository={prefix}/{trainer}",
        f"trainerImage.tag={tag}",
        # A machine of two cores takes a run that asks for both, as the examples do.
        "resources.requests.cpu=0",
    ]


@dataclass(frozen=True, kw_only=True)
class Release:
    """A release of the chart."""

    cluster: Cluster
    trainer: str = "stub"
    """The trainer's image: `stub`, or `trainer` with torch."""
    chart: Path = CHART
    tag: str = "e2e"
    """Of the images."""

    def install(self, *values: str) -> None:
        """Install or upgrade it, with these values over the images'; returns when it is available."""
        flags = [
            word for value in (*values_under_test(self.trainer, tag=self.tag), *values) for word in ("--set", value)
        ]
        self.cluster.helm(
            *("upgrade", "--install", NAME, str(self.chart), "--namespace", NAME, "--create-namespace"),
            *("--wait", "--timeout", HELM_WAIT, *flags),
        )

    def scale(self, replicas: int) -> None:
        """Have so many operators; returns when they are available, or gone."""
        where = f"--namespace={NAME}"
        self.cluster.kubectl("scale", where, f"deployment/{NAME}", f"--replicas={replicas}")
        self.cluster.kubectl("rollout", "status", where, f"deployment/{NAME}", f"--timeout={HELM_WAIT}")
        wait_until(lambda: len(self.operators()) == replicas, what=f"{replicas} operators", timeout=GONE_SECONDS)

    def operators(self) -> list[str]:
        """Names of the operator's pods, those that end included."""
        return self.cluster.kubectl("get", "pods", f"--namespace={NAME}", OPERATORS, "--output=name").stdout.split()

    def kill(self) -> None:
        """Kill the operators without a word of warning; the Deployment makes new ones."""
        self.cluster.kubectl("delete", "--force", "--grace-period=0", f"--namespace={NAME}", *self.operators())

    def test(self) -> str:
        """What `helm test` says. Raises AssertionError: it failed."""
        return self.cluster.helm("test", NAME, "--namespace", NAME, "--timeout", TEST_SECONDS).stdout

    def uninstall(self) -> None:
        """Remove it, the kinds and its namespace; returns when they are gone."""
        self.cluster.helm("uninstall", NAME, "--namespace", NAME, "--wait", "--ignore-not-found")
        kinds = self.cluster.kubectl("get", "customresourcedefinitions", "--output=name").stdout.split()
        ours = [kind for kind in kinds if kind.endswith(".trainmaster.io")]
        if ours:
            self.cluster.kubectl("delete", *ours)
        self.cluster.kubectl("delete", "namespace", NAME, "--ignore-not-found")

    def objects(self) -> list[str]:
        """Names of all objects in the cluster that are the release's by label."""
        kinds = "deployments,services,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,jobs,pods"
        wide = "clusterroles,clusterrolebindings,customresourcedefinitions,validatingadmissionpolicies"
        selector = f"--selector=app.kubernetes.io/part-of={NAME}"
        found: list[str] = []
        for asked in ((kinds, "--all-namespaces"), (wide,)):
            found += self.cluster.kubectl("get", *asked, selector, "--output=name").stdout.split()
        return found

    def granted_at(self) -> datetime:
        """When the last of what grants the operator its rights was created."""
        kinds = "clusterrolebindings,clusterroles,rolebindings,roles"
        asked = ("get", kinds, "--all-namespaces", OPERATORS, "--output=json")
        items = json.loads(self.cluster.kubectl(*asked).stdout)["items"]
        return max(datetime.fromisoformat(item["metadata"]["creationTimestamp"]) for item in items)

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a metric of the operator, over the lines that hold all these labels."""
        path = f"/api/v1/namespaces/{NAME}/services/{NAME}:metrics/proxy/metrics"
        lines = self.cluster.kubectl("get", "--raw", path).stdout.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if _is(line, name, labels))

    def logs(self) -> str:
        """What its operators have logged."""
        return self.cluster.kubectl("logs", f"--namespace={NAME}", f"deployment/{NAME}", "--all-pods").stdout


def _is(line: str, name: str, labels: Sequence[str]) -> bool:
    return line.split("{", maxsplit=1)[0].split(" ", maxsplit=1)[0] == name and all(label in line for label in labels)
