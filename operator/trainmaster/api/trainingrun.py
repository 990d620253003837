"""TrainingRun: one training, as a user writes it (`spec`) and as Trainmaster tells it (`status`).

Training-defining fields are immutable from the first launch on, but for one update that also changes `spec.rerun`: what
was trained under a name must stay true. Rules that the API server enforces are CEL in `crds`; `rules` and `transitions`
judge the same offline. Fields that are designed but have no code yet are in `PLANNED_FIELDS`: refused by name.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Final, Literal

from pydantic import Field, JsonValue

from trainmaster.api.base import ApiModel, OpenModel, Time
from trainmaster.api.conditions import Condition
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.objects import ObjectMeta
from trainmaster.api.parameter_schedules import MAX_SCHEDULES, ParameterSchedule
from trainmaster.api.protocol import CheckpointManifest
from trainmaster.api.runrecord import RunRecordSpec

_FILE: Final = r"(package|pvc)://[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)+"
_PAIR: Final = r"[A-Za-z_]+=[A-Za-z0-9._:/-]+"
FILE_PATTERN: Final = rf"^{_FILE}$"
SOURCE_PATTERN: Final = rf"^({_FILE}|synthetic://[A-Za-z0-9-]+(\?{_PAIR}(&{_PAIR})*)?)$"
_CLAIM: Final = r"pvc://[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_BUCKET: Final = r"(s3|gs)://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]"
CHECKPOINTS_PATTERN: Final = rf"^({_CLAIM}|{_BUCKET})(/[A-Za-z0-9._-]+)*$"
IMAGE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"
MEMORY_PATTERN: Final = r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"
RESOURCE_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
PRESET_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
HANG_FLOOR: Final = 60
"""Seconds below which no hang limit goes: a slow disk or a busy machine looks the same for a minute."""

TRAINING_FIELDS: Final = (
    "workload",
    "image",
    "command",
    "presets",
    "hyperparameters",
    "parameterSchedules",
    "data",
    "resources",
    "storage",
    "env",
)
"""Fields that define what is trained: immutable once something was, unless the same update changes `rerun`."""

IMMUTABLE_MESSAGE: Final = (
    "is immutable: it defines what was trained under this name. Ways out: apply it under a new metadata.name, "
    "or change spec.rerun in the same update to train again"
)

PLANNED_FIELDS: Final = frozenset(
    {
        "spec.resources.nodes",
        "spec.storage.everySeconds",
        "spec.volumes",
        "spec.podLabels",
        "spec.affinity",
        "spec.tracking",
        "spec.earlyStopping",
        "spec.recovery.budgets.windowSeconds",
        "spec.recovery.rules",
        "spec.promotion",
        "spec.notifications",
        "spec.queueName",
        "spec.managedBy",
        "spec.schedule",
    }
)
"""Designed fields without code in this version: refused with a message that says so, never ignored."""


class EnvVar(ApiModel):
    """One environment variable of the training process."""

    name: str = Field(
        max_length=128,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name; names that start with TRAINMASTER_ are the launcher's own and refused.",
    )
    value: str = Field("", max_length=4096, description="Value, as it is: nothing in it is expanded.")


class PresetsSpec(ApiModel):
    """Hyperparameters by the name of a purpose."""

    model: str | None = Field(
        None,
        max_length=63,
        pattern=PRESET_PATTERN,
        description="Preset of the model's hyperparameters; `_` and `-` are the same. Absent: the defaults.",
    )
    trainer: str | None = Field(
        None,
        max_length=63,
        pattern=PRESET_PATTERN,
        description="Preset of the trainer's hyperparameters; `_` and `-` are the same. Absent: the defaults.",
    )

    def named(self) -> dict[str, str]:
        """The presets that are named, by part."""
        return {part: name for part, name in (("model", self.model), ("trainer", self.trainer)) if name is not None}


class DataSpec(ApiModel):
    """Where the training data comes from."""

    source: str = Field(
        max_length=1024,
        pattern=SOURCE_PATTERN,
        description="`package://DISTRIBUTION/PATH` reads a file of an installed Python distribution; "
        "`pvc://CLAIM/PATH` a file on a volume (in local mode a folder under the state directory); "
        "`synthetic://hmm?separation=1&rows=20000` makes a table whose best possible accuracy is known, "
        "`synthetic://coinflip?of=package://...` the twin of bars whose direction is a coin's "
        "(docs/reference/data-sources.md).",
    )
    feature_store_days: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="Train on the newest so many days only, counted back from the newest row; absent: on all rows. "
        "30 days of hourly bars are 720 rows: too few to tell skill from luck, and you are warned.",
    )


class ResourcesSpec(ApiModel):
    """What the training process may use."""

    cpu: int = Field(
        2,
        ge=1,
        le=256,
        description="Cores, and threads of the training process. Results are bit-exact for one number of threads only.",
    )
    gpus: int | None = Field(None, ge=0, le=64, description="GPUs of the pod; absent: none.")
    gpu_resource: str | None = Field(
        None,
        max_length=253,
        pattern=RESOURCE_PATTERN,
        description="Name of the GPUs' resource; absent: nvidia.com/gpu.",
    )
    memory: str | None = Field(
        None,
        max_length=20,
        pattern=MEMORY_PATTERN,
        description="Memory of the pod, request and limit (`16Gi`); a pod that needs more is killed. Absent: no limit.",
    )
    shm: str | None = Field(
        None,
        max_length=20,
        pattern=MEMORY_PATTERN,
        description="Size of /dev/shm, where workers of a data loader meet; counts as memory of the pod. Absent: 1Gi.",
    )
    processes_per_node: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Processes that train one model together, each on its share of every batch: one per GPU, or, "
        "without GPUs, some that share the cores. Absent: one per GPU, or 1. Workload `custom` starts its own.",
    )

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.processes_per_node or max(1, self.gpus or 0)


class StorageSpec(ApiModel):
    """Where checkpoints go and which are kept."""

    checkpoints: str = Field(
        "pvc://checkpoints",
        max_length=1024,
        pattern=CHECKPOINTS_PATTERN,
        description="`pvc://CLAIM/PATH`, or `s3://BUCKET/PATH` or `gs://BUCKET/PATH` with the credentials of the pod's "
        "service account; below it each run has a folder of its own, named by its UID.",
    )
    keep_last: int = Field(3, ge=1, le=1000, description="Newest checkpoints that each launch keeps.")
    keep_best: int = Field(1, ge=0, le=1000, description="Best checkpoints, by validation loss, to keep besides.")
    every_steps: int | None = Field(
        None, ge=1, le=10**9, description="A checkpoint every so many steps, besides the one at each epoch's end."
    )


class HangDetectionSpec(ApiModel):
    """Seconds without progress after which a training process counts as hung and is restarted, by phase."""

    starting_seconds: int = Field(900, ge=HANG_FLOOR, le=86_400, description="Imports, data, model, first step.")
    training_seconds: int = Field(300, ge=HANG_FLOOR, le=86_400, description="From one step to the next.")
    validating_seconds: int = Field(900, ge=HANG_FLOOR, le=86_400, description="One pass over the validation rows.")
    checkpointing_seconds: int = Field(900, ge=HANG_FLOOR, le=86_400, description="Writing one checkpoint.")
    testing_seconds: int = Field(900, ge=HANG_FLOOR, le=86_400, description="The final evaluation.")


class BudgetsSpec(ApiModel):
    """How often Trainmaster may help before it stops with a verdict."""

    heals: int = Field(
        5, ge=0, le=20, description="Corrections of hyperparameters within one rerun; status keeps each of them."
    )
    crashes: int = Field(
        20,
        ge=0,
        le=10_000,
        description="Crashes within one rerun, in place or of the pod; disruptions are not counted.",
    )


class RecoverySpec(ApiModel):
    """What Trainmaster does about trouble."""

    mode: Literal["Heal", "Observe", "Off"] = Field(
        "Heal",
        description="Heal acts on findings; Observe records what it would do; Off looks for nothing. "
        "Crashes and disruptions are answered in every mode.",
    )
    budgets: BudgetsSpec = Field(default_factory=BudgetsSpec, description="How often.")


class ImagePullSecret(ApiModel):
    """A Secret of the run's namespace; the kubelet reads it, Trainmaster never does."""

    name: str = Field(
        max_length=253,
        pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
        description="Name of the Secret, in the run's namespace.",
    )


