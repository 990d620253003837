# ruff: noqa: INP001, S310 - a file of the chart and no package; the address is the API server's, from the pod's own environment
"""What `helm test` runs: train half a minute on one core, and wait until it has succeeded. Standard library alone."""

from __future__ import annotations

import json
import os
import secrets
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

ACCOUNT = Path(os.environ.get("ACCOUNT_FOLDER", "/var/run/secrets/kubernetes.io/serviceaccount"))
SERVER = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
NAMESPACE = os.environ["TEST_NAMESPACE"]
RUNS = f"/apis/trainmaster.io/v1alpha1/namespaces/{NAMESPACE}/trainingruns"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
TIMEOUT = float(os.environ["TEST_TIMEOUT_SECONDS"])
PAUSE = 1.0
"""Seconds between two looks."""

Json = dict[str, Any]


def request(method: str, path: str, body: Json | None = None) -> Json:
    """One request to the API server. Raises urllib.error.HTTPError for what it refuses."""
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(SERVER + path, data=data, method=method, headers=headers)
    tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    with urllib.request.urlopen(asked, timeout=30, context=tls) as answer:
        parsed: Json = json.loads(answer.read())
        return parsed


def apply(run: Json, claim: Json) -> Json:
    """Create the run under a fresh name, and the claim for its checkpoints, which goes when the run goes.

    Raises urllib.error.HTTPError for what is refused; a run whose claim is refused is removed before.
    """
    name = f"{run['metadata']['name']}-{secrets.token_hex(3)}"
    run["metadata"]["name"] = name
    run["spec"]["storage"] = {"checkpoints": f"pvc://{name}"}
    say(f"creating TrainingRun {NAMESPACE}/{name}")
    made = request("POST", RUNS, run)
    owner = {key: made[key] for key in ("apiVersion", "kind")} | {"name": name, "uid": made["metadata"]["uid"]}
    claim["metadata"] |= {"name": name, "ownerReferences": [owner]}
    try:
        request("POST", CLAIMS, claim)
    except OSError:
        remove(name)
        raise
    return made


def remove(name: str) -> None:
    """Delete a run that has no claim; what keeps it from that is told, and hides nothing that went wrong before."""
    say(f"no claim for its checkpoints: removing TrainingRun {NAMESPACE}/{name}")
    try:
        request("DELETE", f"{RUNS}/{name}")
    except OSError as error:
        say(f"not removed: {error}; kubectl -n {NAMESPACE} delete trainingrun {name}")


def wait(path: str) -> bool:
    """Whether it succeeds in time; tells what becomes of it."""
    deadline, told = time.monotonic() + TIMEOUT, ""
    while time.monotonic() < deadline:
        status = look(path)
        conditions = {each["type"]: each for each in status.get("conditions") or []}
        now = " ".join([str(status.get("phase")), *(f"{t}={c['status']}" for t, c in sorted(conditions.items()))])
        if now != told:
            messages = [c["message"] for c in conditions.values() if c.get("message")]
            say(" | ".join([now, *dict.fromkeys(messages)]))
            told = now
        verdict = conditions.get("Succeeded", {}).get("status")
        if verdict in {"True", "False"}:
            return bool(verdict == "True")
        time.sleep(PAUSE)
    say(f"waited {TIMEOUT:g} s in vain")
    return False


def look(path: str) -> Json:
    """Status of the run; empty while the API server does not answer, which is no word about the run."""
    try:
        return request("GET", path).get("status") or {}
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        say(f"no answer: {error}")
        return {}


def say(line: str) -> None:
    """For `helm test --logs`."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Returns 0 when it succeeded, and removes it then; what failed is left to be looked at."""
    run, claim = json.loads(os.environ["TEST_RUN"]), json.loads(os.environ["TEST_CLAIM"])
    try:
        name = apply(run, claim)["metadata"]["name"]
        if not wait(f"{RUNS}/{name}"):
            say(f"look at it: kubectl -n {NAMESPACE} describe trainingrun {name}; then delete it")
            return 1
        request("DELETE", f"{RUNS}/{name}")
    except urllib.error.HTTPError as error:
        say(f"{error.url}: {error.code}: {error.read().decode(errors='replace')}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
