"""Where the API server is and who we are there: the pod's service account, or $KUBECONFIG."""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import kopf

from trainmaster.adapters.kubernetes.kubeconfig import DEFAULT, KubeconfigError, kubeconfig_files, read_kubeconfig
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
    if not files:
        message = f"no service account is mounted and there is no {DEFAULT}: {WAYS}"
        raise ConnectionFailedError(message)
    try:
        return read_kubeconfig(files)
    except KubeconfigError as error:
        message = f"the kubeconfig cannot be used: {error}: {WAYS}"
        raise ConnectionFailedError(message) from error
