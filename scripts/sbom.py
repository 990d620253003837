"""The software bill of materials of a Python environment, SPDX 2.3 as JSON: `python scripts/sbom.py NAME > FILE`.

Run it with the Python whose installed distributions it is to list; it needs the standard library alone. The same
environment gives the same document but for the time, which SOURCE_DATE_EPOCH sets.
"""  # noqa: INP001  # a script that is run by its path

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from typing import Any, Final

NOASSERTION: Final = "NOASSERTION"
EXPRESSION: Final = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*")
"""What an SPDX licence expression looks like; older distributions say whole texts in that place."""
NAMESPACE: Final = "urn:trainmaster:sbom:"


def package(distribution: Distribution) -> dict[str, Any]:
    """One installed distribution as an SPDX package."""
    name, version = distribution.metadata["Name"], distribution.version
    canonical = re.sub(r"[-_.]+", "-", name).lower()
    return {
        "SPDXID": f"SPDXRef-Package-{canonical}",
        "name": name,
        "versionInfo": version,
        "downloadLocation": NOASSERTION,
        "filesAnalyzed": False,
        "licenseConcluded": NOASSERTION,
        "licenseDeclared": _licence(distribution),
        "copyrightText": NOASSERTION,
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:pypi/{canonical}@{version}",
            }
        ],
    }


def document(name: str) -> dict[str, Any]:
    """The document of the running Python's environment."""
    found = {each.metadata["Name"]: package(each) for each in distributions()}
    packages = [found[key] for key in sorted(found, key=str.lower)]
    digest = hashlib.sha256(json.dumps(packages, sort_keys=True).encode()).hexdigest()
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": f"{NAMESPACE}{name}:{digest}",
        "creationInfo": {"created": _created(), "creators": ["Tool: trainmaster scripts/sbom.py"]},
        "packages": packages,
        "relationships": [
            {
                "spdxElementId": "SPDXRef-DOCUMENT",
                "relationshipType": "DESCRIBES",
                "relatedSpdxElement": each["SPDXID"],
            }
            for each in packages
        ],
    }


def _licence(distribution: Distribution) -> str:
    metadata = distribution.metadata
    said = metadata.get("License-Expression") or metadata.get("License") or ""
    return said if EXPRESSION.fullmatch(said) else NOASSERTION


def _created() -> str:
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    """Run as a program."""
    json.dump(document(sys.argv[1]), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
