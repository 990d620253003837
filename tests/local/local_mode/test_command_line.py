"""What is said to a newcomer whose words cannot be used, and to one who only looks around. Nothing is spent."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.runs import T0, run_of
from tests.support.shell import Shell
from trainmaster.adapters.local.objects import ObjectStore
from trainmaster.adapters.local.state_dir import StateDir
from trainmaster.cli import main as program


class Typed:
    """A command in this process: those that only look or refuse are quick enough for that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.chdir(folder)
        monkeypatch.delenv("TRAINMASTER_STATE_DIR", raising=False)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error."""
        self._monkeypatch.setattr(sys, "argv", ["trainmaster", *words])
        try:
            program.main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        printed = self._capsys.readouterr()
        assert isinstance(code, int)
        return code, printed.out, printed.err


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    return Typed(monkeypatch, capsys, tmp_path)


GOOD = """
apiVersion: trainmaster.io/v1alpha1
kind: TrainingRun
metadata: {name: good}
spec: {workload: custom, command: [python, -c, pass]}
"""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["missing.yaml"], "missing.yaml: cannot be read: no such file", id="missing"),
        pytest.param(["."], ".: is a directory; name its files", id="directory"),
        pytest.param(["empty.yaml"], "empty.yaml: holds no object", id="empty"),
        pytest.param(["bad.yaml"], "spec.epochs", id="unknown field"),
        pytest.param(["good.yaml", "--volume", "x"], "--volume 'x': write CLAIM=FOLDER", id="volume without folder"),
        pytest.param(["good.yaml", "--volume", "=/tmp"], "write CLAIM=FOLDER", id="volume without claim"),
        pytest.param(["good.yaml", "--volume", "x=/no"], "/no is no folder; make it", id="volume that is not there"),
        pytest.param(["good.yaml", "--volume", "x=bad.yaml"], "bad.yaml is no folder", id="volume that is a file"),
        pytest.param(["good.yaml", "--cpus", "0"], "--cpus", id="no cores"),
        pytest.param(["good.yaml", "-o", "xml"], "xml", id="format"),
        pytest.param([], "FILE", id="nothing"),
    ],
)
def test_what_cannot_be_run_is_refused_and_leaves_nothing(
    typed: Typed, tmp_path: Path, words: list[str], said: str
) -> None:
    (tmp_path / "empty.yaml").write_text("")
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("workload:", "epochs: 3, workload:"))
    code, out, err = typed("local", "run", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert not (tmp_path / ".trainmaster").exists()


def test_a_state_directory_that_cannot_be_written_is_refused(typed: Typed, tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    code, out, err = typed("local", "run", "good.yaml", "--state-dir", "good.yaml/state")
    assert (code, out) == (2, "")
    assert f"state directory {tmp_path}/good.yaml/state: Not a directory; name another with --state-dir" in err


class TestAnEmptyStateDirectory:
    def test_get(self, typed: Typed, tmp_path: Path) -> None:
        assert typed("local", "get") == (0, "", f"No runs in {tmp_path}/.trainmaster.\n")
        code, out, _ = typed("local", "get", "-o", "yaml")
        assert (code, out) == (0, "apiVersion: v1\nkind: List\nitems: []\n")

    @pytest.mark.parametrize("command", ["get", "describe", "logs"])
    def test_a_name(self, typed: Typed, command: str) -> None:
        code, out, err = typed("local", command, "market")
        assert (code, out) == (2, "")
        assert "no run default/market" in err
        assert "there are no runs" in err

    def test_status(self, typed: Typed) -> None:
        code, out, _ = typed("status")
        assert code == 0
        assert ".trainmaster (not made yet)" in out
        assert "No runs yet. Try: trainmaster demo" in out

    def test_looking_makes_none(self, typed: Typed, tmp_path: Path) -> None:
        for words in (["local", "get"], ["status"], ["local", "describe", "x"]):
            typed(*words)
        assert list(tmp_path.iterdir()) == []


class TestAStoredRun:
    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        ObjectStore(StateDir(tmp_path / ".trainmaster")).apply(run_of(), now=T0)
        return tmp_path / ".trainmaster"

    @pytest.mark.usefixtures("state")
    @pytest.mark.parametrize("command", ["get", "describe", "logs"])
    def test_a_misspelt_name_is_answered_with_the_nearest(self, typed: Typed, command: str) -> None:
        code, _, err = typed("local", command, "makret")
        assert code == 2
        assert "did you mean default/market?" in err

    @pytest.mark.usefixtures("state")
    def test_another_namespace_is_another_run(self, typed: Typed) -> None:
        code, _, err = typed("local", "get", "market", "-n", "other")
        assert code == 2
        assert "no run other/market" in err

    @pytest.mark.usefixtures("state")
    def test_is_pending_before_it_is_driven(self, typed: Typed) -> None:
        code, out, _ = typed("local", "get")
        assert code == 0
        assert out.split()[8:10] == ["market", "Pending"]

    @pytest.mark.usefixtures("state")
    def test_has_no_log_before_its_first_launch(self, typed: Typed) -> None:
        code, _, err = typed("local", "logs", "market")
        assert code == 2
        assert "default/market: no log of a launch; launches: none" in err

    def test_a_damaged_file_is_named(self, typed: Typed, state: Path) -> None:
        path = state / "objects" / "default" / "market.json"
        path.write_text("{")
        code, _, err = typed("local", "get")
        assert code == 2
        assert f"{path} is no readable TrainingRun" in err


def test_help_imports_nothing_that_is_slow(shell: Shell) -> None:
    script = (
        "import sys\n"
        "from trainmaster.cli.main import app\n"
        "for words in (['--help'], ['local', '--help'], ['local', 'run', '--help'], ['status']):\n"
        "    try: app(words)\n"
        "    except SystemExit as end: assert not end.code, end.code\n"
        "slow = {'torch', 'mlflow', 'kopf', 'aiohttp', 'numpy', 'pandas', 'sqlalchemy'} & set(sys.modules)\n"
        "print('slow:', sorted(slow))\n"
    )
    done = shell.python(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "slow: []"
