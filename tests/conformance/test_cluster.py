"""Local mode's cluster passes the suite of every Cluster."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.support.cluster_contract import ClusterContract
from tests.support.cluster_stage import Bench, Stage, python
from tests.support.local_bench import local_bench

STRAY = (
    "import subprocess, sys, pathlib\n"
    "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
)


def is_alive(pid: int) -> bool:
    try:
        state = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


class TestLocalCluster(ClusterContract):
    """Local mode's processes and files."""

    def opener(self, folder: Path) -> AbstractAsyncContextManager[Bench]:
        return local_bench(folder)

    def test_a_job_lives_until_the_last_process_of_it_is_gone(self, tmp_path: Path) -> None:
        mark = tmp_path / "stray"

        async def story(stage: Stage) -> None:
            await stage.create()
            await stage.seen(lambda job: job.finished)
            assert not is_alive(int(mark.read_text()))

        self.play(tmp_path, python(STRAY, str(mark)), story)
