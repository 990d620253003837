"""What a launcher and an operator say to each other: reports, replies, the termination message.

A report carries a header (where training is now) and entries (what happened). Entries have sequence numbers from 1
within a launch; the reply says which the operator has, and the launcher sends the rest again. So delivery is
at-least-once, and taking an entry twice changes nothing. `docs/reference/protocol.md` tells it in full.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

from pydantic import Field

from trainmaster.api.base import OpenModel, Time, WireFloat
from trainmaster.api.plan import PROTOCOL, Plan

MAX_REPORT_BYTES: Final = 256 * 1024
"""A longer report is refused with 413; the launcher then sends fewer entries at a time."""
MAX_ENTRIES: Final = 500
"""Entries in one report at most."""
MAX_METRICS: Final = 64
"""Metrics of one point at most: each becomes a series."""
TERMINATION_MESSAGE_BYTES: Final = 4096
"""The kubelet reads no more of `/dev/termination-log`."""

MAX_COUNT: Final = 2**53
"""Largest step, sequence number or size: what every JSON parser reads exactly."""
MAX_APPLIED: Final = 64
"""Directives that a checkpoint may list: more than the budget of corrections ever gives."""
MAX_PATH: Final = 512
"""Characters of a checkpoint's path: it stands in status."""

MetricName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-/]*$")]

TrainerPhase = Literal["starting", "training", "validating", "checkpointing", "testing", "stopping", "done"]


class EntryType:
    """What an entry tells."""

    START: Final = "start"
    """A training process started; `start` counts them within the launch."""
    POINT: Final = "point"
    """Metrics at a step: `kind` is train, validation or test."""
    CHECKPOINT: Final = "checkpoint"
    CRASH: Final = "crash"
    """The training process ended badly, or hung and was ended."""
    APPLIED: Final = "applied"
    """A directive took effect, at `step`."""
    VERDICT: Final = "verdict"
    """The launch is over; nothing follows."""


class CheckpointManifest(OpenModel):
    """One complete checkpoint: a file, its hash, and where in training it was taken."""

    path: str = Field(max_length=MAX_PATH, description="File, relative to the storage root: `<launch>/<file>`.")
    step: int = Field(ge=0, le=MAX_COUNT, description="Optimiser steps done when it was taken.")
    epoch: int = Field(ge=0, le=MAX_COUNT, description="Epoch in which it was taken.")
    sha256: str = Field(max_length=64, description="SHA-256 of the file, in hexadecimal digits.")
    size_bytes: int = Field(ge=0, le=MAX_COUNT, description="Size of the file.")
    clean_steps: int | None = Field(
        default=None,
        ge=0,
        le=MAX_COUNT,
        description="Steps since the last one that was skipped or met an emergency; absent: nobody counted.",
    )
    finite: bool | None = Field(
        default=None, description="Whether all weights and moments in it are numbers; absent: nobody looked."
    )


class ReportedCheckpoint(CheckpointManifest):
    """A checkpoint as a trainer tells of it: with what a decision may ask for, and status has no room for."""

    applied: tuple[Annotated[str, Field(max_length=256)], ...] = Field(default=(), max_length=MAX_APPLIED)
    """Directives in effect in it."""
    metrics: dict[MetricName, WireFloat] = Field(default_factory=dict, max_length=MAX_METRICS)
    """Of the validation at its step; empty in the middle of an epoch."""
    signature: str | None = Field(default=None, max_length=64)
    """Hash of names and shapes of the model's parameters: one of another signature cannot be continued from."""


class Crash(OpenModel):
    """How a training process ended badly."""

    kind: Literal["exit", "signal", "hang"]
    code: int | None = None
    """Exit code, for kind `exit`."""
    signal: str | None = None
    """Name of the signal, for kind `signal`."""
    phase: str = "starting"
    step: int | None = None
    lines: tuple[str, ...] = ()
    """The last lines it wrote."""
    stack: str | None = None
    """Where it hung, as far as that could be seen."""


class Verdict(OpenModel):
    """How a launch ended."""

    outcome: str
    """One of `conditions.Outcome`."""
    reason: str
    message: str = ""
    metrics: dict[str, WireFloat] = Field(default_factory=dict)


class Entry(OpenModel):
    """One thing that happened, with its number within the launch."""

    seq: int = Field(ge=1, le=MAX_COUNT)
    type: str
    time: Time
    """The trainer's clock: for display, never for decisions."""
    generation: int = Field(ge=1, le=MAX_COUNT)
    step: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    epoch: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    kind: str | None = None
    metrics: dict[MetricName, WireFloat] = Field(default_factory=dict, max_length=MAX_METRICS)
    start: int | None = None
    directive: str | None = None
    checkpoint: ReportedCheckpoint | None = None
    crash: Crash | None = None
    verdict: Verdict | None = None


class Report(OpenModel):
    """What a launcher tells: the header is the state now, the entries what happened since."""

    protocol: int = PROTOCOL
    run_uid: str
    launch: int = Field(ge=1, le=MAX_COUNT)
    generation: int = Field(ge=1, le=MAX_COUNT)
    phase: TrainerPhase
    step: int = Field(default=0, ge=0, le=MAX_COUNT)
    epoch: int = Field(default=0, ge=0, le=MAX_COUNT)
    total_steps: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    total_epochs: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    last_seq: int = Field(default=0, ge=0, le=MAX_COUNT)
    """Number of the newest entry in the journal, sent or not."""
    after_seq: int | None = Field(default=None, ge=0, le=MAX_COUNT)
    """The last reply's `have_seq`, on which `entries` follow. An operator that has less lost its memory: it takes none
    of them and answers with what it has, and the launcher sends the rest again."""
    trusts: str | None = Field(default=None, max_length=64)
    """`digest_of` the authorities that the last reply brought: an operator that has others says which."""
    storage: str = ""
    """What storage refuses the launch now, in words; empty: nothing. An older launcher never says."""
    entries: tuple[Entry, ...] = Field(default=(), max_length=MAX_ENTRIES)


class Reply(OpenModel):
    """The answer to a report."""

    protocol: int = PROTOCOL
    have_seq: int = Field(ge=0, le=MAX_COUNT)
    """All entries up to this one are kept; the launcher may forget none before a later reply says so."""
    plan: Plan
    next_report_seconds: float = 5.0
    trust: str | None = None
    """PEM of the authorities that may sign the operator's certificate, the next one long before it does; absent where
    the launcher has said that it knows them. They replace what a reply said before, not what the Job was given."""


def digest_of(trust: str) -> str:
    """What a launcher says of the authorities that it was told: SHA-256 of their PEM, in hexadecimal digits."""
    return hashlib.sha256(trust.encode()).hexdigest()


class TerminationMessage(OpenModel):
    """The launcher's last word, at most 4 KiB: read from the pod when no report came through."""

    protocol: int = PROTOCOL
    run_uid: str
    launch: int
    generation: int
    last_seq: int
    step: int
    verdict: Verdict
    checkpoints: tuple[CheckpointManifest, ...] = ()
    crashes: int = 0
