"""The admin file on disk, read again when it changes: the kubelet replaces a mounted ConfigMap while we run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from trainmaster.adapters.reloading import keep_reloading
from trainmaster.api.admin import AdminFileError, AdminSettings, parse_admin

LOOK_SECONDS: Final = 10
"""How often the file is looked at; the kubelet itself takes up to a minute to bring a new one."""


class AdminFile:
    """The administrator's settings as they are now."""

    def __init__(self, path: Path | None) -> None:
        """Reads the file; without one nothing is allowed. Raises AdminFileError when it cannot be used."""
        self._path = path
        self._seen = b""
        self.current = AdminSettings()
        self.reload()

    def reload(self) -> bool:
        """Read the file if its content has changed; whether it had.

        Raises:
            AdminFileError: It cannot be used; what it said before stays in force.
        """
        if self._path is None:
            return False
        try:
            content = self._path.read_bytes()
        except OSError as error:
            message = f"the admin file {self._path} cannot be read: {error.strerror or error}"
            raise AdminFileError(message) from error
        if content == self._seen:
            return False
        try:
            self.current = parse_admin(yaml.safe_load(content))
        except (AdminFileError, yaml.YAMLError, UnicodeDecodeError) as error:
            message = f"the admin file {self._path} cannot be used: {error}"
            raise AdminFileError(message) from error
        self._seen = content
        return True

    async def watch(self) -> None:
        """Reload whenever the file changes, until cancelled; one that cannot be used is logged, the old one kept."""
        await keep_reloading(
            self.reload,
            seconds=LOOK_SECONDS,
            changed=f"admin file {self._path} is in force",
            kept="what the admin file said before stays in force",
        )
