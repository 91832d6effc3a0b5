"""Certificates are verified; a context of the caller may trust more."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hub.client import NoSocket, Unreachable, WorkflowClient
from tests.unit.hub.client.scripted import Scripted, success


def certificate(directory: Path) -> Path:
    """A key and its own certificate for 127.0.0.1, in one file."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(host, critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = directory / "hub.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextlib.asynccontextmanager
async def serving(pem: Path) -> AsyncIterator[str]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = await asyncio.start_server(Scripted([success({})]).serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


async def test_an_unknown_certificate_is_not_trusted_unless_the_caller_says_so(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    async with serving(pem) as url:
        async with WorkflowClient(url, "key") as client:
            with pytest.raises(Unreachable, match="its certificate cannot be trusted"):
                await client.me()
            with pytest.raises(NoSocket, match="certificate cannot be trusted"):
                await anext(aiter(client.subscribe("events")))
        trusting = ssl.create_default_context(cafile=pem)
        async with WorkflowClient(url, "key", ssl_context=trusting) as client:
            await client.me()
            with pytest.raises(NoSocket, match="answered 200"):
                await anext(aiter(client.subscribe("events")))
