"""What `trainmaster operator` says of its flags before it begins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

from trainmaster.api.objects import Key

DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A namespace's name, as the API server has it."""
OBJECT_NAME_MAX: Final = 253
"""Characters of an object's name, as the API server has it."""


def mistakes(*, image: str, namespaces: Sequence[str], lease: Key, urls: dict[str, str]) -> Iterator[str]:
    """A sentence on each flag that no operator can work with.

    `lease` may have no namespace: it is the operator's own then. `urls` by flag; empty ones are not given.
    """
    if not image.strip():
        yield "--trainer-image is empty: name the image of the trainer"
    elif re.search(r"\s", image):
        yield f"--trainer-image is {image!r}, expected an image without spaces"
    for flag, names in (
        ("--namespace", namespaces),
        ("--lease-namespace", [lease.namespace] if lease.namespace else []),
    ):
        for name in names:
            if not DNS_LABEL.fullmatch(name):
                yield f"{flag} is {name!r}, expected a DNS label such as team-a; repeat the flag for several"
    if not _is_object_name(lease.name):
        yield f"--lease-name is {lease.name!r}, expected the name of an object, such as trainmaster"
    for flag, url in urls.items():
        if url and not _is_http(url):
            yield f"{flag} is {url!r}, expected an http or https URL with a host: https://trainmaster.example.com:8443"


def bare_host(url: str) -> str:
    """The host of a URL, where it is a name without a domain; empty: it is none."""
    host = urlsplit(url).hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "" if "." in host else host
    return ""


def _is_object_name(name: str) -> bool:
    """Whether an object may be called so: a DNS subdomain."""
    return len(name) <= OBJECT_NAME_MAX and all(DNS_LABEL.fullmatch(part) for part in name.split("."))


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
