"""What a pod's launcher sends, with a token that the API server made for that pod; and tokens that prove nothing."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.support.control_plane import ControlPlane
from tests.support.scene import Run
from trainmaster.api.labels import REPORT_AUDIENCE

Wire = dict[str, Any]

TIME = "2026-01-01T00:00:00Z"
"""Trainers' clocks are for display."""
ISSUER = "https://kubernetes.default.svc.cluster.local"
COORDINATE_BYTES = 32
"""Of a signature with P-256."""


class Launcher:
    """What reports of one launch: it has the token of the launch's pod, unless it is given another one."""

    def __init__(self, run: Run, *, launch: int, token: str = "", url: str = "", trust: str = "") -> None:
        self.run, self.launch = run, launch
        self.token = token or pod_token(run.scene.plane, run.pods(launch)[0])
        self._url = url or run.scene.operator.report_url
        self._tls = ssl.create_default_context(cadata=trust) if trust else None

    def report(self, *entries: Wire, step: int = 1, **fields: object) -> tuple[int, Wire]:
        """Send a report of this launch; status and body of the answer."""
        body = {"runUid": self.run.uid, "launch": self.launch, "generation": 1, "phase": "training", "step": step}
        return self.send(json.dumps(body | {"entries": list(entries)} | fields).encode())

    def send(self, body: bytes) -> tuple[int, Wire]:
        """Send bytes."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._tls) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error) | {"location": error.headers.get("Location")}


def pod_token(plane: ControlPlane, pod: Wire, *, audience: str = REPORT_AUDIENCE) -> str:
    """A token bound to a pod, as the kubelet gets one."""
    meta = pod["metadata"]
    bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    spec = {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}
    account = pod["spec"].get("serviceAccountName") or "default"
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
    answer = plane.request("POST", path, {"spec": spec})
    assert answer.status == 201, answer
    token: str = answer.body["status"]["token"]
    return token


def signed_token(plane: ControlPlane, pod: Wire, *, expires_in: float) -> str:
    """A token bound to a pod, signed with the API server's own key, of any age."""
    meta, now = pod["metadata"], int(time.time())
    namespace = meta["namespace"]
    account = plane.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/default").body["metadata"]
    claims = {
        "iss": ISSUER,
        "aud": [REPORT_AUDIENCE],
        "sub": f"system:serviceaccount:{namespace}:default",
        "iat": now - 7200,
        "nbf": now - 7200,
        "exp": now + int(expires_in),
        "kubernetes.io": {
            "namespace": namespace,
            "pod": {"name": meta["name"], "uid": meta["uid"]},
            "serviceaccount": {"name": "default", "uid": account["uid"]},
        },
    }
    signed = ".".join(_coded(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims))
    key = serialization.load_pem_private_key((plane.folder / "pki" / "sa.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    numbers = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{_coded(b''.join(number.to_bytes(COORDINATE_BYTES, 'big') for number in numbers))}"


def _coded(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def point(seq: int, *, step: int = 1, **metrics: float | str) -> Wire:
    """An entry with metrics."""
    wire = {"seq": seq, "type": "point", "time": TIME, "generation": 1, "step": step, "kind": "train"}
    return wire | {"metrics": metrics or {"loss": 0.5}}


def crash(seq: int) -> Wire:
    """An entry that tells of a crash."""
    return {"seq": seq, "type": "crash", "time": TIME, "generation": 1, "crash": {"kind": "exit", "code": 1}}
