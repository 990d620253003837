"""Checkpoints in an object store: the pod gets the address as it is, and a folder for what the launcher keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.runs import UID, run_of
from tests.unit.kubernetes.test_manifest import container_of, manifest_of, pod_of, seen_by_launcher

ADDRESSES = ["s3://team-checkpoints/market", "gs://team.checkpoints_2"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_trainer_gets_the_address_and_the_launcher_a_folder_of_its_own(address: str) -> None:
    plan = seen_by_launcher(manifest_of(run_of(storage={"checkpoints": address}))).plan

    assert plan.wire["storage"]["root"] == f"{address}/{UID}/0"
    assert plan.root == Path("/work")
    assert plan.folder == Path("/work/1")


@pytest.mark.parametrize("address", ADDRESSES)
def test_that_folder_is_the_pods_and_no_claim_is_mounted(address: str) -> None:
    job = manifest_of(run_of(storage={"checkpoints": address}))
    volumes = {volume["name"]: volume for volume in pod_of(job)["volumes"]}

    assert volumes["work"] == {"name": "work", "emptyDir": {}}
    assert {"name": "work", "mountPath": "/work"} in container_of(job)["volumeMounts"]
    assert not [volume for volume in volumes.values() if "persistentVolumeClaim" in volume]


def test_data_may_lie_in_a_claim_all_the_same() -> None:
    run = run_of(storage={"checkpoints": ADDRESSES[0]}, data={"source": "pvc://bars/eurusd.csv"})
    plan = seen_by_launcher(manifest_of(run)).plan

    assert plan.wire["volumes"] == {"bars": "/claims/bars"}


def test_with_a_claim_there_is_no_other_folder() -> None:
    job = manifest_of(run_of(storage={"checkpoints": "pvc://runs"}))

    assert "work" not in {volume["name"] for volume in pod_of(job)["volumes"]}
    assert "work" not in seen_by_launcher(job).plan.wire["storage"]
