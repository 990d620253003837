"""What runs may name is the administrator's word, and heals when that word changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.control_plane import ControlPlane
from tests.support.operator_process import wait_until
from tests.support.scene import Scene, scene
from trainmaster.adapters import admin_file
from trainmaster.shell import reconcile

HEALING_SECONDS = admin_file.LOOK_SECONDS + reconcile.REFUSED_SECONDS + 60
"""The file is looked at, then the Job is tried again; and a slow machine."""


@pytest.fixture
def admin(tmp_path: Path) -> Path:
    path = tmp_path / "admin.yaml"
    path.write_text("allowedServiceAccounts: []\n")
    return path


@pytest.fixture
def stage(plane: ControlPlane, tmp_path: Path, admin: Path) -> Iterator[Scene]:
    with scene(plane, folder=tmp_path, flags=("--admin-file", str(admin))) as found:
        yield found


def test_a_run_waits_for_what_it_may_not_name_and_goes_on_when_it_may(stage: Scene, admin: Path) -> None:
    accounts = f"/api/v1/namespaces/{stage.namespace}/serviceaccounts"
    assert stage.plane.request("POST", accounts, {"metadata": {"name": "trainer"}}).status == 201
    run = stage.create("names-an-account", serviceAccountName="trainer")
    run.wait_for(lambda: run.condition("Stalled").get("reason") == "JobRefused", what="a condition")
    message = run.condition("Stalled")["message"]
    assert "spec.serviceAccountName is 'trainer', and none is allowed" in message
    assert "allowedServiceAccounts" in message
    assert run.condition("Ready")["status"] == "False"
    assert run.jobs_ever() == set()
    other = stage.create("names-nothing")
    other.wait_running(launch=1)

    admin.write_text("allowedServiceAccounts: [trainer]\n")
    stage.history.wait_for(lambda: run.status.get("phase") == "Running", what="training", timeout=HEALING_SECONDS)
    assert [pod["spec"]["serviceAccountName"] for pod in run.pods(1)] == ["trainer"]
    assert run.condition("Stalled") == {}
    run.finish(launch=1)
    run.wait_ended("Succeeded", launches=1)
    stage.assert_lawful()


def test_a_file_that_cannot_be_used_changes_nothing_and_says_why(stage: Scene, admin: Path) -> None:
    admin.write_text("profiles: {}\n")
    words = "profiles: is designed but has no code in this version"
    wait_until(lambda: words in stage.operator.told, what="the reason")
    run = stage.create("trains-on")
    run.wait_running(launch=1)
    assert "what the admin file said before stays in force" in stage.operator.told
