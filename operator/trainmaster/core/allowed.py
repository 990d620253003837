"""Whether an administrator lets a run have what it names.

Asked when a Job would be made, not when the run is written: what is allowed may change under a run that lives, and a
run that waits for a permission goes on when it is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from trainmaster.api.admin import AdminSettings
from trainmaster.api.trainingrun import TrainingRunSpec

OWN_ACCOUNT: Final = "default"
"""The service account that pods have anyway; naming it asks for nothing."""


def not_allowed(spec: TrainingRunSpec, admin: AdminSettings) -> str:
    """What of a spec is not allowed, in words with the way out; empty when all of it is."""
    account, priority = spec.service_account_name, spec.priority_class_name
    if account not in {None, OWN_ACCOUNT, *admin.allowed_service_accounts}:
        return _told("serviceAccountName", account, admin.allowed_service_accounts, "allowedServiceAccounts")
    if priority not in {None, *admin.allowed_priority_classes}:
        return _told("priorityClassName", priority, admin.allowed_priority_classes, "allowedPriorityClasses")
    return ""


def _told(field: str, value: str | None, allowed: Sequence[str], setting: str) -> str:
    choice = f"allowed are {', '.join(allowed)}" if allowed else "none is allowed"
    return (
        f"spec.{field} is {value!r}, and {choice}: remove it, or ask the administrator of the operator to add it to "
        f"{setting} in the admin file"
    )
