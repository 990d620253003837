"""Certificates of the report server: made, loaded, replaced while it runs, refused when they do not fit."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from trainmaster.adapters import tls
from trainmaster.adapters.certificates import Material, TlsError, self_signed
from trainmaster.adapters.tls import ServerTls
from trainmaster.core.certificates import AUTHORITY_LIFE, LEAF_LIFE

NOW = datetime.now(UTC)


def files(folder: Path, made: Material) -> tuple[Path, Path]:
    certificate, key = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(made.leaf_cert)
    key.write_bytes(made.leaf_key)
    return certificate, key


def served(folder: Path, made: Material) -> ServerTls:
    certificate, key = files(folder, made)
    return ServerTls(certificate=certificate, key=key)


def client_of(made: Material) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=made.ca_cert.decode())


async def shake(server: ServerTls, client: ssl.SSLContext, *, name: str = "reports.ops.svc") -> str:
    """The TLS version that server and client agree on."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server.context) as listening:
        port = listening.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname=name)
        version: str = writer.get_extra_info("ssl_object").version()
        writer.close()
        return version


@pytest.mark.parametrize("name", ["reports.ops.svc", "127.0.0.1"])
def test_a_launcher_that_trusts_the_authority_connects_by_each_name(tmp_path: Path, name: str) -> None:
    made = self_signed(["reports.ops.svc", "127.0.0.1"], now=NOW)
    assert asyncio.run(shake(served(tmp_path, made), client_of(made), name=name)) == "TLSv1.3"


def test_it_does_not_connect_by_another_name_or_with_another_authority(tmp_path: Path) -> None:
    made = self_signed(["reports.ops.svc"], now=NOW)
    server = served(tmp_path, made)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        asyncio.run(shake(server, client_of(made), name="evil.svc"))
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|signature|issuer"):
        asyncio.run(shake(server, client_of(self_signed(["reports.ops.svc"], now=NOW))))


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    made = self_signed(["reports.ops.svc"], now=NOW)
    server, client = served(tmp_path, made), client_of(made)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert asyncio.run(shake(server, client)) == "TLSv1.2"
    assert server.context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_the_authority_lives_for_ten_years_and_the_leaf_for_ninety_days() -> None:
    made = self_signed(["reports.ops.svc"], now=NOW)
    for pem, life in ((made.ca_cert, AUTHORITY_LIFE), (made.leaf_cert, LEAF_LIFE)):
        certificate = x509.load_pem_x509_certificate(pem)
        assert certificate.not_valid_before_utc < NOW
        assert abs(certificate.not_valid_after_utc - NOW - life) < timedelta(seconds=1)


def test_a_certificate_without_a_name_is_refused() -> None:
    with pytest.raises(TlsError, match="at least one name"):
        self_signed([], now=NOW)


def test_new_files_count_for_new_connections(tmp_path: Path) -> None:
    old, new = self_signed(["reports.ops.svc"], now=NOW), self_signed(["reports.ops.svc"], now=NOW)
    server = served(tmp_path, old)
    assert not server.reload()
    files(tmp_path, new)
    assert server.reload()
    assert asyncio.run(shake(server, client_of(new))) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(shake(server, client_of(old)))


def test_a_pair_that_does_not_fit_leaves_the_old_one_in_use(tmp_path: Path) -> None:
    made = self_signed(["reports.ops.svc"], now=NOW)
    server = served(tmp_path, made)
    (tmp_path / "tls.key").write_bytes(self_signed(["reports.ops.svc"], now=NOW).leaf_key)
    with pytest.raises(TlsError, match=r"tls\.crt and .*tls\.key are no certificate and its key"):
        server.reload()
    assert asyncio.run(shake(server, client_of(made))) == "TLSv1.3"


def test_authorities_of_a_file_are_for_launchers_to_trust_and_followed_as_it_changes(tmp_path: Path) -> None:
    made, other = (self_signed(["reports.ops.svc"], now=NOW) for _ in range(2))
    certificate, key = files(tmp_path, made)
    authorities = tmp_path / "ca.crt"
    authorities.write_bytes(made.ca_cert)
    server = ServerTls(certificate=certificate, key=key, authorities=authorities)
    assert server.trusted == made.ca_cert.decode()

    authorities.write_bytes(made.ca_cert + other.ca_cert)
    assert server.reload()
    assert server.trusted == (made.ca_cert + other.ca_cert).decode()
    authorities.write_text("rubbish")
    with pytest.raises(TlsError, match=r"or .*ca\.crt holds no authorities"):
        server.reload()
    assert server.trusted == (made.ca_cert + other.ca_cert).decode()


def test_without_files_there_is_no_server(tmp_path: Path) -> None:
    with pytest.raises(TlsError, match=r"tls\.crt"):
        ServerTls(certificate=tmp_path / "tls.crt", key=tmp_path / "tls.key")


def test_watching_takes_new_files_and_says_once_what_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "RELOAD_SECONDS", 0)
    caplog.set_level("INFO")
    server = served(tmp_path, self_signed(["reports.ops.svc"], now=NOW))
    new = self_signed(["reports.ops.svc"], now=NOW)

    async def said(words: str) -> None:
        async with asyncio.timeout(30):
            while words not in caplog.text:  # noqa: ASYNC110 - a log line has no event
                await asyncio.sleep(0)

    async def tell() -> str:
        watching = asyncio.create_task(server.watch())
        (tmp_path / "tls.crt").write_bytes(new.leaf_cert)
        await said("goes on with the old certificate")
        for _ in range(20):
            await asyncio.sleep(0)
        (tmp_path / "tls.key").write_bytes(new.leaf_key)
        await said("new certificate from")
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return await shake(server, client_of(new))

    assert asyncio.run(tell()) == "TLSv1.3"
    assert caplog.text.count("goes on with the old certificate") == 1
