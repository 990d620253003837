"""The Job of one launch, as the API server gets it.

One pod, never replaced by the Job itself: whether and when training goes on is decided in status, where it can be
read. The rules of the podFailurePolicy change nothing of that; they make the Job's condition say why it ended, and
that outlives the pod. Only a suspended Job gets a second pod, when whoever suspended it lets it go.

In an image of somebody else (`spec.image`) the launcher is a zipapp: an init container of the trainer image copies it
into an emptyDir, and the image's own python3 runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from trainmaster.adapters.kubernetes.observed import CONTAINER
from trainmaster.api.admin import AdminSettings
from trainmaster.api.conditions import EXIT_CONFIGURATION, EXIT_RETRY
from trainmaster.api.labels import (
    ANNOTATION_PLACEMENT,
    ANNOTATION_RUN_NAME,
    API_VERSION,
    LABEL_LAUNCH,
    LABEL_RUN_UID,
    REPORT_AUDIENCE,
)
from trainmaster.api.plan import Plan
from trainmaster.api.synthetic import underlying_file
from trainmaster.api.trainingrun import TrainingRun, TrainingRunSpec
from trainmaster.core.allowed import not_allowed
from trainmaster.core.run.placement import placement_of
from trainmaster.core.snapshot import CreateJob
from trainmaster.ports.cluster import RefusedEffectError

Json = dict[str, Any]

CLAIM_SCHEME: Final = "pvc://"
CLAIMS: Final = "/claims"
"""Folder under which a pod finds its claims, by name."""
WORK: Final = "/work"
"""Folder of the launcher's own files where checkpoints go to an object store; it ends with the pod."""
TOKEN_FOLDER: Final = "/var/run/secrets/trainmaster.io"  # noqa: S105 - a folder
TOKEN_SECONDS: Final = 3600
"""Life of a report token; the kubelet renews it at four fifths of that."""
NOT_ALLOWED: Final = "NotAllowed"
"""Reason of a Job that the admin file does not let us make."""
LAUNCHER_ARCHIVE: Final = "/opt/trainmaster/launcher.pyz"
"""Where the trainer image has the launcher as a zipapp (`scripts/build_zipapp.sh`)."""
LAUNCHER_FOLDER: Final = "/trainmaster"
"""Where a foreign image finds it."""
INIT_CONTAINER: Final = "launcher"
HOME: Final = "/home/trainmaster"
"""A folder of its own: caches of libraries are not among a program's temporary files."""
SHM: Final = "1Gi"
"""Size of /dev/shm unless the run says otherwise; a container's own 64 MiB are too small for loaders with workers."""
GPU_RESOURCE: Final = "nvidia.com/gpu"
INIT_RESOURCES: Final = {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}}
"""Copying some 100 KB; stated, because a namespace with a quota takes no container that states nothing."""
AVOID_WEIGHT: Final = 100
"""The most that a preference may weigh: only a node that could not take the pod at all counts less than an avoided
one. A requirement would leave a run in a small cluster without any node."""
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
    """The plan as the launcher's pod sees it: claims as folders, object stores with a folder to work in."""
    update = {"root": _folder(plan.storage.root)} if _in_claim(plan) else {"work": WORK}
    storage = plan.storage.model_copy(update=update)
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
            "annotations": {ANNOTATION_PLACEMENT: placement_of(run.spec)},
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
                "spec": _pod(run, effect, settings) | _names(run.spec),
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
    """In the order of `observed.RULE_*`.

    75 is counted, which ends the Job as well (backoffLimit 0): a launcher answers SIGTERM with it, and FailJob would
    end a Job for good whose pod ends because a queue has suspended it.
    """

    def exit_code(code: int, *, action: str) -> Json:
        return {"action": action, "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [code]}}

    disrupted = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    return [
        disrupted,
        exit_code(EXIT_RETRY, action="Count"),
        exit_code(EXIT_CONFIGURATION, action="FailJob"),
    ]


def _pod(run: TrainingRun, effect: CreateJob, settings: LaunchSettings) -> Json:
    plan, spec = effect.plan, run.spec
    optional: Json = {
        "initContainers": [_launcher_container(settings)] if spec.image else [],
        "imagePullSecrets": [secret.to_wire() for secret in spec.image_pull_secrets],
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [toleration.to_wire() for toleration in spec.tolerations],
        "affinity": _avoidance(effect.avoided_nodes),
    }
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
        "containers": [_container(run, plan, settings)],
        "volumes": _volumes(run, plan),
        **{name: value for name, value in optional.items() if value},
    }


