"""Logs of a run as one log: launch after launch, each line once, through whatever happens to streams and pods."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.support.operator_process import PATIENCE_SECONDS, wait_until
from tests.support.pod_log_double import RUN, PodLogDouble
from trainmaster import Client
from trainmaster.api.errors import TrainmasterError
from trainmaster.api.objects import Key
from trainmaster.client import NoLogsError, RefusedError, RunDeletedError, UnreachableError, follow, logs
from trainmaster.client.transport import QuietError, Stream


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(logs, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(follow, "PAUSE_FIRST_SECONDS", 0.01)


@pytest.fixture
def client(kubeconfig: Path) -> Client:
    return Client(kubeconfig=kubeconfig)


class Follower:
    """`logs(follow=True)` on a thread of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.lines: list[tuple[int, str]] = []
        self.notes: list[str] = []
        self.error: TrainmasterError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for line in self._client.logs("market", follow=True, on_note=self.notes.append):
                self.lines.append((line.launch, line.text))
        except TrainmasterError as error:
            self.error = error

    def wait_lines(self, *texts: str) -> None:
        wait_until(lambda: [text for _, text in self.lines] == list(texts), what=f"the lines {texts}")

    def wait_end(self) -> None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), f"it follows on and on after {self.lines}"


def test_all_launches_in_order(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running", launch=2)
    for launch, pod in ((2, "a-second"), (1, "z-first")):
        cluster.start(pod, launch=launch)
        cluster.write(pod, f"{pod} begins", f"{pod} goes on")
    cluster.end("z-first", exit_code=75)

    shown = [(line.launch, line.pod, line.text) for line in client.logs("market")]
    assert shown == [
        (1, "z-first", "z-first begins"),
        (1, "z-first", "z-first goes on"),
        (2, "a-second", "a-second begins"),
        (2, "a-second", "a-second goes on"),
    ]
    assert [line.text for line in client.logs("market", launch=2, tail=1)] == ["a-second goes on"]


def test_following_goes_on_in_the_next_launch_and_ends_with_the_run(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    cluster.wait_for_image("first", launch=1)
    follower = Follower(client)
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    follower.wait_lines("one")
    cluster.write("first", "two")
    cluster.end("first", exit_code=75)
    cluster.run(phase="Pending", launch=2)
    cluster.start("second", launch=2)
    cluster.write("second", "three")
    follower.wait_lines("one", "two", "three")
    cluster.end("second")
    cluster.run(phase="Succeeded", launch=2)

    follower.wait_end()
    assert (follower.lines, follower.error) == ([(1, "one"), (1, "two"), (2, "three")], None)
    assert follower.notes == ["launch 1: pod first", "launch 2: pod second"]


def test_a_stream_that_breaks_off_loses_no_line_and_repeats_none(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    follower = Follower(client)
    expected = []
    for number in range(5):
        cluster.write("first", *(f"{number}.{part}" for part in range(4)))
        expected += [f"{number}.{part}" for part in range(4)]
        follower.wait_lines(*expected)
        cluster.cut()
    cluster.write("first", "last words")
    cluster.end("first")
    cluster.run(phase="Succeeded")

    follower.wait_end()
    assert [text for _, text in follower.lines] == [*expected, "last words"]
    assert {query.get("sinceTime") for query in cluster.asked} >= {"2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"}


def test_a_stream_that_is_silent_is_opened_again_and_loses_nothing(
    cluster: PodLogDouble, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SILENT_SECONDS", 0.05)
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    follower = Follower(client)
    wait_until(lambda: len(cluster.asked) > 3, what="several openings of the same log")
    cluster.write("first", "two")
    cluster.end("first")
    cluster.run(phase="Succeeded")

    follower.wait_end()
    assert follower.lines == [(1, "one"), (1, "two")]


def test_a_pod_that_is_evicted_takes_its_log_with_it_and_the_next_one_is_followed(
    cluster: PodLogDouble, client: Client
) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    follower = Follower(client)
    follower.wait_lines("one")
    cluster.evict("first")
    cluster.cut()
    cluster.start("second", launch=2)
    cluster.write("second", "two")
    follower.wait_lines("one", "two")
    cluster.end("second")
    cluster.run(phase="Succeeded", launch=2)

    follower.wait_end()
    assert "launch 1: the pod first is gone; what it wrote last may be missing" in follower.notes


def test_a_run_that_is_deleted_ends_the_following_with_its_name(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    follower = Follower(client)
    follower.wait_lines("one")
    cluster.delete(RUN)
    cluster.end("first")

    follower.wait_end()
    assert isinstance(follower.error, RunDeletedError)
    assert "default/market" in str(follower.error)


def test_a_pod_that_ended_before_it_began_is_told_of_and_passed_over(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Failed")
    cluster.wait_for_image("first", launch=1)
    cluster.put("/api/v1/namespaces/default/pods/first", status={"phase": "Failed"})
    notes: list[str] = []

    assert list(client.logs("market", follow=True, on_note=notes.append)) == []
    assert notes == ["launch 1: the pod first has ended before its container began: it has no log"]


def test_without_following_there_must_be_something_to_read(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    with pytest.raises(NoLogsError, match=r"default/market.*there is no log: it has no pod"):
        list(client.logs("market"))
    cluster.wait_for_image("first", launch=1)
    with pytest.raises(NoLogsError, match="its pod first has not begun; `-f` waits for it"):
        list(client.logs("market"))
    cluster.start("first", launch=1)
    with pytest.raises(NoLogsError, match="no log of launch 7"):
        list(client.logs("market", launch=7))


def test_a_node_that_is_away_is_told_of_once_and_waited_for(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.write("first", "one")
    cluster.failures = 3
    follower = Follower(client)
    follower.wait_lines("one")
    cluster.end("first")
    cluster.run(phase="Succeeded")

    follower.wait_end()
    assert [note for note in follower.notes if "cannot be read now, trying again: " in note] == follower.notes[1:]
    assert len(follower.notes) == 2


def test_whoever_does_not_follow_is_told_at_once_that_a_node_is_away(cluster: PodLogDouble, client: Client) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    cluster.failures = 1
    with pytest.raises(RefusedError, match="10250: connection refused"):
        list(client.logs("market"))


def test_whoever_does_not_follow_is_told_that_a_node_is_silent(
    cluster: PodLogDouble, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    opened: list[Key] = []

    class Silent(Stream):
        def __init__(self) -> None:
            assert len(opened) == 1, "a silent log was opened again"
            self.cut = False

        def close(self) -> None:
            pass

        def line(self) -> bytes | None:
            raise QuietError("nothing was heard")

    def open_silent(_: logs.LogReader, key: Key, *__: object, **___: object) -> Stream:
        opened.append(key)
        return Silent()

    monkeypatch.setattr(logs.LogReader, "_open", open_silent)
    with pytest.raises(UnreachableError, match="the log of pod first: nothing was heard for 60 s"):
        list(client.logs("market"))


def test_logs_that_may_not_be_read_name_the_permission(
    cluster: PodLogDouble, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.run(phase="Running")
    cluster.start("first", launch=1)
    refused = RefusedError("GET log: 403 forbidden", status=403, reason="Forbidden")

    def refuse(*_: object) -> None:
        raise refused

    monkeypatch.setattr("trainmaster.client.transport.Transport.open", refuse)
    with pytest.raises(RefusedError, match="403 forbidden: reading logs needs the permission to get pods/log"):
        list(client.logs("market"))
