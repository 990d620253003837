"""Every duration that decides something, in seconds, with its reason."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """The launcher's durations; tests use shorter ones, nothing else changes them."""

    tick: float = 0.5
    """Between two looks at a process that says nothing."""
    lock_wait: float = 30.0
    """A launcher before this one dies, and its process with it, within moments; more means that it lives."""
    storage_wait: float = 600.0
    """A volume can be late by minutes; after ten another node may do better."""
    storage_retry: float = 2.0
    """Between two looks at unreadable storage."""
    request: float = 10.0
    """For one request: connecting, sending, receiving."""
    report_pace: float = 5.0
    """Between reports, until a reply says otherwise."""
    report_gap: float = 0.25
    """At least between two reports: what is urgent comes in bursts."""
    backoff_first: float = 1.0
    backoff_last: float = 30.0
    """Failed requests, and restarts of a process that makes no progress from the second on, wait from the first to the
    last, doubling."""
    refused_retry: float = 30.0
    """After 401, 403, 422, 426: only a person or an upgrade can change the answer."""
    lease_wait: float = 10.0
    """A lease that is used up may be renewed by the reply to the crash's report."""
    terminate_wait: float = 3.0
    """Descendants that outlive the training process get SIGTERM, and SIGKILL this much later."""
    kill_wait: float = 10.0
    """After SIGKILL a process is gone at once, or stuck in the kernel."""
    stack_wait: float = 1.0
    """For a process to print its stacks: longer than a busy interpreter needs to see the signal."""
    flush: float = 10.0
    """For the last report: the termination message says the same."""
    flush_retry: float = 2.0
    """The same for a launch that another follows: that one reports what this one could not."""
    grace_margin: float = 10.0
    """Of the pod's grace period, kept for the last report; at most a quarter of it."""
