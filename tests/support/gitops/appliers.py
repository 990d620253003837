"""Tools that apply manifests from Git, as far as an API server can tell them apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.support.cluster_runs import RUNS
from tests.support.scene import Run, Scene
from trainmaster.api.labels import API_VERSION

Wire = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Applier:
    """One tool, with the field manager that it signs with."""

    name: str
    flags: tuple[str, ...]

    def apply(self, stage: Scene, manifest: Wire) -> Run:
        """Apply a manifest; the run that is there then."""
        self._kubectl(stage, "apply", manifest)
        return named(stage, manifest["metadata"]["name"])

    def refused(self, stage: Scene, manifest: Wire) -> str:
        """What the server says about a manifest that it does not take."""
        return stage.plane.kubectl(*self._command(stage, "apply"), input=yaml.safe_dump(manifest), check=False).stderr

    def diff(self, stage: Scene, manifest: Wire) -> str:
        """What applying would change, as `kubectl diff` prints it; empty when it would change nothing."""
        return self._kubectl(stage, "diff", manifest, fails=1)

    def _kubectl(self, stage: Scene, verb: str, manifest: Wire, *, fails: int = 0) -> str:
        done = stage.plane.kubectl(*self._command(stage, verb), input=yaml.safe_dump(manifest), check=False)
        assert done.returncode in {0, fails}, f"{self.name}: {verb}: {done.stdout}{done.stderr}"
        return done.stdout

    def _command(self, stage: Scene, verb: str) -> tuple[str, ...]:
        return (verb, *self.flags, "-n", stage.namespace, "-f", "-")


def _server_side(manager: str) -> tuple[str, ...]:
    return "--server-side", "--force-conflicts", f"--field-manager={manager}"


ARGO_CD = Applier(name="Argo CD", flags=("--field-manager=argocd-controller",))
"""Its default: client-side apply, with an annotation that holds what was applied last."""
ARGO_CD_SERVER_SIDE = Applier(name="Argo CD, ServerSideApply=true", flags=_server_side("argocd-controller"))
FLUX = Applier(name="Flux", flags=_server_side("kustomize-controller"))
KUBECTL = Applier(name="kubectl", flags=())
APPLIERS = (ARGO_CD, ARGO_CD_SERVER_SIDE, FLUX, KUBECTL)


@dataclass(kw_only=True)
class Repository:
    """One manifest in Git; each change of it is a commit."""

    manifest: Wire = field(default_factory=dict)

    def commit(self, **spec: object) -> Wire:
        """Change fields of spec; the manifest as it is then."""
        self.manifest = self.manifest | {"spec": self.manifest["spec"] | spec}
        return self.manifest


def repository(name: str, **spec: object) -> Repository:
    """A manifest as people write it: floats, lists, nested fields, and no defaults."""
    written: Wire = {
        "workload": "custom",
        "command": ["python", "train.py"],
        "hyperparameters": {"learning_rate": 5e-05, "batch_size": 128, "scheduler": "cosine", "amp": True},
        "env": [{"name": "TOKENIZERS_PARALLELISM", "value": "false"}, {"name": "EMPTY"}],
        "recovery": {"budgets": {"crashes": 100}},
    }
    manifest = {"apiVersion": API_VERSION, "kind": "TrainingRun", "metadata": {"name": name}, "spec": written | spec}
    return Repository(manifest=manifest)


def named(stage: Scene, name: str) -> Run:
    """The run that has this name now."""
    answer = stage.plane.request("GET", f"{RUNS.format(stage.namespace)}/{name}")
    assert answer.status == 200, answer
    run = Run(scene=stage, name=name, uid=answer.body["metadata"]["uid"])
    run.wait_for(lambda: run.wire, what="the witness has seen it")
    return run
