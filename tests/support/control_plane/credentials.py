"""Credentials of a plane: authority, server certificate, key of service account tokens, tokens of users."""

from __future__ import annotations

import ipaddress
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.control_plane.plane import ControlPlane, Layout, write_kubeconfig

FIRST_SERVICE_IP = "10.96.0.1"
"""The address of Service default/kubernetes: the first one of the service range."""
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
VALIDITY = timedelta(days=1)
"""No test run lasts longer."""
SKEW = timedelta(minutes=5)
"""Certificates are valid from a little before now: tests turn clocks."""


ADMIN = "admin"
USERS = {
    ADMIN: (ADMIN, "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
}
"""Names and groups of the users, by their kubeconfigs. The API server's own roles know the system users."""


def make_credentials(layout: Layout, *, url: str, kubectl: Path) -> ControlPlane:
    """Write the PKI, the file of tokens and a kubeconfig for each user; the plane that they open."""
    _make_pki(layout.pki)
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [f'{tokens[user]},{name},{user},"{group}"' for user, (name, group) in USERS.items()]
    layout.tokens.write_text("\n".join(lines) + "\n")
    for user, token in tokens.items():
        write_kubeconfig(layout.kubeconfig(user), server=url, ca=layout.ca, token=token)
    return ControlPlane(
        url=url,
        ca=layout.ca,
        admin_token=tokens[ADMIN],
        kubeconfig=layout.kubeconfig(ADMIN),
        folder=layout.folder,
        kubectl_program=kubectl,
    )


def _make_pki(folder: Path) -> None:
    """Write ca.crt, ca.key, apiserver.crt, apiserver.key, sa.key and sa.pub. EC keys are made in a millisecond."""
    folder.mkdir(mode=0o700)
    ca_key, server_key, sa_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = _authority(ca_key)
    server = _server_certificate(server_key.public_key(), ca=ca, ca_key=ca_key)
    for name, key in (("ca", ca_key), ("apiserver", server_key), ("sa", sa_key)):
        write_key(folder / f"{name}.key", key)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    (folder / "apiserver.crt").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    public = sa_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "sa.pub").write_bytes(public)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key, for nobody else to read."""
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _authority(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = "trainmaster-test-ca"
    return (
        _builder(name, _name(name), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _server_certificate(
    key: ec.EllipticCurvePublicKey, *, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", FIRST_SERVICE_IP)]
    return (
        _builder("kube-apiserver", ca.subject, key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Of an authority, or of what it has signed."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
