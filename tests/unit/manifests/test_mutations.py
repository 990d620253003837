"""Good manifests, broken in one place: the problem is found in that place, and nothing ever raises.

What a mutation must lead to is written here, field by field, and not asked of the code under test.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trainmaster.adapters.manifests import judge_text

MUTATIONS = 600

Path = tuple[str | int, ...]
Json = Any
"""What a manifest holds, broken or not."""

MARKET: dict[str, Any] = {
    "apiVersion": "trainmaster.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "market", "namespace": "team-a", "labels": {"team": "a"}, "annotations": {"note": "n"}},
    "spec": {
        "workload": "market-classifier",
        "data": {"source": "package://bars/eurusd.csv"},
        "hyperparameters": {
            "epochs": 3,
            "batch_size": 64,
            "gradient_accumulation_steps": 4,
            "learning_rate": 0.001,
            "min_learning_rate": 0.00001,
            "weight_decay": 0.01,
            "lr_scheduler": "constant",
            "scheduler_t_0": 10,
            "scheduler_t_mult": 2,
            "scheduler_step_size": 5,
            "scheduler_gamma": 0.5,
            "warmup_epochs": 1,
            "early_stopping_patience": 5,
            "lr_plateau_patience": 2,
            "lr_plateau_factor": 0.5,
            "emergency_lr_factor": 0.1,
            "max_lr_rescues": 3,
            "max_grad_norm": 5.0,
            "adaptive_clipping": True,
            "emergency_grad_norm": 1000.0,
            "quarantine": True,
            "dropout": 0.4,
            "label_smoothing": 0.1,
            "use_augmentation": True,
            "gaussian_noise_std": 0.01,
            "use_focal_loss": True,
            "focal_gamma": 2.5,
            "use_oversampling": True,
            "oversample_ratio": 0.5,
            "use_class_weights": False,
            "window": 24,
            "horizon": 1,
            "dead_zone": 0.43,
            "hidden_size": 48,
            "lstm_layers": 1,
            "attention_heads": 4,
            "validation_share": 0.1,
            "test_share": 0.2,
            "embargo": 24,
            "precision": "float32",
            "device": "cpu",
            "leak_audit": True,
            "evaluation": "full",
            "export_onnx": False,
            "seed": 7,
        },
        "resources": {"cpu": 2},
        "storage": {"checkpoints": "pvc://ckpt/a", "keepLast": 2, "keepBest": 1, "everySteps": 10},
        "env": [{"name": "TZ", "value": "UTC"}, {"name": "LANG", "value": "C"}],
        "hangDetection": {
            "startingSeconds": 60,
            "trainingSeconds": 60,
            "validatingSeconds": 60,
            "checkpointingSeconds": 60,
            "testingSeconds": 60,
        },
        "recovery": {"mode": "Heal", "budgets": {"heals": 5, "crashes": 20}},
        "suspend": False,
        "activeDeadlineSeconds": 3600,
        "schedulingDeadlineSeconds": 600,
        "ttlSecondsAfterFinished": 60,
        "terminationGracePeriodSeconds": 30,
        "rerun": "first",
    },
}
CUSTOM: dict[str, Any] = {
    "apiVersion": "trainmaster.io/v1alpha1",
    "kind": "TrainingRun",
    "metadata": {"name": "custom"},
    "spec": {"workload": "custom", "command": ["python", "train.py"], "suspend": True, "resources": {"cpu": 1}},
}

REQUIRED_BY_ALL = {
    ("apiVersion",),
    ("kind",),
    ("metadata",),
    ("metadata", "name"),
    ("spec",),
    ("spec", "workload"),
    ("spec", "data", "source"),
    ("spec", "env", 0, "name"),
    ("spec", "env", 1, "name"),
}
REQUIRED = {"market": REQUIRED_BY_ALL | {("spec", "data")}, "custom": REQUIRED_BY_ALL | {("spec", "command")}}

OUT_OF_RANGE: dict[str, tuple[Any, ...]] = {
    "apiVersion": ("v1", "trainmaster.io/v2"),
    "kind": ("Trainingrun", "Job"),
    "metadata.name": ("", "A", "a_b", "-a", "a-", "a" * 254, "a..b"),
    "metadata.namespace": ("", "A", "a.b", "a" * 64),
    "spec.workload": ("", "nothing", "Custom"),
    "spec.data.source": ("", "file", "s3://b/k", "package://d", "package://d/../x", "package://d/a b", "/etc/passwd"),
    "spec.resources.cpu": (0, -1, 257),
    "spec.storage.checkpoints": ("", "pvc://", "s3://b", "pvc://A", "pvc://a/../b"),
    "spec.storage.keepLast": (0, -1, 1001),
    "spec.storage.keepBest": (-1, 1001),
    "spec.storage.everySteps": (0, 10**9 + 1),
    "spec.env[0].name": ("", "1A", "A B", "TRAINMASTER_PLAN", "A" * 129),
    "spec.env[1].name": ("TZ",),
    "spec.env[0].value": ("v" * 4097,),
    "spec.recovery.mode": ("heal", "On", ""),
    "spec.recovery.budgets.heals": (-1, 10**6),
    "spec.recovery.budgets.crashes": (-1, 10_001),
    "spec.activeDeadlineSeconds": (0, -5),
    "spec.schedulingDeadlineSeconds": (0,),
    "spec.ttlSecondsAfterFinished": (-1,),
    "spec.terminationGracePeriodSeconds": (4, 3601),
    "spec.rerun": ("a b", "a/b", "r" * 64),
    **{
        f"spec.hangDetection.{name}Seconds": (59, 0, 86_401)
        for name in ("starting", "training", "validating", "checkpointing", "testing")
    },
    **{
        f"spec.hyperparameters.{name}": values
        for name, values in {
            "epochs": (0, -1, 100_001, 2.5),
            "batch_size": (0, 65_537),
            "gradient_accumulation_steps": (0, 3, 4_097),
            "learning_rate": (0, -1, 11, "-5e-5", "nan"),
            "min_learning_rate": (-1, 0.002, "nan"),
            "weight_decay": (-0.1, 11),
            "lr_scheduler": ("magic", ""),
            "scheduler_t_0": (0,),
            "scheduler_t_mult": (0,),
            "scheduler_step_size": (0, 2.5),
            "scheduler_gamma": (0, 1.1),
            "warmup_epochs": (0,),
            "early_stopping_patience": (-1,),
            "lr_plateau_patience": (0,),
            "lr_plateau_factor": (0, 1),
            "emergency_lr_factor": (0, 1),
            "max_lr_rescues": (-1,),
            "max_grad_norm": (0, -1, "inf"),
            "adaptive_clipping": ("maybe", 2),
            "emergency_grad_norm": (0, "nan"),
            "quarantine": ("perhaps",),
            "dropout": (-0.1, 1),
            "label_smoothing": (-0.1, 1),
            "use_augmentation": (0.01,),
            "gaussian_noise_std": (-0.1, 11),
            "use_focal_loss": (2.5,),
            "focal_gamma": (-1, 11),
            "use_oversampling": ("half",),
            "oversample_ratio": (-0.1, 1.1),
            "use_class_weights": ("balanced",),
            "window": (3, 4097),
            "horizon": (0, 1001),
            "dead_zone": (-1, 11),
            "hidden_size": (0, 2, 50, 4100),
            "lstm_layers": (0, 9),
            "attention_heads": (0, 65, 5, 7),
            "validation_share": (0, 0.5),
            "test_share": (0, 0.5),
            "embargo": (-1, 10_001),
            "precision": ("fp16", True),
            "device": ("tpu", "cuda:0"),
            "leak_audit": (3,),
            "evaluation": ("none", 1),
            "export_onnx": ("model.onnx",),
            "seed": (-1, 2**31),
        }.items()
    },
}

WORDS_NEARBY = st.sampled_from(["drop", "double", "swap", "replace", "case"])


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A broken manifest, the field that must be blamed (None: still valid), and a word that must be said."""

    manifest: dict[str, Any]
    blamed: Path | None
    says: str = ""


