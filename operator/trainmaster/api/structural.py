"""pydantic models -> the structural schemas that a CustomResourceDefinition takes.

pydantic describes a model in JSON Schema; Kubernetes takes a strict part of OpenAPI 3.0. The generator below rewrites
what has an equal there (references are inlined, `const` becomes `enum`, `X | None` an optional X) and raises
`NotStructuralError` on everything that has none, so that a model which the API server would refuse or silently prune
fails here.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from trainmaster.api.errors import TrainmasterError

Schema = dict[str, Any]

ANY_VALUE: Final = "x-kubernetes-preserve-unknown-fields"

_NOISE: Final = frozenset({"title", "examples", "readOnly", "writeOnly", "deprecated", "discriminator", "$defs"})
_KEPT: Final = frozenset(
    {"type", "format", "description", "properties", "required", "additionalProperties", "items", "enum", "default"}
    | {"pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
    | {"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"}
    | {ANY_VALUE, "x-kubernetes-list-type", "x-kubernetes-list-map-keys"}
)
_FORMATS: Final = frozenset({"date-time", "int32", "int64"})
_SCALARS: Final = frozenset({"integer", "number", "string", "boolean"})


class NotStructuralError(TrainmasterError):
    """A model uses something that a CRD cannot say."""


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with what CRDs say differently."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """`X | None` is an optional X: the API server drops nulls of fields that are not nullable."""
        return self.generate_inner(schema["schema"])

    def literal_schema(self, schema: core_schema.LiteralSchema) -> JsonSchemaValue:
        """OpenAPI 3.0 knows no `const`."""
        out = super().literal_schema(schema)
        if "const" in out:
            out["enum"] = [out.pop("const")]
        return out

    def union_schema(self, schema: core_schema.UnionSchema) -> JsonSchemaValue:
        """A union of scalars becomes "any value".

        `anyOf` over types is not structural, and int-or-string refuses 5e-5 and true. So the API server takes whatever
        stands there; `trainmaster validate` and the operator refuse what is no number, string or boolean.
        """
        out = super().union_schema(schema)
        types = {member.get("type") for member in out.get("anyOf", [])}
        return {ANY_VALUE: True} if types and types <= _SCALARS else out

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """A default that is made by a factory is a default too; for a sub-model `{}`, filled by its own defaults."""
        out = super().default_schema(schema)
        factory: Any = schema.get("default_factory")
        if factory is None or "default" in out:
            return out
        made = factory()
        value = made.model_dump(exclude_unset=True) if isinstance(made, BaseModel) else made
        if value != {}:
            message = f"default factory gives {made!r}; only empty mappings and models are understood"
            raise NotStructuralError(message)
        return {**out, "default": {}}


def structural_schema(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The structural schema of a model, with camelCase names.

    `defaults=False` leaves defaults out: for status, where one writer gives every value, and a server that fills in
    zeros would claim what nobody observed. Raises NotStructuralError.
    """
    raw = model.model_json_schema(schema_generator=_Generator, mode="validation", by_alias=True)
    return _rewrite(raw, definitions=raw.get("$defs", {}), inside=(), defaults=defaults)


def _rewrite(node: Schema, *, definitions: dict[str, Schema], inside: tuple[str, ...], defaults: bool) -> Schema:
    """One node and all below it; `inside` names the models around it, to notice recursion."""
    out, inside = _inline(node, definitions=definitions, inside=inside)
    out = {key: value for key, value in out.items() if key not in _NOISE}
    if not defaults or out.get("default", ...) is None:
        out.pop("default", None)
    if "description" in out:
        out["description"] = " ".join(out["description"].split("\n\n")[0].split())
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in out:
            out[bound], out[exclusive] = out[exclusive], True
    extra = out.pop("additionalProperties", None)
    if "properties" in out:
        out["properties"] = {
            name: _rewrite(child, definitions=definitions, inside=inside, defaults=defaults)
            for name, child in out["properties"].items()
        }
    elif isinstance(extra, dict):
        value = _rewrite(extra, definitions=definitions, inside=inside, defaults=False)
        # CEL cannot see a map whose values have no type (tried: "undefined field"), but it compares a whole object
        # of unknown fields. So "any value" is said one level up, where the immutability rule can reach it.
        out |= value if value == {ANY_VALUE: True} else {"additionalProperties": value}
    elif out.get("type") == "object":
        message = f"a mapping of unnamed things: {node}; say what its values are"
        raise NotStructuralError(message)
    if "items" in out:
        # Lists are replaced whole by GitOps tools: a default filled into an item shows as drift for ever.
        out.setdefault("x-kubernetes-list-type", "atomic")
        out["items"] = _rewrite(out["items"], definitions=definitions, inside=inside, defaults=False)
    _check(out)
    return out


def _inline(node: Schema, *, definitions: dict[str, Schema], inside: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
    """The node with its reference replaced by what it refers to; words beside the reference win."""
    out = dict(node)
    while "$ref" in out:
        name = out.pop("$ref").rsplit("/", 1)[-1]
        if name in inside:
            message = f"model {name} contains itself: a CRD cannot say that"
            raise NotStructuralError(message)
        inside = (*inside, name)
        out = {**definitions[name], **out}
    return out, inside


def _check(node: Schema) -> None:
    unknown = node.keys() - _KEPT
    if unknown:
        message = f"{sorted(unknown)} cannot stand in a structural schema: {node}"
        raise NotStructuralError(message)
    if "type" not in node and ANY_VALUE not in node:
        message = f"a value without a type: {node}"
        raise NotStructuralError(message)
    if node.get("format", "date-time") not in _FORMATS:
        message = f"format {node['format']!r} is none of {sorted(_FORMATS)}"
        raise NotStructuralError(message)
    if node.get("type") == "array" and "items" not in node:
        message = f"a list without a type of its items: {node}"
        raise NotStructuralError(message)
