"""pydantic models become structural schemas, or an error that names what cannot be said."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from trainmaster.api.base import ApiModel, WireFloat
from trainmaster.api.structural import NotStructuralError, structural_schema


class Inner(ApiModel):
    """An inner model. With a second sentence.

    And a second paragraph that nobody explains.
    """

    size: int = Field(3, gt=0, lt=10, description="How large.")


class Tree(BaseModel):
    children: list[Tree] = []


def test_references_are_inlined_and_the_fields_own_words_win() -> None:
    class Outer(ApiModel):
        plain: Inner
        described: Inner = Field(default_factory=Inner, description="Mine.")

    properties = structural_schema(Outer)["properties"]

    assert properties["plain"]["description"] == "An inner model. With a second sentence."
    assert properties["described"]["description"] == "Mine."
    assert properties["described"]["default"] == {}
    assert properties["plain"]["properties"]["size"] == {
        "type": "integer",
        "description": "How large.",
        "default": 3,
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 10,
        "exclusiveMaximum": True,
    }


def test_optional_literal_and_time() -> None:
    class Outer(ApiModel):
        maybe: int | None = None
        one: Literal["a"] = "a"
        when: datetime | None = None

    properties = structural_schema(Outer)["properties"]

    assert properties["maybe"] == {"type": "integer"}
    assert properties["one"] == {"type": "string", "enum": ["a"], "default": "a"}
    assert properties["when"] == {"type": "string", "format": "date-time"}


def test_no_default_stands_inside_a_list() -> None:
    class Outer(ApiModel):
        items: tuple[Inner, ...] = ()

    node = structural_schema(Outer)["properties"]["items"]

    assert node["default"] == []
    assert "default" not in node["items"]["properties"]["size"]


def test_a_mapping_of_any_scalars_is_one_opaque_object() -> None:
    class Outer(ApiModel):
        values: dict[str, int | float | str | bool] = Field(default_factory=dict, max_length=5)

    assert structural_schema(Outer)["properties"]["values"] == {
        "type": "object",
        "default": {},
        "maxProperties": 5,
        "x-kubernetes-preserve-unknown-fields": True,
    }


def test_a_model_that_contains_itself_is_refused() -> None:
    with pytest.raises(NotStructuralError, match="Tree contains itself"):
        structural_schema(Tree)


def test_what_no_crd_can_say_is_refused() -> None:
    class Union(BaseModel):
        either: Inner | list[int]

    class Pair(BaseModel):
        pair: tuple[int, str]

    class Loose(BaseModel):
        anything: dict[str, object]

    class OddFormat(BaseModel):
        raw: bytes

    for model in (Union, Pair, Loose, OddFormat):
        with pytest.raises(NotStructuralError):
            structural_schema(model)


def test_a_default_that_is_computed_is_refused() -> None:
    class Computed(BaseModel):
        items: dict[str, int] = Field(default_factory=lambda: {"a": 1})

    with pytest.raises(NotStructuralError, match="default factory"):
        structural_schema(Computed)


def test_a_float_that_may_be_a_word_takes_any_value() -> None:
    class Outer(ApiModel):
        loss: WireFloat

    assert structural_schema(Outer)["properties"]["loss"] == {"x-kubernetes-preserve-unknown-fields": True}
