"""Readings of captures, and the windows of time in which rules are held against them.

A window's revision counts what may have changed it. One whose revision is newer than what was
evaluated is open.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from enforcement.episodes import SensorFinding
from enforcement.footage import StoredObject
from enforcement.model import Name, Record, Utc
from storage.records import schema
from storage.records.captures import object_columns, object_from
from storage.records.database import insert_once


class ReadCapture(Record):
    """What was read out of a capture of messages, and where it lies."""

    capture_id: str
    config_digest: str
    """Of how it was read."""
    feed_id: Name
    object: StoredObject
    first_at: Utc | None
    """Of the readings; None without any."""
    last_at: Utc | None
    readings: int
    refused: int
    too_late: int
    """Readings that came too late to reopen the window of their time."""


class OpenWindow(NamedTuple):
    """A window that is to be evaluated."""

    feed_id: str
    start_at: datetime
    end_at: datetime


class SensorProblem(Record):
    """What is wrong with a sensor itself, as far as one window shows it."""

    feed_id: Name
    rule_id: Name
    kind: str
    """``sensor_stuck`` or ``sensor_missing``."""
    device_id: Name
    quantity: Name
    continues: bool
    """It goes on from an earlier window; then onset and alarm are where this one shows it first."""
    onset_at: Utc
    alarm_at: Utc
    last_at: Utc
    end_at: Utc | None
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, feed_id: str, rule_id: str, kind: str, finding: SensorFinding) -> "SensorProblem":
        """A finding of a rule that never opens a case."""
        alike = cls.model_fields.keys() & SensorFinding.model_fields.keys()
        given = {name: getattr(finding, name) for name in alike}
        return cls(feed_id=feed_id, rule_id=rule_id, kind=kind, **given)


def note_read(connection: sa.Connection, read: ReadCapture, now: datetime) -> bool:
    """Record what was read; the same reading of the same capture is recorded once. Tells whether
    it is new."""
    row = read.model_dump(exclude={"object"}) | object_columns(read.object) | {"read_at": now}
    return insert_once(connection, schema.reading_spans, row)


def is_read(connection: sa.Connection, capture_id: str, config_digest: str) -> bool:
    """Whether a capture was read in this way already."""
    table = schema.reading_spans
    found = sa.select(table.c.capture_id).where(
        table.c.capture_id == capture_id, table.c.config_digest == config_digest
    )
    return connection.scalar(found) is not None


def read_between(
    connection: sa.Connection, feed_id: str, start: datetime, end: datetime
) -> dict[str, StoredObject]:
    """Where the readings of the captures lie that may have some in ``[start, end)``, by capture.

    Of a capture that was read more than once, as it was read last.
    """
    table = schema.reading_spans
    rows = connection.execute(
        sa.select(table)
        .where(table.c.feed_id == feed_id, table.c.last_at >= start, table.c.first_at < end)
        .order_by(table.c.read_at, table.c.config_digest)
    ).mappings()
    latest = {row["capture_id"]: row for row in rows}
    newest = _read_last(connection, list(latest))
    return {
        capture_id: object_from(row)
        for capture_id, row in latest.items()
        if newest[capture_id] == row["config_digest"]
    }


def _read_last(connection: sa.Connection, capture_ids: Sequence[str]) -> dict[str, str]:
    """How each capture was read last, whatever moments that gave."""
    table = schema.reading_spans
    found: dict[str, str] = {}
    for begin in range(0, len(capture_ids), 500):
        rows = connection.execute(
            sa.select(table.c.capture_id, table.c.config_digest)
            .where(table.c.capture_id.in_(capture_ids[begin : begin + 500]))
            .order_by(table.c.read_at, table.c.config_digest)
        )
        found |= {row.capture_id: row.config_digest for row in rows}
    return found


def captures_to_reread(
    connection: sa.Connection,
    feed_id: str,
    media_type: str,
    start: datetime,
    end: datetime,
    until: datetime,
) -> list[str]:
    """Captures of this media type that had readings of ``[start, end)``, and all that came from
    ``start`` to ``until``, in the order of time."""
    c, r = schema.captures, schema.reading_spans
    had = sa.select(r.c.capture_id).where(
        r.c.feed_id == feed_id, r.c.last_at >= start, r.c.first_at < end
    )
    came = sa.and_(c.c.captured_at >= start, c.c.captured_at < until)
    return list(
        connection.scalars(
            sa.select(c.c.capture_id)
            .where(c.c.feed_id == feed_id, c.c.media_type == media_type)
            .where(sa.or_(came, c.c.capture_id.in_(had)))
            .order_by(c.c.captured_at, c.c.capture_id)
        )
    )


def spans_between(
    connection: sa.Connection, feed_id: str, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """First and last moment of each capture's readings, of those that touch ``[start, end)``."""
    table = schema.reading_spans
    rows = connection.execute(
        sa.select(table.c.first_at, table.c.last_at)
        .where(table.c.feed_id == feed_id, table.c.last_at >= start, table.c.first_at < end)
        .distinct()
    )
    return [(first_at, last_at) for first_at, last_at in rows]


