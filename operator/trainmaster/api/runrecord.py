"""RunRecord: what must outlive a run - what was trained and how it ended.

One is written for each rerun that has ended; the re-creation guard (`spec.rerunPolicy`) and people read them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from trainmaster.api.base import ApiModel, OpenModel, Time
from trainmaster.api.labels import LABEL_MAX, LABEL_RUN_UID, LABEL_SPEC_HASH, record_name
from trainmaster.api.objects import ObjectMeta
from trainmaster.api.protocol import MAX_METRICS

MAX_WORD: Final = 64
"""Characters of a phase, a reason, a decimal string."""
MAX_METRIC_NAME: Final = 100
"""As reports bound it; a CRD cannot say it, so whoever makes a record keeps it."""
MAX_PATH: Final = 512
MAX_ID: Final = 64
"""Characters of a UID, a hash, or MLflow's run ID."""

MetricValue = Annotated[str, Field(max_length=MAX_WORD)]


class RecordedCheckpoint(OpenModel):
    """The newest complete checkpoint at the end."""

    path: str = Field(
        max_length=MAX_PATH,
        description="File, relative to `UID/RERUNS` below the address in spec.storage.checkpoints.",
    )
    step: int = Field(description="Optimiser steps done when it was taken.")
    sha256: str = Field(max_length=MAX_ID, description="SHA-256 of the file, in hexadecimal digits.")


class RunRecordSpec(OpenModel):
    """The outcome of one rerun; written once, never changed."""

    run_name: str = Field(max_length=253, description="Name of the TrainingRun.")
    run_uid: str = Field(max_length=MAX_ID, description="UID of the TrainingRun.")
    rerun: str = Field("", max_length=63, description="Value of spec.rerun that was trained.")
    reruns: int = Field(0, ge=0, description="How often spec.rerun had been changed; 0 for the first training.")
    spec_hash: str = Field(
        max_length=MAX_ID,
        description="SHA-256 of the training-defining fields of the spec that was trained; empty where status was "
        "lost and nobody knows.",
    )
    outcome: str = Field(max_length=MAX_WORD, description="Phase in which it ended.")
    reason: str = Field(max_length=MAX_WORD, description="Reason of its condition Succeeded.")
    start_time: Time | None = Field(None, description="When training first ran, in this rerun.")
    completion_time: Time = Field(description="When it ended.")
    launches: int = Field(0, ge=0, description="Number of the newest launch at the end, over all reruns.")
    crashes: int = Field(0, ge=0, description="Crashes in this rerun.")
    disruptions: int = Field(0, ge=0, description="Launches of this rerun lost to the cluster, not to the training.")
    heals: int = Field(0, ge=0, description="Corrections in this rerun.")
    active_seconds: int = Field(0, ge=0, description="Seconds of running, over the launches of this rerun.")
    metrics: dict[str, MetricValue] = Field(
        default_factory=dict, max_length=MAX_METRICS, description="Final metrics, as decimal strings."
    )
    checkpoint: RecordedCheckpoint | None = Field(None, description="The newest complete checkpoint at the end.")
    mlflow_run_id: str | None = Field(None, max_length=MAX_ID, description="Run in MLflow, if one was open by then.")

    @property
    def name(self) -> str:
        """The name of the object that holds it."""
        return record_name(self.run_name, uid=self.run_uid, reruns=self.reruns)

    @property
    def labels(self) -> dict[str, str]:
        """The labels by which the object is found."""
        return {LABEL_RUN_UID: self.run_uid, LABEL_SPEC_HASH: self.spec_hash[:LABEL_MAX]}


class RunRecord(ApiModel):
    """An object of the internal kind RunRecord."""

    api_version: Literal["trainmaster.io/v1alpha1"] = "trainmaster.io/v1alpha1"
    kind: Literal["RunRecord"] = "RunRecord"
    metadata: ObjectMeta
    spec: RunRecordSpec


def new_record(spec: RunRecordSpec, *, namespace: str) -> RunRecord:
    """The object that holds a record; it has no owner, because it must outlive the run."""
    return RunRecord(metadata=ObjectMeta(name=spec.name, namespace=namespace, labels=spec.labels), spec=spec)
