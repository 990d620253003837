"""The client of a cluster: submit runs, wait for them, read their logs, change and delete them.

    from trainmaster import Client

    client = Client(namespace="team-a")
    run = client.submit("examples/market.yaml")
    run = client.wait(run, until="succeeded", timeout=3600)
    print(client.metrics(run).latest)

`kubeconfig` and `access` find the API server, `transport` talks to it with the standard library alone. `follow` lists
and watches, and goes on through cuts; `watching` narrows that to one run, fenced by its UID. What is waited for is
judged by `goals`, whose log comes next by `launches`: both pure. `logs` makes one log of all launches. `submission`
judges manifests before they are sent. `client` puts these together. Nothing here imports kopf, aiohttp or torch.
"""

from trainmaster.client.client import Client
from trainmaster.client.errors import (
    ClientError,
    FieldConflictError,
    InvalidRunError,
    NoAccessError,
    NoLogsError,
    RefusedError,
    RunDeletedError,
    RunEndedError,
    RunExistsError,
    RunNotFoundError,
    RunReplacedError,
    UnreachableError,
    WaitTimeoutError,
)
from trainmaster.client.goals import UnknownGoalError
from trainmaster.client.views import Launch, LogLine, Metrics, RunChange, RunEvent
from trainmaster.client.watching import UnreadableRunError

__all__ = [
    "Client",
    "ClientError",
    "FieldConflictError",
    "InvalidRunError",
    "Launch",
    "LogLine",
    "Metrics",
    "NoAccessError",
    "NoLogsError",
    "RefusedError",
    "RunChange",
    "RunDeletedError",
    "RunEndedError",
    "RunEvent",
    "RunExistsError",
    "RunNotFoundError",
    "RunReplacedError",
    "UnknownGoalError",
    "UnreachableError",
    "UnreadableRunError",
    "WaitTimeoutError",
]
