"""A look at a report token without asking anybody: shape, audience, expiry, pod. No signature is checked here.

What fails here cannot pass a TokenReview, so garbage costs the API server nothing. What passes is not proven yet.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

MAX_TOKEN_BYTES: Final = 8192
"""Projected tokens have 1 to 2 KB; a header line has no room for more either."""
CLOCK_SKEW_SECONDS: Final = 60
"""An operator's clock may be ahead of the API server's by so much: the server has the last word on expiry."""
PARTS: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What a token says of itself."""

    expires: float
    """Seconds since 1970."""
    namespace: str
    pod_name: str
    pod_uid: str


def read_claims(token: str, *, audience: str, now: float) -> Claims | None:
    """What the token claims, or None if no API server would take it for this audience at `now` (seconds since 1970)."""
    parts = token.split(".")
    if len(token) > MAX_TOKEN_BYTES or len(parts) != PARTS or not all(parts):
        return None
    header, claims = _object(parts[0]), _object(parts[1])
    if header is None or claims is None or str(header.get("alg", "none")).lower() == "none":
        return None
    audiences = claims.get("aud")
    if audience not in (audiences if isinstance(audiences, list) else [audiences]):
        return None
    expires = claims.get("exp")
    if not isinstance(expires, (int, float)) or isinstance(expires, bool) or now > expires + CLOCK_SKEW_SECONDS:
        return None
    return _bound(claims, expires=float(expires))


def _bound(claims: dict[str, Any], *, expires: float) -> Claims | None:
    """The claims of a token that is bound to a pod; others prove nothing about a launch."""
    bound = claims.get("kubernetes.io")
    pod = bound.get("pod") if isinstance(bound, dict) else None
    if not isinstance(bound, dict) or not isinstance(pod, dict):
        return None
    words = [bound.get("namespace"), pod.get("name"), pod.get("uid")]
    if not all(isinstance(word, str) and word for word in words):
        return None
    namespace, name, uid = words
    return Claims(expires=expires, namespace=str(namespace), pod_name=str(name), pod_uid=str(uid))


def _object(part: str) -> dict[str, Any] | None:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        found = json.loads(data)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
