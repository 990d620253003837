"""Calls of the client that block, made on a thread of their own while a test goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tests.support.operator_process import PATIENCE_SECONDS
from trainmaster import Client
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrainingRun

T = TypeVar("T")


class Call(Generic[T]):
    """A function at work; what it returns, or the error of ours that it ended with."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._result: list[T] = []
        self._error: TrainmasterError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result.append(self._function())
        except TrainmasterError as error:
            self._error = error

    @property
    def result(self) -> T:
        """What it has returned, when it has. Raises what it raised."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the call goes on and on"
        if self._error is not None:
            raise self._error
        return self._result[0]


class Waiting(Call[TrainingRun]):
    """`client.wait` at work; the phases that it has seen are in `phases`."""

    def __init__(self, client: Client, run: str | TrainingRun, *, until: str) -> None:
        self.phases: list[str] = []
        self._seen = threading.Event()
        super().__init__(lambda: client.wait(run, until=until, timeout=PATIENCE_SECONDS, on_change=self._note))

    def _note(self, run: TrainingRun) -> None:
        self.phases.append(run.status.phase)
        self._seen.set()

    def begun(self) -> Waiting:
        """Itself, when it has looked at the run."""
        assert self._seen.wait(PATIENCE_SECONDS), "it has not looked at the run"
        return self
