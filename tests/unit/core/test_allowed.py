"""What an administrator lets runs name, and what a run is told that names something else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.runs import run_of
from trainmaster.api.admin import AdminSettings
from trainmaster.core.allowed import not_allowed

ADMIN = AdminSettings(allowed_service_accounts=("trainer", "loader"), allowed_priority_classes=("training",))
NOTHING = AdminSettings()


@pytest.mark.parametrize(
    ("spec", "admin"),
    [
        ({}, NOTHING),
        ({"serviceAccountName": "default"}, NOTHING),
        ({"serviceAccountName": "loader"}, ADMIN),
        ({"priorityClassName": "training", "serviceAccountName": "trainer"}, ADMIN),
    ],
)
def test_what_is_allowed(spec: dict[str, Any], admin: AdminSettings) -> None:
    assert not_allowed(run_of(**spec).spec, admin) == ""


@pytest.mark.parametrize(
    ("spec", "admin", "told"),
    [
        (
            {"serviceAccountName": "admin"},
            ADMIN,
            (
                "spec.serviceAccountName is 'admin', and allowed are trainer, loader: remove it, or ask the "
                "administrator of the operator to add it to allowedServiceAccounts in the admin file"
            ),
        ),
        ({"serviceAccountName": "trainer"}, NOTHING, "and none is allowed"),
        (
            {"priorityClassName": "system-node-critical"},
            ADMIN,
            "spec.priorityClassName is 'system-node-critical', and allowed are training",
        ),
        ({"priorityClassName": "default"}, ADMIN, "spec.priorityClassName is 'default'"),
    ],
)
def test_what_is_not_is_said_with_the_way_out(spec: dict[str, Any], admin: AdminSettings, told: str) -> None:
    assert told in not_allowed(run_of(**spec).spec, admin)
