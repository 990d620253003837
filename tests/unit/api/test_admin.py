"""The admin file: what it may say, and what is said of one that cannot be used."""

from __future__ import annotations

import pytest
import yaml

from trainmaster.api.admin import AdminFileError, AdminSettings, TrackingBackend, parse_admin

WHOLE = """
allowedServiceAccounts: [trainer, default]
allowedPriorityClasses: [training]
trackingBackends:
  team: {uri: "https://mlflow.ops.svc:5000/prefix"}
"""


def test_all_of_it_is_read() -> None:
    assert parse_admin(yaml.safe_load(WHOLE)) == AdminSettings(
        allowed_service_accounts=("trainer", "default"),
        allowed_priority_classes=("training",),
        tracking_backends={"team": TrackingBackend(uri="https://mlflow.ops.svc:5000/prefix")},
    )


@pytest.mark.parametrize("text", ["", "{}", "# nothing\n"])
def test_an_empty_file_allows_nothing(text: str) -> None:
    assert parse_admin(yaml.safe_load(text)) == AdminSettings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "allowedServiceAccounts: [Trainer]",
            (
                'allowedServiceAccounts[0]: must be the name of an object (got "Trainer"); '
                "lower case letters, digits, `-` and `.`"
            ),
        ),
        (
            "allowedServiceAccounts: trainer",
            'allowedServiceAccounts: must be a list (got "trainer"); one item a line, each after `- `',
        ),
        (
            "allowedServiceAcounts: []",
            'allowedServiceAcounts: is not a known field (got a list); did you mean "allowedServiceAccounts"?',
        ),
        (
            "allowed_priority_classes: []",
            'allowed_priority_classes: is not a known field (got a list); did you mean "allowedPriorityClasses"?',
        ),
        ("trackingBackends: {team: {}}", "trackingBackends.team.uri: is required"),
        (
            "trackingBackends: {team: {url: x}}",
            'trackingBackends.team.url: is not a known field (got "x"); did you mean "uri"?',
        ),
        (
            "trackingBackends: {team: {uri: 'file:///data'}}",
            (
                'trackingBackends.team.uri: must be an http or https URL (got "file:///data"); '
                "without user and password: those are files of the operator"
            ),
        ),
        (
            "trackingBackends: {team: {uri: 'https://me:secret@mlflow'}}",
            "trackingBackends.team.uri: must be an http or https URL",
        ),
        (
            "trackingBackends: {My Team: {uri: 'http://m'}}",
            'trackingBackends["My Team"]: must be the name of an object (got "My Team")',
        ),
        ("profiles: {}", "profiles: is designed but has no code in this version (got a mapping); remove it"),
        (
            "notificationChannels: [a]",
            "notificationChannels: is designed but has no code in this version (got a list); remove it",
        ),
        (
            "enabledNamespaceLabel: x",
            'enabledNamespaceLabel: does not belong here (got "x"); the admission policy of the chart knows it',
        ),
        ("[a]", "must be a mapping of names to values"),
    ],
)
def test_what_is_wrong_is_told_with_place_value_and_way_out(text: str, told: str) -> None:
    with pytest.raises(AdminFileError) as caught:
        parse_admin(yaml.safe_load(text))
    assert told in str(caught.value)


def test_a_secret_in_a_uri_is_not_repeated() -> None:
    with pytest.raises(AdminFileError) as caught:
        parse_admin({"trackingBackends": {"team": {"uri": "https://me:secret@mlflow"}}})
    assert "secret" not in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(AdminFileError) as caught:
        parse_admin({"a": 1, "b": 2})
    assert len(str(caught.value).splitlines()) == 2
