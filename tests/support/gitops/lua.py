"""Argo CD's Lua machine, as far as its scripts can tell: Lua 5.1 with base, package, table and a safe `os`.

Rebuilt from argo-cd's `util/lua/lua.go` and `oslib_safe.go`: scripts of users get no string, math or io, `os` comes by
`require` and knows `time` and `date` only, and the object is the global `obj`. An action's answer goes back to JSON by
rules of its own: an empty table is a list there, and is put right where the object before had a map.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime  # type: ignore[import-untyped]  # lupa has no types

Wire = dict[str, Any]

HEALTH = frozenset({"Unknown", "Progressing", "Suspended", "Healthy", "Degraded", "Missing"})
"""What Argo CD takes for a health status; anything else becomes Unknown."""
SANDBOX = """
getmetatable("").__index = nil
local safe = { time = os.time, date = os.date }
package.preload["os"] = function() return safe end
package.loaded["os"] = nil
os, io, string, math, debug, coroutine, python = nil, nil, nil, nil, nil, nil, nil
"""
"""What the scripts of users do not have."""


def run_lua(script: str, obj: Wire) -> Any:  # noqa: ANN401 - any JSON
    """What a script returns about an object, as Argo CD reads it."""
    machine = LuaRuntime(register_eval=False, register_builtins=False)
    machine.execute(SANDBOX)
    machine.globals()["obj"] = _into(machine, obj)
    return _out_of(machine.execute(script))


def health(script: Path, obj: Wire) -> tuple[str, str]:
    """Status and message that Argo CD shows; a status that it does not know becomes Unknown."""
    told = run_lua(script.read_text(), obj)
    assert isinstance(told, dict), f"{script} returned no table: {told!r}"
    status = told.get("status", "")
    return (status if status in HEALTH else "Unknown"), told.get("message", "")


def act(script: Path, obj: Wire) -> Wire:
    """The object as Argo CD would patch it after an action."""
    told = run_lua(script.read_text(), copy.deepcopy(obj))
    assert isinstance(told, dict), f"{script} returned no object: {told!r}"
    changed: Wire = _put_right(told, obj)
    return changed


def _into(machine: Any, value: Any) -> Any:  # noqa: ANN401 - lupa has no types
    if isinstance(value, dict):
        return machine.table_from({key: _into(machine, item) for key, item in value.items() if item is not None})
    if isinstance(value, list):
        return machine.table_from([_into(machine, item) for item in value])
    return value


def _out_of(value: Any) -> Any:  # noqa: ANN401 - lupa has no types
    """A table is a list if it has an item 1 or none at all, else a map."""
    if not hasattr(value, "items"):
        return value
    items = dict(value.items())
    if not items or 1 in items:
        return [_out_of(items[number]) for number in sorted(items)]
    return {str(key): _out_of(item) for key, item in items.items()}


def _put_right(new: Any, old: Any) -> Any:  # noqa: ANN401 - any JSON
    """Empty lists that were maps before are maps again."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _put_right(item, old.get(key)) for key, item in new.items()}
    if isinstance(new, list) and isinstance(old, dict) and not new:
        return old
    if isinstance(new, list) and isinstance(old, list):
        return [_put_right(item, old[at] if at < len(old) else None) for at, item in enumerate(new)]
    return new
