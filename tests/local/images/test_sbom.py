"""The bill of materials lists what the Python that writes it has installed, in the form that SPDX 2.3 asks for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "sbom.py"
IDENTIFIER = re.compile(r"SPDXRef-[A-Za-z0-9.-]+")


def written() -> dict[str, Any]:
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0"}
    command = [sys.executable, str(SCRIPT), "image"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return written()


def test_a_package_is_named_with_version_and_purl(document: dict[str, Any]) -> None:
    aiohttp = next(each for each in document["packages"] if each["name"] == "aiohttp")

    assert aiohttp["versionInfo"] == version("aiohttp")
    assert aiohttp["externalRefs"][0]["referenceLocator"] == f"pkg:pypi/aiohttp@{version('aiohttp')}"


def test_every_package_is_described_once_under_an_identifier_of_spdx(document: dict[str, Any]) -> None:
    names = [each["SPDXID"] for each in document["packages"]]

    assert len(set(names)) == len(names)
    assert all(IDENTIFIER.fullmatch(name) for name in names)
    assert [each["relatedSpdxElement"] for each in document["relationships"]] == names


def test_the_same_environment_gives_the_same_document(document: dict[str, Any]) -> None:
    assert written() == document
    assert document["creationInfo"]["created"] == "1970-01-01T00:00:00Z"
