"""The client: what a user does with runs in a cluster, from Python."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from trainmaster.adapters.kubernetes import paths
from trainmaster.adapters.kubernetes.observed import job_facts, pod_facts
from trainmaster.adapters.manifests.objects import judge_object
from trainmaster.api.conditions import Phase
from trainmaster.api.labels import LABEL_RUN_UID
from trainmaster.api.objects import Key
from trainmaster.api.problems import Problem
from trainmaster.api.problems import errors as errors_of
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client import errors
from trainmaster.client.access import load_access
from trainmaster.client.errors import (
    ClientError,
    FieldConflictError,
    InvalidRunError,
    RefusedError,
    RunEndedError,
    RunExistsError,
    RunReplacedError,
    UnreachableError,
)
from trainmaster.client.goals import ENDED, is_current, parse_goal
from trainmaster.client.logs import LogReader, Note, Wanted
from trainmaster.client.submission import Submittable, merged, prepare
from trainmaster.client.transport import (
    APPLY_PATCH,
    CONFLICT,
    MERGE_PATCH,
    NOT_FOUND,
    Transport,
)
from trainmaster.client.views import (
    Launch,
    LogLine,
    Metrics,
    RunChange,
    RunEvent,
    event_of,
    launch_of,
    metrics_of,
)
from trainmaster.client.watching import OnChange, RunWatch, UnreadableRunError, follow_runs, logger, read_run

Json = dict[str, Any]
NameOrRun = str | TrainingRun
"""A name means whichever run has it; a run means that one and no other of its name."""

MANAGER: Final = "trainmaster-client"
"""Who sets the fields, in the words of server-side apply."""
WRITING: Final = {"fieldManager": MANAGER, "fieldValidation": "Strict"}


class Client:
    """Runs in a cluster. Blocking; any thread may use it, and it works in notebooks.

    Errors are `ClientError`s (and so `TrainmasterError`s): each says what was asked, what was found and the way out.
    """

    def __init__(
        self, *, namespace: str | None = None, kubeconfig: str | Path | None = None, context: str = ""
    ) -> None:
        """Find the API server; nothing is asked of it yet.

        Args:
            namespace: where runs are meant that name none; by default the context's.
            kubeconfig: a file; by default those of $KUBECONFIG, else ~/.kube/config, else the pod's service account.
            context: of the kubeconfig; by default the current one.

        Raises:
            NoAccessError: there is no usable address, or no credentials.
        """
        self._transport = Transport(lambda: load_access(kubeconfig, context=context))
        self.namespace = namespace or self._transport.access.namespace
        """Where runs are meant that name none."""

    @property
    def server(self) -> str:
        """Base URL of the API server."""
        return self._transport.access.server

    # -- looking ------------------------------------------------------------------------------------------------------

    def get(self, run: NameOrRun, *, namespace: str | None = None) -> TrainingRun:
        """A run as it is now. Raises RunNotFoundError; RunReplacedError: another run has the name of a given one."""
        return read_run(self._raw(run, namespace))

    def list(
        self, *, namespace: str | None = None, all_namespaces: bool = False, labels: str = ""
    ) -> tuple[TrainingRun, ...]:
        """The runs of a namespace, or of all, by namespace and name; `labels` selects as kubectl's -l does."""
        path = paths.everywhere(paths.OURS, paths.RUNS, namespace="" if all_namespaces else self._where(namespace))
        found = []
        for raw in self._transport.read_all(path, {"labelSelector": labels} if labels else None)[0]:
            try:
                found.append(read_run(raw))
            except UnreadableRunError as error:
                # One run that a newer version wrote must not hide all others.
                logger.warning("%s", error)
        return tuple(sorted(found, key=lambda run: run.metadata.key))

    def watch(
        self, *, namespace: str | None = None, all_namespaces: bool = False, labels: str = ""
    ) -> Iterator[RunChange]:
        """All runs as they are, then each change, for ever; watches that are cut are opened again."""
        where = "" if all_namespaces else self._where(namespace)
        return follow_runs(self._transport, namespace=where, selector=labels)

    def metrics(self, run: NameOrRun, *, namespace: str | None = None) -> Metrics:
        """The latest metrics that status tells, and how far the run is."""
        return metrics_of(self.get(run, namespace=namespace).status)

    def events(self, run: NameOrRun, *, namespace: str | None = None) -> tuple[RunEvent, ...]:
        """What was told of a run, oldest first; the API server forgets after an hour."""
        meta = self.get(run, namespace=namespace).metadata
        query = {"fieldSelector": f"involvedObject.uid={meta.uid}"}
        items = self._transport.get(paths.events(meta.namespace), query).get("items") or []
        return tuple(sorted((event_of(raw) for raw in items), key=lambda event: event.time))

    def launches(self, run: NameOrRun, *, namespace: str | None = None) -> tuple[Launch, ...]:
        """The Jobs of a run that are still there, by launch."""
        meta = self.get(run, namespace=namespace).metadata
        query = {"labelSelector": f"{LABEL_RUN_UID}={meta.uid}"}
        jobs = [job_facts(raw) for raw in self._transport.get(paths.jobs(meta.namespace), query).get("items") or []]
        pods = [pod_facts(raw) for raw in self._transport.get(paths.pods(meta.namespace), query).get("items") or []]
        hint = f"trainmaster logs {meta.name} -n {meta.namespace} --launch"
        ours = sorted((job for job in jobs if job.run_uid == meta.uid), key=lambda job: job.launch)
        return tuple(launch_of(job, pods, log=f"{hint} {job.launch}") for job in ours)

    # -- waiting ------------------------------------------------------------------------------------------------------

    def wait(
        self,
        run: NameOrRun,
        *,
        until: str = ENDED,
        timeout: float | None = None,
        namespace: str | None = None,
        on_change: OnChange = lambda _: None,
    ) -> TrainingRun:
        """Wait until a run is there, and return it.

        An API server that is away meanwhile, watches that are cut, an operator that is upgraded: all waited out.

        Args:
            run: its name; or the run itself, which means that one and no other that takes its name.
            until: `ended`, `succeeded`, `failed`, `running`, `suspended`, `condition=TYPE` or `condition=TYPE=STATUS`.
            timeout: seconds; by default for ever.
            namespace: of a name.
            on_change: called with the run at first and at each change, on this thread.

        Raises:
            WaitTimeoutError: not in time; nothing was changed.
            RunEndedError: it has ended otherwise.
            RunNotFoundError, RunDeletedError, RunReplacedError: it is not there, or no more.
            UnknownGoalError: nobody can wait for that.
        """
        goal = parse_goal(until)
        with self._watching(run, namespace) as watch:
            return watch.wait_for(goal, timeout=timeout, on_change=on_change)

    def wait_deleted(self, run: NameOrRun, *, timeout: float | None = None, namespace: str | None = None) -> None:
        """Wait until a run is no more; one that is not there now is no more. Raises WaitTimeoutError."""
        with self._watching(run, namespace) as watch:
            try:
                watch.wait_gone(timeout=timeout)
            except (errors.RunNotFoundError, RunReplacedError):
                return

    def logs(
        self,
        run: NameOrRun,
        *,
        follow: bool = False,
        launch: int | None = None,
        tail: int | None = None,
        namespace: str | None = None,
        on_note: Note = lambda _: None,
    ) -> Iterator[LogLine]:
        """What the launches of a run have written, launch after launch, each line once.

        Args:
            run: its name, or the run itself.
            follow: go on until the run has ended, through new launches, lost pods and broken streams.
            launch: of this launch only; by default of all whose pods are there.
            tail: of each pod only so many of the lines that it has written before.
            namespace: of a name.
            on_note: called with remarks: which pod comes next, what is missing.

        Raises:
            NoLogsError: there is nothing to read (only without `follow`).
            RunDeletedError, RunReplacedError: it is no more.
        """
        with self._watching(run, namespace) as watch:
            wanted = Wanted(launch=launch, follow=follow, tail=tail)
            yield from LogReader(self._transport, watch, wanted=wanted, note=on_note).lines()

    # -- changing -----------------------------------------------------------------------------------------------------

    def submit(
        self, run: Submittable, *, apply: bool = False, force: bool = False, namespace: str | None = None
    ) -> TrainingRun:
        """Create a run, and return it as it is stored. It is judged before anything is sent.

        Args:
            run: a TrainingRun, a manifest as a mapping (or as `load_manifests` gives it), or the path of its file.
            apply: server-side apply: change the run of this name if there is one; may be repeated.
            force: with `apply`, take over fields that somebody else has set to other values.
            namespace: for a manifest that names none; by default the client's.

        Raises:
            InvalidRunError: it cannot be used; with the paths of fields.
            RunExistsError: the name is taken (without `apply`).
            FieldConflictError: somebody else owns a field (with `apply`).
            RefusedError: the API server has refused it, with its words: training-defining fields are immutable.
        """
        submission = prepare(run, namespace=self._where(namespace))
        key, body = submission.key, submission.body
        try:
            if apply:
                query = WRITING | ({"force": "true"} if force else {})
                raw = self._transport.send("PATCH", paths.run(key), body, query=query, content_type=APPLY_PATCH)
            else:
                collection = paths.everywhere(paths.OURS, paths.RUNS, namespace=key.namespace)
                raw = self._transport.send("POST", collection, body, query=WRITING)
        except RefusedError as error:
            raise _why_not(error, key, apply=apply) from error
        except UnreachableError as error:
            message = f"{error}; whether {key} was submitted is not known: get it, or submit it with apply=True"
            raise UnreachableError(message) from error
        return read_run(raw)

    def suspend(self, run: NameOrRun, *, namespace: str | None = None) -> TrainingRun:
        """End its pods (training saves first) and keep the run. Raises RunEndedError: there is nothing to suspend."""
        found = self.get(run, namespace=namespace)
        if is_current(found) and found.status.phase in Phase.TERMINAL:
            message = f"{errors.describe(found)} has ended: there is nothing to suspend"
            raise RunEndedError(message, run=found)
        return self._change(found, {"suspend": True})

    def resume(self, run: NameOrRun, *, namespace: str | None = None) -> TrainingRun:
        """Let a suspended run go on from its last checkpoint."""
        return self._change(self.get(run, namespace=namespace), {"suspend": False})

    def rerun(
        self,
        run: NameOrRun,
        *,
        changes: Mapping[str, Any] | None = None,
        value: str = "",
        namespace: str | None = None,
    ) -> TrainingRun:
        """Train again from the start, under the same object.

        Args:
            run: its name, or the run itself.
            changes: of spec, merged into it (null removes): the one way to change training-defining fields.
            value: the new spec.rerun; by default the time.
            namespace: of a name.

        Raises:
            InvalidRunError: the changed run could not be used.
            ClientError: spec.rerun has this value already.
        """
        raw = self._raw(run, namespace)
        found = read_run(raw)
        new = value or datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        if new == found.spec.rerun:
            message = f"{errors.describe(found)}: spec.rerun is {new!r} already: any other value trains again"
            raise ClientError(message)
        wanted = {**(changes or {}), "rerun": new}
        problems = _new_problems(raw, wanted)
        if problems:
            raise InvalidRunError(problems)
        return self._change(found, wanted)

    def delete(self, run: NameOrRun, *, namespace: str | None = None) -> None:
        """Delete a run; its Jobs and pods go behind it, checkpoints and its record stay. Raises RunNotFoundError."""
        meta = self.get(run, namespace=namespace).metadata
        options = {"propagationPolicy": "Background", "preconditions": {"uid": meta.uid}}
        try:
            self._transport.send("DELETE", paths.run(meta.key), options)
        except RefusedError as error:
            raise _gone(error, meta.key) from error

    # -- parts --------------------------------------------------------------------------------------------------------

    def _where(self, namespace: str | None) -> str:
        return namespace or self.namespace

    def _meant(self, run: NameOrRun, namespace: str | None) -> tuple[Key, str]:
        """Where a run is, and its UID if it is a certain one."""
        if isinstance(run, TrainingRun):
            return run.metadata.key, run.metadata.uid
        return Key(self._where(namespace), run), ""

    def _watching(self, run: NameOrRun, namespace: str | None) -> RunWatch:
        key, uid = self._meant(run, namespace)
        return RunWatch(self._transport, key, uid=uid)

    def _raw(self, run: NameOrRun, namespace: str | None) -> Json:
        key, uid = self._meant(run, namespace)
        try:
            raw = self._transport.get(paths.run(key))
        except RefusedError as error:
            raise _gone(error, key) from error
        if uid and raw["metadata"]["uid"] != uid:
            message = f"TrainingRun {key} with uid {uid} is gone: another one has its name now"
            raise RunReplacedError(message + f" (uid {raw['metadata']['uid']}); ask again to mean that one")
        return raw

    def _change(self, run: TrainingRun, fields: Mapping[str, Any]) -> TrainingRun:
        """Merge into spec, of this very object."""
        body = {"metadata": {"uid": run.metadata.uid}, "spec": dict(fields)}
        key = run.metadata.key
        try:
            raw = self._transport.send("PATCH", paths.run(key), body, query=WRITING, content_type=MERGE_PATCH)
        except RefusedError as error:
            raise _gone(error, key) from error
        return read_run(raw)


