"""What Argo CD shows of recorded objects, and what its actions change: the real scripts on a real Lua 5.1."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.gitops.lua import act, health, run_lua
from tests.support.gitops.plays import PLAYS
from tests.support.gitops.recordings import recorded
from tests.support.kstatus import kstatus
from trainmaster.api.rules import judge_spec

Wire = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "deploy" / "argocd"
HEALTH = FOLDER / "trainingrun-health.lua"
ACTIONS = ("suspend", "resume", "rerun")

TABLE = {
    # recorded object -> health, the beginning of its message, kstatus
    "new": ("Progressing", "The operator has not seen this spec yet", "InProgress"),
    "starting": ("Progressing", "Starting: the launch's pod is not running yet", "InProgress"),
    "unschedulable": ("Progressing", "Unschedulable: no node takes the pod: ", "InProgress"),
    "image-pull-failed": ("Progressing", "ImagePullFailed: the image cannot be pulled (ErrImagePull)", "InProgress"),
    "queued": ("Progressing", "JobQueued: the Job is suspended by somebody else", "Current"),
    "running": ("Progressing", "Running: training", "Current"),
    "relaunching": ("Progressing", "Starting: the launch's pod is not running yet", "Current"),
    "suspended": ("Suspended", "Suspended", "Current"),
    "unobserved": ("Progressing", "The operator has not seen this spec yet", "InProgress"),
    "name-conflict": ("Degraded", "NameConflict: a Job of another owner has the name", "Failed"),
    "job-refused": ("Degraded", "JobRefused: POST ", "Failed"),
    "succeeded": ("Healthy", "Completed: said Completed", "Current"),
    "stopped-early": ("Healthy", "StoppedEarly: said StoppedEarly", "Current"),
    "already-trained": ("Healthy", "AlreadyTrained: RunRecord already-trained-", "Current"),
    "failed": ("Degraded", "InvalidConfiguration: the launcher ended without a verdict", "Failed"),
    "crashed": ("Degraded", "CrashBudgetExhausted: 1 crashes, 0 allowed", "Failed"),
    "unknown": ("Degraded", "VerdictMissing: the Job completed, but no verdict arrived", "Failed"),
}
RECORDS = {"record-succeeded": "Succeeded: Completed", "record-failed": "Failed: InvalidConfiguration"}
ENABLED = {
    # recorded object -> actions that can be clicked
    "new": {"suspend"},
    "running": {"suspend"},
    "suspended": {"resume"},
    "succeeded": {"rerun"},
    "failed": {"rerun"},
    "unknown": {"rerun"},
    "job-refused": {"suspend"},
}


def test_every_recorded_object_has_its_line_in_a_table() -> None:
    assert set(TABLE) | set(RECORDS) == set(PLAYS)


# -- health -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLE)
def test_argo_cd_shows_where_a_run_stands(name: str) -> None:
    wanted, message, _ = TABLE[name]
    status, told = health(HEALTH, recorded(name))
    assert status == wanted
    assert told.startswith(message)


@pytest.mark.parametrize("name", TABLE)
def test_argo_cd_and_kstatus_agree_on_what_has_failed_and_on_what_is_not_seen_yet(name: str) -> None:
    status, _, by_kstatus = TABLE[name]
    assert kstatus(recorded(name)) == by_kstatus
    assert (by_kstatus == "Failed") is (status == "Degraded")
    assert by_kstatus == "Current" or status in {"Degraded", "Progressing"}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_history_and_never_degrades_an_app(name: str) -> None:
    assert health(FOLDER / "runrecord-health.lua", recorded(name)) == ("Healthy", RECORDS[name])


def test_a_status_that_nobody_wrote_or_somebody_emptied_is_progressing() -> None:
    wire = recorded("succeeded")
    bare = {name: value for name, value in wire.items() if name != "status"}
    assert health(HEALTH, bare)[0] == "Progressing"
    assert health(HEALTH, bare | {"status": {}})[0] == "Progressing"
    assert health(HEALTH, bare | {"status": {"observedGeneration": 1, "conditions": []}})[0] == "Progressing"


# -- actions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENABLED)
def test_only_actions_that_make_sense_are_offered(name: str) -> None:
    found = run_lua((FOLDER / "trainingrun-discovery.lua").read_text(), recorded(name))
    assert set(found) == set(ACTIONS)
    assert {action for action, how in found.items() if not how["disabled"]} == ENABLED[name]


@pytest.mark.parametrize(("action", "name", "field", "pattern"), [
    ("suspend", "running", "suspend", "True"),
    ("resume", "suspended", "suspend", "False"),
    ("rerun", "succeeded", "rerun", r"argocd-\d{8}-\d{4}"),
])  # fmt: skip
def test_an_action_changes_one_field_of_spec_and_no_other(action: str, name: str, field: str, pattern: str) -> None:
    before = recorded(name)
    after = act(FOLDER / f"trainingrun-{action}.lua", before)
    value = after["spec"][field]
    assert re.fullmatch(pattern, str(value))
    assert after == before | {"spec": before["spec"] | {field: value}}
    assert judge_spec(after["spec"]) == ()


# -- the ConfigMap ----------------------------------------------------------------------------------------------------


def test_the_config_map_holds_the_scripts_of_this_folder() -> None:
    data = yaml.safe_load((FOLDER / "argocd-cm.yaml").read_text())["data"]
    actions = yaml.safe_load(data["resource.customizations.actions.trainmaster.io_TrainingRun"])
    embedded = {
        "trainingrun-health.lua": data["resource.customizations.health.trainmaster.io_TrainingRun"],
        "runrecord-health.lua": data["resource.customizations.health.trainmaster.io_RunRecord"],
        "trainingrun-discovery.lua": actions["discovery.lua"],
    } | {f"trainingrun-{each['name']}.lua": each["action.lua"] for each in actions["definitions"]}
    assert embedded == {path.name: path.read_text() for path in FOLDER.glob("*.lua")}
    assert sorted(data) == sorted({
        "resource.customizations.actions.trainmaster.io_TrainingRun",
        "resource.customizations.health.trainmaster.io_RunRecord",
        "resource.customizations.health.trainmaster.io_TrainingRun",
        "resource.customizations.ignoreResourceUpdates.trainmaster.io_TrainingRun",
    })  # fmt: skip


def test_scripts_use_only_what_argo_cd_gives_them() -> None:
    for part in ("string", "math", "io", "debug"):
        assert run_lua(f"return {{ there = {part} ~= nil }}", {}) == {"there": False}
    assert run_lua('return { there = require("os").execute ~= nil }', {}) == {"there": False}
    for script in FOLDER.glob("*.lua"):
        assert "string." not in script.read_text(), script
