"""Faults inside a training process, without a hook in the product: Python imports this module when it starts.

FAULT is `method:when:nth:signal`: at the nth call of `Session.method`, before or after it, the process gets the signal;
FAULT_MARK is a file whose existence says that it has happened already. FAULT_SLEEP slows every progress call down.
Acts in training processes only: they have TRAINMASTER_SOCKET.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path


def _install() -> None:
    from trainmaster_launcher.sdk import Session  # noqa: PLC0415 - only where a fault is asked for

    sleep = float(os.environ.get("FAULT_SLEEP", "0"))
    if sleep:
        _wrap(Session, "progress", lambda call: _after(call, lambda: time.sleep(sleep)))
    if "FAULT" in os.environ:
        method, when, nth, name = os.environ["FAULT"].split(":")
        _wrap(Session, method, lambda call: _striking(call, when=when, nth=int(nth), number=signal.Signals[name]))


def _wrap(owner: type, name: str, wrapper: Callable[[Callable[..., object]], Callable[..., object]]) -> None:
    setattr(owner, name, wrapper(getattr(owner, name)))


def _after(call: Callable[..., object], extra: Callable[[], None]) -> Callable[..., object]:
    def wrapped(*args: object, **kwargs: object) -> object:
        result = call(*args, **kwargs)
        extra()
        return result

    return wrapped


def _striking(call: Callable[..., object], *, when: str, nth: int, number: signal.Signals) -> Callable[..., object]:
    calls = 0

    def strike(moment: str) -> None:
        if moment != when or calls != nth:
            return
        try:
            Path(os.environ["FAULT_MARK"]).touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), number)

    def wrapped(*args: object, **kwargs: object) -> object:
        nonlocal calls
        calls += 1
        strike("before")
        result = call(*args, **kwargs)
        strike("after")
        return result

    return wrapped


if "TRAINMASTER_SOCKET" in os.environ and ("FAULT" in os.environ or "FAULT_SLEEP" in os.environ):
    _install()
