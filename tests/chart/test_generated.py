"""What of the chart is made from other files is as those files are."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from tests.support.chart import CHART, NAMESPACE, REPOSITORY, helm_program, render
from trainmaster import __version__
from trainmaster.api.crds import all_crds
from trainmaster.cli.output import to_yaml


def script(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(REPOSITORY / "scripts" / name), *args],
        env={"PATH": "/usr/bin:/bin", "HELM": str(helm_program())},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_kinds_in_the_chart_are_those_of_crds() -> None:
    done = script("chart_crds.sh", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_rendered_kinds_are_those_of_the_models() -> None:
    rendered = {each["metadata"]["name"]: each["spec"] for each in render().of("CustomResourceDefinition")}
    assert rendered == {crd["metadata"]["name"]: yaml.safe_load(to_yaml(crd))["spec"] for crd in all_crds()}


@pytest.mark.parametrize("keep", [True, False])
def test_whether_the_kinds_survive_an_uninstallation_can_be_said(*, keep: bool) -> None:
    kinds = render("--set", f"crds.keep={str(keep).lower()}").of("CustomResourceDefinition")
    kept = {(each["metadata"].get("annotations") or {}).get("helm.sh/resource-policy") for each in kinds}
    assert kept == ({"keep"} if keep else {None})
    assert render("--set", "crds.enabled=false").of("CustomResourceDefinition") == []


def test_the_chart_has_the_versions_of_the_program() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_install_yaml_is_the_chart_with_its_namespace_and_without_hooks() -> None:
    done = script("chart_install_yaml.sh", "--set", "replicas=2")
    assert done.returncode == 0, done.stderr
    namespace, *objects = [each for each in yaml.safe_load_all(done.stdout) if each]
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert objects == list(render("--set", "replicas=2", "--no-hooks").objects)
    assert "helm.sh/hook" not in done.stdout
