"""How the node's daemons are started, in order, and when each is ready.

Their ports are fixed: they listen in a network of their own.
"""

from __future__ import annotations

import json
import signal
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.control_plane.process import tail_of
from tests.support.control_plane.programs import etcd_arguments
from tests.support.launcher import wait_until
from tests.support.node.addresses import (
    API_PORT,
    DOMAIN,
    ETCD_PEER_PORT,
    ETCD_PORT,
    NODE,
    NODE_IP,
    POD_RANGE,
    SERVICE_RANGE,
    URL,
)
from tests.support.node.folders import Folders
from tests.support.node.holder import Holder
from tests.support.node.pki import SERVICE

START_SECONDS = 120.0
"""For one daemon to be ready; each takes seconds on an idle machine."""
REQUEST_SECONDS = 10.0
ORDER = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "containerd",
    "kubelet",
    "kube-proxy",
    "coredns",
)
CONTAINERD = "/usr/bin/containerd"


@dataclass(frozen=True, kw_only=True)
class Daemons:
    """The daemons of one node, by name."""

    holder: Holder
    folders: Folders
    binaries: Mapping[str, Path]

    def start(self, name: str) -> None:
        """Start one; returns when it is there, not when it is ready."""
        program = self.binaries.get(name) or Path(CONTAINERD)
        self.holder.launch(name, [str(program), *self._arguments(name)], self.folders)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for the end."""
        self.holder.signal(name, signal.SIGTERM, self.folders)
        self.wait_for(lambda: not self.runs(name), what=f"the end of {name}", needed=())

    def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        self.holder.signal(name, signal.SIGKILL, self.folders)
        self.wait_for(lambda: not self.runs(name), what=f"the end of {name}", needed=())

    def runs(self, name: str) -> bool:
        """Whether it lives."""
        return self.holder.runs(name, self.folders)

    def answers(self, path: str) -> bool:
        """Whether the API server answers a GET with 200."""
        request = urllib.request.Request(URL + path, headers={"Authorization": f"Bearer {self._admin_token}"})
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS, context=self._tls):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def wait_for(self, condition: Callable[[], bool], *, what: str, needed: tuple[str, ...]) -> None:
        """Wait for a condition that these daemons bring about.

        Raises:
            AssertionError: one of them ended, or it did not come; with the ends of their logs.
        """

        def has_come() -> bool:
            for name in needed:
                if not self.runs(name):
                    msg = f"{name} ended while {what} was waited for:\n{self._tail(name)}"
                    raise AssertionError(msg)
            return condition()

        try:
            wait_until(has_come, what=what, timeout=START_SECONDS)
        except AssertionError as error:
            logs = "\n".join(f"{name}:\n{self._tail(name)}" for name in needed)
            msg = f"{error}\n{logs}"
            raise AssertionError(msg) from error

    def start_control_plane(self) -> None:
        """The first four; returns when the controllers work."""
        self.start("etcd")
        self.start("kube-apiserver")
        self.wait_for(lambda: self.answers("/readyz"), what="the API server", needed=ORDER[:2])
        self.start("kube-controller-manager")
        self.start("kube-scheduler")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait_for(lambda: self.answers(account), what="ServiceAccount default/default", needed=ORDER[:4])

    @cached_property
    def _admin_token(self) -> str:
        config = json.loads(self.folders.kubeconfig("admin").read_text())
        return str(config["users"][0]["user"]["token"])

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folders.pki / "ca.crt"))

    def _tail(self, name: str) -> str:
        return tail_of(self.folders.logs / f"{name}.log")

    def _arguments(self, name: str) -> list[str]:
        makers: dict[str, Callable[[Folders], list[str]]] = {
            "etcd": _etcd,
            "kube-apiserver": _apiserver,
            "kube-controller-manager": _controller_manager,
            "kube-scheduler": _scheduler,
            "containerd": lambda folders: [f"--config={folders.config / 'containerd.toml'}"],
            "kubelet": _kubelet,
            "kube-proxy": lambda folders: [f"--config={folders.config / 'kube-proxy.json'}"],
            "coredns": lambda folders: ["-conf", str(folders.config / "Corefile")],
        }
        return makers[name](self.folders)


def _etcd(folders: Folders) -> list[str]:
    return etcd_arguments(folders.run / "etcd", client_port=ETCD_PORT, peer_port=ETCD_PEER_PORT)


def _apiserver(folders: Folders) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{ETCD_PORT}",
        f"--secure-port={API_PORT}",
        "--bind-address=0.0.0.0",
        f"--advertise-address={NODE_IP}",
        "--endpoint-reconciler-type=lease",
        f"--tls-cert-file={folders.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={folders.pki / 'apiserver.key'}",
        f"--client-ca-file={folders.pki / 'ca.crt'}",
        f"--token-auth-file={folders.pki / 'tokens.csv'}",
        f"--service-account-issuer=https://{SERVICE}.{DOMAIN}",
        f"--service-account-key-file={folders.pki / 'sa.pub'}",
        f"--service-account-signing-key-file={folders.pki / 'sa.key'}",
        f"--kubelet-certificate-authority={folders.pki / 'ca.crt'}",
        f"--kubelet-client-certificate={folders.pki / 'kubelet-client.crt'}",
        f"--kubelet-client-key={folders.pki / 'kubelet-client.key'}",
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        # For tests that need more pods than this machine has cores; on by default from 1.36 on.
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1beta1=true",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--allow-privileged=true",
        f"--cert-dir={folders.run / 'apiserver'}",
        f"--audit-policy-file={folders.config / 'audit.json'}",
        f"--audit-log-path={folders.audit}",
    ]


def _controller_manager(folders: Folders) -> list[str]:
    return [
        f"--kubeconfig={folders.kubeconfig('kube-controller-manager')}",
        f"--service-account-private-key-file={folders.pki / 'sa.key'}",
        f"--root-ca-file={folders.pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={folders.pki / 'ca.crt'}",
        f"--cluster-signing-key-file={folders.pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        "--allocate-node-cidrs=true",
        f"--cluster-cidr={POD_RANGE}",
        "--node-cidr-mask-size=24",
        f"--flex-volume-plugin-dir={folders.run / 'volume-plugins'}",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folders.run / 'controller-manager'}",
    ]


def _scheduler(folders: Folders) -> list[str]:
    return [
        f"--kubeconfig={folders.kubeconfig('kube-scheduler')}",
        f"--authentication-kubeconfig={folders.kubeconfig('kube-scheduler')}",
        f"--authorization-kubeconfig={folders.kubeconfig('kube-scheduler')}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--cert-dir={folders.run / 'scheduler'}",
    ]


def _kubelet(folders: Folders) -> list[str]:
    return [
        f"--config={folders.config / 'kubelet.json'}",
        f"--kubeconfig={folders.kubeconfig('kubelet')}",
        f"--root-dir={folders.kubelet}",
        f"--cert-dir={folders.run / 'kubelet-certs'}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_IP}",
    ]
