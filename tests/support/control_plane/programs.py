"""How the five programs of a plane are started, in order, and when they are ready."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.control_plane.credentials import make_credentials
from tests.support.control_plane.plane import KWOK_NODE, ControlPlane, Layout, PlaneError, UnreachableError
from tests.support.control_plane.process import Daemon, free_ports, kill_all, start_daemon, tail_of

START_TIMEOUT = 120.0
"""Seconds until a plane must be ready: it takes 10 on an idle machine of two cores."""
POLL = 0.05
"""Seconds between two looks at something that is starting."""
ATTEMPTS = 3
"""Starts with other ports: a free port may be taken before the program listens on it."""
TAKEN = "address already in use"
SHIPPED_LIMITS = "TRAINMASTER_TEST_SHIPPED_LIMITS"
"""Environment variable of a process that starts a plane: its controllers keep the rate limits that they ship with."""
SERVICE_RANGE = "10.96.0.0/24"
POD_RANGE = "10.64.0.1/12"
"""A million addresses: kwok's own range of 254 is less than one benchmark's pods."""
STAGES = Path(__file__).parent / "stages.yaml"


class PortTakenError(PlaneError):
    """Another process was faster to listen on a port."""


@dataclass(kw_only=True)
class Programs:
    """The running programs of one plane."""

    folder: Path
    binaries: Mapping[str, Path]
    daemons: list[Daemon] = field(default_factory=list)
    deadline: float = field(default_factory=lambda: time.monotonic() + START_TIMEOUT)

    def start(self) -> ControlPlane:
        """Start all of them; returns when the API server is ready and the controllers work.

        Raises:
            PlaneError: a program ended or was not ready in time; with the end of its log.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._start()
            except PortTakenError:
                self.stop()
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def stop(self) -> None:
        """Kill all of them."""
        kill_all(self.daemons)
        self.daemons.clear()

    def _start(self) -> ControlPlane:
        layout = Layout(folder=self.folder)
        for left_over in (layout.logs, layout.etcd, layout.pki):
            shutil.rmtree(left_over, ignore_errors=True)
        layout.logs.mkdir()
        client_port, peer_port, api_port = free_ports(3)
        self._run("etcd", etcd_arguments(layout.etcd, client_port=client_port, peer_port=peer_port))
        self._wait(lambda: _listens(client_port), "etcd to listen")
        plane = make_credentials(layout, url=f"https://127.0.0.1:{api_port}", kubectl=self.binaries["kubectl"])
        self._run("kube-apiserver", _apiserver(layout, etcd_port=client_port, port=api_port))
        self._wait(lambda: _answers(plane, "/readyz"), "kube-apiserver to be ready")
        self._run("kube-controller-manager", _controller_manager(layout))
        self._run("kube-scheduler", _scheduler(layout))
        self._run("kwok", _kwok(layout))
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self._wait(lambda: _answers(plane, account), "kube-controller-manager to make ServiceAccount default/default")
        return plane

    def _run(self, name: str, arguments: list[str]) -> None:
        log = Layout(folder=self.folder).logs / f"{name}.log"
        self.daemons.append(start_daemon(self.binaries[name], arguments, log=log))

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            self._check_alive()
            if time.monotonic() > self.deadline:
                logs = "\n".join(f"{daemon.name}:\n{daemon.tail()}" for daemon in self.daemons)
                msg = f"waited {START_TIMEOUT:.0f} s in vain for {what}; the ends of the logs:\n{logs}"
                raise PlaneError(msg)
            time.sleep(POLL)

    def _check_alive(self) -> None:
        for daemon in self.daemons:
            code = daemon.process.poll()
            if code is not None:
                tail = tail_of(daemon.log)
                error = PortTakenError if TAKEN in tail else PlaneError
                msg = f"{daemon.name} ended with exit code {code} while the plane was starting:\n{tail}"
                raise error(msg)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _answers(plane: ControlPlane, path: str) -> bool:
    try:
        return plane.request("GET", path).status == 200
    except UnreachableError:
        return False


def etcd_arguments(data: Path, *, client_port: int, peer_port: int) -> list[str]:
    """Of an etcd with this folder, alone, that does not wait for the disk."""
    client, peer = (f"http://127.0.0.1:{port}" for port in (client_port, peer_port))
    return [
        f"--data-dir={data}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout, *, etcd_port: int, port: int) -> list[str]:
    return [
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--tls-cert-file={layout.pki / 'apiserver.crt'}",
        f"--tls-private-key-file={layout.pki / 'apiserver.key'}",
        f"--client-ca-file={layout.ca}",
        f"--token-auth-file={layout.tokens}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={layout.pki / 'sa.pub'}",
        f"--service-account-signing-key-file={layout.pki / 'sa.key'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--allow-privileged=true",
        f"--cert-dir={layout.folder}",
    ]


def _limits() -> list[str]:
    """Requests per second to the API server; none where `SHIPPED_LIMITS` is set."""
    return [] if os.environ.get(SHIPPED_LIMITS) else ["--kube-api-qps=500", "--kube-api-burst=1000"]


def _controller_manager(layout: Layout) -> list[str]:
    """Its rate limit is raised: with the shipped one of 20 requests a second pods come slower than tests want.

    A claim that met its volume too early is looked at again at once, not after 15 s.
    """
    return [
        f"--kubeconfig={layout.kubeconfig('kube-controller-manager')}",
        f"--service-account-private-key-file={layout.pki / 'sa.key'}",
        f"--root-ca-file={layout.ca}",
        f"--cluster-signing-cert-file={layout.ca}",
        f"--cluster-signing-key-file={layout.pki / 'ca.key'}",
        "--use-service-account-credentials=true",
        "--leader-elect=false",
        f"--flex-volume-plugin-dir={layout.folder / 'volume-plugins'}",
        "--pvclaimbinder-sync-period=200ms",
        "--secure-port=0",
        *_limits(),
    ]


def _scheduler(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig('kube-scheduler')}",
        f"--authentication-kubeconfig={layout.kubeconfig('kube-scheduler')}",
        f"--authorization-kubeconfig={layout.kubeconfig('kube-scheduler')}",
        "--leader-elect=false",
        "--secure-port=0",
        *_limits(),
    ]


def _kwok(layout: Layout) -> list[str]:
    return [
        f"--kubeconfig={layout.kubeconfig('admin')}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={KWOK_NODE}=fake",
        "--node-lease-duration-seconds=40",
        f"--cidr={POD_RANGE}",
        f"--config={STAGES}",
    ]
