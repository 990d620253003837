"""The admin file while the operator runs: read again when it changes, kept when it cannot be used."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from trainmaster.adapters import admin_file
from trainmaster.adapters.admin_file import AdminFile
from trainmaster.api.admin import AdminFileError, AdminSettings


def test_without_a_file_nothing_is_allowed() -> None:
    assert AdminFile(None).current == AdminSettings()
    assert not AdminFile(None).reload()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"profiles: {}", "profiles: is designed but has no code in this version"),
        (b"a: [", "cannot be used"),
        (b"\xff\xfe\xff", "cannot be used"),
    ],
)
def test_an_operator_does_not_start_with_a_file_that_cannot_be_used(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "admin.yaml"
    path.write_bytes(content)
    with pytest.raises(AdminFileError, match=f"the admin file {path} .*{told}"):
        AdminFile(path)


def test_nor_without_one_that_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(AdminFileError, match=r"admin\.yaml cannot be read: No such file"):
        AdminFile(tmp_path / "admin.yaml")


def test_a_change_is_in_force_and_one_that_cannot_be_used_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin_file, "LOOK_SECONDS", 0)
    caplog.set_level("INFO")
    path = tmp_path / "admin.yaml"
    path.write_text("allowedPriorityClasses: [low]")
    file = AdminFile(path)

    async def until(words: str) -> None:
        async with asyncio.timeout(30):
            while words not in caplog.text:  # noqa: ASYNC110 - a log line has no event
                await asyncio.sleep(0)

    async def tell() -> None:
        watching = asyncio.create_task(file.watch())
        path.write_text("allowedPriorityClasses: low")
        await until("stays in force")
        for _ in range(20):
            await asyncio.sleep(0)
        assert file.current.allowed_priority_classes == ("low",)
        path.write_text("allowedPriorityClasses: [low, high]")
        await until("is in force\n")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    asyncio.run(tell())
    assert file.current.allowed_priority_classes == ("low", "high")
    assert caplog.text.count("stays in force") == 1
