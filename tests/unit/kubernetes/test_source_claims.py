"""The claims that a pod mounts follow from its sources, also from the one that a twin is made of."""

import pytest

from tests.support.runs import run_of, status_of
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob

SETTINGS = LaunchSettings(image="trainer:1", report_url="https://operator:8443/v1/reports", ca_file="/etc/ca.pem")


def _claims(source: str) -> set[str]:
    run = run_of(data={"source": source})
    job = job_manifest(run, CreateJob(name="job", plan=build_plan(run, status_of())), SETTINGS)
    volumes = job["spec"]["template"]["spec"]["volumes"]
    return {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}


@pytest.mark.parametrize(
    ("source", "claims"),
    [
        ("pvc://bars/x.csv", {"bars", "checkpoints"}),
        ("synthetic://coinflip?of=pvc://bars/x.csv&seed=2", {"bars", "checkpoints"}),
        ("synthetic://coinflip?of=package://d/x.csv", {"checkpoints"}),
        ("synthetic://hmm?rows=500", {"checkpoints"}),
    ],
)
def test_a_twin_mounts_the_claim_of_its_bars(source: str, claims: set[str]) -> None:
    assert _claims(source) == claims
