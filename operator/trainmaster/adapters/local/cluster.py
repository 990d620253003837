"""The Cluster port on this machine."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import secrets
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen

from trainmaster.adapters.local.jobs import LocalJob, load_jobs, new_job, observe_job
from trainmaster.adapters.local.objects import ObjectStore
from trainmaster.adapters.local.processes import ENV_LAUNCH, ENV_RUN_UID, identify, start_launcher, strays
from trainmaster.adapters.local.records import RecordStore
from trainmaster.adapters.local.state_dir import StateDir, StateDirError, write_atomic
from trainmaster.api.conditions import EXIT_CONFIGURATION
from trainmaster.api.objects import Key
from trainmaster.api.plan import Plan
from trainmaster.api.synthetic import underlying_file
from trainmaster.api.trainingrun import TrainingRun, TrainingRunStatus
from trainmaster.core.snapshot import CreateJob, DeleteJob, Event, Owner, WriteRecord
from trainmaster.ports.clock import Clock
from trainmaster.ports.cluster import Observation
from trainmaster.ports.identity import LaunchIdentity

logger = logging.getLogger(__name__)

STRAY_SECONDS = 0.1
"""Between two looks for processes that a launch has left behind."""
KILL_MARGIN_SECONDS = 15
"""Beyond the grace period: the launcher gets time to send its last report."""
START_RETRY_SECONDS = 5
"""Until a launcher that could not be started (full disk, no process free) is tried again."""
NEVER_STARTS = frozenset({errno.E2BIG, errno.ENOENT, errno.EACCES, errno.ENOEXEC})
"""Errors of starting a program that no retry mends: a plan too long for the environment, a folder that is gone."""
CLAIM_SCHEME = "pvc://"
SESSION = "local-session"
"""The owner of all runs of local mode is the session that drives them: when it is interrupted, they are suspended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalSettings:
    """What local mode is told at its start."""

    report_url: str
    cpus: int
    volumes: Mapping[str, Path]
    cwd: Path