def _avoidance(nodes: Sequence[str]) -> Json:
    """A preference for other nodes. By their names: the label kubernetes.io/hostname may say something else."""
    if not nodes:
        return {}
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in nodes]
    preferred = {"weight": AVOID_WEIGHT, "preference": {"matchFields": fields}}
    return {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [preferred]}}


def _launcher_container(settings: LaunchSettings) -> Json:
    """Brings the launcher into a pod whose image has none."""
    return {
        "name": INIT_CONTAINER,
        "image": settings.image,
        "command": ["cp", LAUNCHER_ARCHIVE, f"{LAUNCHER_FOLDER}/launcher.pyz"],
        "resources": INIT_RESOURCES,
        "securityContext": _restricted(),
        "volumeMounts": [{"name": "launcher", "mountPath": LAUNCHER_FOLDER}],
    }


def _container(run: TrainingRun, plan: Plan, settings: LaunchSettings) -> Json:
    claims = [{"name": f"claim-{n}", "mountPath": f"{CLAIMS}/{claim}"} for n, claim in enumerate(_claims(plan))]
    launcher = {"name": "launcher", "mountPath": LAUNCHER_FOLDER, "readOnly": True}
    work = {"name": "work", "mountPath": WORK}
    command = (
        ["python3", f"{LAUNCHER_FOLDER}/launcher.pyz"] if run.spec.image else ["python", "-m", "trainmaster_launcher"]
    )
    return {
        "name": CONTAINER,
        "image": run.spec.image or settings.image,
        "command": command,
        "env": [{"name": name, "value": value} for name, value in _environment(plan, settings).items()],
        "resources": _resources(run),
        "securityContext": _restricted(),
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
            {"name": "home", "mountPath": HOME},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - the pod's own
            *([launcher] if run.spec.image else []),
            *([] if _in_claim(plan) else [work]),
            *claims,
        ],
    }


def _restricted() -> Json:
    """What the Pod Security Standard `restricted` asks of a container, and a read-only root besides."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _resources(run: TrainingRun) -> Json:
    """Cores are a request only: a training that finds idle cores may use them. Memory and GPUs are limits as well."""
    wanted = run.spec.resources
    limits: Json = {}
    if wanted.memory:
        limits["memory"] = wanted.memory
    if wanted.gpus:
        limits[wanted.gpu_resource or GPU_RESOURCE] = str(wanted.gpus)
    return {"requests": {"cpu": str(wanted.cpu), **limits}, **({"limits": limits} if limits else {})}


def _environment(plan: Plan, settings: LaunchSettings) -> dict[str, str]:
    wire = localise(plan).model_dump_json(by_alias=True, exclude_none=True)
    env = {
        # Kubernetes expands $(NAME) in values; $$ is a dollar sign.
        "TRAINMASTER_PLAN": wire.replace("$", "$$"),
        "TRAINMASTER_REPORT_URL": settings.report_url,
        "TRAINMASTER_TOKEN_FILE": f"{TOKEN_FOLDER}/token",
        "HOME": HOME,
    }
    trust = {"TRAINMASTER_CA": settings.ca_file, "TRAINMASTER_CA_PEM": settings.trusted()}
    return env | {name: value for name, value in trust.items() if value}


def _volumes(run: TrainingRun, plan: Plan) -> list[Json]:
    token = {"audience": REPORT_AUDIENCE, "expirationSeconds": TOKEN_SECONDS, "path": "token"}
    claims = [
        {"name": f"claim-{n}", "persistentVolumeClaim": {"claimName": claim}} for n, claim in enumerate(_claims(plan))
    ]
    shm = {"medium": "Memory", "sizeLimit": run.spec.resources.shm or SHM}
    return [
        {"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "home", "emptyDir": {}},
        {"name": "shm", "emptyDir": shm},
        *([{"name": "launcher", "emptyDir": {}}] if run.spec.image else []),
        *([] if _in_claim(plan) else [{"name": "work", "emptyDir": {}}]),
        *claims,
    ]


def _in_claim(plan: Plan) -> bool:
    """Whether checkpoints go to a claim, not to an object store."""
    return plan.storage.root.startswith(CLAIM_SCHEME)


def _claims(plan: Plan) -> list[str]:
    """Claims that a plan names, sorted."""
    sources = (plan.storage.root, underlying_file(plan.data_source) or "")
    return sorted({uri.removeprefix(CLAIM_SCHEME).partition("/")[0] for uri in sources if uri.startswith(CLAIM_SCHEME)})


def _folder(uri: str) -> str:
    return f"{CLAIMS}/{uri.removeprefix(CLAIM_SCHEME)}"
