"""Where the API server is and who we are: a pod's service account, or a kubeconfig, and what is wrong with either."""

from __future__ import annotations

import base64
import builtins
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pytest
import yaml

from trainmaster.adapters.certificates import self_signed
from trainmaster.adapters.kubernetes.connection import ConnectionFailedError, load_connection

SERVER = "https://10.0.0.1:6443/"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)


@pytest.fixture
def kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def config(user: Json, *, server: str = SERVER, ca: Json | None = None) -> str:
    return yaml.safe_dump(
        {
            "current-context": "here",
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
            "clusters": [{"name": "c", "cluster": {"server": server} | (ca or {})}],
            "users": [{"name": "u", "user": user}],
        }
    )


def test_a_kubeconfig_with_a_token(kubeconfig: Path) -> None:
    kubeconfig.write_text(config({"token": "secret"}))
    connection = load_connection()

    assert connection.server == "https://10.0.0.1:6443"
    assert connection.headers() == {"Authorization": "Bearer secret"}
    assert connection.namespace == "team"
    context = connection.ssl_context()
    assert context is not None
    assert context.check_hostname


def test_plain_http_needs_no_tls(kubeconfig: Path) -> None:
    kubeconfig.write_text(config({"token": "secret"}, server="http://127.0.0.1:8001"))

    assert load_connection().ssl_context() is None


@pytest.mark.parametrize("inline", [False, True])
def test_a_kubeconfig_with_a_client_certificate(kubeconfig: Path, tmp_path: Path, *, inline: bool) -> None:
    made = self_signed(["admin"], now=datetime.now(UTC))
    parts = {"ca": made.ca_cert, "crt": made.leaf_cert, "key": made.leaf_key}
    if inline:
        told, suffix = {name: base64.b64encode(pem).decode() for name, pem in parts.items()}, "-data"
    else:
        told, suffix = {name: str(tmp_path / name) for name in parts}, ""
        for name, pem in parts.items():
            (tmp_path / name).write_bytes(pem)
    user = {f"client-certificate{suffix}": told["crt"], f"client-key{suffix}": told["key"]}
    kubeconfig.write_text(config(user, ca={f"certificate-authority{suffix}": told["ca"]}))
    connection = load_connection()

    assert connection.headers() == {}
    context = connection.ssl_context()
    assert context is not None
    assert len(context.get_ca_certs()) == 1


def test_a_credential_plugin_is_refused_with_the_way_out(kubeconfig: Path) -> None:
    kubeconfig.write_text(config({"exec": {"command": "aws", "args": ["eks", "get-token"]}}))

    with pytest.raises(ConnectionFailedError, match=r"credential plugins are not run.*kubectl create token"):
        load_connection()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("{", id="no YAML"),
        pytest.param("[]", id="a list"),
        pytest.param("word", id="a word"),
        pytest.param("current-context: here", id="no such context"),
        pytest.param(config({"token": "t"}).replace("cluster: c", "cluster: other"), id="no such cluster"),
        pytest.param("current-context: here\ncontexts: [{}]", id="a context without a name"),
        pytest.param("current-context: here\ncontexts: 7", id="contexts of another type"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_named_with_the_way_out(kubeconfig: Path, text: str | None) -> None:
    if text is not None:
        kubeconfig.write_text(text)

    with pytest.raises(ConnectionFailedError) as caught:
        load_connection()
    assert str(kubeconfig) in str(caught.value)
    assert "set KUBECONFIG to a readable kubeconfig" in str(caught.value)


def test_no_kubeconfig_and_no_service_account() -> None:
    with pytest.raises(ConnectionFailedError, match=r"no service account is mounted and there is no ~/\.kube/config"):
        load_connection()


def test_a_pods_service_account_comes_before_a_kubeconfig(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubeconfig.write_text(config({"token": "secret"}))
    mounted = tmp_path / "account"
    mounted.mkdir()
    (mounted / "token").write_text("of-the-pod\n")
    (mounted / "namespace").write_text("system")
    mount(mounted, monkeypatch)
    connection = load_connection()

    assert connection.server == "https://kubernetes.default.svc"
    assert (connection.headers(), connection.namespace) == ({"Authorization": "Bearer of-the-pod"}, "system")
    (mounted / "token").write_text("renewed")
    assert load_connection().headers() == {"Authorization": "Bearer renewed"}


def mount(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the service account's files seen where a pod has them."""
    real_exists, real_open = os.path.exists, builtins.open

    def moved(path: str) -> str:
        return str(folder / Path(path).name) if str(path).startswith(str(ACCOUNT)) else path

    def open_moved(path: str, *args: Any, **kwargs: Any) -> IO[Any]:  # noqa: ANN401 - as the builtin
        opened: IO[Any] = real_open(moved(path), *args, **kwargs)
        return opened

    monkeypatch.setattr("os.path.exists", lambda path: real_exists(moved(path)))
    monkeypatch.setattr("builtins.open", open_moved)