class LocalCluster:
    """Runs as files, Jobs as launcher processes; Jobs wait in line for cores."""

    def __init__(
        self,
        *,
        state: StateDir,
        settings: LocalSettings,
        clock: Clock,
        on_change: Callable[[Key], None],
        on_event: Callable[[TrainingRun, Event], None],
    ) -> None:
        self._state = state
        self._on_event = on_event
        self._settings = settings
        self._clock = clock
        self._on_change = on_change
        self._objects = ObjectStore(state)
        self._records = RecordStore(state)
        self._runs: dict[str, TrainingRun] = {}
        self._jobs: dict[str, LocalJob] = {}
        self._tokens: dict[str, LaunchIdentity] = {}
        self._left: set[str] = set()
        """Jobs of an earlier session that are being seen out."""
        self._watchers: set[asyncio.Task[None]] = set()
        self._retry: asyncio.TimerHandle | None = None
        self._interrupted = False

    # -- runs ---------------------------------------------------------------------------------------------------------

    def apply(self, wanted: Sequence[TrainingRun]) -> list[TrainingRun]:
        """Create or update runs, all or none, and take over what an earlier process left of them."""
        for run in wanted:
            self._objects.judge(run)
            self._check_storage(run)
        runs = [self._objects.apply(run, now=self._clock.now()) for run in wanted]
        for run in runs:
            self._runs[run.metadata.uid] = run
            for job in load_jobs(self._state.jobs(run.metadata.uid)):
                self._jobs[job.name] = job
                if not job.ended:
                    self._left.add(job.name)
                    self._spawn(self._outlive(job, grace=run.spec.termination_grace_period_seconds))
        return runs

    def _check_storage(self, wanted: TrainingRun) -> None:
        """A run goes on where its checkpoints are: a forgotten `--volume` must not train it from the start."""
        stored = self._objects.get(wanted.metadata.key)
        if stored is None or stored.status.checkpoint is None or stored.status.completion_time is not None:
            return
        if wanted.spec.rerun != stored.status.observed_rerun:
            return
        root = self.checkpoints(stored)
        if root is not None and not root.is_dir():
            claim = _claim(stored.spec.storage.checkpoints)[0]
            message = (
                f"{wanted.metadata.key}: its checkpoints (step {stored.status.checkpoint.step}) are not in {root}; "
                f"give the same --volume {claim}=FOLDER as before, or change spec.rerun to train from the start"
            )
            raise StateDirError(message)

    def checkpoints(self, run: TrainingRun) -> Path | None:
        """The folder of a rerun's checkpoints, with one of each launch in it; None where an object store has them."""
        claim, path = _claim(run.spec.storage.checkpoints)
        return self._volume(claim) / path / run.metadata.uid / str(run.status.reruns) if claim else None

    def find(self, uid: str) -> TrainingRun | None:
        """The committed run with this UID."""
        return self._runs.get(uid)

    async def observe(self, key: Key, *, live: bool) -> Observation | None:  # noqa: ARG002 - files are always live
        """What is known of a run."""
        run = self._objects.get(key)
        if run is None:
            return None
        jobs = tuple(
            observe_job(job) for job in self._jobs.values() if job.run_uid == run.metadata.uid and not job.deleted
        )
        return Observation(
            run=run,
            jobs=jobs,
            owner=Owner(uid=SESSION, suspended=self._interrupted),
            recorded=self._records.written(run),
            earlier=self._records.earlier(run),
            live=True,
        )

    async def write_status(self, run: TrainingRun, status: TrainingRunStatus) -> TrainingRun:
        """Write a whole status; raises ConflictError."""
        fresh = self._objects.write_status(run, status)
        self._runs[fresh.metadata.uid] = fresh
        return fresh

    async def write_record(self, run: TrainingRun, effect: WriteRecord) -> None:
        """Write a RunRecord; raises StateDirError."""
        self._records.write(effect.record, namespace=run.metadata.namespace, now=self._clock.now())

    async def emit(self, run: TrainingRun, events: Sequence[Event]) -> None:
        """Append to the run's list of events, and tell whoever watches."""
        for event in events:
            self._on_event(run, event)
        time = self._clock.now().isoformat(timespec="seconds")
        lines = [json.dumps({"time": time, "type": e.type, "reason": e.reason, "message": e.message}) for e in events]
        if not lines:
            return
        path = self._state.jobs(run.metadata.uid) / "events.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")
        except OSError as error:
            logger.warning("events of %s not kept: %s", run.metadata.key, error)

    # -- Jobs ---------------------------------------------------------------------------------------------------------

    async def create_job(self, run: TrainingRun, effect: CreateJob) -> None:
        """Create a Job; it starts when there are cores for it."""
        known = self._jobs.get(effect.name)
        if known is not None and not known.deleted:
            return
        plan = self.localise(effect.plan)
        folder = self._state.jobs(run.metadata.uid) / effect.name
        job = new_job(name=effect.name, run_uid=plan.run_uid, launch=plan.launch, cpus=plan.cpus, folder=folder)
        # A name is used twice only where status was lost, and then the last word in the folder is not this Job's.
        job.termination_log.unlink(missing_ok=True)
        write_atomic(folder / "plan.json", plan.model_dump_json(by_alias=True, exclude_none=True))
        self._keep(job)
        self._start_waiting()

    async def delete_job(self, run: TrainingRun, effect: DeleteJob) -> None:
        """Ask a Job's launcher to end; its files stay for `local logs`."""
        job = self._jobs.get(effect.name)
        if job is None or job.uid != effect.uid or job.deleted:
            return
        if job.process is None or job.ended:
            self._note(replace(job, deleting=True, deleted=True))
            self._on_change(run.metadata.key)
            return
        self._note(replace(job, deleting=True))
        self._spawn(self._end(job.name, grace=run.spec.termination_grace_period_seconds))

    def localise(self, plan: Plan) -> Plan:
        """The plan with claims as folders, and a folder to work in where checkpoints go to an object store."""
        claim, path = _claim(plan.storage.root)
        work = self._state.work(plan.run_uid) / plan.storage.root.rpartition("/")[2]
        update = {"root": str(self._volume(claim) / path)} if claim else {"work": str(work)}
        storage = plan.storage.model_copy(update=update)
        claims = set(self._settings.volumes) | {_claim(underlying_file(plan.data_source) or "")[0]} - {""}
        volumes = {claim: str(self._volume(claim)) for claim in sorted(claims)}
        return plan.model_copy(update={"volumes": volumes, "storage": storage})

    async def identify(self, token: str) -> LaunchIdentity | None:
        """The launch that was given this token."""
        return self._tokens.get(token)

    # -- the end ------------------------------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Suspend all runs, as their owner may: launches end well, and the next session goes on from there."""
        self._interrupted = True
        for run in self._runs.values():
            self._on_change(run.metadata.key)

    def alive(self) -> bool:
        """Whether any launcher lives."""
        return any(job.lives for job in self._jobs.values())

    def kill(self) -> None:
        """End all launchers at once; the last checkpoints stand."""
        for job in self._jobs.values():
            if job.process is not None and not job.ended:
                job.process.send(signal.SIGKILL)

    async def close(self) -> None:
        """Wait until nothing of any launch is left."""
        while self._watchers:
            await asyncio.wait(self._watchers)

    # -- inside -------------------------------------------------------------------------------------------------------

    def _volume(self, claim: str) -> Path:
        return self._settings.volumes.get(claim, self._state.volume(claim)).absolute()

    def _keep(self, job: LocalJob) -> None:
        """Note a Job's new state, on disk first. Raises StateDirError; the old state then stands."""
        job.save()
        self._jobs[job.name] = job

    def _note(self, job: LocalJob) -> None:
        """Note what has happened already; where it cannot be written, the next session finds it out by itself."""
        self._jobs[job.name] = job
        try:
            job.save()
        except StateDirError as error:
            logger.warning("%s", error)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._watchers.add(task)
        task.add_done_callback(self._watched)

    def _watched(self, task: asyncio.Task[None]) -> None:
        self._watchers.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a launcher is not watched any more (%r): interrupt and run the same command again", error)

    def _start_waiting(self) -> None:
        """Start Jobs that wait, oldest first, as far as there are cores; one always runs, however many it wants."""
        if self._interrupted:
            return
        for job in list(self._jobs.values()):
            if job.process is not None or job.ended or job.deleting or job.name in self._left:
                continue
            used = sum(each.cpus for each in self._jobs.values() if each.lives)
            if used and used + job.cpus > self._settings.cpus:
                continue
            try:
                self._start(job)
            except (StateDirError, OSError) as error:
                if isinstance(error, OSError) and error.errno in NEVER_STARTS:
                    logger.error("launch %s can never start: %s", job.name, error)  # noqa: TRY400 - a stack helps nobody
                    self._spawn(self._ended(job.name, exit_code=EXIT_CONFIGURATION))
                    continue
                logger.warning("launch %s cannot start: %s; trying again in %d s", job.name, error, START_RETRY_SECONDS)
                self._start_waiting_later()

    def _start_waiting_later(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        self._retry = asyncio.get_running_loop().call_later(START_RETRY_SECONDS, self._start_waiting)

    def _start(self, job: LocalJob) -> None:
        token = secrets.token_urlsafe(32)
        write_atomic(job.token_file, token, mode=0o600)
        popen = start_launcher(env=self._environment(job), log=job.log, cwd=self._settings.cwd)
        self._tokens[token] = LaunchIdentity(run_uid=job.run_uid, launch=job.launch)
        self._note(replace(job, process=identify(popen.pid), running_since=self._clock.now().isoformat()))
        self._spawn(self._watch(job.name, popen))
        self._on_change(self._runs[job.run_uid].metadata.key)

    def _environment(self, job: LocalJob) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": str(job.cpus),
            ENV_RUN_UID: job.run_uid,
            ENV_LAUNCH: str(job.launch),
            "TRAINMASTER_PLAN": (job.path / "plan.json").read_text(encoding="utf-8"),
            "TRAINMASTER_REPORT_URL": self._settings.report_url,
            "TRAINMASTER_TOKEN_FILE": str(job.token_file),
            "TRAINMASTER_TERMINATION_LOG": str(job.termination_log),
            "TRAINMASTER_LOCK_FILE": str(self._state.trainer_lock(job.run_uid)),
        }

    async def _watch(self, name: str, popen: Popen[bytes]) -> None:
        process = self._jobs[name].process
        if process is not None:
            await process.gone()
        code = popen.wait()
        await self._ended(name, exit_code=code if code >= 0 else 128 - code)

    async def _outlive(self, job: LocalJob, *, grace: float) -> None:
        """See a Job of an earlier session out: its launcher was told to end when that one died, or never started."""
        await self._end(job.name, grace=grace)
        if job.process is not None:
            await job.process.gone()
        await self._ended(job.name, exit_code=None)

    async def _end(self, name: str, *, grace: float) -> None:
        process = self._jobs[name].process
        if process is None or not process.send(signal.SIGTERM):
            return
        try:
            async with asyncio.timeout(grace + KILL_MARGIN_SECONDS):
                await process.gone()
        except TimeoutError:
            logger.warning("launch %s did not end within %g s; killing it", name, grace + KILL_MARGIN_SECONDS)
            process.send(signal.SIGKILL)

    async def _ended(self, name: str, *, exit_code: int | None) -> None:
        """Take note of a launcher's end, once nothing of its launch runs any more."""
        job = self._jobs[name]
        while left := list(strays(run_uid=job.run_uid, launch=job.launch)):
            for process in left:
                logger.warning("launch %s left process %d behind; ending it", name, process.pid)
                process.send(signal.SIGKILL)
            await asyncio.sleep(STRAY_SECONDS)
        job = self._jobs[name]
        seen = self._clock.now().isoformat() if exit_code is not None else None
        self._note(replace(job, ended=True, ended_at=seen, exit_code=exit_code, deleted=job.deleting))
        run = self._runs.get(job.run_uid)
        if run is not None:
            self._on_change(run.metadata.key)
        self._start_waiting()


def _claim(uri: str) -> tuple[str, str]:
    """Claim and path of a `pvc://` address; two empty strings for any other."""
    if not uri.startswith(CLAIM_SCHEME):
        return "", ""
    claim, _, path = uri.removeprefix(CLAIM_SCHEME).partition("/")
    return claim, path