class Toleration(ApiModel):
    """A taint of nodes that the pod does not mind, as Kubernetes has it."""

    key: str | None = Field(
        None, max_length=317, description="The taint's key; absent with operator Exists: every taint."
    )
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Absent: Equal.")
    value: str | None = Field(None, max_length=63, description="The taint's value, for operator Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Absent: all effects."
    )
    toleration_seconds: int | None = Field(
        None,
        ge=0,
        description="Seconds that the pod stays on a node with a NoExecute taint, such as that of a node that does not "
        "answer (node.kubernetes.io/unreachable; Kubernetes' default there is 300).",
    )


class TrainingRunSpec(ApiModel):
    """What a user asks for."""

    workload: Literal["market-classifier", "custom"] = Field(
        description="What to train: `market-classifier` is in the trainer image; `custom` runs `command`."
    )
    command: tuple[Annotated[str, Field(max_length=4096)], ...] = Field(
        default=(),
        max_length=256,
        description="Program and arguments of workload `custom`, run without a shell. "
        "`python` means the trainer's own Python.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    image: str | None = Field(
        None,
        max_length=512,
        pattern=IMAGE_PATTERN,
        description="Image in which `command` of workload `custom` runs; it needs python3 (3.11 or newer), nothing of "
        "Trainmaster's. Absent: the trainer image. Local mode uses no images.",
    )
    image_pull_secrets: tuple[ImagePullSecret, ...] = Field(
        default=(),
        max_length=10,
        description="Secrets of the run's namespace with which the kubelet pulls images.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    hyperparameters: dict[str, Scalar] = Field(
        default_factory=dict,
        max_length=200,
        description="Numbers, strings or booleans, by name; the rest are the presets', or the workload's defaults "
        "(docs/reference/hyperparameters.md).",
    )
    presets: PresetsSpec | None = Field(
        None,
        description="Presets, by name; `hyperparameters` stands over them (docs/reference/hyperparameters.md).",
    )
    parameter_schedules: tuple[ParameterSchedule, ...] | None = Field(
        None,
        max_length=MAX_SCHEDULES,
        description="How hyperparameters move over the training. Absent: only the learning rate does, by "
        "`lr_scheduler`.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    data: DataSpec | None = Field(None, description="Training data; required by `market-classifier`.")
    resources: ResourcesSpec = Field(default_factory=ResourcesSpec, description="What the training process may use.")
    storage: StorageSpec = Field(default_factory=StorageSpec, description="Checkpoints.")
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=100,
        description="Environment variables of the training process.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=20, description="Labels that a node must have to get the pod."
    )
    tolerations: tuple[Toleration, ...] = Field(
        default=(), max_length=20, description="Taints of nodes that the pod does not mind."
    )
    service_account_name: str | None = Field(
        None,
        max_length=253,
        pattern=NAME_PATTERN,
        description="Service account of the pod, one that the operator's administrator allows; its token is not "
        "mounted. Absent: the namespace's `default`. Local mode has none.",
    )
    priority_class_name: str | None = Field(
        None,
        max_length=253,
        pattern=NAME_PATTERN,
        description="Priority class of the pod, one that the operator's administrator allows. Local mode has none.",
    )
    hang_detection: HangDetectionSpec = Field(default_factory=HangDetectionSpec, description="When silence is a hang.")
    recovery: RecoverySpec = Field(default_factory=RecoverySpec, description="What to do about trouble.")
    suspend: bool = Field(
        default=False, description="Ends the Job (training saves first) and keeps the run; false resumes it."
    )
    active_deadline_seconds: int | None = Field(
        None,
        ge=1,
        description="Seconds of running, over all launches, after which the run fails. Waiting does not count.",
    )
    scheduling_deadline_seconds: int | None = Field(
        None, ge=1, description="Seconds a launch may wait for its pod to run; time in a queue does not count."
    )
    ttl_seconds_after_finished: int | None = Field(
        None, ge=0, description="Seconds after the end until Jobs are deleted; the run itself and its checkpoints stay."
    )
    termination_grace_period_seconds: int = Field(
        120, ge=5, le=3600, description="Seconds between SIGTERM and SIGKILL: time to write a checkpoint."
    )
    rerun: str = Field(
        "",
        max_length=63,
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Any new value trains again from the start, under the same object.",
    )
    rerun_policy: Literal["IfChanged", "Always"] = Field(
        "IfChanged",
        description="What an object does that was deleted and created again (by a GitOps tool, say). IfChanged: with "
        "the name, training-defining fields and `rerun` of a run that has succeeded it takes over that result; "
        "Always: it trains. Asked once, before the first launch.",
    )


