"""Metrics for Prometheus, named as controller-runtime names them: dashboards and instincts work unchanged.

No label holds a run's name or UID: the number of series does not grow with the number of runs.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from trainmaster import __version__
from trainmaster.api.objects import Key

CONTROLLER = "trainingrun"
LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
"""Seconds: from one cached pass to a bad night."""
CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """All that the process counts; also the observer of its queue."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._total = Counter(
            "controller_runtime_reconcile", "Reconciles.", ["controller", "result"], registry=self.registry
        )
        self._errors = self._counter("controller_runtime_reconcile_errors", "Reconciles that failed.")
        self._time = self._histogram("controller_runtime_reconcile_time_seconds", "Time of a reconcile.")
        self._active = self._gauge("controller_runtime_active_workers", "Reconciles in flight.")
        self._adds = self._counter("workqueue_adds", "Keys that were woken.", label="name")
        self._waited = self._histogram("workqueue_queue_duration_seconds", "Time a due key waited.", label="name")
        self.depth = self._gauge("workqueue_depth", "Keys that wait, due or not.", label="name")
        self._requests = Counter(
            "rest_client_requests", "Requests to the API server.", ["code", "method"], registry=self.registry
        )
        self._request_time = Histogram(
            "rest_client_request_duration_seconds", "Their time.", ["verb"], buckets=LATENCIES, registry=self.registry
        )
        self.leading = self._gauge("leader_election_master_status", "1 where this replica leads.", label="name")
        self.runs = Gauge("trainmaster_runs", "TrainingRuns that are known.", registry=self.registry)
        self.events = Counter("trainmaster_events", "Events told, repetitions included.", registry=self.registry)
        self._reports = Counter("trainmaster_reports", "Answers to reports.", ["code"], registry=self.registry)
        self._report_time = Histogram(
            "trainmaster_report_duration_seconds", "Time until the answer.", buckets=LATENCIES, registry=self.registry
        )
        self.turned_away = Counter(
            "trainmaster_report_connections_refused", "Connections over the limits.", registry=self.registry
        )
        build = Gauge("trainmaster_build_info", "Version.", ["version"], registry=self.registry)
        build.labels(__version__).set(1)
        self._begun: dict[Key, float] = {}

    def _counter(self, name: str, told: str, *, label: str = "controller") -> Counter:
        return Counter(name, told, [label], registry=self.registry).labels(CONTROLLER)

    def _gauge(self, name: str, told: str, *, label: str = "controller") -> Gauge:
        return Gauge(name, told, [label], registry=self.registry).labels(CONTROLLER)

    def _histogram(self, name: str, told: str, *, label: str = "controller") -> Histogram:
        return Histogram(name, told, [label], buckets=LATENCIES, registry=self.registry).labels(CONTROLLER)

    def added(self) -> None:
        """A key was woken."""
        self._adds.inc()

    def started(self, key: Key, waited: float) -> None:
        """A reconcile begins."""
        self._begun[key] = time.monotonic()
        self._waited.observe(max(0.0, waited))
        self._active.inc()

    def ended(self, key: Key, *, failed: bool) -> None:
        """A reconcile has ended."""
        self._time.observe(time.monotonic() - self._begun.pop(key))
        self._active.dec()
        self._total.labels(CONTROLLER, "error" if failed else "success").inc()
        if failed:
            self._errors.inc()

    def request(self, method: str, status: int, seconds: float) -> None:
        """A request to the API server was answered; status 0: it was not."""
        self._requests.labels(str(status or "<error>"), method).inc()
        self._request_time.labels(method).observe(seconds)

    def report_answered(self, status: int, seconds: float) -> None:
        """A report was answered."""
        self._reports.labels(str(status)).inc()
        self._report_time.observe(seconds)

    def longest_reconcile(self) -> float:
        """Seconds that the oldest reconcile in flight takes by now."""
        return time.monotonic() - min(self._begun.values(), default=time.monotonic())

    def exposition(self) -> bytes:
        """All metrics as Prometheus reads them."""
        return generate_latest(self.registry)
