"""The operator's kubeconfig: its files are one, as for kubectl, and what is wrong with it is said in plain words.

The first file that names the current context, or a context, cluster or user, counts; files that are not there are
skipped; paths in a file start at its folder. Credential plugins are not run: the operator's image has none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import kopf
import yaml

from trainmaster.api.errors import TrainmasterError

Json = dict[str, Any]

DEFAULT: Final = "~/.kube/config"
KINDS: Final = ("context", "cluster", "user")
PATHS: Final = ("certificate-authority", "client-certificate", "client-key")
"""Fields that name files."""


class KubeconfigError(TrainmasterError):
    """A kubeconfig cannot be used; the message names the file and what is wrong there."""


def kubeconfig_files() -> list[Path]:
    """The files of $KUBECONFIG, else the one in the home folder if it is there; empty: there is none."""
    named = [Path(part.strip()).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    default = Path(DEFAULT).expanduser()
    return named or ([default] if default.exists() else [])


def read_kubeconfig(files: Sequence[Path]) -> kopf.ConnectionInfo:
    """What the current context says. Raises KubeconfigError."""
    where = ", ".join(map(str, files))
    documents = [(file, _read(file)) for file in files if file.exists()]
    if not documents:
        message = f"there is {' and '.join(f'no file {file}' for file in files)}"
        raise KubeconfigError(message)
    current = next((doc["current-context"] for _, doc in documents if doc.get("current-context")), None)
    if current is None:
        message = f"{where}: it names no current-context: kubectl config use-context NAME"
        raise KubeconfigError(message)
    context = _find(documents, "context", current, named_by="its current-context is", where=where)
    named_by = f"context {current!r} names the {{}}"
    cluster = _find(documents, "cluster", context.get("cluster"), named_by=named_by.format("cluster"), where=where)
    user = _find(documents, "user", context.get("user"), named_by=named_by.format("user"), where=where)
    if not cluster.get("server"):
        message = f"{where}: cluster {context['cluster']!r} has no server"
        raise KubeconfigError(message)
    return _connection(context, cluster, user)


def _connection(context: Json, cluster: Json, user: Json) -> kopf.ConnectionInfo:
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        insecure=cluster.get("insecure-skip-tls-verify"),
        certificate_path=user.get("client-certificate"),
        certificate_data=user.get("client-certificate-data"),
        private_key_path=user.get("client-key"),
        private_key_data=user.get("client-key-data"),
        username=user.get("username"),
        password=user.get("password"),
        token=user.get("token"),
        default_namespace=context.get("namespace"),
        proxy_url=cluster.get("proxy-url"),
    )


def _read(file: Path) -> Json:
    try:
        data = yaml.safe_load(file.read_bytes())
    except yaml.MarkedYAMLError as error:
        mark, said = error.problem_mark, error.problem or "no YAML"
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        message = f"{file}: {place}{said}"
        raise KubeconfigError(message) from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is no YAML"
        message = f"{file}: {said}"
        raise KubeconfigError(message) from error
    if data is not None and not isinstance(data, dict):
        message = f"{file}: it is no mapping of clusters, users and contexts"
        raise KubeconfigError(message)
    for kind in KINDS:
        _check_names(file, (data or {}).get(f"{kind}s") or [], kind)
    return data or {}


def _find(documents: Sequence[tuple[Path, Json]], kind: str, name: object, *, named_by: str, where: str) -> Json:
    """A context, cluster or user by its name, with the paths in it made whole."""
    known: dict[str, tuple[Path, Json]] = {}
    for file, document in documents:
        for each in document.get(f"{kind}s") or []:
            known.setdefault(str(each["name"]), (file, each.get(kind) or {}))
    if str(name) not in known:
        there = ", ".join(sorted(known)) or "none"
        message = f"{where}: {named_by} {name!r}, which is not among its {kind}s: {there}"
        raise KubeconfigError(message)
    file, found = known[str(name)]
    return found | {field: str(file.absolute().parent / found[field]) for field in PATHS if found.get(field)}


def _check_names(file: Path, listed: object, kind: str) -> None:
    fits = isinstance(listed, list) and all(
        isinstance(each, dict) and "name" in each and isinstance(each.get(kind) or {}, dict) for each in listed
    )
    if not fits:
        message = f"{file}: its {kind}s are no list of things with a name"
        raise KubeconfigError(message)
