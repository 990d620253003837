"""A running control plane as tests see it: its addresses, kubectl, fake nodes, and how pods end."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.launcher import wait_until

READY = "ready"
"""What a supervisor says when its plane can be used."""
PATIENCE = 60.0
"""Seconds for what the controllers do in one."""
REQUEST_TIMEOUT = 30.0
"""Seconds; a request of a test that takes longer hangs."""
NODE_CAPACITY = {"cpu": "10k", "memory": "100Ti", "ephemeral-storage": "100Ti", "pods": "5000"}
"""More than any test asks for: what is short is GPUs."""
KWOK_NODE = "kwok.x-k8s.io/node"
"""Annotation of the nodes that kwok plays."""
READY_NODE = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status"}
ENDED = {True: ("Succeeded", "Completed"), False: ("Failed", "Error")}
"""Phase of a pod and reason of its containers, by whether the exit code is 0."""


class PlaneError(Exception):
    """A control plane could not be started or ended; carries what its programs said."""


class UnreachableError(PlaneError):
    """Nothing answers at the API server's address."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer of the API server; `body` is parsed JSON, or text where it is none."""

    status: int
    body: Any


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """A running etcd, kube-apiserver, controller-manager, scheduler and kwok. Its files are gone when it has ended."""

    url: str
    ca: Path
    admin_token: str
    kubeconfig: Path
    folder: Path
    kubectl_program: Path

    @property
    def server_certificate(self) -> tuple[Path, Path]:
        """The API server's certificate and key: a proxy on 127.0.0.1 that serves with them is trusted as well."""
        return self.folder / "pki" / "apiserver.crt", self.folder / "pki" / "apiserver.key"

    def kubectl(self, *args: str, input: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:  # noqa: A002  # as in subprocess.run
        """Run kubectl as the admin.

        Raises:
            AssertionError: it failed and `check` is set; with what it printed.
        """
        done = subprocess.run(
            [str(self.kubectl_program), f"--kubeconfig={self.kubeconfig}", *args],
            input=input,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"KUBECACHEDIR": str(self.folder / "kubectl-cache")},
        )
        if check and done.returncode != 0:
            msg = f"kubectl {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
            raise AssertionError(msg)
        return done

    def kubeconfig_for(self, token: str, *, server: str | None = None, name: str) -> Path:
        """Write a kubeconfig with another token, or another server such as a proxy in front of the plane."""
        path = self.folder / f"{name}.kubeconfig"
        write_kubeconfig(path, server=server or self.url, ca=self.ca, token=token)
        return path

    def request(self, method: str, path: str, body: object = None, *, content_type: str = "") -> Answer:
        """One request as the admin, without the 0.1 s of a kubectl. A PATCH is a merge patch unless told otherwise.

        Raises:
            UnreachableError: no answer came.
        """
        kind = content_type or ("application/merge-patch+json" if method == "PATCH" else "application/json")
        headers = {"Authorization": f"Bearer {self.admin_token}", "Accept": "application/json", "Content-Type": kind}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT, context=self._tls) as response:
                return _answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error.read())
        except OSError as error:
            msg = f"{method} {self.url}{path}: {error}"
            raise UnreachableError(msg) from error

    def add_node(self, name: str, *, gpus: int = 8, only_for: str = "", held: bool = False) -> None:
        """Make a fake node; kwok makes it Ready, and its pods run until `finish_pod`.

        A `held` one is Ready, but nobody's: its pods do nothing, and it says nothing more. With `only_for`
        (`KEY=VALUE`) it has that label and that taint: only pods go there that ask for the one and bear the other.
        """
        capacity = NODE_CAPACITY | {"nvidia.com/gpu": str(gpus)}
        own = dict([only_for.split("=", 1)]) if only_for else {}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {} if held else {KWOK_NODE: "fake"},
                "labels": own
                | {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
            },
            "spec": {"taints": [{"key": key, "value": value, "effect": "NoSchedule"} for key, value in own.items()]},
            "status": {"capacity": capacity, "allocatable": capacity} | ({"conditions": [READY_NODE]} if held else {}),
        }
        self._expect(201, "POST", "/api/v1/nodes", node)

    def add_claim(self, namespace: str, name: str) -> None:
        """Make a claim and the volume that it is bound to; returns when pods that name it can be scheduled."""
        size = {"storage": "1Gi"}
        shared = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"{namespace}-{name}"},
            "spec": shared
            | {
                "capacity": size,
                "hostPath": {"path": "/nonexistent"},
                "claimRef": {"namespace": namespace, "name": name},
            },
        }
        claim = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name},
            "spec": shared | {"resources": {"requests": size}, "volumeName": f"{namespace}-{name}"},
        }
        volumes, claims = "/api/v1/persistentvolumes", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims"
        self._expect(201, "POST", volumes, volume)
        self._expect(201, "POST", claims, claim)
        self._wait_for_phase(f"{claims}/{name}", "Bound")

    def finish_pod(self, namespace: str, name: str, *, exit_code: int = 0, message: str = "") -> None:
        """End every container of a pod with this exit code and termination message."""
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        pod = self._expect(200, "GET", path)
        phase, reason = ENDED[exit_code == 0]
        started = pod["status"].get("startTime") or pod["metadata"]["creationTimestamp"]
        end = {"exitCode": exit_code, "reason": reason, "message": message, "startedAt": started}
        containers = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "state": {"terminated": end},
            }
            for container in pod["spec"]["containers"]
        ]
        self._expect(200, "PATCH", f"{path}/status", {"status": {"phase": phase, "containerStatuses": containers}})

    def _wait_for_phase(self, path: str, phase: str) -> None:
        def has_phase() -> bool:
            return bool(self._expect(200, "GET", path)["status"].get("phase") == phase)

        wait_until(has_phase, what=f"{path} is {phase}", timeout=PATIENCE)

    def _expect(self, status: int, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  # any JSON
        answer = self.request(method, path, body)
        if answer.status != status:
            msg = f"{method} {path}: {answer.status}, not {status}: {answer.body}"
            raise AssertionError(msg)
        return answer.body

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


def _answer(status: int, content: bytes) -> Answer:
    try:
        return Answer(status=status, body=json.loads(content))
    except ValueError:
        return Answer(status=status, body=content.decode(errors="replace"))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the files of a plane are in its folder."""

    folder: Path

    @property
    def users(self) -> Path:
        """Whoever uses the plane holds a shared lock on it; the supervisor waits for the exclusive one."""
        return self.folder / "users.lock"

    @property
    def supervisor(self) -> Path:
        """Locked by the supervisor while it lives."""
        return self.folder / "supervisor.lock"

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def ca(self) -> Path:
        return self.pki / "ca.crt"

    @property
    def tokens(self) -> Path:
        return self.pki / "tokens.csv"

    @property
    def etcd(self) -> Path:
        return self.folder / "etcd"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def described(self) -> Path:
        """What a ControlPlane says, written when it is ready to be used."""
        return self.folder / "plane.json"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user}.kubeconfig"

    def write(self, plane: ControlPlane) -> None:
        """Say that the plane can be used."""
        self.described.write_text(json.dumps(asdict(plane), default=str))

    def read(self) -> ControlPlane:
        """The plane in this folder."""
        fields = json.loads(self.described.read_text())
        paths = {name: Path(fields[name]) for name in ("ca", "kubeconfig", "folder", "kubectl_program")}
        return ControlPlane(url=fields["url"], admin_token=fields["admin_token"], **paths)


def write_kubeconfig(path: Path, *, server: str, ca: Path, token: str) -> None:
    """Write a kubeconfig with one cluster, user and context. It is JSON, which every reader of YAML reads."""
    authority = base64.b64encode(ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority-data": authority}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "default"}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=1))
