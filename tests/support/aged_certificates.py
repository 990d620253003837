"""The data of a Secret of report certificates at any age, and the changes that time brings to it.

For tests that rotate certificates under an operator whose clock they cannot turn: they write what years would have made
of the Secret, and the operator does the rest at its next look.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from trainmaster.adapters.certificates import Material, up_to_date
from trainmaster.adapters.kubernetes.tls_secret import material_of, with_material

YEAR = timedelta(days=365)
WITH_SUCCESSOR = 6.5
"""Years after which an authority has a successor that does not sign yet."""


def data_of_age(names: frozenset[str], *, years: float) -> dict[str, str]:
    """What an installation of that age holds, base64 by key: an operator has looked every month."""
    now = datetime.now(UTC)
    moment, material = now - years * YEAR, Material()
    while moment < now:
        material = up_to_date(material, names=names, now=moment)
        moment += timedelta(days=30)
    data: dict[str, str] = with_material({}, up_to_date(material, names=names, now=now))["data"]
    return data


def leaf_due(data: dict[str, str]) -> dict[str, str]:
    """The same without its leaf: the operator makes another one, as when the old one nears its end."""
    return data | {"tls.crt": "", "tls.key": ""}


def swap_due(data: dict[str, str]) -> dict[str, str]:
    """The same after its successor has taken over; the operator makes the leaf that it signs."""
    assert material_of(data).next_cert, "there must be a successor"
    over = {"ca.crt": data["next-ca.crt"], "ca.key": data["next-ca.key"], "next-ca.crt": "", "next-ca.key": ""}
    return leaf_due(data | over)
