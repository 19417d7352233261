"""Mutual TLS among the parts of the embedded S3 server, so that no other program joins in.

All of its parts run in one process, so one certificate serves them all. Authority, certificate and
keys are made anew at each start and nobody else ever needs them.
"""

import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID_FOR = timedelta(days=3650)
"""Longer than any one run of the server."""

PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "client")
"""The sections that SeaweedFS reads for its services and for their clients."""


def grpc_sections(folder: Path) -> str:
    """Write certificates into ``folder`` (mode 0600); returns the part of security.toml for them.

    Raises OSError when the folder can't be written.
    """
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("embedded S3 server authority")
    authority = (
        _unsigned(authority_name, authority_name, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        _unsigned(_name("embedded S3 server"), authority_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = {
        "ca": authority.public_bytes(pem),
        "cert": certificate.public_bytes(pem),
        "key": key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    }
    paths = {name: folder / f"grpc-{name}.pem" for name in files}
    for name, content in files.items():
        write_private(paths[name], content)
    quoted = {name: _toml_string(str(path)) for name, path in paths.items()}
    part = f"cert = {quoted['cert']}\nkey = {quoted['key']}\n"
    return f"[grpc]\nca = {quoted['ca']}\n" + "".join(f"[grpc.{name}]\n{part}" for name in PARTS)


def write_private(path: Path, content: bytes) -> None:
    """Write a file anew that only its owner may read. Raises OSError."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _toml_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID_FOR)
    )