def touch(
    connection: sa.Connection, feed_id: str, spans: Iterable[tuple[datetime, datetime]]
) -> None:
    """Count up the revisions of these windows, given as (start, end)."""
    table = schema.windows
    # In one order, so that two transactions never wait for each other.
    rows = [
        {
            "feed_id": feed_id, "start_at": start, "end_at": end, "revision": 1,
            "evaluated_revision": 0,
        }
        for start, end in sorted(spans)
    ]  # fmt: skip
    changed = {"revision": table.c.revision + 1}
    for begin in range(0, len(rows), 100):
        part = rows[begin : begin + 100]
        if connection.dialect.name == "postgresql":
            connection.execute(
                postgresql.insert(table)
                .values(part)
                .on_conflict_do_update(index_elements=["feed_id", "start_at"], set_=changed)
            )
        else:
            connection.execute(
                sqlite.insert(table)
                .values(part)
                .on_conflict_do_update(index_elements=["feed_id", "start_at"], set_=changed)
            )


def open_windows(connection: sa.Connection, ended_by: datetime) -> list[OpenWindow]:
    """Windows that ended by then and are to be evaluated, by feed and in the order of time."""
    table = schema.windows
    rows = connection.execute(
        sa.select(table.c.feed_id, table.c.start_at, table.c.end_at)
        .where(table.c.revision > table.c.evaluated_revision, table.c.end_at <= ended_by)
        .order_by(table.c.feed_id, table.c.start_at)
    )
    return [OpenWindow(*row) for row in rows]


def revision_of(connection: sa.Connection, feed_id: str, start: datetime) -> int:
    """A window's revision; 0 if nothing has touched it."""
    table = schema.windows
    found = connection.scalar(
        sa.select(table.c.revision).where(table.c.feed_id == feed_id, table.c.start_at == start)
    )
    return int(found or 0)


def note_evaluated(
    connection: sa.Connection,
    feed_id: str,
    start: datetime,
    revision: int,
    rules_digest: str,
    now: datetime,
) -> None:
    """Record that a window was evaluated as it stood at this revision."""
    table = schema.windows
    connection.execute(
        table.update()
        .where(
            table.c.feed_id == feed_id,
            table.c.start_at == start,
            table.c.evaluated_revision <= revision,
        )
        .values(evaluated_revision=revision, evaluated_at=now, rules_digest=rules_digest)
    )


def note_problems(
    connection: sa.Connection, feed_id: str, start: datetime, problems: Sequence[SensorProblem]
) -> None:
    """Replace what this window showed to be wrong with sensors."""
    table = schema.sensor_problems
    connection.execute(table.delete().where(table.c.feed_id == feed_id, table.c.start_at == start))
    for number, problem in enumerate(problems):
        row = problem.model_dump() | {"reasons": list(problem.reasons)}
        connection.execute(table.insert().values(row | {"start_at": start, "number": number}))


def problems_since(
    connection: sa.Connection, since: datetime
) -> dict[str, tuple[SensorProblem, ...]]:
    """What was wrong with sensors after that moment, by feed, in the order of time.

    One that spans several windows is told once, from where it began to where it is known last.
    """
    table = schema.sensor_problems
    rows = connection.execute(
        sa.select(table)
        .where(table.c.last_at > since)
        .order_by(table.c.feed_id, table.c.start_at, table.c.number)
    ).mappings()
    found: dict[str, list[SensorProblem]] = {}
    for row in rows:
        given = {name: row[name] for name in SensorProblem.model_fields}
        problem = SensorProblem.model_validate(given)
        told = found.setdefault(problem.feed_id, [])
        for place, earlier in enumerate(told):
            if problem.continues and _is_continued(earlier, problem):
                update = {"last_at": problem.last_at, "end_at": problem.end_at}
                told[place] = earlier.model_copy(update=update)
                break
        else:
            told.append(problem)
    return {feed_id: tuple(problems) for feed_id, problems in found.items()}


def _is_continued(earlier: SensorProblem, later: SensorProblem) -> bool:
    alike = all(
        getattr(earlier, name) == getattr(later, name)
        for name in ("rule_id", "device_id", "quantity")
    )
    return alike and earlier.end_at is None
