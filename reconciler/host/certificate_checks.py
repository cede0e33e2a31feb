"""What can be said of a certificate and its key before nginx sees them.

This module imports cryptography, which takes a while: import it only where there is a new pair to look at.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from reconciler.host.certificates import KeptPair, PairFiles
from reconciler.model.errors import HostError

OLD_STAYS = (
    "correct the files; a pair that was kept before goes on serving, and this one is looked at when it changes"
)
_CERTIFICATE = re.compile(r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")
_KEY = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----\n?", re.DOTALL)


def checked_pair(app: str, source: PairFiles, text: str) -> KeptPair:
    """The pair in ``text``, once the certificate parses, is valid today, and belongs to the key.

    Raises :class:`HostError` with what is wrong and which file it is.
    """
    leaf = _leaf(app, source.certificate, text)
    until = leaf.not_valid_after_utc.timestamp()
    since = leaf.not_valid_before_utc.timestamp()
    now = time.time()
    if until < now:
        raise _refused(app, source.certificate, f"has expired on {day_of(until)}")
    if since > now:
        raise _refused(app, source.certificate, f"is valid only from {day_of(since)} on")
    if _public(leaf.public_key()) != _public(_key(app, source.key, text).public_key()):
        message = f"the key of {app}, {source.key}, does not belong to the certificate {source.certificate}"
        raise HostError(message, hint=OLD_STAYS)
    return KeptPair(text, since, until, _names(leaf))


def day_of(seconds: float) -> str:
    """A day as people write it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _leaf(app: str, path: Path, text: str) -> x509.Certificate:
    if not _CERTIFICATE.search(text):
        raise _refused(app, path, "has no certificate in PEM format")
    try:
        # the whole chain: nginx reads it to its end
        return x509.load_pem_x509_certificates(_KEY.sub("", text).encode())[0]
    except ValueError as error:
        raise _refused(app, path, f"cannot be read as PEM: {_first_line(error)}") from error


def _key(app: str, path: Path, text: str) -> PrivateKeyTypes:
    found = _KEY.search(text)
    if found is None:
        raise HostError(f"the key of {app}, {path}, has no private key in PEM format", hint=OLD_STAYS)
    try:
        return load_pem_private_key(found[0].encode(), password=None)
    except TypeError as error:
        sentence = f"the key of {app}, {path}, is protected by a passphrase, which nobody can type here"
        raise HostError(sentence, hint="remove it with `openssl pkey -in OLD -out NEW`") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        # what the library says may quote the key's own bytes
        raise HostError(f"the key of {app}, {path}, cannot be read as PEM", hint=OLD_STAYS) from error


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    found = names.get_values_for_type(x509.DNSName)
    return tuple(name.lower() for name in found if re.fullmatch(r"[A-Za-z0-9*._-]+", name))


def _refused(app: str, path: Path, why: str) -> HostError:
    return HostError(f"the certificate of {app}, {path}, {why}", hint=OLD_STAYS)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
