"""The rules that the API server itself enforces, in CEL, with the messages that users read.

A rule sits on one node of the schema and sees that node as `self`. Optional fields are asked for with `has()`; fields
with a default are always there. `rules` and `transitions` judge the same offline; a test holds both to one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from trainmaster.api.labels import ENV_PREFIX
from trainmaster.api.trainingrun import IMMUTABLE_MESSAGE, TRAINING_FIELDS

NEEDS_COMMAND: Final = "is required by workload custom: it says what to run"
REFUSES_IMAGE: Final = "is for workload custom only; market-classifier is in the trainer image"
REFUSES_COMMAND: Final = "is for workload custom only; market-classifier brings its own program"
PROCESSES_SHARE_NO_GPU: Final = "is more than resources.gpus: each process of a training has a GPU of its own"
CUSTOM_STARTS_ITS_OWN: Final = "is not for workload custom, which starts its own processes (torchrun, for example)"
NEEDS_DATA: Final = "is required by workload market-classifier: it says which price bars to train on"
RESERVED_ENV: Final = f"must not start with {ENV_PREFIX}: these variables belong to the launcher"
PARENT_FOLDER: Final = "must not lead to a parent folder (`..`)"
RECORD_IMMUTABLE: Final = "is immutable: a record is written once"

ITEMS: Final = "[]"
"""In a rule's place: the items of a list."""

_NO_PARENT_FOLDER: Final = "!self.matches('(^|/)[.][.](/|$)')"


@dataclass(frozen=True, kw_only=True, slots=True)
class CelRule:
    """One entry of `x-kubernetes-validations`."""

    name: str
    """What tests call it."""
    at: tuple[str, ...]
    """The node it sits on: property names from the root, `[]` for the items of a list."""
    rule: str
    message: str
    field_path: str = ""
    """The field that is blamed, below the node."""

    def to_schema(self) -> dict[str, str]:
        """The rule as it stands in a CRD."""
        blamed = {"fieldPath": self.field_path} if self.field_path else {}
        return {"rule": self.rule, "message": self.message, "reason": "FieldValueInvalid", **blamed}


_UNTRAINED: Final = (
    "(!has(oldSelf.status) || ((!has(oldSelf.status.launch) || oldSelf.status.launch == 0)"
    " && (!has(oldSelf.status.phase) || oldSelf.status.phase != 'Succeeded')))"
)
"""Nothing was launched under this name. A run that has succeeded without a launch stands for one that did."""


def _immutable(field: str) -> CelRule:
    """A training-defining field may change only together with `spec.rerun`, once something was launched."""
    new, old = f"self.spec.{field}", f"oldSelf.spec.{field}"
    same = f"has({new}) == has({old}) && (!has({new}) || {new} == {old})"
    return CelRule(
        name=f"immutable-{field}",
        at=(),
        rule=f"self.spec.rerun != oldSelf.spec.rerun || {_UNTRAINED} || ({same})",
        message=f"spec.{field} {IMMUTABLE_MESSAGE}",
        field_path=f".spec.{field}",
    )


TRAINING_RUN_RULES: Final = (
    *(_immutable(field) for field in TRAINING_FIELDS),
    CelRule(
        name="custom-needs-command",
        at=("spec",),
        rule="self.workload != 'custom' || (has(self.command) && size(self.command) > 0)",
        message=f"spec.command {NEEDS_COMMAND}",
        field_path=".command",
    ),
    CelRule(
        name="command-is-for-custom",
        at=("spec",),
        rule="self.workload == 'custom' || !has(self.command) || size(self.command) == 0",
        message=f"spec.command {REFUSES_COMMAND}",
        field_path=".command",
    ),
    CelRule(
        name="image-is-for-custom",
        at=("spec",),
        rule="self.workload == 'custom' || !has(self.image)",
        message=f"spec.image {REFUSES_IMAGE}",
        field_path=".image",
    ),
    CelRule(
        name="market-needs-data",
        at=("spec",),
        rule="self.workload != 'market-classifier' || has(self.data)",
        message=f"spec.data {NEEDS_DATA}",
        field_path=".data",
    ),
    CelRule(
        name="a-gpu-for-each-process",
        at=("spec", "resources"),
        rule="!has(self.processesPerNode) || !has(self.gpus) || self.gpus == 0 || self.processesPerNode <= self.gpus",
        message=f"spec.resources.processesPerNode {PROCESSES_SHARE_NO_GPU}",
        field_path=".processesPerNode",
    ),
    CelRule(
        name="custom-starts-its-own-processes",
        at=("spec",),
        rule="self.workload != 'custom' || !has(self.resources) || !has(self.resources.processesPerNode)",
        message=f"spec.resources.processesPerNode {CUSTOM_STARTS_ITS_OWN}",
        field_path=".resources.processesPerNode",
    ),
    CelRule(
        name="env-is-not-reserved",
        at=("spec", "env", ITEMS, "name"),
        rule=f"!self.startsWith('{ENV_PREFIX}')",
        message=f"spec.env[].name {RESERVED_ENV}",
    ),
    CelRule(
        name="source-stays-inside",
        at=("spec", "data", "source"),
        rule=_NO_PARENT_FOLDER,
        message=f"spec.data.source {PARENT_FOLDER}",
    ),
    CelRule(
        name="checkpoints-stay-inside",
        at=("spec", "storage", "checkpoints"),
        rule=_NO_PARENT_FOLDER,
        message=f"spec.storage.checkpoints {PARENT_FOLDER}",
    ),
)

RUN_RECORD_RULES: Final = (
    CelRule(
        name="record-is-immutable",
        at=("spec",),
        rule="self == oldSelf",
        message=f"spec {RECORD_IMMUTABLE}",
    ),
)