class PlannedDirective(OpenModel):
    """A correction of this rerun; kept for its whole life, since a launch from an older checkpoint needs it again."""

    id: str = Field(description="Name of the decision that it carries out.")
    generation: int = Field(description="Plan generation that it opens.")
    reason: str = Field("", description="Why, in one word.")
    at_step: int | None = Field(None, description="Step before which it takes effect.")
    set: dict[str, str] = Field(default_factory=dict, description="Absolute values of hyperparameters.")


class PlanStatus(OpenModel):
    """The plan in force."""

    generation: int = Field(description="Number of the plan; rises with each.")
    base_generation: int = Field(description="Generation of the rerun's first plan.")
    hyperparameters: dict[str, str] = Field(
        description="Values in force: defaults, the manifest's over them, corrections over those."
    )
    base_hyperparameters: dict[str, Scalar] = Field(
        default_factory=dict,
        max_length=200,
        description="Values at the rerun's start, frozen: a version with other defaults changes nothing of this rerun.",
    )
    directives: tuple[PlannedDirective, ...] = Field(default=(), description="Corrections in force.")
    spec_hash: str = Field(
        "", description="SHA-256 of the training-defining fields at the rerun's start: what is being trained."
    )


class Attempt(OpenModel):
    """One plan and how it went."""

    number: int = Field(description="Generation of the plan.")
    cause: str = Field(description="Reason that opened it.")
    start_time: Time = Field(description="When it was opened.")
    launch: int = Field(description="Launch that opened it.")
    corrections: tuple[str, ...] = Field(default=(), description="In words: `learning_rate 0.001 -> 0.0005`.")
    resumed_step: int | None = Field(None, description="Step of the checkpoint that it began from.")
    outcome: str | None = Field(None, description="How it ended; absent while it runs.")


