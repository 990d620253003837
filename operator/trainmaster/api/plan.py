"""The plan: everything a launcher and a training process need to know to train one attempt.

The plan at creation is in the Job's environment; newer ones (higher `generation`) come in replies to reports and are
kept beside the checkpoints. Nothing in it changes the trained function but `generation`, `hyperparameters`,
`parameter_schedules`, `workload`, `command` and `data`.
"""

from __future__ import annotations

from pydantic import Field

from trainmaster.api.base import OpenModel
from trainmaster.api.hyperparameters import Scalar
from trainmaster.api.parameter_schedules import ParameterSchedule

PROTOCOL = 1
"""Version of plan and report protocol; an operator speaks this one and the one before."""


class StoragePlan(OpenModel):
    """Where checkpoints go and which are kept."""

    root: str
    """Where the run's rerun has its checkpoints: `<checkpoints>/<uid>/<rerun>`, a folder or an address in an object
    store (`s3://`, `gs://`); a launch writes only `<root>/<launch>`."""
    work: str | None = None
    """Folder for what the launcher itself keeps, where `root` is no folder; absent: `root`."""
    keep_last: int = 3
    keep_best: int = 1
    every_steps: int | None = None
    """A checkpoint every so many steps, besides the one at each epoch's end."""


class Directive(OpenModel):
    """What the training process shall do: absolute, so that doing it twice changes nothing."""

    id: str
    kind: str = "Adjust"
    """`Adjust` sets hyperparameters; `Stop` ends training well (outcome StoppedEarly)."""
    generation: int = Field(ge=1)
    """The plan generation that it opens: points after it carry this number."""
    at_step: int | None = None
    """Takes effect before this step, or before the next one if that has passed; None: before the next one."""
    set: dict[str, Scalar] = Field(default_factory=dict)
    reason: str = ""


class HangLimits(OpenModel):
    """Seconds without progress after which the launcher takes the training process for hung, by phase."""

    starting: float
    training: float
    validating: float
    checkpointing: float
    testing: float


class Plan(OpenModel):
    """What one attempt trains."""

    protocol: int = PROTOCOL
    run_uid: str
    namespace: str
    name: str
    launch: int = Field(ge=1)
    generation: int = Field(ge=1)
    """Rises with every plan of a run's UID; a launcher never goes back to a lower one."""
    base_generation: int = Field(ge=1)
    """Generation of the rerun's first plan: what points carry until a directive is applied."""
    workload: str
    command: tuple[str, ...] = ()
    """The training process to start; empty for workloads of the trainer image."""
    hyperparameters: dict[str, Scalar]
    """Values at the rerun's start; `directives` change them from a step on."""
    parameter_schedules: tuple[ParameterSchedule, ...] = ()
    """How hyperparameters move over the training, besides the learning rate's `lr_scheduler`."""
    directives: tuple[Directive, ...] = ()
    """All directives of this rerun, oldest first. Each is applied once per pass over its step: a process that starts
    again from an older checkpoint applies it again, at the same step."""
    data_source: str | None = None
    feature_store_days: int | None = None
    """The newest so many days of the data; None: all of it."""
    env: dict[str, str] = Field(default_factory=dict)
    """Variables of the training process; the launcher, which holds the token, does not take them for itself."""
    volumes: dict[str, str] = Field(default_factory=dict)
    """Folder of each claim that `pvc://` names."""
    storage: StoragePlan
    cpus: int = Field(ge=1)
    """Threads the training process may use; results are bit-exact for one number of threads only."""
    processes: int = Field(1, ge=1)
    """Processes that train together; they share the threads."""
    restart_lease: int = Field(ge=0)
    """Restarts in place that the launcher may have made by now in this launch; renewed by replies."""
    hang_limits: HangLimits
    termination_grace_seconds: float = 120
