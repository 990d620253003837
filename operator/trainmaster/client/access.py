"""Where the API server is and who we are there: a kubeconfig, or the service account of the pod that we run in.

The same order as kubectl's: a kubeconfig that names a context wins, the service account is for where there is none.
Credential plugins are run, as kubectl runs them. Whoever is refused (401) reads all of it again: tokens expire.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from trainmaster.adapters.kubeconfig import (
    Chosen,
    Cluster,
    ExecPlugin,
    KubeconfigError,
    User,
    kubeconfig_files,
    read_kubeconfig,
)
from trainmaster.client.errors import NoAccessError

WAYS: Final = "set KUBECONFIG to a usable kubeconfig, or name one: Client(kubeconfig=...)"
ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLUGIN_SECONDS: Final = 120
"""A credential plugin may ask a person to log in with a browser."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """An API server and credentials for it."""

    server: str
    """Base URL without a final slash."""
    namespace: str = "default"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The Authorization header, if there are credentials of that kind."""
    tls: ssl.SSLContext | None = None
    """None: plain http."""
    server_name: str = ""
    """Name in the server's certificate, where it is not that of the URL."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Credentials:
    """What a user's entry comes to."""

    token: str = ""
    basic: str = ""
    certificate: bytes = b""
    key: bytes = b""

    def headers(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        return {"Authorization": f"Basic {self.basic}"} if self.basic else {}


def load_access(kubeconfig: str | Path | None = None, *, context: str = "") -> Access:
    """Find the API server. Raises NoAccessError with what was looked at and the way out."""
    files = kubeconfig_files(kubeconfig)
    try:
        chosen = read_kubeconfig(files, context=context)
    except KubeconfigError as error:
        message = f"the kubeconfig cannot be used: {error}: {WAYS}"
        raise NoAccessError(message) from error
    if chosen is not None:
        return _from_kubeconfig(chosen)
    if kubeconfig is None and (ACCOUNT / "token").exists():
        return _from_account()
    message = f"there is no context in {', '.join(map(str, files))}, and no service account is mounted: {WAYS}"
    raise NoAccessError(message)


def _from_account() -> Access:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    address = f"[{host}]" if ":" in host else host or "kubernetes.default.svc"
    try:
        namespace = (ACCOUNT / "namespace").read_text().strip()
        token = (ACCOUNT / "token").read_text().strip()
        tls = _context(ca=(ACCOUNT / "ca.crt").read_bytes())
    except (OSError, ssl.SSLError) as error:
        message = f"the service account in {ACCOUNT} cannot be used ({error}): {WAYS}"
        raise NoAccessError(message) from error
    headers = {"Authorization": f"Bearer {token}"}
    return Access(server=f"https://{address}:{port}", namespace=namespace, headers=headers, tls=tls)


def _from_kubeconfig(chosen: Chosen) -> Access:
    cluster = chosen.cluster
    if cluster.proxy_url:
        message = f"the kubeconfig reaches {cluster.server} by proxy-url, which is not spoken here: {WAYS}"
        raise NoAccessError(message)
    try:
        credentials = _credentials(chosen.user, folder=chosen.user_folder, server=cluster.server)
        tls = _tls(cluster, credentials, folder=chosen.cluster_folder)
    except (OSError, ssl.SSLError, binascii.Error) as error:
        message = f"the kubeconfig's certificates or token for {cluster.server} cannot be used ({error}): {WAYS}"
        raise NoAccessError(message) from error
    return Access(
        server=cluster.server.rstrip("/"),
        namespace=chosen.namespace,
        headers=credentials.headers(),
        tls=tls,
        server_name=cluster.tls_server_name,
    )


def _credentials(user: User, *, folder: Path, server: str) -> _Credentials:
    if user.auth_provider is not None:
        message = f"the kubeconfig's user for {server} has an auth-provider, which Kubernetes has dropped: use exec"
        raise NoAccessError(message)
    if user.exec is not None:
        return _ask_plugin(user.exec, folder=folder)
    token = user.token
    if user.token_file:
        token = (folder / user.token_file).read_text().strip()
    basic = base64.b64encode(f"{user.username}:{user.password}".encode()).decode() if user.username else ""
    certificate = _content(user.client_certificate_data, user.client_certificate, folder=folder)
    key = _content(user.client_key_data, user.client_key, folder=folder)
    return _Credentials(token=token, basic=basic, certificate=certificate, key=key)


def _content(data: str, file: str, *, folder: Path) -> bytes:
    """What stands inline, or in a file."""
    if data:
        return base64.b64decode(data)
    return (folder / file).read_bytes() if file else b""


def _tls(cluster: Cluster, credentials: _Credentials, *, folder: Path) -> ssl.SSLContext | None:
    if not cluster.server.startswith("https"):
        return None
    ca = _content(cluster.certificate_authority_data, cluster.certificate_authority, folder=folder)
    context = _context(ca=ca)
    if cluster.insecure_skip_tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if credentials.certificate:
        _add_certificate(context, credentials)
    return context


def _context(*, ca: bytes) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca.decode("ascii", errors="replace") if ca else None)
    # Python 3.13 asks of a CA what the CAs of many clusters lack (key usage, key identifiers); kubectl does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _add_certificate(context: ssl.SSLContext, credentials: _Credentials) -> None:
    """OpenSSL takes a key from a file only: it lies in one that nobody else can read, for this moment."""
    with tempfile.TemporaryDirectory(prefix="trainmaster-") as folder:
        file = Path(folder) / "client.pem"
        file.touch(mode=0o600)
        file.write_bytes(credentials.certificate + b"\n" + credentials.key)
        context.load_cert_chain(file)


