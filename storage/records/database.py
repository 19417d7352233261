"""Connections, transactions and migrations, the same for SQLite and PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.dialects import postgresql

from enforcement.errors import GateRefusal, StoreUnavailable

_MIGRATIONS = Path(__file__).parents[1] / "migrations"


class Database:
    """One engine. ``url`` is an SQLAlchemy URL: ``sqlite:///…`` or ``postgresql+psycopg://…``."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _engine(url)

    @property
    def is_sqlite(self) -> bool:
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One transaction, committed at the end.

        SQLite takes its write lock at once (BEGIN IMMEDIATE), so that what was read still holds
        when it is written. Raises GateRefusal where a trigger of the gate refused, StoreUnavailable
        where the database does not answer.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except sa.exc.IntegrityError as error:
            raise _refusal(error) from error
        except sa.exc.ProgrammingError as error:
            if "permission denied" in str(error.orig):
                raise GateRefusal(f"the database refuses: {error.orig}") from error
            raise
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise StoreUnavailable(
                f"the records database does not answer: {_cause(error)}"
            ) from error

    def migrate(self) -> None:
        """Bring the schema up to date. Needs the owner's rights in PostgreSQL."""
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        try:
            with self.engine.begin() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except sa.exc.OperationalError as error:
            raise StoreUnavailable(
                f"the records database does not answer: {_cause(error)}"
            ) from error

    def close(self) -> None:
        self.engine.dispose()


def insert_once(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> bool:
    """Insert a row unless its primary key is there already; tells whether it was inserted."""
    key = [column == row[column.name] for column in table.primary_key.columns]
    if connection.execute(sa.select(sa.literal(1)).select_from(table).where(*key)).first():
        return False
    if connection.dialect.name == "postgresql":
        statement = postgresql.insert(table).values(row).on_conflict_do_nothing()
        # Of an insert, SQLAlchemy knows no row count.
        return connection.execute(statement.returning(sa.literal(1))).first() is not None
    connection.execute(table.insert().values(row))
    return True


def serialise(connection: sa.Connection, *names: str) -> None:
    """Let transactions over the same names follow each other until this one ends.

    SQLite's write transactions already do.
    """
    if connection.dialect.name == "postgresql":
        key = sa.func.hashtextextended("\x1f".join(names), 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _engine(url: str) -> sa.Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        # SQLAlchemy emits BEGIN itself, see below.
        connection.isolation_level = None
        for pragma in (
            "busy_timeout=30000",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _refusal(error: sa.exc.IntegrityError) -> GateRefusal:
    text = str(error.orig).splitlines()[0]
    return GateRefusal(text.partition("gate: ")[2] or text)


def _cause(error: sa.exc.SQLAlchemyError) -> str:
    # The text of an SQLAlchemy error may hold the URL; the driver's first line does not.
    return str(getattr(error, "orig", None) or type(error).__name__).splitlines()[0]
