"""The merge patch of a status: applied by RFC 7386 to the old one it gives the new one, and nothing is said twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trainmaster.adapters.kubernetes.cluster import merge_patch

Json = dict[str, Any]
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.sampled_from(["", "x", "NaN", 2, 3, True, False])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)
"""Objects without null: a status leaves out what it does not know."""


def apply(target: object, patch: object) -> object:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply(result.get(name), value)
    return result


@given(old=OBJECTS, new=OBJECTS)
def test_applied_to_the_old_object_it_gives_the_new_one(old: Json, new: Json) -> None:
    assert apply(old, merge_patch(old, new)) == new


@given(old=OBJECTS)
def test_of_equal_objects_it_is_empty(old: Json) -> None:
    assert merge_patch(old, dict(old)) == {}


@given(old=OBJECTS, new=OBJECTS)
def test_it_names_no_member_that_stays(old: Json, new: Json) -> None:
    assert all(old.get(name) != new.get(name) for name in merge_patch(old, new))


def test_lists_are_replaced_whole_and_absent_members_are_null() -> None:
    old = {"conditions": [{"type": "Ready"}], "gone": 1, "deep": {"kept": "a", "changed": "b", "gone": {"c": 1}}}
    new = {"conditions": [{"type": "Ready"}, {"type": "Stalled"}], "deep": {"kept": "a", "changed": "c"}}

    assert merge_patch(old, new) == {
        "conditions": [{"type": "Ready"}, {"type": "Stalled"}],
        "gone": None,
        "deep": {"changed": "c", "gone": None},
    }