class Decision(OpenModel):
    """One decision: written here before anything is done about it."""

    id: str = Field(description="Name of the decision; directives and checkpoints carry it.")
    kind: str = Field(description="What it makes happen.")
    reason: str = Field(description="Why it was taken, in one word.")
    state: str = Field(description="Recorded, Done, or Observed where recovery only looks on.")
    time: Time = Field(description="When it was taken.")
    launch: int = Field(description="Launch that it is about.")
    generation: int = Field(1, description="Plan generation that it is about or opens.")
    observed_step: int | None = Field(None, description="Step at which its reason was seen.")
    evidence: str = Field("", description="What was seen.")
    target: dict[str, str] = Field(
        default_factory=dict, description="Absolute targets of the hyperparameters that it sets."
    )
    at_step: int | None = Field(None, description="Step before which it takes effect.")
    applied_step: int | None = Field(None, description="Step before which it took effect.")
    record: RunRecordSpec | None = Field(
        None, description="What kind Record is to write; here until it is written, so that nothing has to wait for it."
    )


class Progress(OpenModel):
    """How far training is."""

    epoch: int = Field(0, description="Epochs completed or under way.")
    step: int = Field(0, description="Optimiser steps done.")
    total_epochs: int | None = Field(None, description="Epochs to do.")
    total_steps: int | None = Field(None, description="Steps to do.")
    percent: int = Field(0, description="Share of the steps that is done.")
    eta_seconds: int | None = Field(None, description="Seconds that the rest will take.")


class Health(OpenModel):
    """What the detectors say."""

    problems: tuple[str, ...] = Field(default=(), description="Names of the problems that are there now.")


class CheckpointStatus(CheckpointManifest):
    """The newest complete checkpoint."""


class NodeFailures(OpenModel):
    """A node on which launches of this rerun ended through the node's fault."""

    node: str = Field(description="Name of the node.")
    failures: int = Field(description="How many of the launches; from two on the next ones go elsewhere if they can.")
    last_time: Time = Field(description="When the last one ended; a day later the node is forgotten.")
    reason: str = Field("", description="How the last one ended, in words.")


