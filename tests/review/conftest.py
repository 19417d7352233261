"""Real parts for the tests of the review application: an S3 server, records, a web server."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError
from storage.evidence_store import EvidenceStore
from storage.seaweed import SeaweedServer
from tests.review.stage import Stage, make_records, make_stage, served


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EvidenceStore]:
    """An evidence store over a real S3 server, shared by the tests of this room."""
    folder = tmp_path_factory.mktemp("s3")
    for _ in range(5):
        server = SeaweedServer(folder, random.randrange(20_000, 50_000, 10))
        try:
            server.start()
        except ConfigurationError:
            continue
        break
    with server:
        keys = server.credentials
        made = EvidenceStore(
            server.endpoint, keys.access_key, keys.secret_key, secure=False, retention_days=1
        )
        made.ensure_buckets()
        yield made


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrated records with everybody in them; each test gets a copy."""
    file = tmp_path_factory.mktemp("records") / "records.sqlite"
    make_records(file)
    return file


@pytest.fixture
def stage(tmp_path: Path, store: EvidenceStore, records: Path) -> Iterator[Stage]:
    """The application, with fresh records."""
    with served(make_stage(tmp_path, store, records)) as running:
        yield running


@pytest.fixture
def secure_stage(tmp_path: Path, store: EvidenceStore, records: Path) -> Iterator[Stage]:
    """The application as it runs behind TLS."""
    with served(make_stage(tmp_path, store, records, secure_cookies=True)) as running:
        yield running
