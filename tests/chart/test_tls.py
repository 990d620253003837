"""Where the report server's certificate comes from, in each mode."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chart import CHART, NAMESPACE, REPOSITORY, Json, Rendered, render

VALUES = Path(__file__).parent / "values"
FOLDER = "/etc/trainmaster-tls"


def tls_flags(rendered: Rendered) -> dict[str, list[str]]:
    return {name: values for name, values in rendered.flags.items() if name.startswith(("--tls", "--ca"))}


def mounted(rendered: Rendered) -> list[Json]:
    return [
        each["secret"] for each in rendered.one("Deployment")["spec"]["template"]["spec"]["volumes"] if "secret" in each
    ]


def test_by_itself_the_operator_keeps_it_in_a_secret_that_is_not_mounted() -> None:
    rendered = render()
    assert tls_flags(rendered) == {"--tls-secret": ["trainmaster-report-tls"]}
    assert mounted(rendered) == []


def test_the_secret_can_be_left_for_the_next_installation() -> None:
    kept = render("--set", "tls.keepSecret=true").one("Secret")
    assert kept["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert "annotations" not in render().one("Secret")["metadata"]


@pytest.mark.parametrize(
    ("file", "secret", "authorities"),
    [
        ("given-certificate", "our-certificate", [f"{FOLDER}/authorities.pem"]),
        ("public-certificate", "bought", None),
        ("cert-manager", "trainmaster-report-tls", [f"{FOLDER}/ca.crt"]),
    ],
)
def test_a_given_one_is_read_from_files(*, file: str, secret: str, authorities: list[str] | None) -> None:
    rendered = render(values=VALUES / f"{file}.yaml")
    expected = {"--tls-cert": [f"{FOLDER}/tls.crt"], "--tls-key": [f"{FOLDER}/tls.key"]}
    assert tls_flags(rendered) == expected | ({"--tls-ca": authorities} if authorities else {})
    assert [each["secretName"] for each in mounted(rendered)] == [secret]
    assert rendered.of("Secret") == []


def test_cert_manager_is_asked_for_the_name_that_launchers_call() -> None:
    rendered = render(values=VALUES / "cert-manager.yaml")
    spec = rendered.one("Certificate")["spec"]
    (url,) = rendered.flags["--report-url"]
    assert url == f"https://{spec['dnsNames'][0]}:8443/v1/reports"
    assert spec["dnsNames"][0] == f"trainmaster.{NAMESPACE}.svc"
    assert spec["issuerRef"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "internal"}
    assert spec["secretName"] == mounted(rendered)[0]["secretName"]


@pytest.mark.parametrize(
    "page", [CHART / "values.yaml", REPOSITORY / "docs" / "how-to" / "tls.md"], ids=lambda p: p.name
)
@pytest.mark.parametrize("danger", ["CertManager", "caKey", "locks out every launcher", "--force", "Replace=true"])
def test_who_sets_it_is_warned_of_what_locks_launchers_out(*, page: Path, danger: str) -> None:
    assert danger in " ".join(page.read_text().replace("#", " ").split())
