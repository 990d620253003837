"""Where the API server is and who we are there: the pod's service account, or $KUBECONFIG."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import kopf

from trainmaster.adapters.kubeconfig import DEFAULT, Chosen, KubeconfigError, kubeconfig_files, read_kubeconfig
from trainmaster.api.errors import TrainmasterError

WAYS = "run it in a pod with a service account, or set KUBECONFIG to a readable kubeconfig"


class ConnectionFailedError(TrainmasterError):
    """No usable address or credentials of an API server."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """An API server and credentials for it; read anew when the server refuses them, since tokens expire."""

    info: kopf.ConnectionInfo

    @property
    def server(self) -> str:
        """Base URL without a final slash."""
        return self.info.server.rstrip("/")

    @property
    def namespace(self) -> str:
        """Our own namespace, or the kubeconfig's."""
        return self.info.default_namespace or "default"

    def headers(self) -> dict[str, str]:
        """The Authorization header, if there are credentials of that kind."""
        return dict(self.info.as_http_headers())

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS settings: the cluster's CA and a client certificate; None for plain http."""
        return self.info.as_ssl_context() if self.server.startswith("https") else None


def load_connection() -> Connection:
    """Find the API server. Raises ConnectionFailedError with what was looked at and the way out."""
    try:
        info = kopf.login_with_service_account(settings=kopf.OperatorSettings()) or _of_kubeconfig()
    except OSError as error:
        message = f"the service account's token cannot be read ({error.strerror or error}): {WAYS}"
        raise ConnectionFailedError(message) from error
    if not (info.token or info.username or info.certificate_path or info.certificate_data):
        message = (
            f"the kubeconfig's user for {info.server} has no token and no client certificate (credential plugins are "
            "not run): make a kubeconfig with a token, e.g. of `kubectl create token`"
        )
        raise ConnectionFailedError(message)
    return Connection(info=info)


def _of_kubeconfig() -> kopf.ConnectionInfo:
    files = kubeconfig_files()
    try:
        chosen = read_kubeconfig(files)
    except KubeconfigError as error:
        message = f"the kubeconfig cannot be used: {error}: {WAYS}"
        raise ConnectionFailedError(message) from error
    if chosen is not None:
        return _info(chosen)
    if files == [DEFAULT.expanduser()] and not files[0].exists():
        message = f"no service account is mounted and there is no {DEFAULT}: {WAYS}"
    elif any(file.exists() for file in files):
        where = ", ".join(map(str, files))
        message = f"{where}: it names no current-context: kubectl config use-context NAME; or {WAYS}"
    else:
        message = f"there is {' and '.join(f'no file {file}' for file in files)}: {WAYS}"
    raise ConnectionFailedError(message)


def _info(chosen: Chosen) -> kopf.ConnectionInfo:
    cluster, user = chosen.cluster, chosen.user

    def path(folder: Path, name: str) -> str | None:
        return str(folder / name) if name else None

    return kopf.ConnectionInfo(
        server=cluster.server,
        ca_path=path(chosen.cluster_folder, cluster.certificate_authority),
        ca_data=cluster.certificate_authority_data or None,
        insecure=cluster.insecure_skip_tls_verify or None,
        certificate_path=path(chosen.user_folder, user.client_certificate),
        certificate_data=user.client_certificate_data or None,
        private_key_path=path(chosen.user_folder, user.client_key),
        private_key_data=user.client_key_data or None,
        username=user.username or None,
        password=user.password or None,
        token=user.token or None,
        default_namespace=chosen.namespace,
        proxy_url=cluster.proxy_url or None,
    )
