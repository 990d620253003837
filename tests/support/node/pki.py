"""Credentials of the node's cluster: authority, certificates of API server and kubelet, tokens of users."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.control_plane.credentials import key_usage, write_key
from tests.support.control_plane.plane import write_kubeconfig
from tests.support.node.addresses import DOMAIN, KUBERNETES_IP, NODE, NODE_IP, URL
from tests.support.node.folders import Folders

VALIDITY = timedelta(days=30)
"""A developer's cluster may stay up for days."""
SKEW = timedelta(hours=1)
"""Valid from before now: a test may turn a clock back."""
ADMIN = "admin"
KUBELET = "kubelet"
COREDNS = "coredns"
USERS = {
    ADMIN: (ADMIN, "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    KUBELET: (f"system:node:{NODE}", "system:nodes"),
    COREDNS: ("trainmaster:coredns", ""),
}
"""User name and group by kubeconfig. The API server's own roles know all but CoreDNS, whose role is in `objects`."""
SERVICE = "kubernetes.default.svc"
SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", SERVICE, f"{SERVICE}.{DOMAIN}")
SERVER_ADDRESSES = ("127.0.0.1", NODE_IP, KUBERNETES_IP)


@dataclass(frozen=True, kw_only=True)
class _Authority:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def write_credentials(folders: Folders) -> None:
    """Write the PKI, the file of tokens, and a kubeconfig for each user."""
    folders.pki.mkdir(mode=0o700)
    authority = _make_authority(folders.pki)
    _issue(
        folders.pki / "apiserver",
        authority,
        name="kube-apiserver",
        names=SERVER_NAMES,
        addresses=SERVER_ADDRESSES,
    )
    _issue(folders.pki / "kubelet", authority, name=f"system:node:{NODE}", names=(NODE,), addresses=(NODE_IP,))
    _issue(folders.pki / "kubelet-client", authority, name="kube-apiserver-kubelet-client", group="system:masters")
    _write_account_keys(folders.pki)
    _write_tokens(folders)


def _write_tokens(folders: Folders) -> None:
    lines = []
    for user, (name, group) in USERS.items():
        token = secrets.token_hex(16)
        lines.append(f'{token},{name},{user},"{group}"\n')
        write_kubeconfig(folders.kubeconfig(user), server=URL, ca=folders.pki / "ca.crt", token=token)
    path = folders.pki / "tokens.csv"
    path.touch(mode=0o600)
    path.write_text("".join(lines))


def _write_account_keys(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    write_key(folder / "sa.key", key)
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "sa.pub").write_bytes(public)


def _make_authority(folder: Path) -> _Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("trainmaster-test-node-ca")
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    _write_pair(folder / "ca", key, certificate)
    return _Authority(key=key, certificate=certificate)


def _issue(  # each is a part of a certificate
    path: Path,
    authority: _Authority,
    *,
    name: str,
    group: str = "",
    names: Sequence[str] = (),
    addresses: Sequence[str] = (),
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(name, group), authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    alternatives: list[x509.GeneralName] = [x509.DNSName(each) for each in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    _write_pair(path, key, builder.sign(authority.key, hashes.SHA256()))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str, group: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if group:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(parts)


def _write_pair(path: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    write_key(path.with_suffix(".key"), key)
    path.with_suffix(".crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
