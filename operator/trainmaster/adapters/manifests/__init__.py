"""Manifests: files or standard input -> TrainingRuns, and all that is wrong with them.

`source` reads bytes, `document` makes data with places of it, `objects` judges each object (its spec by
`trainmaster.api.rules`); here the verdicts get their file, line and column. Nothing raises for what a file
holds: every problem of every file is in one `Judgement`.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from trainmaster.adapters.manifests.document import Document, read_documents
from trainmaster.adapters.manifests.objects import judge_object, parse_object
from trainmaster.adapters.manifests.source import Source, read_source
from trainmaster.api.problems import Problem, errors
from trainmaster.api.trainingrun import TrainingRun


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """One usable TrainingRun and where it stands; `spec` is the spec as its author wrote it, without defaults."""

    file: str
    line: int
    run: TrainingRun
    spec: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What some files hold: the usable objects, and all problems in the order of files and lines."""

    manifests: tuple[Manifest, ...]
    problems: tuple[Problem, ...]
    texts: dict[str, str]
    """Text of each file that could be read."""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make an object unusable."""
        return errors(self.problems)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The other problems."""
        return tuple(problem for problem in self.problems if not problem.is_error)

    def source_line(self, problem: Problem) -> str:
        """The line that a problem is about, empty if there is none."""
        lines = self.texts.get(problem.file, "").split("\n")
        return lines[problem.line - 1].rstrip("\r") if 1 <= problem.line <= len(lines) else ""


def load_manifests(paths: Sequence[str], *, stdin: BinaryIO | None = None) -> Judgement:
    """Reads and judges files, in order; `-` is standard input (`stdin` stands in for it)."""
    stream = sys.stdin.buffer if stdin is None else stdin
    return judge_sources([read_source(path, stdin=stream) for path in dict.fromkeys(paths)])


def judge_text(text: str, *, file: str = "<text>") -> Judgement:
    """Judges the text of one file."""
    return judge_sources([Source(file=file, text=text)])


def judge_sources(sources: Iterable[Source]) -> Judgement:
    """Judges several files together: no two objects in them may have one namespace and name."""
    problems: list[Problem] = []
    manifests: list[Manifest] = []
    texts: dict[str, str] = {}
    seen: dict[tuple[str, str], str] = {}
    for source in sources:
        found = [] if source.problem is None else [source.problem]
        if source.problem is None:
            texts[source.file] = source.text
            documents = list(read_documents(source.text))
            if not documents:
                found.append(Problem(file=source.file, message="holds no object", hint="is it empty?"))
            for document in documents:
                verdicts = [*_judge_document(document), *_twice(document, file=source.file, seen=seen)]
                found += [_placed(problem, document=document, file=source.file) for problem in verdicts]
                if not errors(verdicts):
                    run = parse_object(document.data)
                    spec = document.data["spec"]
                    manifests.append(Manifest(file=source.file, line=document.line, run=run, spec=spec))
        problems += sorted(found, key=lambda problem: (problem.line, problem.column, problem.path, problem.message))
    return Judgement(manifests=tuple(manifests), problems=tuple(problems), texts=texts)


def _judge_document(document: Document) -> list[Problem]:
    """The problems of text and content; one error of a field's text hides what its content would be blamed for."""
    judged = [] if document.data is None and document.problems else judge_object(document.data)
    unreadable = {problem.path for problem in errors(document.problems)}
    wrong = unreadable | {problem.path for problem in errors(judged)}
    texts = [problem for problem in document.problems if problem.is_error or problem.path not in wrong]
    return texts + [problem for problem in judged if problem.path not in unreadable]


def _twice(document: Document, *, file: str, seen: dict[tuple[str, str], str]) -> Iterator[Problem]:
    """Remembers the object's key; a second object of the same key would overwrite the first."""
    metadata = document.data.get("metadata") if isinstance(document.data, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str):
        return
    key = (str(metadata.get("namespace") or "default"), name)
    if key in seen:
        message = f"names the same object as {seen[key]}"
        yield Problem(path="metadata.name", value=name, message=message, hint="give one of them another name")
    seen.setdefault(key, f"{file}:{document.place('metadata.name').value[0]}")


def _placed(problem: Problem, *, document: Document, file: str) -> Problem:
    """The problem with file, line and column."""
    place = document.place(problem.path)
    line, column = place.value
    if problem.about_name or isinstance(problem.value, dict | list) or problem.path not in document.places:
        line, column = place.name
    if problem.line:
        line, column = problem.line, problem.column
    return dataclasses.replace(problem, file=file, line=line, column=column)
