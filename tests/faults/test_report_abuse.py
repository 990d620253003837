"""Reports of those who may not, and too much of those who may: refused or limited, and counted.

Tokens are the API server's own, for pods that it knows; what it signs itself is signed here with its key. Old launches
and foreign ones are in test_operator_reports.py as well, doubled reports too.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
import urllib.parse
from collections import Counter
from typing import Any

import pytest

from tests.support.pod_reporter import Launcher, Wire, crash, pod_token, point, signed_token
from tests.support.scene import Run, Scene
from trainmaster.api.labels import LABEL_LAUNCH, LABEL_RUN_UID, REPORT_AUDIENCE
from trainmaster.shell.report_server import POD_RATE

TEN_MIB = 10 * 1024 * 1024
FLOOD_SECONDS = 3.0
FLOODING = 16
"""Connections of the one that floods: each is held back by itself."""
OTHERS = 3
"""Launches that report at their pace meanwhile."""
ANSWERS = re.compile(r'^trainmaster_reports_total\{code="(\d+)"\} (\S+)$', re.MULTILINE)


def running(stage: Scene, name: str) -> Run:
    run = stage.create(name)
    run.wait_running(launch=1)
    return run


def answers(stage: Scene) -> Counter[int]:
    """How often the operator has answered with each status, as it counts itself."""
    text = stage.operator.get("/metrics")[1]
    return Counter({int(code): int(float(count)) for code, count in ANSWERS.findall(text)})


def assert_refused(stage: Scene, launcher: Launcher, *, status: int) -> str:
    """Its report is refused, counted, and changes nothing; what it is told."""
    before, known = answers(stage), launcher.run.status
    got, said = launcher.report(point(1), crash(2), step=99)
    assert got == status, said
    assert (answers(stage) - before)[status] == 1
    assert launcher.run.status.get("progress") == known.get("progress")
    return str(said["message"])


def test_a_token_for_another_audience_is_refused(stage: Scene) -> None:
    run = running(stage, "wrong-audience")
    for audience in ("https://kubernetes.default.svc.cluster.local", "vault", REPORT_AUDIENCE + "/x"):
        token = pod_token(stage.plane, run.pods(1)[0], audience=audience)
        assert_refused(stage, Launcher(run, launch=1, token=token), status=401)


# A minute more is the API server's own leeway.
@pytest.mark.parametrize("expires_in", [-3600, -65])
def test_an_expired_token_is_refused(stage: Scene, expires_in: float) -> None:
    run = running(stage, f"expired{-expires_in}")
    pod = run.pods(1)[0]
    late = signed_token(stage.plane, pod, expires_in=expires_in)
    assert_refused(stage, Launcher(run, launch=1, token=late), status=401)
    good = signed_token(stage.plane, pod, expires_in=3600)
    assert Launcher(run, launch=1, token=good).report(point(1))[0] == 200, "but for its age it is good"


def test_a_token_that_somebody_has_changed_is_refused(stage: Scene) -> None:
    run = running(stage, "forged")
    head, claims, signature = pod_token(stage.plane, run.pods(1)[0]).split(".")
    forged = [
        f"{head}.{claims}.{signature[::-1]}",
        f"{head}.{claims}.",
        f"{claims}.{head}.{signature}",
        "x" * 7000,
    ]
    for token in forged:
        before = answers(stage)
        assert Launcher(run, launch=1, token=token).report(point(1))[0] == 401
        assert answers(stage) - before == Counter({401: 1})


def test_a_token_of_a_pod_that_is_gone_is_refused(stage: Scene) -> None:
    run = running(stage, "gone-pod")
    pod = run.pods(1)[0]
    token = pod_token(stage.plane, pod)
    path = f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}"
    assert stage.plane.request("DELETE", path, {"gracePeriodSeconds": 0}).status == 200
    run.wait_for(lambda: all(p["metadata"]["uid"] != pod["metadata"]["uid"] for p in run.pods()), what="its end")
    assert_refused(stage, Launcher(run, launch=1, token=token), status=401)


def imposter(stage: Scene, run: Run, *, namespace: str) -> Wire:
    """A pod that claims by its labels to be a launch of a run; no Job of ours has made it."""
    labels = {LABEL_RUN_UID: run.uid, LABEL_LAUNCH: "1"}
    meta = {"name": f"imposter-{secrets.token_hex(3)}", "labels": labels}
    spec = {"containers": [{"name": "trainer", "image": "i"}]}
    answer = stage.plane.request("POST", f"/api/v1/namespaces/{namespace}/pods", {"metadata": meta, "spec": spec})
    assert answer.status == 201, answer
    made: Wire = answer.body
    return made


def test_a_pod_that_only_calls_itself_a_launch_is_refused(stage: Scene) -> None:
    run = running(stage, "imitated")
    token = pod_token(stage.plane, imposter(stage, run, namespace=stage.namespace))
    assert_refused(stage, Launcher(run, launch=1, token=token), status=401)


def test_a_pod_of_another_namespace_is_refused(stage: Scene) -> None:
    run = running(stage, "next-door")
    namespace = f"other-{secrets.token_hex(4)}"
    assert stage.plane.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}}).status == 201
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    stage.wait_for(lambda: stage.plane.request("GET", accounts).status == 200, what="its service account")
    try:
        token = pod_token(stage.plane, imposter(stage, run, namespace=namespace))
        assert_refused(stage, Launcher(run, launch=1, token=token), status=401)
    finally:
        stage.plane.request("DELETE", f"/api/v1/namespaces/{namespace}")


def test_a_token_of_another_run_is_refused(stage: Scene) -> None:
    thief, victim = running(stage, "thief"), running(stage, "victim")
    stolen = Launcher(thief, launch=1).token
    assert "the token is of launch 1 of run" in assert_refused(
        stage, Launcher(victim, launch=1, token=stolen), status=403
    )


def test_a_recorded_report_that_is_played_again_counts_once_and_is_slowed_down(stage: Scene) -> None:
    run = running(stage, "replayed")
    launcher = Launcher(run, launch=1)
    assert launcher.report(point(1), crash(2), step=5)[0] == 200
    run.wait_for(lambda: run.status.get("crashes") == 1, what="one crash")
    before = answers(stage)

    told = Counter(launcher.report(point(1), crash(2), step=5)[0] for _ in range(POD_RATE.burst + 20))

    assert set(told) == {200, 429}
    assert told[200] >= POD_RATE.burst - 1
    assert (answers(stage) - before)[429] == told[429]
    run.wait_settled()
    run.assert_quiet()
    assert run.status["crashes"] == 1


def test_ten_megabytes_are_refused_unread(stage: Scene) -> None:
    run = running(stage, "huge")
    launcher, before = Launcher(run, launch=1), answers(stage)
    url = urllib.parse.urlsplit(stage.operator.report_url)
    for length in (f"Content-Length: {TEN_MIB}", "Transfer-Encoding: chunked"):
        with socket.create_connection((url.hostname, url.port), timeout=30) as raw:
            head = ["POST /v1/reports HTTP/1.1", "Host: x", f"Authorization: Bearer {launcher.token}", length, "", ""]
            raw.sendall("\r\n".join(head).encode())
            sent = send_chunks(raw, chunked="chunked" in length)
            assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]
            assert sent < TEN_MIB
    assert (answers(stage) - before)[413] == 2
    assert launcher.report(point(1))[0] == 200


def send_chunks(raw: socket.socket, *, chunked: bool) -> int:
    """Send until somebody minds, ten megabytes at most; how many bytes were sent."""
    chunk = b" " * 0x4000
    framed = b"4000\r\n" + chunk + b"\r\n" if chunked else chunk
    raw.settimeout(5)
    for sent in range(0, TEN_MIB, len(chunk)):
        raw.settimeout(0.05 if sent else 5)
        try:
            if sent and raw.recv(1, socket.MSG_PEEK):
                return sent
        except TimeoutError:
            pass
        raw.settimeout(5)
        raw.sendall(framed)
    return TEN_MIB


def test_one_that_sends_as_fast_as_it_can_is_slowed_down_and_others_are_answered(stage: Scene) -> None:
    flooder = Launcher(running(stage, "flooder"), launch=1)
    others = [Launcher(running(stage, f"patient-{n}"), launch=1) for n in range(OTHERS)]
    before, over = answers(stage), threading.Event()
    flood: Counter[int] = Counter()
    lock = threading.Lock()
    body = json.dumps({"runUid": flooder.run.uid, "launch": 1, "generation": 1, "phase": "training"}).encode()

    def send() -> None:
        while not over.is_set():
            status, _ = flooder.send(body)
            with lock:
                flood[status] += 1

    threads = [threading.Thread(target=send) for _ in range(FLOODING)]
    for thread in threads:
        thread.start()
    try:
        told: Counter[int] = Counter()
        deadline, seq = time.monotonic() + FLOOD_SECONDS, 0
        while time.monotonic() < deadline:
            seq += 1
            told.update(other.report(point(seq, step=seq), step=seq)[0] for other in others)
            over.wait(0.3)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)

    assert set(told) == {200}, "nobody else notices"
    assert set(flood) == {200, 429}
    assert flood[429] > flood[200]
    counted: Any = answers(stage) - before
    assert (counted[429], counted[200]) == (flood[429], flood[200] + told[200])
