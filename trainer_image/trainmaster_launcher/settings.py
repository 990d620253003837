"""The launcher's settings: environment variables that the creator of the Job sets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from trainmaster_launcher.errors import ConfigurationError
from trainmaster_launcher.plan import Plan, parse_plan
from trainmaster_launcher.trust import is_bundle

OWN_VARIABLES: Final = (
    "TRAINMASTER_REPORT_URL",
    "TRAINMASTER_TOKEN_FILE",
    "TRAINMASTER_TERMINATION_LOG",
    "TRAINMASTER_LOCK_FILE",
    "TRAINMASTER_CA",
    "TRAINMASTER_CA_PEM",
)
"""Variables that the training process has no use for and does not get."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What the environment says."""

    plan: Plan
    report_url: str
    token_file: Path | None
    termination_log: Path
    lock_file: Path | None
    ca_file: Path | None
    ca_pem: str = ""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from environment variables. Raises ConfigurationError with the variable's name."""
    raw = environment.get("TRAINMASTER_PLAN")
    if not raw:
        raise ConfigurationError("TRAINMASTER_PLAN is not set: the creator of the Job sets it to the plan, as JSON")
    try:
        wire = json.loads(raw)
    except ValueError as error:
        message = f"TRAINMASTER_PLAN is no JSON: {error}"
        raise ConfigurationError(message) from error
    url = environment.get("TRAINMASTER_REPORT_URL", "")
    if urlsplit(url).scheme not in {"http", "https"}:
        message = f"TRAINMASTER_REPORT_URL is {url!r}, expected an http or https URL"
        raise ConfigurationError(message)
    return Settings(
        plan=parse_plan(wire),
        report_url=url,
        token_file=_path(environment, "TRAINMASTER_TOKEN_FILE"),
        termination_log=_path(environment, "TRAINMASTER_TERMINATION_LOG") or Path("/dev/termination-log"),
        lock_file=_path(environment, "TRAINMASTER_LOCK_FILE"),
        ca_file=_path(environment, "TRAINMASTER_CA"),
        ca_pem=_authorities(environment),
    )


def _authorities(environment: Mapping[str, str]) -> str:
    pem = environment.get("TRAINMASTER_CA_PEM", "")
    if pem and not is_bundle(pem):
        message = f"TRAINMASTER_CA_PEM holds no certificates ({len(pem)} characters): the creator of the Job sets it"
        raise ConfigurationError(message)
    return pem


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    value = environment.get(name)
    return Path(value) if value else None
