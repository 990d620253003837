"""A kubeconfig as kubectl understands it: several files are one, nulls are absent, paths start at their file.

The first file that names the current context, or a context, cluster or user, counts; files that are not there are
skipped. What is wrong is said in words that lead to the place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from trainmaster.api.errors import TrainmasterError

DEFAULT: Final = Path("~/.kube/config")


class KubeconfigError(TrainmasterError):
    """A kubeconfig cannot be used; the message names the file and what is wrong there."""


class _Part(BaseModel):
    """A mapping of a kubeconfig; what we do not know of it is kubectl's business."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=lambda name: name.replace("_", "-"))

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: object) -> object:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class Cluster(_Part):
    """Where an API server is and how it proves who it is."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class ExecEnv(_Part):
    """A variable of a credential plugin."""

    name: str
    value: str = ""


class ExecPlugin(_Part):
    """A program that prints credentials: how managed clusters let people in."""

    model_config = ConfigDict(alias_generator=to_camel)

    command: str
    api_version: str = "client.authentication.k8s.io/v1"
    args: tuple[str, ...] = ()
    env: tuple[ExecEnv, ...] = ()
    install_hint: str = ""


class User(_Part):
    """Who we are."""

    token: str = ""
    token_file: str = Field("", alias="tokenFile")
    username: str = ""
    password: str = ""
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    exec: ExecPlugin | None = None
    auth_provider: dict[str, Any] | None = None


class Context(_Part):
    """A cluster, a user and a namespace, by name."""

    cluster: str
    user: str = ""
    namespace: str = "default"


class _NamedCluster(_Part):
    name: str
    cluster: Cluster


class _NamedUser(_Part):
    name: str
    user: User = User()


class _NamedContext(_Part):
    name: str
    context: Context


class _Document(_Part):
    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] = ()
    users: tuple[_NamedUser, ...] = ()
    contexts: tuple[_NamedContext, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Chosen:
    """What one context says; `cluster_folder` and `user_folder` are where relative paths of theirs start."""

    cluster: Cluster
    user: User
    namespace: str
    cluster_folder: Path
    user_folder: Path


def kubeconfig_files(given: str | Path | None = None) -> list[Path]:
    """The files that are to be read: the given one, else those of $KUBECONFIG, else the one in the home folder."""
    if given is not None:
        return [Path(given).expanduser()]
    named = [Path(part.strip()).expanduser() for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [DEFAULT.expanduser()]


def read_kubeconfig(files: Sequence[Path], *, context: str = "") -> Chosen | None:
    """What a context says, the current one by default; None: no file is there, or none names a context.

    Raises KubeconfigError: a file cannot be used, or the context names what is nowhere.
    """
    documents = [(file.absolute().parent, _read(file)) for file in files if file.exists()]
    current = context or next((doc.current_context for _, doc in documents if doc.current_context), "")
    if not current:
        return None
    named_by = "the context asked for is" if context else "its current-context is"
    find = _Finder(where=", ".join(map(str, files)))
    contexts = {each.name: each.context for _, doc in reversed(documents) for each in doc.contexts}
    chosen = find(contexts, current, kind="context", named_by=named_by)
    clusters = {each.name: (folder, each.cluster) for folder, doc in reversed(documents) for each in doc.clusters}
    users = {each.name: (folder, each.user) for folder, doc in reversed(documents) for each in doc.users}
    named_by = f"context {current!r} names the"
    cluster_folder, cluster = find(clusters, chosen.cluster, kind="cluster", named_by=f"{named_by} cluster")
    if not cluster.server:
        message = f"{find.where}: cluster {chosen.cluster!r} has no server"
        raise KubeconfigError(message)
    user_folder, user = (
        find(users, chosen.user, kind="user", named_by=f"{named_by} user") if chosen.user else (cluster_folder, User())
    )
    return Chosen(
        cluster=cluster,
        user=user,
        namespace=chosen.namespace or "default",
        cluster_folder=cluster_folder,
        user_folder=user_folder,
    )


Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class _Finder:
    where: str

    def __call__(self, known: dict[str, Found], name: str, *, kind: str, named_by: str) -> Found:
        if name not in known:
            there = ", ".join(sorted(known)) or "none"
            message = f"{self.where}: {named_by} {name!r}, which is not among its {kind}s: {there}"
            raise KubeconfigError(message)
        return known[name]


def _read(file: Path) -> _Document:
    try:
        data = yaml.safe_load(file.read_bytes())
        return _Document.model_validate({} if data is None else data)
    except yaml.MarkedYAMLError as error:
        mark, said = error.problem_mark, error.problem or "no YAML"
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        message = f"{file}: {place}{said}"
        raise KubeconfigError(message) from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else "it is no YAML"
        message = f"{file}: {said}"
        raise KubeconfigError(message) from error
    except ValidationError as error:
        message = f"{file}: {_misfit(error)}"
        raise KubeconfigError(message) from error


def _misfit(error: ValidationError) -> str:
    """The first thing that does not fit, in words."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = first["loc"]
    if not place:
        return "it is no mapping of clusters, users and contexts"
    if len(place) <= 2 or place[-1] == "name":
        return f"its {place[0]} are no list of things with a name"
    return f"{'.'.join(map(str, place))}: {first['msg']}"
