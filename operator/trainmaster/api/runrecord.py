"""RunRecord: what must outlive a run - what was trained and how it ended."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trainmaster.api.base import ApiModel, Time
from trainmaster.api.objects import ObjectMeta


class RunRecordSpec(ApiModel):
    """The outcome of one run; written once, never changed."""

    run_name: str = Field(max_length=253, description="Name of the TrainingRun.")
    run_uid: str = Field(max_length=64, description="UID of the TrainingRun.")
    spec_hash: str = Field(max_length=64, description="SHA-256 of the training-defining fields of its spec.")
    outcome: str = Field(max_length=64, description="Phase in which it ended.")
    reason: str = Field(max_length=64, description="Reason of its condition Succeeded.")
    completion_time: Time = Field(description="When it ended.")
    metrics: dict[str, str] = Field(
        default_factory=dict, max_length=64, description="Final metrics, as decimal strings."
    )


class RunRecord(ApiModel):
    """An object of the internal kind RunRecord."""

    api_version: Literal["trainmaster.io/v1alpha1"] = "trainmaster.io/v1alpha1"
    kind: Literal["RunRecord"] = "RunRecord"
    metadata: ObjectMeta
    spec: RunRecordSpec