def fields(value: Json, path: Path = ()) -> Iterator[Path]:
    """All fields and items below a value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in entries:
        yield (*path, name)
        yield from fields(child, (*path, name))


def write(path: Path) -> str:
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def at(manifest: dict[str, Any], path: Path) -> Json:
    value: Json = manifest
    for step in path:
        value = value[step]
    return value


def free(path: Path) -> bool:
    """Names below these are the user's own: no name there can be wrong."""
    return path[:2] in {("metadata", "labels"), ("metadata", "annotations")} and len(path) > 2


bases = st.sampled_from([("market", MARKET), ("custom", CUSTOM)])


@st.composite
def deletions(draw: st.DrawFn) -> Mutation:
    name, base = draw(bases)
    path = draw(st.sampled_from([path for path in fields(base) if not isinstance(path[-1], int)]))
    manifest = copy.deepcopy(base)
    del at(manifest, path[:-1])[path[-1]]
    return Mutation(manifest=manifest, blamed=path if path in REQUIRED[name] else None)


def misspell(name: str, *, slip: str, place: int) -> str:
    place %= len(name)
    if slip == "drop":
        return name[:place] + name[place + 1 :]
    if slip == "double":
        return name[:place] + name[place] + name[place:]
    if slip == "swap":
        place %= len(name) - 1
        return name[:place] + name[place + 1] + name[place] + name[place + 2 :]
    if slip == "case":
        return name[:place] + name[place].swapcase() + name[place + 1 :]
    return name[:place] + "q" + name[place + 1 :]


@st.composite
def misspellings(draw: st.DrawFn) -> Mutation:
    _, base = draw(bases)
    names = [path for path in fields(base) if isinstance(path[-1], str) and not free(path)]
    path = draw(st.sampled_from(names))
    name = str(path[-1])
    siblings = at(base, path[:-1])
    wrong = draw(
        st.builds(lambda slip, place: misspell(name, slip=slip, place=place), WORDS_NEARBY, st.integers(0, 40)).filter(
            lambda word: word not in siblings
        )
    )
    manifest = copy.deepcopy(base)
    at(manifest, path[:-1])[wrong] = at(manifest, path[:-1]).pop(name)
    return Mutation(manifest=manifest, blamed=(*path[:-1], wrong), says=f'did you mean "{name}"?')