class TrackingStatus(OpenModel):
    """Where the metrics are in MLflow."""

    experiment_id: str = Field(description="Experiment in MLflow.")
    run_id: str = Field(description="Run in MLflow.")
    url: str = Field("", description="Where people can look at it.")


class TrainingRunStatus(OpenModel):
    """What Trainmaster knows. Items that a newer version wrote are kept as they are."""

    observed_generation: int = Field(-1, description="Generation of the spec that this status is about; -1: none yet.")
    phase: str = Field("", description="One word for people; programs read the conditions.")
    conditions: tuple[Condition, ...] = Field(
        default=(),
        description="Ready, Reconciling, Stalled, Suspended, Succeeded, by kstatus' rules.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    start_time: Time | None = Field(None, description="When training first ran, in this rerun.")
    completion_time: Time | None = Field(None, description="When the run ended.")
    active_seconds: int = Field(0, description="Seconds of running, over ended launches of this rerun.")
    plan: PlanStatus | None = Field(None, description="The plan in force.")
    launch: int = Field(0, description="Number of the newest launch; never falls, never repeats.")
    launch_time: Time | None = Field(None, description="When the newest launch was decided.")
    launch_node: str = Field("", description="Node of the newest launch's pod.")
    running_time: Time | None = Field(None, description="When the newest launch's pod began to run.")
    launch_outcome: str | None = Field(None, description="How the newest launch ended; absent while it lives.")
    launch_end_message: str = Field("", description="How the newest launch ended, in words.")
    launch_end_time: Time | None = Field(None, description="When the newest launch was seen to have ended.")
    quick_ends: int = Field(0, description="Launches in a row that ended within a minute; sets the back-off.")
    queued_seconds: int = Field(0, description="Seconds the newest launch was held in a queue.")
    queued_since: Time | None = Field(None, description="Since when it is held.")
    observed_rerun: str = Field("", description="Value of spec.rerun that this status is about.")
    reruns: int = Field(0, description="How often spec.rerun was changed; names the checkpoint folder.")
    crashes: int = Field(0, description="Crashes in this rerun.")
    launch_crashes: int = Field(0, description="Crashes of the newest launch, counted in `crashes` already.")
    last_crash: str = Field("", description="What the last crash was, in words.")
    disruptions: int = Field(0, description="Launches lost to the cluster, not to the training.")
    node_failures: tuple[NodeFailures, ...] = Field(
        default=(), description="Nodes that failed launches of this rerun, the last eight."
    )
    heals: int = Field(0, description="Corrections in this rerun.")
    attempts: tuple[Attempt, ...] = Field(default=(), description="The last ten plans.")
    decisions: tuple[Decision, ...] = Field(
        default=(), description="The last twenty decisions, and all that are not done."
    )
    progress: Progress | None = Field(None, description="How far training is.")
    metrics: dict[str, str] = Field(default_factory=dict, description="The latest metrics, as decimal strings.")
    health: Health | None = Field(None, description="What the detectors say.")
    checkpoint: CheckpointStatus | None = Field(None, description="The newest complete checkpoint.")
    mlflow: TrackingStatus | None = Field(None, description="Where the metrics are in MLflow.")

    def condition(self, kind: str) -> Condition | None:
        """The condition of this type, if it was said."""
        return next((condition for condition in self.conditions if condition.type == kind), None)


class TrainingRun(ApiModel):
    """An object of the kind TrainingRun."""

    api_version: Literal["trainmaster.io/v1alpha1"] = "trainmaster.io/v1alpha1"
    kind: Literal["TrainingRun"] = "TrainingRun"
    metadata: ObjectMeta
    spec: TrainingRunSpec
    status: TrainingRunStatus = Field(default_factory=TrainingRunStatus)

    def training_fields(self) -> dict[str, JsonValue]:
        """The fields that define what is trained, as JSON data."""
        wire: dict[str, Any] = self.spec.to_wire()
        return {name: wire[name] for name in TRAINING_FIELDS if name in wire}


def spec_hash(run: TrainingRun) -> str:
    """SHA-256, in hexadecimal digits, of what is trained: equal for equal training-defining fields.

    Absent fields are absent from what is hashed: a version that adds an optional field changes no hash.
    """
    canonical = json.dumps(run.training_fields(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
