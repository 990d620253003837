"""Who reports, as the API server says: what is asked of it, how often, what is believed, and what an outage changes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import pytest

from tests.support.runs import T0, UID, at
from trainmaster.adapters.kubernetes import token_review
from trainmaster.adapters.kubernetes.client import ApiError
from trainmaster.adapters.kubernetes.report_token import read_claims
from trainmaster.adapters.kubernetes.token_review import (
    FAILURES_TO_OPEN,
    OPEN_SECONDS,
    POD_NAME,
    POD_UID,
    PROVEN_SECONDS,
    REFUSED_SECONDS,
    REVIEW_PATH,
    TokenReviewAuthenticator,
)
from trainmaster.api.labels import REPORT_AUDIENCE
from trainmaster.ports.identity import AuthenticationUnavailableError, LaunchIdentity

Wire = dict[str, Any]
BOUND = {"namespace": "team", "pod": {"name": "market-1", "uid": "pod-uid"}}
PROVEN = {
    "authenticated": True,
    "audiences": [REPORT_AUDIENCE],
    "user": {
        "username": "system:serviceaccount:team:trainer",
        "extra": {POD_NAME: ["market-1"], POD_UID: ["pod-uid"]},
    },
}
WHO = LaunchIdentity(run_uid=UID, launch=1, namespace="team", pod_uid="pod-uid")
UNREACHABLE = ApiError(status=0, reason="Unreachable", message="the API server does not answer")
NOW = T0.timestamp()


def part(claims: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def jwt(*, header: object = None, **claims: object) -> str:
    base = {"aud": [REPORT_AUDIENCE], "exp": NOW + 3600, "kubernetes.io": BOUND}
    return ".".join((part(header or {"alg": "RS256"}), part(base | claims), "c2lnbmF0dXJl"))


class Bench:
    """An authenticator, the API server that it asks, the pods that are there, and a clock."""

    def __init__(self, status: Wire | None = None) -> None:
        self.seconds = 0.0
        self.status = PROVEN if status is None else status
        self.failure: Exception | None = None
        self.pods = {("team", "market-1", "pod-uid"): LaunchIdentity(run_uid=UID, launch=1)}
        self.asked: list[Wire] = []
        self.gate: asyncio.Event | None = None
        self.authenticator = TokenReviewAuthenticator(api=self, pods=self, clock=self)

    def now(self) -> datetime:
        return at(self.seconds)

    async def post(self, path: str, body: Wire) -> Wire:
        assert path == REVIEW_PATH
        self.asked.append(body)
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return body | {"status": self.status}

    async def launch_of_pod(self, *, namespace: str, name: str, uid: str) -> LaunchIdentity | None:
        return self.pods.get((namespace, name, uid))

    async def who(self, token: str) -> LaunchIdentity | None:
        return await self.authenticator.identify(token)

    async def refuses_to_say(self, token: str) -> float:
        """That it cannot be told now, and when to come again."""
        with pytest.raises(AuthenticationUnavailableError) as caught:
            await self.who(token)
        return caught.value.retry_after


def story(tell: Callable[[Bench], Coroutine[Any, Any, None]], bench: Bench | None = None) -> Bench:
    bench = bench or Bench()
    asyncio.run(tell(bench))
    return bench


def answer(token: str, bench: Bench) -> LaunchIdentity | None:
    return asyncio.run(bench.who(token))


def test_a_pods_token_proves_its_launch() -> None:
    bench = Bench()
    assert answer(jwt(), bench) == WHO
    assert bench.asked == [
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": jwt(), "audiences": [REPORT_AUDIENCE]},
        }
    ]


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("", id="empty"),
        pytest.param("secret", id="no JWT"),
        pytest.param("a.b.c", id="no JSON"),
        pytest.param(f"{part([])}.{part({})}.s", id="no object"),
        pytest.param(jwt().rsplit(".", 1)[0] + ".", id="no signature"),
        pytest.param(jwt(header={"alg": "none"}), id="unsigned"),
        pytest.param(jwt(aud=["https://kubernetes.default.svc"]), id="another audience"),
        pytest.param(jwt(aud=None), id="no audience"),
        pytest.param(jwt(exp=NOW - 61), id="expired"),
        pytest.param(jwt(exp="tomorrow"), id="no expiry"),
        pytest.param(jwt(exp=True), id="nonsense expiry"),
        pytest.param(jwt(**{"kubernetes.io": {"namespace": "team"}}), id="not bound to a pod"),
        pytest.param(jwt(**{"kubernetes.io": {"namespace": "team", "pod": {"name": "market-1"}}}), id="no pod UID"),
        pytest.param(jwt(pad="x" * 9000), id="too long"),
        pytest.param("é.é.é", id="no ASCII"),
    ],
)
def test_what_no_api_server_would_take_is_refused_without_asking(token: str) -> None:
    bench = Bench()
    assert answer(token, bench) is None
    assert bench.asked == []


def test_an_audience_may_be_a_word_and_a_clock_a_minute_ahead() -> None:
    assert read_claims(jwt(aud=REPORT_AUDIENCE), audience=REPORT_AUDIENCE, now=NOW) is not None
    assert read_claims(jwt(exp=NOW - 59), audience=REPORT_AUDIENCE, now=NOW) is not None


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"error": "token audiences [x] is invalid"}, id="authenticated is absent"),
        pytest.param(PROVEN | {"authenticated": False}, id="false"),
        pytest.param(PROVEN | {"authenticated": "true"}, id="a word"),
        pytest.param(PROVEN | {"audiences": []}, id="a server that knows no audiences"),
        pytest.param(PROVEN | {"user": {"username": "system:serviceaccount:team:trainer"}}, id="no pod"),
        pytest.param(PROVEN | {"user": PROVEN["user"] | {"username": "admin"}}, id="a person"),  # type: ignore[operator]  # a table of JSON
        pytest.param(
            PROVEN | {"user": PROVEN["user"] | {"username": "system:serviceaccount:other:trainer"}},  # type: ignore[operator]  # a table of JSON
            id="another namespace than claimed",
        ),
    ],
)
def test_what_the_api_server_does_not_prove_is_refused(status: Wire) -> None:
    assert answer(jwt(), Bench(status)) is None


def test_a_pod_that_is_of_no_launch_proves_nothing() -> None:
    bench = Bench()
    bench.pods.clear()
    assert answer(jwt(), bench) is None


def test_an_answer_stands_for_a_minute_so_a_deleted_pod_is_heard_no_longer() -> None:
    async def tell(bench: Bench) -> None:
        assert await bench.who(jwt()) == WHO
        bench.status = {}
        bench.seconds = PROVEN_SECONDS - 1
        assert await bench.who(jwt()) == WHO
        assert len(bench.asked) == 1
        bench.seconds = PROVEN_SECONDS + 1
        assert await bench.who(jwt()) is None

    story(tell)


def test_an_answer_stands_no_longer_than_its_token() -> None:
    async def tell(bench: Bench) -> None:
        token = jwt(exp=NOW + 20)
        assert await bench.who(token) == WHO
        bench.seconds = 21
        await bench.who(token)
        assert len(bench.asked) == 2

    story(tell)


def test_a_refusal_stands_for_a_short_time() -> None:
    async def tell(bench: Bench) -> None:
        bench.pods.clear()
        assert [await bench.who(jwt()) for _ in range(3)] == [None] * 3
        assert len(bench.asked) == 1
        bench.seconds = REFUSED_SECONDS + 1
        bench.pods["team", "market-1", "pod-uid"] = LaunchIdentity(run_uid=UID, launch=1)
        assert await bench.who(jwt()) == WHO

    story(tell)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "MEMORY_TOKENS", 2)

    async def tell(bench: Bench) -> None:
        for pad in ("a", "b", "c", "c", "a"):
            assert await bench.who(jwt(pad=pad)) == WHO
        assert len(bench.asked) == 4

    story(tell)


def test_reports_that_come_together_ask_once_and_one_that_leaves_takes_nothing_from_the_others() -> None:
    async def tell(bench: Bench) -> None:
        bench.gate = asyncio.Event()
        callers = [asyncio.create_task(bench.who(jwt())) for _ in range(3)]
        await asyncio.sleep(0)
        callers[0].cancel()
        bench.gate.set()
        assert await asyncio.gather(*callers[1:]) == [WHO, WHO]
        assert len(bench.asked) == 1

    story(tell)


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500, 503])
def test_an_api_server_that_cannot_answer_is_no_word_about_the_token(status: int) -> None:
    async def tell(bench: Bench) -> None:
        bench.failure = ApiError(status=status, reason="Because", message="no")
        assert await bench.refuses_to_say(jwt()) == OPEN_SECONDS
        bench.failure = None
        assert await bench.who(jwt()) == WHO

    story(tell)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_an_api_server_that_cannot_read_the_token_has_answered(status: int) -> None:
    bench = Bench()
    bench.failure = ApiError(status=status, reason="BadRequest", message="no token")
    assert answer(jwt(), bench) is None


def test_an_api_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "REVIEW_SECONDS", 0)

    async def tell(bench: Bench) -> None:
        bench.gate = asyncio.Event()
        assert await bench.refuses_to_say(jwt()) == OPEN_SECONDS

    story(tell)


def test_an_outage_is_asked_after_once_in_a_while_and_what_is_known_still_counts() -> None:
    async def tell(bench: Bench) -> None:
        assert await bench.who(jwt(pad="known")) == WHO
        bench.failure = UNREACHABLE
        for number in range(FAILURES_TO_OPEN + 20):
            await bench.refuses_to_say(jwt(pad=str(number)))
        assert len(bench.asked) == 1 + FAILURES_TO_OPEN
        assert await bench.who(jwt(pad="known")) == WHO
        bench.seconds = OPEN_SECONDS + 1
        await asyncio.gather(*(bench.refuses_to_say(jwt(pad=f"again {number}")) for number in range(5)))
        assert len(bench.asked) == 2 + FAILURES_TO_OPEN
        bench.seconds = 2 * OPEN_SECONDS + 2
        bench.failure = None
        assert await bench.who(jwt(pad="new")) == WHO
        assert await bench.who(jwt(pad="newer")) == WHO

    story(tell)


def test_a_flood_of_new_tokens_is_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_review, "WAITING_REVIEWS", 2)

    async def tell(bench: Bench) -> None:
        bench.gate = asyncio.Event()
        waiting = [asyncio.create_task(bench.who(jwt(pad=pad))) for pad in "ab"]
        await asyncio.sleep(0)
        assert await bench.refuses_to_say(jwt(pad="c")) == OPEN_SECONDS
        bench.gate.set()
        assert await asyncio.gather(*waiting) == [WHO, WHO]

    story(tell)


def test_closing_ends_what_is_in_flight() -> None:
    async def tell(bench: Bench) -> None:
        bench.gate = asyncio.Event()
        caller = asyncio.create_task(bench.who(jwt()))
        await asyncio.sleep(0)
        await bench.authenticator.close()
        assert isinstance((await asyncio.gather(caller, return_exceptions=True))[0], asyncio.CancelledError)

    story(tell)