def wrong_types(path: Path, value: Json) -> list[Json]:
    """Values of types that the field never takes."""
    if path[:2] == ("spec", "hyperparameters") and len(path) == 3:
        return ["word", 5 if isinstance(value, bool) else True, [1], {"a": 1}]
    if isinstance(value, bool):
        return ["word", 5, ["x"], {"a": 1}]
    if isinstance(value, int):
        return ["word", "5", True, 1.5, [1], {"a": 1}]
    if isinstance(value, str):
        return [5, True, 1.5, ["x"], {"a": "x"}]
    if isinstance(value, list):
        return ["word", 5, True, {"a": 1}]
    return ["word", 5, True, ["x"]]


@st.composite
def retypings(draw: st.DrawFn) -> Mutation:
    _, base = draw(bases)
    path = draw(st.sampled_from(list(fields(base))))
    manifest = copy.deepcopy(base)
    at(manifest, path[:-1])[path[-1]] = draw(st.sampled_from(wrong_types(path, at(base, path))))
    return Mutation(manifest=manifest, blamed=path)


@st.composite
def overruns(draw: st.DrawFn) -> Mutation:
    _, base = draw(bases)
    path = draw(st.sampled_from([path for path in fields(base) if write(path) in OUT_OF_RANGE]))
    manifest = copy.deepcopy(base)
    at(manifest, path[:-1])[path[-1]] = draw(st.sampled_from(OUT_OF_RANGE[write(path)]))
    return Mutation(manifest=manifest, blamed=path)


@dataclass(frozen=True, kw_only=True)
class Written:
    """A manifest as block YAML, and the line of each field."""

    lines: list[str]
    places: dict[Path, int]


def as_yaml(value: dict[str, Any], *, path: Path = (), written: Written | None = None) -> Written:
    """One field a line; lists and empty mappings stand on the line of their field."""
    written = written or Written(lines=[], places={})
    for name, child in value.items():
        here = (*path, name)
        nested = isinstance(child, dict) and bool(child)
        written.lines.append(f"{'  ' * len(path)}{json.dumps(name)}:{'' if nested else ' ' + json.dumps(child)}")
        written.places[here] = len(written.lines)
        for inner in fields(child, here):
            written.places[inner] = len(written.lines)
        if nested:
            as_yaml(child, path=here, written=written)
    return written


def test_the_manifests_that_are_mutated_are_good() -> None:
    for base in (MARKET, CUSTOM):
        assert judge_text("\n".join(as_yaml(base).lines)).problems == ()
        assert judge_text(json.dumps(base)).problems == ()


def test_every_field_with_a_range_is_mutated_beyond_it() -> None:
    known = {write(path) for base in (MARKET, CUSTOM) for path in fields(base)}

    assert OUT_OF_RANGE.keys() <= known
    assert {f"spec.hyperparameters.{name}" for name in MARKET["spec"]["hyperparameters"]} <= OUT_OF_RANGE.keys()


@settings(max_examples=MUTATIONS, deadline=None)
@given(mutation=st.one_of(deletions(), misspellings(), retypings(), overruns()), as_json=st.booleans())
def test_a_mutation_is_blamed_where_it_was_made(mutation: Mutation, as_json: bool) -> None:  # noqa: FBT001 - hypothesis
    written = as_yaml(mutation.manifest)
    text = json.dumps(mutation.manifest) if as_json else "\n".join(written.lines)

    judgement = judge_text(text)

    if mutation.blamed is None:
        assert judgement.errors == ()
        assert len(judgement.manifests) == 1
        return
    blamed = [problem for problem in judgement.errors if problem.path == write(mutation.blamed)]
    assert blamed, [str(problem) for problem in judgement.problems]
    assert any(mutation.says in str(problem) for problem in blamed), [str(problem) for problem in blamed]
    assert not judgement.manifests
    if not as_json and mutation.blamed in written.places:
        assert blamed[0].line == written.places[mutation.blamed]


@settings(max_examples=100, deadline=None)
@given(base=bases, data=st.data())
def test_a_field_that_stands_twice_is_blamed_at_its_second_line(
    base: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    written = as_yaml(base[1])
    on_one_line = [path for path in written.places if isinstance(path[-1], str) and 0 not in path and 1 not in path]
    path = data.draw(st.sampled_from([path for path in on_one_line if not isinstance(at(base[1], path), dict)]))
    line = written.places[path]
    lines = [*written.lines[:line], written.lines[line - 1], *written.lines[line:]]

    judgement = judge_text("\n".join(lines))

    assert [(problem.path, problem.line) for problem in judgement.errors] == [(write(path), line + 1)]


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, 2_000), junk=st.text(max_size=8), base=bases)
def test_no_text_makes_it_raise(cut: int, junk: str, base: tuple[str, dict[str, Any]]) -> None:
    text = "\n".join(as_yaml(base[1]).lines)
    judgement = judge_text(text[:cut] + junk + text[cut + len(junk) :])

    assert judgement.problems or judgement.manifests
