"""Two operators at once: only the holder of the Lease writes, and a run does not notice who that is.

Case 43 of the fault catalogue; leaders that die, sleep or share no Lease are in tests/cluster/test_bad_days.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.control_plane import ControlPlane
from tests.support.fault_proxy.proxy import FaultProxy, fault_proxy
from tests.support.invariants import assert_invariants
from tests.support.operator_process import Operator, running_operator
from tests.support.scene import Scene, scene


@contextmanager
def second_operator(stage: Scene, folder: Path) -> Iterator[tuple[FaultProxy, Operator]]:
    """Another replica, behind a proxy of its own."""
    flags = ("--namespace", stage.namespace, "--lease-namespace", stage.namespace)
    with (
        fault_proxy(stage.plane) as proxy,
        running_operator(proxy.kubeconfig, *flags, folder=folder, name="second") as operator,
    ):
        yield proxy, operator


def test_43_a_rolling_update_hands_the_runs_over(plane: ControlPlane, tmp_path: Path) -> None:
    with scene(plane, folder=tmp_path, elect=True) as stage, second_operator(stage, tmp_path) as (proxy, second):
        run = stage.create("handed-over")
        run.wait_running(launch=1)
        stage.proxy.wait_for(lambda: second.get("/readyz")[0] == 200, what="a second replica that is ready")
        assert stage.operator.metric("leader_election_master_status") == 1
        assert not proxy.writes, "the second one waits"
        before = stage.exchanges

        assert stage.operator.stop() == 0
        run.finish(launch=1, exit_code=1)
        second.wait_until_leading()
        run.wait_running(launch=2)
        run.finish(launch=2)
        run.wait_ended("Succeeded", launches=2)

        assert run.status["crashes"] == 1
        assert len(run.jobs_ever()) == 2
        assert_invariants([*before], stage.history.states)
        assert_invariants(proxy.exchanges, stage.history.states)
        assert not [e for e in stage.exchanges[len(before) :] if e.write], "who has handed over writes no more"