def _new_problems(raw: Json, changes: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with a stored run after changes of its spec, and was not before: a newer version may know more."""
    base = {"apiVersion": raw["apiVersion"], "kind": raw["kind"], "metadata": {"name": raw["metadata"]["name"]}}
    before = {(each.path, each.message) for each in errors_of(judge_object({**base, "spec": raw["spec"]}))}
    after = errors_of(judge_object({**base, "spec": merged(raw["spec"], changes)}))
    return [each for each in after if (each.path, each.message) not in before]


def _gone(error: RefusedError, key: Key) -> ClientError:
    """What a refusal about one run means."""
    if error.status == NOT_FOUND and "could not find the requested resource" not in str(error):
        return errors.not_found(key)
    if error.status == NOT_FOUND:
        return _no_kind(error)
    if error.status == CONFLICT:
        return RunReplacedError(f"TrainingRun {key} was deleted, and another one has its name now: {error}")
    return error


def _why_not(error: RefusedError, key: Key, *, apply: bool) -> ClientError:
    """What a refusal of a submission means."""
    if error.status == CONFLICT and apply:
        return FieldConflictError(
            f"{error}; take these fields out of the manifest, or submit with force=True to take them over"
        )
    if error.status == CONFLICT:
        return RunExistsError(
            f"there is a TrainingRun {key} already; take another metadata.name, submit with apply=True to change it, "
            "or rerun it to train again"
        )
    if error.status == NOT_FOUND and "namespaces" not in str(error).rpartition(":")[2]:
        return _no_kind(error)
    return error


def _no_kind(error: RefusedError) -> ClientError:
    message = f"{error}; the cluster does not know TrainingRuns: is Trainmaster installed there?"
    return RefusedError(message, status=error.status, reason=error.reason)
