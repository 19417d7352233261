"""Missions that were given to the API: every version of each, the highest of which holds."""

from datetime import datetime

import sqlalchemy as sa

from enforcement.missions import Mission
from storage.records import schema
from storage.records.database import serialise


def give(connection: sa.Connection, mission: Mission, account_id: str, now: datetime) -> int:
    """Record a mission, or a new version of it; returns the version.

    The same again changes nothing.
    """
    serialise(connection, "mission", mission.mission_id)
    table = schema.missions
    row = connection.execute(
        sa.select(table.c.version, table.c.document)
        .where(table.c.mission_id == mission.mission_id)
        .order_by(table.c.version.desc())
        .limit(1)
    ).first()
    if row is not None and Mission.model_validate(row.document) == mission:
        return int(row.version)
    version = 1 if row is None else int(row.version) + 1
    connection.execute(
        table.insert().values(
            mission_id=mission.mission_id,
            version=version,
            document=mission.model_dump(mode="json"),
            account_id=account_id,
            at=now,
        )
    )
    return version


def given(connection: sa.Connection) -> tuple[Mission, ...]:
    """All missions as they hold now, by id."""
    table = schema.missions
    newest = sa.select(table.c.mission_id, sa.func.max(table.c.version)).group_by(
        table.c.mission_id
    )
    rows = connection.execute(
        sa.select(table.c.document)
        .where(sa.tuple_(table.c.mission_id, table.c.version).in_(newest))
        .order_by(table.c.mission_id)
    )
    return tuple(Mission.model_validate(document) for (document,) in rows)