def _ask_plugin(plugin: ExecPlugin, *, folder: Path) -> _Credentials:
    """Run a credential plugin. Raises NoAccessError with its words, and its install hint where it is not there."""
    command = str(folder / plugin.command) if os.sep in plugin.command else plugin.command
    person = sys.stdin is not None and sys.stdin.isatty()
    asked = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": {"interactive": person}}
    environment = os.environ | {each.name: each.value for each in plugin.env}
    environment["KUBERNETES_EXEC_INFO"] = json.dumps(asked)
    try:
        done = subprocess.run(  # noqa: S603 - the user's own kubeconfig names the program, as kubectl runs it
            [command, *plugin.args],
            env=environment,
            stdin=None if person else subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # and stderr goes where ours does: it may ask a person to log in somewhere
            timeout=PLUGIN_SECONDS,
            check=True,
            text=True,
        )
        status = _status(json.loads(done.stdout))
    except FileNotFoundError as error:
        message = f"the kubeconfig's credential plugin {command} is not there: {plugin.install_hint or WAYS}"
        raise NoAccessError(message) from error
    except subprocess.CalledProcessError as error:
        message = f"the credential plugin {command} failed with exit code {error.returncode}; its words are on stderr"
        raise NoAccessError(message) from error
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        message = f"the credential plugin {command} gave no credentials ({error}): run it by hand, then try again"
        raise NoAccessError(message) from error
    certificate, key = status.get("clientCertificateData", ""), status.get("clientKeyData", "")
    return _Credentials(token=status.get("token", ""), certificate=certificate.encode(), key=key.encode())


def _status(credential: Any) -> dict[str, str]:  # noqa: ANN401 - whatever JSON a program has printed
    """The credentials in an ExecCredential. Raises ValueError: there are none."""
    status = credential.get("status") if isinstance(credential, dict) else None
    given = {name: str(value) for name, value in status.items() if value} if isinstance(status, dict) else {}
    if not given.get("token") and not given.get("clientCertificateData"):
        raise ValueError("its output is no ExecCredential with a token or a client certificate")
    return given
