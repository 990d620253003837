"""Plain words that YAML 1.1 (kubectl, Argo CD, Flux) and YAML 1.2 (this reader, JSON) read differently.

Each was tried on sigs.k8s.io/yaml, which all three of them use.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

_BOOLEAN: Final = re.compile(r"y|yes|n|no|on|off", re.IGNORECASE)
_OCTAL: Final = re.compile(r"[-+]?0[0-7_]+")
_BINARY: Final = re.compile(r"[-+]?0b[01_]+")
_GROUPED: Final = re.compile(r"[-+]?[1-9][0-9]*(_[0-9]+)+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ambiguity:
    """One word, two readings."""

    kubectl: str
    """As JSON."""
    here: str
    hint: str

    @property
    def message(self) -> str:
        """Both readings."""
        return f"is read as {self.kubectl} by kubectl, but as {self.here} by YAML 1.2"


def ambiguity(text: str) -> Ambiguity | None:
    """What is ambiguous about a plain (unquoted) word, if anything."""
    word = json.dumps(text)
    if _BOOLEAN.fullmatch(text):
        seen = "true" if text.lower() in {"y", "yes", "on"} else "false"
        hint = f"write {word} if it is a word, {seen} if it is none"
        return Ambiguity(kubectl=seen, here=word, hint=hint)
    digits = text.replace("_", "")
    if _OCTAL.fullmatch(text):
        number = int(digits, 8)
        hint = f"write {word} if it is a word, and a number without a leading zero"
        return Ambiguity(kubectl=str(number), here=word if "_" in text else str(int(digits)), hint=hint)
    if _BINARY.fullmatch(text) or _GROUPED.fullmatch(text):
        number = int(digits, 2 if "b" in digits else 10)
        return Ambiguity(kubectl=str(number), here=word, hint=f"write {word} if it is a word, {number} if it is none")
    return None
