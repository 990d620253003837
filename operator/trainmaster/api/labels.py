"""Names that Trainmaster writes: the API group, labels, annotations, environment variables, Jobs, records."""

GROUP = "trainmaster.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

LABEL_RUN_UID = f"{GROUP}/run-uid"
LABEL_LAUNCH = f"{GROUP}/launch"
LABEL_SPEC_HASH = f"{GROUP}/spec-hash"
"""The first `LABEL_MAX` hexadecimal digits of the hash: what a label can hold of it."""
ANNOTATION_RUN_NAME = f"{GROUP}/run-name"
"""On a launch's pods: a run's name may be too long for a label."""
ANNOTATION_PLACEMENT = f"{GROUP}/placement"
"""On a launch's Job: a digest of what its pod is placed by (`core.run.placement`)."""

REPORT_AUDIENCE = "trainmaster-report"
"""Audience of the tokens that launchers report with: good for nothing else, and no other token is good for that."""

ENV_PREFIX = "TRAINMASTER_"
"""Environment variables that a manifest may not set: the launcher owns them."""

LABEL_MAX = 63
JOB_NAME_MAX = LABEL_MAX
"""A Job's name becomes a label of its pods."""
UID_DIGITS = 8
"""Hexadecimal digits of the run's UID in names: two runs of one name never share a Job, nor a record."""


def job_name(run: str, *, uid: str, launch: int) -> str:
    """The name of a launch's Job, `<run, cut>-<uid, 8 hex>-<launch>`: deterministic, at most 63 characters."""
    return _numbered(run, uid=uid, number=launch)


def record_name(run: str, *, uid: str, reruns: int) -> str:
    """The name of a RunRecord, `<run, cut>-<uid, 8 hex>-<reruns>`: deterministic, at most 63 characters."""
    return _numbered(run, uid=uid, number=reruns)


def _numbered(run: str, *, uid: str, number: int) -> str:
    tail = f"-{uid.replace('-', '')[:UID_DIGITS]}-{number}"
    return run[: JOB_NAME_MAX - len(tail)].rstrip("-.") + tail
