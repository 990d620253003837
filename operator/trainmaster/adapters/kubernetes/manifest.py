"""The Job of one launch, as the API server gets it.

One pod, never replaced by the Job itself: whether and when training goes on is decided in status, where it can be
read. The rules of the podFailurePolicy change nothing of that; they make the Job's condition say why it ended, and
that outlives the pod.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.adapters.kubernetes.observed import CONTAINER
from trainmaster.api.admin import AdminSettings
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY
from trainmaster.api.labels import ANNOTATION_RUN_NAME, API_VERSION, LABEL_LAUNCH, LABEL_RUN_UID, REPORT_AUDIENCE
from trainmaster.api.plan import Plan
from trainmaster.api.trainingrun import TrainingRun, TrainingRunSpec
from trainmaster.core.allowed import not_allowed
from trainmaster.core.snapshot import CreateJob
from trainmaster.ports.cluster import RefusedEffectError

Json = dict[str, Any]

CLAIM_SCHEME: Final = "pvc://"
CLAIMS: Final = "/claims"
"""Folder under which a pod finds its claims, by name."""
TOKEN_FOLDER: Final = "/var/run/secrets/trainmaster.io"  # noqa: S105 - a folder
TOKEN_SECONDS: Final = 3600
"""Life of a report token; the kubelet renews it at four fifths of that."""
NOT_ALLOWED: Final = "NotAllowed"
"""Reason of a Job that the admin file does not let us make."""
MANAGED_BY: Final = "app.kubernetes.io/managed-by"
NOBODY: Final = 65532
"""User and group of the trainer: none that owns anything; claims are made writable for it by fsGroup."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchSettings:
    """What the operator's administrator says about all launches."""

    image: str
    report_url: str
    ca_file: str = ""
    """Path, in the pod, of the CA that signed the report server's certificate; empty: the image's own CAs."""
    trusted: Callable[[], str] = str
    """PEM of the authorities that sign it, as they are when a Job is made; empty where the image knows."""
    admin: Callable[[], AdminSettings] = AdminSettings
    """What runs may name, as it is when a Job is made."""


def localise(plan: Plan) -> Plan:
    """The plan as the launcher's pod sees it: claims as folders."""
    storage = plan.storage.model_copy(update={"root": _folder(plan.storage.root)})
    volumes = {claim: f"{CLAIMS}/{claim}" for claim in _claims(plan)}
    return plan.model_copy(update={"volumes": volumes, "storage": storage})


def job_manifest(run: TrainingRun, effect: CreateJob, settings: LaunchSettings) -> Json:
    """The body of the request that creates a launch's Job.

    Raises:
        RefusedEffectError: The run names what the administrator does not allow.
    """
    forbidden = not_allowed(run.spec, settings.admin())
    if forbidden:
        raise RefusedEffectError(reason=NOT_ALLOWED, message=forbidden)
    plan, meta = effect.plan, run.metadata
    labels = {MANAGED_BY: "trainmaster", LABEL_RUN_UID: meta.uid, LABEL_LAUNCH: str(plan.launch)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": effect.name,
            "namespace": meta.namespace,
            "labels": labels,
            "ownerReferences": [_owner(run)],
        },
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _rules()},
            "template": {
                "metadata": {"labels": labels, "annotations": {ANNOTATION_RUN_NAME: meta.name}},
                "spec": _pod(plan, settings) | _names(run.spec),
            },
        },
    }


def _names(spec: TrainingRunSpec) -> Json:
    """Names of things of the cluster, which the administrator allows."""
    names = {"serviceAccountName": spec.service_account_name, "priorityClassName": spec.priority_class_name}
    return {field: name for field, name in names.items() if name is not None}


def _owner(run: TrainingRun) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingRun",
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "controller": True,
        # True would need a permission on finalizers of runs, and nobody waits for our Jobs.
        "blockOwnerDeletion": False,
    }


def _rules() -> list[Json]:
    """In the order of `observed.RULE_*`."""

    def exit_code(code: int) -> Json:
        return {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [code]}}

    disrupted = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return [disrupted, exit_code(EXIT_RETRY), exit_code(EXIT_CONFIGURATION)]


def _pod(plan: Plan, settings: LaunchSettings) -> Json:
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(plan.termination_grace_seconds),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NOBODY,
            "runAsGroup": NOBODY,
            "fsGroup": NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(plan, settings)],
        "volumes": _volumes(plan),
    }


def _container(plan: Plan, settings: LaunchSettings) -> Json:
    mounts = [{"name": f"claim-{n}", "mountPath": f"{CLAIMS}/{claim}"} for n, claim in enumerate(_claims(plan))]
    return {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["python", "-m", "trainmaster_launcher"],
        "env": [{"name": name, "value": value} for name, value in _environment(plan, settings).items()],
        "resources": {"requests": {"cpu": str(plan.cpus)}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            *mounts,
        ],
    }


def _environment(plan: Plan, settings: LaunchSettings) -> dict[str, str]:
    wire = localise(plan).model_dump_json(by_alias=True, exclude_none=True)
    env = {
        # Kubernetes expands $(NAME) in values; $$ is a dollar sign.
        "TRAINMASTER_PLAN": wire.replace("$", "$$"),
        "TRAINMASTER_REPORT_URL": settings.report_url,
        "TRAINMASTER_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "HOME": "/tmp",  # noqa: S108 - the pod's own; the root is read-only
    }
    # In the environment, so that an image needs no file for it; a Job's never changes, newer ones come in replies.
    authorities = {"TRAINMASTER_CA": settings.ca_file, "TRAINMASTER_CA_PEM": settings.trusted()}
    return env | {name: value for name, value in authorities.items() if value}


def _volumes(plan: Plan) -> list[Json]:
    token = {"audience": REPORT_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    claims = [
        {"name": f"claim-{n}", "persistentVolumeClaim": {"claimName": claim}} for n, claim in enumerate(_claims(plan))
    ]
    return [
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "tmp", "emptyDir": {}},
        *claims,
    ]


def _claims(plan: Plan) -> list[str]:
    """Claims that a plan names, sorted."""
    sources = (plan.storage.root, plan.data_source or "")
    return sorted({uri.removeprefix(CLAIM_SCHEME).partition("/")[0] for uri in sources if uri.startswith(CLAIM_SCHEME)})


def _folder(uri: str) -> str:
    return f"{CLAIMS}/{uri.removeprefix(CLAIM_SCHEME)}"
