"""Every Cluster: writes are fenced, creating is idempotent, and a Job is seen as it is until the last of it is gone.

`ClusterContract` is the suite. An adapter passes it by a subclass that says how its cluster is made; `Bench` is all
that the suite asks of one. Times are the machine's: the suite waits for what it expects, and never for less.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_stage import DONE, SLEEP, Bench, Stage, ends, python
from tests.support.runs import at
from trainmaster.api.conditions import Outcome, Phase
from trainmaster.api.objects import Key
from trainmaster.api.trainingrun import PlanStatus, TrainingRun
from trainmaster.core.plan import build_plan
from trainmaster.core.snapshot import DeleteJob, Event
from trainmaster.ports.cluster import ConflictError


class ClusterContract(ABC):
    """The suite. Tests are coroutines' bodies, run by `play`."""

    @abstractmethod
    def opener(self, folder: Path) -> AbstractAsyncContextManager[Bench]:
        """The cluster, for the length of a test; it holds two cores."""

    def play(self, folder: Path, run: TrainingRun, story: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with self.opener(folder) as bench:
                await story(Stage(bench=bench, run=await bench.store(run)))

        asyncio.run(main())

    # -- status -------------------------------------------------------------------------------------------------------

    def test_a_status_is_written_whole_and_read_back(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            status = stage.run.status.model_copy(update={"phase": "Pending", "crashes": 3})
            written = await stage.cluster.write_status(stage.run, status)
            assert written.status == status
            assert written.metadata.resource_version != stage.run.metadata.resource_version
            assert (await stage.look()).run == written

        self.play(tmp_path, python(SLEEP), story)

    def test_a_status_over_a_stale_version_is_a_conflict_and_changes_nothing(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            first = stage.run.status.model_copy(update={"crashes": 1})
            written = await stage.cluster.write_status(stage.run, first)
            with pytest.raises(ConflictError):
                await stage.cluster.write_status(stage.run, first.model_copy(update={"crashes": 2}))
            assert (await stage.look()).run == written

        self.play(tmp_path, python(SLEEP), story)

    def test_a_status_of_a_run_that_is_gone_or_another_is_a_conflict(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.remove()
            assert await stage.cluster.observe(stage.run.metadata.key, live=True) is None
            with pytest.raises(ConflictError):
                await stage.cluster.write_status(stage.run, stage.run.status)
            await stage.bench.store(python(SLEEP))
            with pytest.raises(ConflictError):
                await stage.cluster.write_status(stage.run, stage.run.status)

        self.play(tmp_path, python(SLEEP), story)

    def test_a_run_that_never_was_is_none(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            assert await stage.cluster.observe(Key("default", "nobody"), live=True) is None
            assert await stage.cluster.observe(Key("nowhere", stage.run.metadata.name), live=False) is None

        self.play(tmp_path, python(SLEEP), story)

    def test_events_are_told(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.cluster.emit(stage.run, [Event(type="Warning", reason="Crashed", message="once")])
            await stage.cluster.emit(stage.run, [])
            assert await stage.bench.events() == ["Crashed: once"]

        self.play(tmp_path, python(SLEEP), story)

    # -- records ------------------------------------------------------------------------------------------------------

    def test_a_record_is_seen_once_it_is_written(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            first, second = stage.record(), stage.record(reruns=1, outcome=Phase.FAILED)
            await stage.decide_record(first)
            await stage.decide_record(second)
            assert (await stage.look()).recorded == frozenset()
            await stage.write_record(first)
            assert (await stage.look()).recorded == {first.name}
            await stage.write_record(second)
            assert (await stage.look()).recorded == {first.name, second.name}

        self.play(tmp_path, python(SLEEP), story)

    def test_a_record_that_exists_is_left_as_it_is(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            first = stage.record()
            await stage.write_record(first)
            await stage.write_record(stage.record(metrics={"val_loss": "9"}))
            assert await stage.recreate(python(SLEEP)) == first

        self.play(tmp_path, python(SLEEP), story)

    def test_a_record_outlives_its_run_and_is_found_by_one_created_again(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            full = stage.record(
                reruns=12,
                launches=31,
                crashes=3,
                start_time=at(-60),
                checkpoint={"path": "31/step-5.pt", "step": 5, "sha256": "ab" * 32},
                mlflow_run_id="c0ffee",
            )
            await stage.write_record(full)
            assert (await stage.look()).earlier is None, "a run is no earlier one of itself"
            assert await stage.recreate(python(SLEEP)) == full
            assert await stage.recreate(python(SLEEP, suspend=True)) == full, "what is not training makes no difference"

        self.play(tmp_path, python(SLEEP), story)

    def test_the_newest_of_several_successes_counts(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            newest = stage.record(reruns=1, completion_time=at(60))
            for record in (stage.record(), newest, stage.record(reruns=2, completion_time=at(30))):
                await stage.write_record(record)
            await stage.write_record(stage.record(reruns=3, completion_time=at(90), outcome=Phase.FAILED))
            assert await stage.recreate(python(SLEEP)) == newest

        self.play(tmp_path, python(SLEEP), story)

    def test_nothing_is_taken_over_from_what_failed_or_was_another_training(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.write_record(stage.record(outcome=Phase.FAILED))
            assert await stage.recreate(python(SLEEP)) is None
            await stage.write_record(stage.record(rerun="one"))
            assert await stage.recreate(python(SLEEP)) is None
            await stage.write_record(stage.record())
            assert await stage.recreate(python(DONE)) is None
            assert await stage.recreate(python(SLEEP, rerunPolicy="Always")) is None
            other = await stage.bench.store(python(SLEEP, name="other"))
            seen = await stage.cluster.observe(other.metadata.key, live=True)
            assert seen is not None
            assert seen.earlier is None

        self.play(tmp_path, python(SLEEP), story)

    # -- Jobs: how they end -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("program", "state", "exit_code", "outcome", "reason"),
        [
            pytest.param(DONE, "Complete", 0, Outcome.COMPLETED, "Completed", id="0"),
            pytest.param(ends(75), "Failed", 75, Outcome.RETRY, "Disrupted", id="75"),
            pytest.param(ends(78), "Failed", 78, Outcome.FAILED, "InvalidConfiguration", id="78"),
            pytest.param(ends(1), "Failed", 78, Outcome.FAILED, "RepeatedCrash", id="1, twice before the first step"),
        ],
    )
    def test_a_job_ends_with_exit_code_and_last_word(
        self, tmp_path: Path, program: str, state: str, exit_code: int, outcome: str, reason: str
    ) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.finished)
            assert (job.name, job.run_uid, job.launch) == (name, stage.run.metadata.uid, 1)
            assert (job.state, job.exit_code, job.live_pods) == (state, exit_code, 0)
            assert job.running_since is not None
            assert not job.disrupted
            assert job.message is not None
            assert (job.message.launch, job.message.run_uid) == (1, stage.run.metadata.uid)
            assert (job.message.verdict.outcome, job.message.verdict.reason) == (outcome, reason)
            if outcome == Outcome.COMPLETED:
                assert (job.message.verdict.message, job.message.verdict.metrics) == ("well", {"loss": 0.5})

        self.play(tmp_path, python(program), story)

    def test_a_job_that_runs_is_seen_running_and_without_an_end(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.create()
            job = await stage.seen(lambda job: job.state == "Running")
            assert job.live_pods == 1
            assert (job.exit_code, job.message, job.deleting, job.finished) == (None, None, False, False)

        self.play(tmp_path, python(SLEEP), story)

    def test_the_cache_comes_to_show_what_a_live_look_shows(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.decide_record(stage.record())
            await stage.write_record(stage.record())
            await stage.create()
            await stage.seen(lambda job: job.finished)
            shown = await stage.look()
            assert await stage.cached(shown) == shown
            await stage.remove()

        self.play(tmp_path, python(DONE), story)

    # -- Jobs: creating and deleting ----------------------------------------------------------------------------------

    def test_creating_twice_is_creating_once(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.create()
            first = await stage.seen(lambda job: job.state == "Running")
            await stage.create()
            seen = await stage.look()
            assert [job.uid for job in seen.jobs] == [first.uid]

        self.play(tmp_path, python(SLEEP), story)

    def test_a_delete_under_another_uid_touches_nothing(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.state == "Running")
            await stage.cluster.delete_job(stage.run, DeleteJob(name=name, uid="another"))
            await stage.cluster.delete_job(stage.run, DeleteJob(name="nobody-1", uid=job.uid))
            assert await stage.job() == job

        self.play(tmp_path, python(SLEEP), story)

    def test_a_deleted_job_is_seen_ending_and_then_not_at_all(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.state == "Running")
            effect = DeleteJob(name=name, uid=job.uid)
            await stage.cluster.delete_job(stage.run, effect)
            ending = await stage.job()
            assert ending is None or (ending.deleting and not ending.finished)
            await stage.cluster.delete_job(stage.run, effect)
            await stage.gone()
            await stage.cluster.delete_job(stage.run, effect)

        self.play(tmp_path, python(SLEEP), story)

    def test_the_name_of_a_deleted_job_is_free_and_its_last_word_forgotten(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.finished)
            await stage.cluster.delete_job(stage.run, DeleteJob(name=name, uid=job.uid))
            await stage.gone()
            await stage.create()
            again = await stage.seen(lambda job: job.finished)
            assert again.uid != job.uid
            assert again.message is not None

        self.play(tmp_path, python(DONE), story)

    def test_a_finished_job_stays_until_it_is_deleted(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            job = await stage.seen(lambda job: job.finished)
            assert await stage.job() == job
            await stage.cluster.delete_job(stage.run, DeleteJob(name=name, uid=job.uid))
            await stage.gone()

        self.play(tmp_path, python(DONE), story)

    # -- queue --------------------------------------------------------------------------------------------------------

    def test_a_job_that_finds_no_room_is_held_in_a_queue_and_runs_when_there_is(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            name = await stage.create()
            first = await stage.seen(lambda job: job.state == "Running")
            other = Stage(bench=stage.bench, run=await stage.bench.store(python(DONE, name="other")))
            held = other.name()
            await stage.bench.queue(held)
            await other.create()
            await other.seen(lambda job: job.state == "Suspended" and not job.live_pods)
            queued = await other.seen(lambda job: job.running_since is None)
            assert (queued.state, queued.live_pods, queued.exit_code, queued.finished) == ("Suspended", 0, None, False)
            await stage.cluster.delete_job(stage.run, DeleteJob(name=name, uid=first.uid))
            await stage.bench.admit(held)
            assert (await other.seen(lambda job: job.finished)).state == "Complete"

        self.play(tmp_path, python(SLEEP, resources={"cpu": 2}), story)

    def test_a_queued_job_that_is_deleted_never_runs(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            await stage.create()
            await stage.seen(lambda job: job.state == "Running")
            other = Stage(bench=stage.bench, run=await stage.bench.store(python(DONE, name="other")))
            name = other.name()
            await stage.bench.queue(name)
            await other.create()
            queued = await other.seen(lambda job: job.state == "Suspended")
            await other.cluster.delete_job(other.run, DeleteJob(name=name, uid=queued.uid))
            await other.gone()

        self.play(tmp_path, python(SLEEP, resources={"cpu": 2}), story)

    def test_the_pods_plan_has_folders_for_claims(self, tmp_path: Path) -> None:
        async def story(stage: Stage) -> None:
            plan = PlanStatus(generation=1, base_generation=1, hyperparameters={})
            status = stage.run.status.model_copy(update={"launch": 1, "plan": plan})
            local = stage.cluster.localise(build_plan(stage.run, status))
            assert Path(local.volumes["data"]).is_absolute()
            assert Path(local.storage.root).is_absolute()
            assert local.storage.root.endswith(f"/{stage.run.metadata.uid}/0")
            assert stage.cluster.localise(local).storage.every_steps is None

        self.play(tmp_path, python(SLEEP, data={"source": "pvc://data/bars.csv"}), story)
