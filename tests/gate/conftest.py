"""A house on SQLite and one on PostgreSQL with separate roles; every gate test runs in both."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from pipelines import dispatch
from pipelines.wiring import Wiring
from settings.environment import Settings
from storage.evidence_store import EvidenceStore
from storage.records.database import Database
from storage.seaweed import SeaweedServer
from tests.gate.house import House
from tests.gate.receiver import Receiver

_CATALOG = """
sites: [{site_id: depot, title: Depot}]
feeds:
  - {feed_id: yard, title: Yard, site_id: depot, source: {kind: folder, path: yard}}
recipients:
  - {recipient_id: agency, title: Agency, url: "%s", secret_file: webhook-secret}
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A recipient on loopback that verifies signatures and can be told to fail."""
    with Receiver() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Database, Database, Database]]:
    """Owner's, pipeline's and review's connections to one empty, migrated database."""
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3
    else:
        urls = postgresql_roles(request.getfixturevalue("postgresql_url"))
    opened = [Database(url) for url in urls]
    opened[0].migrate()
    yield opened[0], opened[1], opened[2]
    for database in opened:
        database.close()


def postgresql_roles(server_url: str) -> list[str]:
    """A fresh database and a log-in role for each part; URLs of owner, pipeline, review."""
    name = f"t{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    admin.dispose()
    owner = sa.make_url(server_url).set(database=name)
    database = Database(owner.render_as_string(hide_password=False))
    database.migrate()
    with database.transaction() as connection:
        for part in ("pipeline", "review"):
            connection.exec_driver_sql(
                f"CREATE ROLE {name}_{part} LOGIN IN ROLE sightline_{part} PASSWORD 'x'"
            )
    database.close()
    roles = [
        owner,
        *(owner.set(username=f"{name}_{p}", password="x") for p in ("pipeline", "review")),
    ]
    return [url.render_as_string(hide_password=False) for url in roles]


@pytest.fixture
def house(
    databases: tuple[Database, Database, Database],
    evidence_store: EvidenceStore,
    s3_server: SeaweedServer,
    receiver: Receiver,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[House]:
    owner, pipeline, review = databases
    catalog = tmp_path / "catalog"
    catalog.mkdir()
    (catalog / "recipients.yaml").write_text(_CATALOG % receiver.url)
    (tmp_path / "webhook-secret").write_text(receiver.secret)
    settings = Settings(
        home=tmp_path,
        catalog=catalog,
        records_url=SecretStr(pipeline.url),
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.credentials.access_key,
        s3_secret_key=SecretStr(s3_server.credentials.secret_key),
        s3_secure=False,
    )
    house = House(owner, pipeline, review, evidence_store, Wiring(settings), tmp_path)
    house.wiring = Wiring(settings, house.clock)
    monkeypatch.setattr(dispatch, "wire", lambda: house.wiring)
    house.staff()
    yield house
    house.wiring.database.close()
