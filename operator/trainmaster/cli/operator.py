"""`trainmaster operator`: the controller, in a cluster."""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainmaster.adapters.kubernetes.permissions import LEASE
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.cli.exits import EXIT_FAILED, EXIT_REFUSED
from trainmaster.cli.operator_flags import bare_host, mistakes
from trainmaster.cli.output import printable, stderr

if TYPE_CHECKING:
    from trainmaster.shell.operator.process import OperatorProcess

logger = logging.getLogger(__name__)

CLUSTER = "Cluster"
REPORTS = "Reports"
PROCESS = "Process"


def operator(  # noqa: PLR0913 - each is a flag
    *,
    trainer_image: Annotated[
        str, typer.Option(envvar="TRAINMASTER_TRAINER_IMAGE", help="Image of the trainer.", rich_help_panel=CLUSTER)
    ],
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            "-n",
            envvar="TRAINMASTER_NAMESPACES",
            help="Namespace to serve; may be repeated. All of them when none is given.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    leader_elect: Annotated[
        bool,
        typer.Option(
            envvar="TRAINMASTER_LEADER_ELECT",
            help="Let a Lease decide which replica acts. Without it, never run two.",
            rich_help_panel=CLUSTER,
        ),
    ] = True,
    lease_namespace: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_LEASE_NAMESPACE",
            help="Namespace of the Lease; the service account's own by default.",
            rich_help_panel=CLUSTER,
        ),
    ] = "",
    lease_name: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_LEASE_NAME",
            help="Name of the Lease: operators that share it take turns.",
            rich_help_panel=CLUSTER,
        ),
    ] = LEASE,
    report_url: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_REPORT_URL_OF_OPERATOR",
            help="Where launchers report to; this host by default.",
            rich_help_panel=REPORTS,
        ),
    ] = "",
    report_bind: Annotated[
        str, typer.Option(envvar="TRAINMASTER_REPORT_BIND", help="Address to take reports at.", rich_help_panel=REPORTS)
    ] = "0.0.0.0:8443",
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            envvar="TRAINMASTER_TLS_CERT", help="Certificate of the report server, PEM.", rich_help_panel=REPORTS
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(envvar="TRAINMASTER_TLS_KEY", help="Its key, PEM.", rich_help_panel=REPORTS)
    ] = None,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            envvar="TRAINMASTER_TLS_CA", help="Its authorities, PEM, for launchers to trust.", rich_help_panel=REPORTS
        ),
    ] = None,
    ca_file: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_CA_FILE", help="Path of its CA in the trainer's image.", rich_help_panel=REPORTS
        ),
    ] = "",
    tls_secret: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_TLS_SECRET",
            help="Secret of our own namespace to keep an authority and certificates in, instead of files.",
            rich_help_panel=REPORTS,
        ),
    ] = "",
    replica_url: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_REPLICA_URL",
            help="Where the others send launchers while this replica leads; $POD_IP by default, else --report-url.",
            rich_help_panel=REPORTS,
        ),
    ] = "",
    insecure_reports: Annotated[
        bool,
        typer.Option(
            envvar="TRAINMASTER_INSECURE_REPORTS",
            help="Take reports over plain http: tokens travel readable. For tests only.",
            rich_help_panel=REPORTS,
        ),
    ] = False,
    admin_file: Annotated[
        Path | None,
        typer.Option(
            envvar="TRAINMASTER_ADMIN_FILE",
            help="What runs may name: service accounts, priority classes, tracking backends. YAML.",
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    health_bind: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_HEALTH_BIND", help="Address of /healthz, /readyz, /metrics.", rich_help_panel=PROCESS
        ),
    ] = "0.0.0.0:8080",
    workers: Annotated[
        int,
        typer.Option(min=1, max=64, envvar="TRAINMASTER_WORKERS", help="Reconciles at once.", rich_help_panel=PROCESS),
    ] = 8,
    log_format: Annotated[
        Literal["json", "text"],
        typer.Option(envvar="TRAINMASTER_LOG_FORMAT", help="How log lines look.", rich_help_panel=PROCESS),
    ] = "json",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        typer.Option(envvar="TRAINMASTER_LOG_LEVEL", help="Which of them are told.", rich_help_panel=PROCESS),
    ] = "info",
) -> None:
    """Run the operator: watch TrainingRuns, make Jobs of them, keep them healthy.

    In a pod it uses the pod's service account, elsewhere $KUBECONFIG. The kinds must be there already:

      trainmaster crds | kubectl apply --server-side -f -

      trainmaster selftest --cluster                 what is missing, permissions included

    It ends with 0 on SIGTERM, and with 1 when another replica has taken the Lease, or its watches end: let Kubernetes
    start it again. A Lease that it cannot renew, but that nobody else has, ends nothing: it writes nothing meanwhile,
    /readyz says why, and it goes on when it can.
    """
    from trainmaster.adapters.kubernetes.connection import load_connection  # noqa: PLC0415 - imports kopf
    from trainmaster.shell.operator.logs import set_up_logs  # noqa: PLC0415
    from trainmaster.shell.operator.process import OperatorProcess  # noqa: PLC0415
    from trainmaster.shell.operator.settings import OperatorSettings  # noqa: PLC0415

    if (tls_cert is None) != (tls_key is None):
        _refuse("give --tls-cert and --tls-key together")
    if sum((tls_cert is not None, bool(tls_secret), insecure_reports)) != 1:
        _refuse("give --tls-cert and --tls-key, or --tls-secret, or --insecure-reports for a test: one of them")
    if tls_secret and not report_url:
        _refuse("--tls-secret needs --report-url: the certificate is for the name by which launchers find all replicas")
    urls = {"--report-url": report_url, "--replica-url": replica_url}
    lease = Key(lease_namespace, lease_name)
    for mistake in mistakes(image=trainer_image, namespaces=namespace or (), lease=lease, urls=urls):
        _refuse(mistake)
    set_up_logs(json_lines=log_format == "json", level=log_level)
    report_host, report_port = _address(report_bind, option="--report-bind")
    health_host, health_port = _address(health_bind, option="--health-bind")
    scheme = "http" if insecure_reports else "https"
    report_url = report_url or f"{scheme}://{socket.gethostname()}:{report_port}/v1/reports"
    if host := bare_host(report_url):
        logger.warning("reports go to %s: pods may not find the host %r; name it with --report-url", report_url, host)
    settings = OperatorSettings(
        # The suffix: two processes that are given one name must not hold one Lease together.
        identity=f"{os.environ.get('POD_NAME') or socket.gethostname()}-{secrets.token_hex(4)}",
        image=trainer_image,
        report_url=report_url,
        namespaces=tuple(namespace or ()),
        report_host=report_host,
        report_port=report_port,
        replica_url=replica_url or _own_url(scheme, report_port),
        certificate=tls_cert,
        key=tls_key,
        authorities=tls_ca,
        tls_secret=tls_secret,
        admin_file=admin_file,
        ca_file=ca_file,
        health_host=health_host,
        health_port=health_port,
        workers=workers,
        elect=leader_elect,
        lease_namespace=lease.namespace,
        lease_name=lease.name,
    )
    _run(OperatorProcess(settings, load=load_connection))


