"""What is submitted: a manifest, a file or a model, judged before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trainmaster.adapters.manifests import Manifest, load_manifests
from trainmaster.adapters.manifests.objects import judge_object
from trainmaster.api.labels import API_VERSION
from trainmaster.api.objects import Key
from trainmaster.api.problems import Problem
from trainmaster.api.problems import errors as errors_of
from trainmaster.api.trainingrun import TrainingRun
from trainmaster.client.errors import InvalidRunError

Json = dict[str, Any]
Submittable = TrainingRun | Mapping[str, Any] | Manifest | Path | str
"""A model, a manifest as data or as it was judged already, or the path of a file that holds one manifest."""

KIND: Final = "TrainingRun"
WRITTEN_BY_USERS: Final = ("name", "namespace", "labels", "annotations")
"""Of metadata; the rest is the API server's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """A judged manifest: where it goes, and the body that is sent."""

    key: Key
    body: Json


def prepare(given: Submittable, *, namespace: str) -> Submission:
    """Judge what is to be submitted; `namespace` is for what names none. Raises InvalidRunError with field paths."""
    if isinstance(given, str | Path):
        return _from_file(Path(given), namespace=namespace)
    if isinstance(given, Manifest):
        return _from_manifest(given, namespace=namespace)
    data = _data_of(given) if isinstance(given, TrainingRun) else dict(given)
    problems = errors_of(judge_object(data))
    if problems:
        raise InvalidRunError(problems)
    return _submission(data["metadata"], data["spec"], namespace=namespace)


def _from_manifest(manifest: Manifest, *, namespace: str) -> Submission:
    metadata = manifest.run.metadata.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return _submission(metadata, manifest.spec, namespace=namespace)


def _from_file(path: Path, *, namespace: str) -> Submission:
    judgement = load_manifests([str(path)])
    if judgement.errors:
        raise InvalidRunError(judgement.errors)
    if len(judgement.manifests) != 1:
        count = f"holds {len(judgement.manifests)} objects"
        raise InvalidRunError([Problem(file=str(path), line=1, message=count, hint="submit them one by one")])
    return _from_manifest(judgement.manifests[0], namespace=namespace)


def _data_of(run: TrainingRun) -> Json:
    """A model as its author would have written it: without what stands there by default."""
    wire = run.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    metadata = {name: wire["metadata"][name] for name in WRITTEN_BY_USERS if wire["metadata"].get(name)}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": wire["spec"]}


def _submission(metadata: Mapping[str, Any], spec: Json, *, namespace: str) -> Submission:
    key = Key(str(metadata.get("namespace") or namespace), str(metadata["name"]))
    kept = {name: metadata[name] for name in ("labels", "annotations", "ownerReferences") if metadata.get(name)}
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": key.name, "namespace": key.namespace, **kept},
        "spec": spec,
    }
    return Submission(key=key, body=body)


def merged(stored: Json, changes: Mapping[str, Any]) -> Json:
    """Data after a JSON merge patch (RFC 7386): null removes, mappings are merged, all else replaces."""
    result = dict(stored)
    for name, value in changes.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, dict) else {}, value)
        else:
            result[name] = value
    return result
