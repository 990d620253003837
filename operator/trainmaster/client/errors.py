"""What can go wrong between a user and a cluster: one class per thing that a program may want to answer differently."""

from __future__ import annotations

from collections.abc import Sequence

from trainmaster.api.conditions import SUCCEEDED
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.api.problems import Problem
from trainmaster.api.trainingrun import TrainingRun


class ClientError(TrainmasterError):
    """The base of all errors of the client."""


class NoAccessError(ClientError):
    """There is no usable address of an API server, or no credentials for it."""


class UnreachableError(ClientError):
    """The API server does not answer. After a write: whether it was carried out is not known."""


class RefusedError(ClientError):
    """The API server has refused a request; `status` is HTTP's, `reason` Kubernetes' word."""

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class InvalidRunError(ClientError):
    """A manifest was judged before it was sent, and cannot be used; `problems` name the fields."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("the run cannot be used:\n" + "\n".join(f"  {_placed(problem)}" for problem in problems))
        self.problems = tuple(problems)


class RunExistsError(ClientError):
    """The name of a new run is taken."""


class FieldConflictError(ClientError):
    """Somebody else has set fields that the manifest sets too, to other values."""


class RunNotFoundError(ClientError):
    """There is no run of this name."""


class RunDeletedError(ClientError):
    """The run was deleted while it was waited for; its UID and last phase are in the message."""


class RunReplacedError(RunDeletedError):
    """The run was deleted, and another one has its name now: the one that was meant is gone."""


class WaitTimeoutError(ClientError):
    """What was waited for has not come in time; nothing was changed. `run` is as it was seen last."""

    def __init__(self, message: str, *, run: TrainingRun) -> None:
        super().__init__(message)
        self.run = run


class RunEndedError(ClientError):
    """The run has ended, and what was asked for can no longer come; `run` is as it ended."""

    def __init__(self, message: str, *, run: TrainingRun) -> None:
        super().__init__(message)
        self.run = run


class NoLogsError(ClientError):
    """There is no log of the launch that was asked for."""


def not_found(key: Key) -> RunNotFoundError:
    """No run of this name."""
    return RunNotFoundError(
        f"there is no TrainingRun {key}; `trainmaster get -n {key.namespace}` lists those there are"
    )


def deleted(run: TrainingRun) -> RunDeletedError:
    """This run was deleted meanwhile."""
    return RunDeletedError(f"{describe(run)} was deleted meanwhile; submit it again to train it again")


def replaced(run: TrainingRun, *, uid: str) -> RunReplacedError:
    """Another run has taken its name meanwhile."""
    return RunReplacedError(
        f"{describe(run)} was deleted meanwhile, and another run has its name now (uid {uid}); "
        "ask again to mean that one"
    )


def describe(run: TrainingRun) -> str:
    """A run in a message: where it is, which one it is, and how it stands."""
    phase = run.status.phase or "not looked at yet"
    condition = run.status.condition(SUCCEEDED)
    said = f", {condition.reason}: {condition.message}" if condition and condition.message else ""
    return f"{run.metadata.key} (uid {run.metadata.uid}, {phase}{said})"


def _placed(problem: Problem) -> str:
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.line else ""
    return f"{place}{problem}"