def _run(process: OperatorProcess) -> None:
    """Run it to its end; what ends it before it is asked to is one line in the log, and exit code 1."""
    import uvloop  # noqa: PLC0415 - the other commands do without

    failed = False
    try:
        uvloop.run(process.run())
    except* TrainmasterError as group:
        failed = True
        for message in dict.fromkeys(messages(group)):
            logger.error("ended: %s", message)  # noqa: TRY400 - the message says it all
    if failed:
        raise typer.Exit(EXIT_FAILED)


def messages(group: BaseExceptionGroup[TrainmasterError]) -> Iterator[str]:
    """What the errors in a group say, in groups of groups as well."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from messages(error)
        else:
            yield str(error)


def _own_url(scheme: str, port: int) -> str:
    """This pod's report server; empty outside a pod that knows its address."""
    address = os.environ.get("POD_IP", "")
    host = f"[{address}]" if ":" in address else address
    return f"{scheme}://{host}:{port}" if address else ""


def _address(text: str, *, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        _refuse(f"{option} is {text!r}, expected HOST:PORT, for example 0.0.0.0:8443")
    return host, int(port)


def _refuse(message: str) -> None:
    stderr().print(f"error: {printable(message)}", style="bold red")
    raise typer.Exit(EXIT_REFUSED)
