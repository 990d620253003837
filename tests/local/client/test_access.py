"""Where the API server is and who we are: kubeconfigs as kubectl takes them, plugins, a pod's account."""

from __future__ import annotations

import base64
import json
import ssl
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainmaster.adapters.certificates import self_signed
from trainmaster.client import NoAccessError, access
from trainmaster.client.access import load_access

Json = dict[str, Any]
SERVER = "https://10.0.0.1:6443/clusters/one/"


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No kubeconfig and no account anywhere."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr(access, "ACCOUNT", tmp_path / "no-account")


def config(user: Json, **cluster: object) -> Json:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "clusters": [{"name": "c", "cluster": {"server": SERVER, **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


def write(path: Path, data: Json) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data))
    return path


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_token_a_namespace_and_a_server_with_a_path(tmp_path: Path) -> None:
    found = load_access(write(tmp_path / "config", config({"token": "secret"})))

    assert (found.server, found.namespace) == ("https://10.0.0.1:6443/clusters/one", "team")
    assert found.headers == {"Authorization": "Bearer secret"}
    assert found.tls is not None
    assert found.tls.check_hostname
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"username": "me", "password": "pw"}, "Basic " + base64.b64encode(b"me:pw").decode()),
        ({"tokenFile": "token"}, "Bearer from-file"),
        ({"token": None, "tokenFile": "token", "exec": None}, "Bearer from-file"),
    ],
)
def test_other_words_for_who_we_are(user: Json, header: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    assert load_access(write(tmp_path / "config", config(user))).headers == {"Authorization": header}


@pytest.mark.parametrize("inline", [False, True])
def test_a_client_certificate(tmp_path: Path, *, inline: bool) -> None:
    made = self_signed(["admin"], now=datetime.now(UTC))
    parts = {"ca": made.ca_cert, "crt": made.leaf_cert, "key": made.leaf_key}
    for name, pem in parts.items():
        (tmp_path / name).write_bytes(pem)
    said = {name: base64.b64encode(pem).decode() if inline else name for name, pem in parts.items()}
    suffix = "-data" if inline else ""
    user = {f"client-certificate{suffix}": said["crt"], f"client-key{suffix}": said["key"]}
    data = config(user, **{f"certificate-authority{suffix}": said["ca"]})
    found = load_access(write(tmp_path / "config", data))

    assert found.tls is not None
    assert len(found.tls.get_ca_certs()) == 1
    assert found.headers == {}
    assert not list(Path(tmp_path).glob("trainmaster-*"))


def test_a_server_that_is_not_to_be_checked_is_not(tmp_path: Path) -> None:
    data = config({"token": "t"}, **{"insecure-skip-tls-verify": True, "tls-server-name": "other"})
    found = load_access(write(tmp_path / "config", data))
    assert found.tls is not None
    assert (found.tls.verify_mode, found.server_name) == (ssl.CERT_NONE, "other")


def test_several_files_are_one_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = write(tmp_path / "a/config", {"current-context": "here", "users": [{"name": "u", "user": {"token": "1"}}]})
    second = write(tmp_path / "b/config", config({"token": "2"}))
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path}/missing:{second}")
    found = load_access()

    assert (found.headers["Authorization"], found.namespace) == ("Bearer 1", "team")


def test_another_context_than_the_current_one(tmp_path: Path) -> None:
    data = config({"token": "t"})
    data["contexts"].append({"name": "there", "context": {"cluster": "c", "user": "u", "namespace": "far"}})
    path = write(tmp_path / "config", data)

    assert load_access(path, context="there").namespace == "far"
    with pytest.raises(NoAccessError, match="'nowhere', which is not among its contexts: here, there"):
        load_access(path, context="nowhere")


def test_a_credential_plugin_is_run_as_kubectl_runs_it(tmp_path: Path) -> None:
    script(
        tmp_path / "plugin",
        "import json, os, sys\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        "token = '-'.join([*sys.argv[1:], os.environ['REGION'], info['kind']])\n"
        "print(json.dumps({'kind': 'ExecCredential', 'status': {'token': token}}))",
    )
    plugin = {"command": "./plugin", "args": ["get"], "env": [{"name": "REGION", "value": "north"}]}
    plugin |= {"apiVersion": "client.authentication.k8s.io/v1beta1", "interactiveMode": "Never"}
    found = load_access(write(tmp_path / "config", config({"exec": plugin})))

    assert found.headers == {"Authorization": "Bearer get-north-ExecCredential"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import sys; sys.exit('log in first')", "failed with exit code 1; its words are on stderr"),
        ("print('no JSON')", "gave no credentials"),
        ("print('{}')", "no ExecCredential with a token"),
    ],
)
def test_a_plugin_that_fails_is_named(body: str, said: str, tmp_path: Path) -> None:
    script(tmp_path / "plugin", body)
    path = write(tmp_path / "config", config({"exec": {"command": "./plugin"}}))
    with pytest.raises(NoAccessError, match=said):
        load_access(path)


def test_a_plugin_that_is_not_there_gives_its_install_hint(tmp_path: Path) -> None:
    plugin = {"command": "no-such-plugin-here", "installHint": "install the cloud's tools"}
    with pytest.raises(NoAccessError, match="no-such-plugin-here is not there: install the cloud's tools"):
        load_access(write(tmp_path / "config", config({"exec": plugin})))


def test_a_pods_account_where_there_is_no_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("of-the-pod\n")
    (account / "namespace").write_text("system")
    (account / "ca.crt").write_bytes(self_signed(["kubernetes"], now=datetime.now(UTC)).ca_cert)
    monkeypatch.setattr(access, "ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    found = load_access()

    assert (found.server, found.namespace) == ("https://[fd00::1]:6443", "system")
    assert found.headers == {"Authorization": "Bearer of-the-pod"}
    write(tmp_path / "home/.kube/config", config({"token": "mine"}))
    assert load_access().namespace == "team", "a kubeconfig comes first"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "no context in .*no service account is mounted", id="missing"),
        pytest.param("", "no context in", id="empty"),
        pytest.param("{", "cannot be used: .* line 1, column 2", id="no YAML"),
        pytest.param("[]", "cannot be used", id="a list"),
        pytest.param("current-context: here", "not among its contexts: none", id="no such context"),
        pytest.param("clusters: [{name: c}]", r"clusters.0.cluster: Field required", id="half a cluster"),
        pytest.param(json.dumps(config({"auth-provider": {"name": "gcp"}})), "dropped: use exec", id="auth-provider"),
        pytest.param(
            json.dumps(config({}, **{"proxy-url": "socks5://h"})), "proxy-url, which is not spoken here", id="proxy"
        ),
        pytest.param(json.dumps(config({"client-certificate": "gone"})), "cannot be used .*gone", id="no such file"),
    ],
)
def test_what_cannot_be_used_is_named_with_the_way_out(text: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NoAccessError, match=said):
        load_access(path)
