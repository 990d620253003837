"""What the administrator has a say in, in the manifest of a Job: names of cluster things, and authorities."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.runs import run_of, status_of
from trainmaster.adapters.certificates import Material, trusted, up_to_date
from trainmaster.adapters.kubernetes.manifest import LaunchSettings, job_manifest
from trainmaster.api.admin import AdminSettings
from trainmaster.api.base import Time
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import CreateJob
from trainmaster.ports.cluster import RefusedEffectError
from trainmaster_launcher.settings import read_settings

Json = dict[str, Any]
NOW: Time = datetime(2030, 1, 1, tzinfo=UTC)
URL = "https://trainmaster.ops.svc:8443/v1/reports"


class Admin:
    """An administrator who changes their mind."""

    def __init__(self) -> None:
        self.settings = AdminSettings()

    def __call__(self) -> AdminSettings:
        return self.settings


def pod_of(run: TrainingRun, settings: LaunchSettings) -> Json:
    manifest = job_manifest(run, CreateJob(name="j", plan=build_plan(run, status_of())), settings)
    pod: Json = manifest["spec"]["template"]["spec"]
    return pod


def test_what_is_not_allowed_makes_no_job_until_it_is() -> None:
    admin = Admin()
    settings = LaunchSettings(image="i", report_url=URL, admin=admin)
    run = run_of(serviceAccountName="trainer", priorityClassName="training")

    with pytest.raises(RefusedEffectError) as refused:
        pod_of(run, settings)
    assert (refused.value.reason, "allowedServiceAccounts" in refused.value.message) == ("NotAllowed", True)

    admin.settings = AdminSettings(allowed_service_accounts=("trainer",), allowed_priority_classes=("training",))
    pod = pod_of(run, settings)
    assert (pod["serviceAccountName"], pod["priorityClassName"]) == ("trainer", "training")
    assert pod["automountServiceAccountToken"] is False


def test_a_run_that_names_nothing_gets_the_namespaces_own() -> None:
    pod = pod_of(run_of(), LaunchSettings(image="i", report_url=URL))
    assert not {"serviceAccountName", "priorityClassName"} & pod.keys()


def test_the_launcher_is_given_the_authorities_of_the_moment() -> None:
    material = up_to_date(Material(), names=frozenset({"trainmaster.ops.svc"}), now=NOW)
    settings = LaunchSettings(image="i", report_url=URL, trusted=lambda: trusted(material))

    [container] = pod_of(run_of(), settings)["containers"]

    seen = read_settings({each["name"]: each["value"] for each in container["env"]})
    assert seen.ca_pem == trusted(material)
    assert seen.ca_file is None
