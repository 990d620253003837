"""Alerts and dashboard speak of series that the operator really counts, and every alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE, REPOSITORY, Json, render
from trainmaster.shell.operator.metrics import Metrics

VALUES = Path(__file__).parent / "values"
METRICS_PAGE = REPOSITORY / "docs" / "reference" / "operator-metrics.md"
RUNBOOKS = REPOSITORY / "docs" / "how-to" / "runbooks.md"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
"""What a metric's series are called, by its type."""
WORDS = {
    "sum", "max", "min", "avg", "count", "rate", "increase", "histogram_quantile", "absent", "by", "le", "and", "or",
    "on", "vector", "label_values",
}  # fmt: skip
"""PromQL's own."""


def known() -> set[str]:
    """Names of the series that the operator exposes."""
    return {family.name + suffix for family in Metrics().registry.collect() for suffix in SUFFIXES[family.type]}


def labels(name: str) -> set[str]:
    """Labels of a series, as the reference has them: another test holds that page against the code."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    found = re.search(rf"^\| `{base}(?:\{{([^}}]*)\}})?` \|", METRICS_PAGE.read_text(), re.MULTILINE)
    assert found, f"{base} is not in {METRICS_PAGE.name}"
    own = {"le"} if name.endswith("_bucket") else set()
    return own | set(filter(None, (found.group(1) or "").split(",")))


def selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Series of an expression with the labels that are asked of them, those of the installation apart."""
    for name, selector in re.findall(r"([a-z_:]+)\{([^}]*)\}", expression):
        yield name, set(re.findall(r"([a-z_]+)(?==|!=|=~)", selector)) - {"namespace", "job"}


def grouped(expression: str) -> set[str]:
    """Labels that an expression groups by."""
    return {label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in group.split(",")}


def names(expression: str) -> set[str]:
    """Names of series in an expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", "", expression)
    bare = re.sub(r"\b(by|on|without|ignoring)\s*\([^)]*\)", "", bare)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - WORDS


def alerts() -> list[Json]:
    """As they are in the chart."""
    found: list[Json] = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    return found


def expressions(part: object) -> Iterator[str]:
    """All expressions of a dashboard."""
    if isinstance(part, dict):
        yield from (part[word] for word in ("expr", "query") if isinstance(part.get(word), str))
        for inner in part.values():
            yield from expressions(inner)
    if isinstance(part, list):
        for inner in part:
            yield from expressions(inner)


def test_every_alert_is_about_what_the_operator_counts() -> None:
    for alert in alerts():
        assert names(alert["expr"]), alert["alert"]
        assert names(alert["expr"]) <= known(), alert["alert"]


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_series_of_an_alert_is_of_this_installation(alert: Json) -> None:
    series = re.findall(r"([a-z_:]+)\{([^}]*)\}", alert["expr"])
    assert {name for name, _ in series} == names(alert["expr"]), "each with a selector"
    assert all(selector.split(",")[0] == "SERIES" for _, selector in series)


def shown() -> list[str]:
    """Expressions of the dashboard's panels."""
    return list(expressions(json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]))


@pytest.mark.parametrize("expression", [*(alert["expr"] for alert in alerts()), *shown()])
def test_every_label_that_is_asked_for_is_one_of_the_series(expression: str) -> None:
    for name, asked in selected(expression):
        assert asked <= labels(name), name
        assert grouped(expression) <= labels(name), name


def test_rendered_alerts_name_namespace_and_job_and_where_to_read_on() -> None:
    (group,) = render(values=VALUES / "everything.yaml").one("PrometheusRule")["spec"]["groups"]
    assert [rule["alert"] for rule in group["rules"]] == [alert["alert"] for alert in alerts()]
    for rule in group["rules"]:
        assert "SERIES" not in rule["expr"]
        assert f'{{namespace="{NAMESPACE}",job="trainmaster"' in rule["expr"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["runbook_url"] == f"docs/how-to/runbooks.md#{rule['alert'].lower()}"


def test_an_alert_may_be_left_out() -> None:
    (group,) = render(values=VALUES / "monitoring.yaml").one("PrometheusRule")["spec"]["groups"]
    left_out = {alert["alert"] for alert in alerts()} - {rule["alert"] for rule in group["rules"]}
    assert left_out == {"TrainmasterReportsSlow"}


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    headings = re.findall(r"^## (Trainmaster\S+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert headings == [alert["alert"] for alert in alerts()], "in one order"


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: str(alert["alert"]))
def test_every_page_says_what_it_means_where_to_look_and_what_to_do(alert: Json) -> None:
    _, _, after = RUNBOOKS.read_text().partition(f"## {alert['alert']}\n")
    page = after.partition("\n## ")[0]
    assert [word for word in ("**Means**", "**Look**", "**Do**") if word not in page] == []


def test_every_series_of_the_dashboard_is_counted() -> None:
    board = json.loads(
        render(values=VALUES / "monitoring.yaml").one("ConfigMap", "trainmaster-dashboard")["data"]["trainmaster.json"]
    )
    asked = {name for part in (board["panels"],) for expression in expressions(part) for name in names(expression)}
    assert asked <= known()
    unseen = {name for name in known() if not name.endswith(("_sum", "_count"))} - asked
    elsewhere = {"controller_runtime_reconcile_errors_total", "trainmaster_report_connections_refused_total"}
    assert unseen <= elsewhere, "the first is shown as a result of passes; floods have no panel"
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert all("trainmaster_build_info" in query for query in variables)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    taken = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_a_name_that_nobody_counts_is_found() -> None:
    assert names('sum by (le) (rate(trainop_nothing_bucket{a="sum(b)"}[5m])) > 3') == {"trainop_nothing_bucket"}
    assert "trainop_nothing_bucket" not in known()
