"""Folders and object stores behave alike; an object store that is away is never taken for an empty one.

The object store is a real S3-compatible server; without one (`python -m tests.support.object_store` builds it) its
tests are skipped, and an object store in memory stands for the part of the code that all object stores share.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]  # it has no types
import pytest

from tests.support.checkpoints import captured_state
from tests.support.object_store import HOW_TO_BUILD, PROGRAM, ObjectStore, object_store
from trainmaster_trainer.checkpoint import CheckpointError, CheckpointStore
from trainmaster_trainer.errors import ConfigurationError, StorageError
from trainmaster_trainer.saver import AsyncSaver
from trainmaster_trainer.storage import FolderStorage, ObjectStorage, Storage, UnavailableError, open_storage

REPOSITORY = Path(__file__).parents[3]
KILLS = 2
"""Kills of a saving process per storage: each lands somewhere else in a save."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    if not PROGRAM.exists():
        pytest.skip(HOW_TO_BUILD)
    with object_store(tmp_path_factory.mktemp("object-store")) as running:
        yield running


@pytest.fixture
def s3(server: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An address that this test alone uses; credentials and endpoint are in the environment."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return f"s3://{server.bucket}/{tmp_path.name}/0"


def _in_memory(prefix: str) -> ObjectStorage:
    client = fsspec.filesystem("memory", skip_instance_cache=True)
    client.mkdirs("/bucket", exist_ok=True)
    return ObjectStorage(client, bucket="bucket", prefix=prefix, scheme="memory")


@pytest.fixture(params=["folder", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(f"file://{tmp_path}/with%20blank")
    if request.param == "memory":
        return _in_memory(tmp_path.name)
    return open_storage(request.getfixturevalue("s3"))


def _store(storage: Storage, *, launch: int = 1, keep_last: int = 100) -> CheckpointStore:
    return CheckpointStore(storage, launch=launch, keep_last=keep_last, keep_best=0)


def _newest_step(storage: Storage) -> int | None:
    found = _store(storage, launch=9).newest()
    return None if found is None else found[0].step


def test_what_was_written_is_read_listed_replaced_and_deleted(storage: Storage) -> None:
    assert storage.list() == storage.list("1") == []

    storage.write("1/a.pt", memoryview(b"first"))
    storage.write("1/b.json", b"{}")
    storage.write("2/c.pt", b"")
    storage.write("1/a.pt", b"second")

    assert storage.read("1/a.pt") == b"second"
    assert storage.read("2/c.pt") == b""
    assert sorted(storage.list()) == ["1", "2"]
    assert sorted(storage.list("1")) == ["a.pt", "b.json"]
    storage.delete("1/a.pt")
    storage.delete("1/a.pt")
    assert storage.list("1") == ["b.json"]
    with pytest.raises(FileNotFoundError):
        storage.read("1/a.pt")


def test_a_prefix_of_another_name_is_another_place(storage: Storage) -> None:
    storage.write("1/a.pt", b"")
    storage.write("10/b.pt", b"")

    assert storage.list("1") == ["a.pt"]


def test_checkpoints_are_kept_found_and_forgotten_alike(storage: Storage) -> None:
    store = _store(storage, keep_last=2)
    for step in (1, 2, 3):
        store.save(captured_state(step))

    assert sorted(name.split("-")[1] for name in storage.list("1")) == ["000000002"] * 2 + ["000000003"] * 2
    found = _store(storage, launch=2).newest()
    assert found is not None
    assert found[0].step == 3
    assert found[1]["step"] == 3


def test_the_manifest_is_the_commit_record(storage: Storage) -> None:
    for step in (1, 2):
        _store(storage).save(captured_state(step))

    storage.delete("1/step-000000002-epoch-0000.json")

    assert _newest_step(storage) == 1


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-1], lambda content: content[:-1] + b"\x00", lambda _: b""]
)
def test_a_damaged_checkpoint_is_passed_over(
    storage: Storage, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    for step in (1, 2):
        _store(storage).save(captured_state(step))
    name = "1/step-000000002-epoch-0000.json"

    storage.write(name, damage(storage.read(name)))

    assert _newest_step(storage) == 1
    assert f"{storage.address}/{name} is passed over" in caplog.text


def test_a_bit_that_flips_in_the_store_itself_is_seen(
    s3: str, server: ObjectStore, caplog: pytest.LogCaptureFixture
) -> None:
    storage = open_storage(s3)
    for step in (1, 2):
        _store(storage).save(captured_state(step))
    file = server.files / s3.removeprefix(f"s3://{server.bucket}/") / "1" / "step-000000002-epoch-0000.pt"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    assert _newest_step(storage) == 1
    assert "its hash is" in caplog.text


def test_a_store_that_is_away_fails_a_save_and_is_never_taken_for_an_empty_one(
    s3: str, server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client tries five times by itself
    storage = open_storage(s3)
    _store(storage).save(captured_state(1))

    server.kill()
    try:
        with pytest.raises(CheckpointError, match=r"1/step-000000002.*not written: EndpointConnectionError"):
            _store(storage).save(captured_state(2))
        with pytest.raises(StorageError, match=r"cannot be listed: EndpointConnectionError"):
            _store(storage).newest()
    finally:
        server.revive()

    assert _newest_step(storage) == 1
    _store(storage).save(captured_state(2))
    assert _newest_step(storage) == 2


class AwayForFiles(FolderStorage):
    """An object store that answers to a listing, and then no more."""

    def read(self, name: str) -> bytes:
        if name.endswith(".pt"):
            message = "TimeoutError: no answer"
            raise UnavailableError(message)
        return super().read(name)


def test_a_checkpoint_that_cannot_be_fetched_now_is_not_passed_over_as_damaged(tmp_path: Path) -> None:
    for step in (1, 2):
        _store(FolderStorage(tmp_path)).save(captured_state(step))

    with pytest.raises(StorageError, match=r"step-000000002.*cannot be read now.*no answer"):
        _store(AwayForFiles(tmp_path)).newest()


def test_credentials_that_the_store_refuses_are_said(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-one")
    storage = open_storage(s3)

    with pytest.raises(StorageError, match=r"cannot be listed: PermissionError: .*signature"):
        _store(storage).newest()
    with pytest.raises(CheckpointError, match="PermissionError"):
        _store(storage).save(captured_state(1))


def test_a_bucket_that_is_not_there_is_no_empty_store(s3: str) -> None:
    storage = open_storage("s3://nowhere/uid/0")

    with pytest.raises(StorageError, match="there is no bucket nowhere, or this account may not see it"):
        _store(storage).newest()
    with pytest.raises(CheckpointError, match="bucket does not exist"):
        _store(storage).save(captured_state(1))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://host/path", "to a folder, to s3:// or to gs://, not to ftp://"),
        ("pvc://claim/path", "the plan must name the folder it is mounted in"),
        ("s3://", "must look like s3://BUCKET/PREFIX"),
        ("s3:///prefix", "must look like s3://BUCKET/PREFIX"),
        ("gs://bucket/a/../b", "without '..' in it"),
    ],
)
def test_an_address_that_is_none_is_refused_in_words(address: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        open_storage(address)


def test_a_store_whose_client_is_not_installed_is_refused_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **_options: object) -> None:
        message = f"Please install {scheme}fs"
        raise ImportError(message)

    monkeypatch.setattr(fsspec, "filesystem", missing)

    with pytest.raises(ConfigurationError, match=r"gs://bucket/x: the client of gs:// is not .*trainmaster\[gcs\]"):
        open_storage("gs://bucket/x")


def test_a_client_that_does_not_start_is_no_stack_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(scheme: str, **_options: object) -> None:
        message = f"credentials of {scheme} are no JSON"
        raise ValueError(message)

    monkeypatch.setattr(fsspec, "filesystem", broken)

    with pytest.raises(ConfigurationError, match=r"gs://bucket/x: .* does not start \(ValueError: credentials of gs"):
        open_storage("gs://bucket/x")


SAVING = """
import sys
import torch
from tests.support.checkpoints import captured_state
from trainmaster_trainer.checkpoint import CheckpointStore
from trainmaster_trainer.saver import AsyncSaver
from trainmaster_trainer.storage import open_storage

saver = AsyncSaver(CheckpointStore(open_storage(sys.argv[1]), launch=1, keep_last=2, keep_best=0))
for step in range(1, 10_000):
    saver.submit({**captured_state(step), "bulk": torch.zeros(250_000)})
    for manifest in saver.poll():
        print(manifest.step, flush=True)
"""
"""Saves without a pause, and announces what `poll` gives."""


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_killed_while_it_saves_a_process_has_announced_nothing_that_is_not_there(
    place: str, tmp_path: Path, request: pytest.FixtureRequest, seed: int
) -> None:
    address = str(tmp_path / "checkpoints") if place == "folder" else request.getfixturevalue("s3")
    chance = random.Random(seed)

    for kill in range(KILLS):
        root = f"{address}/{kill}"
        announced = _announced_until_killed(root, after=chance.randint(1, 12))

        newest = _newest_step(open_storage(root))
        assert newest is not None, f"nothing is there, {announced} was announced"
        assert newest >= announced


def _announced_until_killed(root: str, *, after: int) -> int:
    """The last step that a saving process announced before it was killed, soon after its n-th announcement."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, root], stdout=subprocess.PIPE, env=environment, cwd=REPOSITORY, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(after)]
    process.send_signal(signal.SIGKILL)
    lines += process.stdout.readlines()
    process.wait()
    return int(next(line for line in reversed(lines) if line.endswith("\n")))


def test_saving_beside_training_works_on_an_object_store(s3: str) -> None:
    saver = AsyncSaver(_store(open_storage(s3)))

    for step in (1, 2, 3):
        saver.submit(captured_state(step))
    saver.close()

    assert [manifest.step for manifest in saver.poll()] == [1, 2, 3]
    assert _newest_step(open_storage(s3)) == 3
