"""The page on hyperparameters: its manifests are valid, and its configuration can be made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainmaster.adapters.manifests import judge_text

PAGE = (Path(__file__).parents[3] / "docs" / "how-to" / "tune-hyperparameters.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("manifest", blocks("yaml"))
def test_its_manifests_are_valid(manifest: str) -> None:
    judgement = judge_text(manifest)

    assert judgement.problems == ()
    assert len(judgement.manifests) == 1


def test_its_configuration_can_be_made() -> None:
    names: dict[str, Any] = {}

    exec(blocks("python")[0], names)

    values = names["config"].hyperparameters()
    assert (values["epochs"], values["hidden_size"]) == (20, 48)
