"""What clients and server of the benchmark of reports agree on: runs, tokens, report bodies."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

from trainmaster.api.labels import REPORT_AUDIENCE

RUNS = 1000
NAMESPACES = 10
POINTS = 5
"""Training points in a report: a step each second."""


def run_uid(number: int) -> str:
    """The UID of a run, by its number."""
    return f"00000000-0000-4000-8000-{number:012d}"


def claims_of(number: int) -> dict[str, Any]:
    """What the token of a run's pod claims."""
    bound = {
        "namespace": f"team-{number % NAMESPACES}",
        "pod": {"name": f"pod-{number}", "uid": f"pod-{run_uid(number)}"},
    }
    return {"aud": [REPORT_AUDIENCE], "exp": int(time.time()) + 3600, "kubernetes.io": bound}


def token_of(number: int) -> str:
    """The token of a run's pod, as long as a real one; its signature is for the stub of the API server to believe."""
    parts = ({"alg": "RS256", "kid": "x" * 40}, claims_of(number) | {"pad": "x" * 500})
    words = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*words, "s" * 342))


def report_of(number: int, *, first: int = 1, count: int = POINTS) -> bytes:
    """A report of a run with `count` points, the first of which has the number and step `first`."""
    entries = [
        {
            "seq": seq,
            "type": "point",
            "time": "2026-01-02T03:04:05.678Z",
            "generation": 1,
            "step": seq,
            "epoch": 1,
            "kind": "train",
            "metrics": {"loss": 0.693, "grad_norm": 1.25, "learning_rate": 5e-05},
        }
        for seq in range(first, first + count)
    ]
    report = {
        "protocol": 1,
        "runUid": run_uid(number),
        "launch": 1,
        "generation": 1,
        "phase": "training",
        "step": first + count - 1,
        "epoch": 1,
        "totalSteps": 1_000_000,
        "totalEpochs": 100,
        "lastSeq": first + count - 1,
        "afterSeq": first - 1,
        "entries": entries,
    }
    return json.dumps(report, separators=(",", ":")).encode()
