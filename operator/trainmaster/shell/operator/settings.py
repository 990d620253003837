"""What an administrator says to the operator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trainmaster.adapters.kubernetes.permissions import LEASE

WORKERS = 8
"""Reconciles at once: each waits for the API server most of its time; more would only lengthen its queue."""
HEALTH_PORT = 8080
REPORT_PORT = 8443


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatorSettings:
    """Settings of one operator process."""

    identity: str
    """Name of this replica: the pod's name."""
    image: str
    """Image of the trainer."""
    report_url: str
    """Where launchers find the report server."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that are served; none: all of them."""
    report_host: str = "0.0.0.0"  # noqa: S104 - pods of the cluster report to it
    report_port: int = REPORT_PORT
    replica_url: str = ""
    """Where launchers find this replica alone, scheme, host and port, when it leads; empty: where `report_url` does."""
    certificate: Path | None = None
    """The report server's certificate, with `key`; without them and without `tls_secret` it speaks plain http."""
    key: Path | None = None
    authorities: Path | None = None
    """Authorities of that certificate, for launchers to trust."""
    tls_secret: str = ""
    """Secret, in our own namespace, that the operators keep certificates in themselves."""
    admin_file: Path | None = None
    """What runs may name: service accounts, priority classes, tracking backends."""
    ca_file: str = ""
    """Path of its CA in the trainer's image."""
    health_host: str = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus ask
    health_port: int = HEALTH_PORT
    workers: int = WORKERS
    elect: bool = True
    """Whether a Lease decides which replica acts."""
    lease_namespace: str = ""
    """Namespace of the Lease; empty: the service account's own."""
    lease_name: str = LEASE
    """Name of the Lease: operators that share it take turns."""
