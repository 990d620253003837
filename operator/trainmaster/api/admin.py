"""What an administrator lets runs name: the admin file, which the chart renders from its values.

```yaml
allowedServiceAccounts: [trainer]
allowedPriorityClasses: [training]
trackingBackends:
  team: {uri: "https://mlflow.ops.svc"}
```

Tenants choose among these names; where a name leads is the administrator's word alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from trainmaster.api.base import ApiModel
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.problems import Problem, field_path
from trainmaster.api.trainingrun import NAME_PATTERN
from trainmaster.api.wording import explain, fold, nearest

PLANNED: Final = frozenset({"notificationChannels", "channels", "profiles"})
"""Designed fields without code in this version: refused with a message that says so, never ignored."""
ELSEWHERE: Final = {"enabledNamespaceLabel": "the admission policy of the chart knows it, the operator does not"}
"""Fields that belong somewhere else, and where."""
URI_PATTERN: Final = r"^https?://[^\s/@]+(/[^\s@]*)?$"

ObjectName = Annotated[str, Field(max_length=253, pattern=NAME_PATTERN)]


class TrackingBackend(ApiModel):
    """An MLflow server that runs may name."""

    uri: str = Field(
        max_length=1024,
        pattern=URI_PATTERN,
        description="Where it is. No user or password: those are files of the operator.",
    )


class AdminSettings(ApiModel):
    """All that the admin file says; without a file nothing can be named."""

    allowed_service_accounts: tuple[ObjectName, ...] = Field(
        default=(), description="Names that `spec.serviceAccountName` may have, in every namespace."
    )
    allowed_priority_classes: tuple[ObjectName, ...] = Field(
        default=(), description="Names that `spec.priorityClassName` may have."
    )
    tracking_backends: dict[ObjectName, TrackingBackend] = Field(
        default_factory=dict, description="MLflow servers, by the name that runs call them by."
    )


class AdminFileError(TrainmasterError):
    """The admin file cannot be used; the message has a line for each thing that is wrong."""


def parse_admin(given: object) -> AdminSettings:
    """Settings from parsed YAML; an empty file allows nothing. Raises AdminFileError."""
    try:
        return AdminSettings.model_validate({} if given is None else given, by_alias=True, by_name=False)
    except ValidationError as error:
        raise AdminFileError("\n".join(map(str, _problems(error)))) from error


def _problems(error: ValidationError) -> Iterator[Problem]:
    """What is wrong, in words; what may be a password is not repeated."""
    for detail in error.errors(include_url=False):
        if detail["type"] == "extra_forbidden":
            yield _unknown(detail)
            continue
        message, hint = explain(detail)
        if detail.get("ctx", {}).get("pattern") == URI_PATTERN:
            message, hint = "must be an http or https URL", "without user and password: those are files of the operator"
        value = None if detail["type"] == "missing" or "@" in str(detail["input"]) else detail["input"]
        yield Problem(path=field_path(_location(detail)), value=value, message=message, hint=hint)


def _unknown(detail: ErrorDetails) -> Problem:
    path, name = field_path(_location(detail)), str(detail["loc"][-1])
    if any(fold(name) == fold(planned) for planned in PLANNED):
        message = "is designed but has no code in this version"
        return Problem(path=path, value=detail["input"], message=message, hint="remove it", about_name=True)
    if name in ELSEWHERE:
        return Problem(path=path, value=detail["input"], message="does not belong here", hint=ELSEWHERE[name])
    known = _aliases(TrackingBackend if len(detail["loc"]) > 1 else AdminSettings)
    near = nearest(name, known)
    hint = f'did you mean "{near}"?' if near else f"known here: {', '.join(sorted(known))}"
    return Problem(path=path, value=detail["input"], message="is not a known field", hint=hint, about_name=True)


def _location(detail: ErrorDetails) -> tuple[str | int, ...]:
    """Where it is, without pydantic's own word for keys of mappings."""
    return tuple(step for step in detail["loc"] if step != "[key]")


def _aliases(model: type[ApiModel]) -> list[str]:
    fields: dict[str, Any] = dict(model.model_fields)
    return [str(field.alias or name) for name, field in fields.items()]
