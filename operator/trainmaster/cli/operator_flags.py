"""What `trainmaster operator` says of its flags before it begins."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import urlsplit

DNS_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A namespace's name, as the API server has it."""


def mistakes(*, image: str, namespaces: Sequence[str], lease_namespace: str, urls: dict[str, str]) -> Iterator[str]:
    """A sentence on each flag that no operator can work with; `urls` by flag, empty ones are not given."""
    if not image.strip():
        yield "--trainer-image is empty: name the image of the trainer"
    elif re.search(r"\s", image):
        yield f"--trainer-image is {image!r}, expected an image without spaces"
    for flag, names in (
        ("--namespace", namespaces),
        ("--lease-namespace", [lease_namespace] if lease_namespace else []),
    ):
        for name in names:
            if not DNS_LABEL.fullmatch(name):
                yield f"{flag} is {name!r}, expected a DNS label such as team-a; repeat the flag for several"
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


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
