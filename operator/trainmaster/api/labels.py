"""Names that Trainmaster writes on objects: the API group, labels, annotations, environment variables, Job names."""

GROUP = "trainmaster.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

LABEL_RUN_UID = f"{GROUP}/run-uid"
LABEL_LAUNCH = f"{GROUP}/launch"
ANNOTATION_RUN_NAME = f"{GROUP}/run-name"
"""On a launch's pods: a run's name may be too long for a label."""

REPORT_AUDIENCE = "trainmaster-report"
"""Audience of the tokens that launchers report with: good for nothing else, and no other token is good for that."""

ENV_PREFIX = "TRAINMASTER_"
"""Environment variables that a manifest may not set: the launcher owns them."""

JOB_NAME_MAX = 63
"""A Job's name becomes a label of its pods; labels hold 63 characters."""
UID_DIGITS = 8
"""Hexadecimal digits of the run's UID in a Job's name: two runs of one name never share a Job."""


def job_name(run: str, *, uid: str, launch: int) -> str:
    """The name of a launch's Job, `<run, cut>-<uid, 8 hex>-<launch>`: deterministic, at most 63 characters."""
    tail = f"-{uid.replace('-', '')[:UID_DIGITS]}-{launch}"
    return run[: JOB_NAME_MAX - len(tail)].rstrip("-.") + tail
