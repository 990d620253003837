"""The CustomResourceDefinitions of TrainingRun and RunRecord, made from the models.

`structural` turns a model into a schema, `cel` holds the rules, this module puts names, printer columns and the status
subresource around them. `trainmaster crds` prints the result; crds/ holds it committed; a test holds both equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from trainmaster.api.cel import ITEMS, RUN_RECORD_RULES, TRAINING_RUN_RULES, CelRule
from trainmaster.api.labels import GROUP, VERSION
from trainmaster.api.runrecord import RunRecord, RunRecordSpec
from trainmaster.api.structural import NotStructuralError, Schema, structural_schema
from trainmaster.api.trainingrun import TrainingRun, TrainingRunSpec, TrainingRunStatus

MAX_CRD_BYTES: Final = 64 * 1024
"""As YAML. Client-side apply stores an object in an annotation of at most 256 KiB; a quarter leaves room to grow."""

NO_GENERATION: Final = -1
"""`status.observedGeneration` of an object that nobody has looked at yet: GitOps tools then wait, not guess."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrinterColumn:
    """One column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: str = "string"
    description: str = ""
    priority: int = 0

    def to_schema(self) -> dict[str, Any]:
        """The column as it stands in a CRD."""
        about = {"description": self.description} if self.description else {}
        return {"name": self.name, "type": self.type, **about, "jsonPath": self.path, "priority": self.priority}


AGE: Final = PrinterColumn(name="Age", type="date", path=".metadata.creationTimestamp")

TRAINING_RUN_COLUMNS: Final = (
    PrinterColumn(name="Phase", path=".status.phase", description="One word for people."),
    PrinterColumn(
        name="Progress", type="integer", path=".status.progress.percent", description="Percent of the steps."
    ),
    PrinterColumn(name="Loss", path=".status.metrics.val_loss", description="Newest validation loss."),
    PrinterColumn(
        name="Health", path=".status.health.problems[*]", description="What the detectors say now: the first of it."
    ),
    PrinterColumn(
        name="Attempt", type="integer", path=".status.plan.generation", description="Number of the plan in force."
    ),
    PrinterColumn(name="Workload", path=".spec.workload", description="What is trained.", priority=1),
    PrinterColumn(name="Launch", type="integer", path=".status.launch", description="Number of the Job.", priority=1),
    AGE,
)

RUN_RECORD_COLUMNS: Final = (
    PrinterColumn(name="Run", path=".spec.runName", description="Name of the TrainingRun."),
    PrinterColumn(name="Outcome", path=".spec.outcome", description="Phase in which it ended."),
    PrinterColumn(name="Reason", path=".spec.reason", description="Why it ended."),
    AGE,
)


def training_run_crd() -> dict[str, Any]:
    """The CRD of TrainingRun."""
    status = structural_schema(TrainingRunStatus, defaults=False)
    status["default"] = {"observedGeneration": NO_GENERATION}
    spec = structural_schema(TrainingRunSpec)
    _require_descriptions(spec, path="spec")
    _require_descriptions(status, path="status")
    return _crd(
        kind=TrainingRun,
        plural="trainingruns",
        short="tr",
        properties={"spec": spec, "status": status},
        rules=TRAINING_RUN_RULES,
        columns=TRAINING_RUN_COLUMNS,
    )


def run_record_crd() -> dict[str, Any]:
    """The CRD of RunRecord."""
    spec = structural_schema(RunRecordSpec)
    _require_descriptions(spec, path="spec")
    return _crd(
        kind=RunRecord,
        plural="runrecords",
        short="rr",
        properties={"spec": spec},
        rules=RUN_RECORD_RULES,
        columns=RUN_RECORD_COLUMNS,
    )


def all_crds() -> tuple[dict[str, Any], ...]:
    """Every CRD of Trainmaster, in the order of their names."""
    return (run_record_crd(), training_run_crd())


def _crd(
    *,
    kind: type[BaseModel],
    plural: str,
    short: str,
    properties: dict[str, Schema],
    rules: tuple[CelRule, ...],
    columns: tuple[PrinterColumn, ...],
) -> dict[str, Any]:
    schema = _root(kind, properties=properties)
    for rule in rules:
        _node(schema, rule.at).setdefault("x-kubernetes-validations", []).append(rule.to_schema())
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": [column.to_schema() for column in columns],
        **({"subresources": {"status": {}}} if "status" in properties else {}),
    }
    # Not in the category `all`: people pipe `kubectl get all` into `kubectl delete`, and a run is days of work.
    names = {
        "kind": kind.__name__,
        "listKind": f"{kind.__name__}List",
        "plural": plural,
        "singular": kind.__name__.lower(),
        "shortNames": [short],
        "categories": ["trainmaster"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def _root(kind: type[BaseModel], *, properties: dict[str, Schema]) -> Schema:
    """The object around spec and status; what stands in metadata is Kubernetes' own business."""
    return {
        "type": "object",
        "description": (kind.__doc__ or "").split("\n", maxsplit=1)[0],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema that the object is written in."},
            "kind": {"type": "string", "description": "Kind of the object."},
            "metadata": {"type": "object"},
            **properties,
        },
    }


def _node(schema: Schema, place: tuple[str, ...]) -> Schema:
    """The node of a schema at a place such as `("spec", "env", "[]", "name")`."""
    node = schema
    for step in place:
        node = node["items"] if step == ITEMS else node["properties"][step]
    return node


def _require_descriptions(node: Schema, *, path: str) -> None:
    """A field that `kubectl explain` cannot explain is not finished."""
    if "description" not in node:
        message = f"{path} has no description: give its Field(...) one"
        raise NotStructuralError(message)
    for name, child in node.get("properties", {}).items():
        _require_descriptions(child, path=f"{path}.{name}")
    items = node.get("items", {})
    for name, child in items.get("properties", {}).items():
        _require_descriptions(child, path=f"{path}[].{name}")
