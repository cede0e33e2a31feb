"""Certificates for tests: an authority of their own, pairs that it signed, and visitors who trust only it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, as PEM."""

    certificate: str
    key: str

    @property
    def serial(self) -> int:
        """The certificate's number."""
        return x509.load_pem_x509_certificate(self.certificate.encode()).serial_number

    def write(self, folder: Path, name: str = "site") -> tuple[Path, Path]:
        """Put both into a folder, as an operator would; returns the certificate's and the key's path."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        key.write_text(self.key)
        key.chmod(0o600)
        certificate.write_text(self.certificate)
        return certificate, key


@dataclass(frozen=True)
class Authority:
    """An authority that tests trust."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def _name(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])

    def certificate(self) -> str:
        """The certificate that visitors trust."""
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(self._name).issuer_name(self._name)
        builder = builder.public_key(self.key.public_key()).serial_number(1)
        builder = builder.not_valid_before(now - timedelta(days=400)).not_valid_after(now + timedelta(days=400))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def pair(self, *names: str, days: float = 90, age: float = 0.1, passphrase: str = "") -> Pair:
        """A pair for these names that was signed ``age`` days ago and is valid for ``days`` from then."""
        key = ec.generate_private_key(ec.SECP256R1())
        return Pair(self.sign(key.public_key(), names, days=days, age=age), _written(key, passphrase))

    def sign(
        self, key: ec.EllipticCurvePublicKey, names: tuple[str, ...], *, days: float = 90, age: float = 0.1
    ) -> str:
        """A certificate for another's key."""
        since = datetime.now(UTC) - timedelta(days=age)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(since).not_valid_after(since + timedelta(days=days))
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()

    def context(self) -> ssl.SSLContext:
        """What a visitor checks by."""
        return ssl.create_default_context(cadata=self.certificate())


def _written(key: ec.EllipticCurvePrivateKey, passphrase: str) -> str:
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


@contextmanager
def handshake(authority: Authority, port: int, name: str, alpn: tuple[str, ...] = ()) -> Iterator[ssl.SSLSocket]:
    """A connection that asks for a name, and has checked the certificate for it."""
    context = authority.context()
    if alpn:
        context.set_alpn_protocols(list(alpn))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        yield secure


def served_serial(authority: Authority, port: int, name: str) -> int:
    """The number of the certificate that nginx shows for a name."""
    with handshake(authority, port, name) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return x509.load_der_x509_certificate(shown).serial_number


def get(authority: Authority, port: int, name: str, path: str = "/") -> httpx.Response:
    """Ask over HTTPS as a visitor would who knows the name's address."""
    with httpx.Client(trust_env=False, timeout=ANSWER_SECONDS, verify=authority.context()) as client:
        url = f"https://127.0.0.1:{port}{path}"
        return client.get(url, headers={"Host": f"{name}:{port}"}, extensions={"sni_hostname": name})
