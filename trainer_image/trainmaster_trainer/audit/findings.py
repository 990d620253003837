"""What an audit says, as data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from pydantic import ConfigDict, TypeAdapter, with_config


class Severity(StrEnum):
    """What a finding means for the result."""

    REFUSE = "Refuse"
    """It is proof, or the code is wrong: the result must not be used."""
    FLAG = "Flag"
    """A person must look before the result is used."""
    NOTE = "Note"
    """Worth knowing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFinding:
    """One thing that was found."""

    code: str
    """One of `codes`."""
    severity: Severity
    message: str
    """With the numbers, and the way out."""


@with_config(ConfigDict(ser_json_inf_nan="strings", extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """All findings, and what was measured on the way."""

    findings: tuple[AuditFinding, ...] = ()
    measured: dict[str, float] = field(default_factory=dict)
    """Balanced accuracy of the memorising models on the twins; where more than one was asked, the highest."""

    def of(self, severity: Severity) -> tuple[AuditFinding, ...]:
        """The findings of one severity."""
        return tuple(each for each in self.findings if each.severity is severity)

    @property
    def refused(self) -> bool:
        """Whether the result must not be used."""
        return bool(self.of(Severity.REFUSE))

    @property
    def twins_passed(self) -> bool:
        """Whether memorising models were asked, and knew nothing that they could not know."""
        return bool(self.measured) and not self.findings

    @property
    def metrics(self) -> dict[str, float]:
        """Counts of what was found, and what was measured, for the report of a run."""
        return {
            "audit_refusals": float(len(self.of(Severity.REFUSE))),
            "audit_flags": float(len(self.of(Severity.FLAG))),
            **self.measured,
        }

    def with_findings(self, more: Iterable[AuditFinding]) -> AuditReport:
        """The same, and some more."""
        return AuditReport(findings=(*self.findings, *more), measured=self.measured)

    def to_json(self) -> bytes:
        """The report as a file."""
        return _ADAPTER.dump_json(self, indent=1)

    @classmethod
    def from_json(cls, content: bytes) -> AuditReport:
        """A report that `to_json` wrote. Raises ValueError for anything else."""
        return _ADAPTER.validate_json(content)


_ADAPTER: Final[TypeAdapter[AuditReport]] = TypeAdapter(AuditReport)
