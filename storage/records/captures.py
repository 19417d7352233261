"""Captures and what became of them: pulls, quarantine, observations, correlations."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from enforcement.footage import Capture, Observation, StoredObject
from storage.records import schema
from storage.records.database import insert_once, serialise


def object_columns(stored: StoredObject) -> dict[str, Any]:
    """The columns that name stored bytes."""
    return stored.model_dump()


def object_from(row: sa.RowMapping) -> StoredObject:
    return StoredObject(**{name: row[name] for name in StoredObject.model_fields})


def capture_from(row: sa.RowMapping) -> Capture:
    """A capture by its row of the table."""
    fields = {name: row[name] for name in Capture.model_fields if name != "object"}
    return Capture(object=object_from(row), **fields)


def file_capture(connection: sa.Connection, capture: Capture, *, held: bool = False) -> str:
    """Write the manifest row; returns the id under which these bytes are filed.

    A new capture is pending until ``finish``; a ``held`` one only from ``release`` on.
    The same bytes of the same feed are filed once: the earlier id is returned then.
    """
    serialise(connection, "capture", capture.feed_id, capture.object.sha256)
    known = capture_of(connection, capture.feed_id, capture.object.sha256)
    if known is not None:
        return known
    row = capture.model_dump(exclude={"object"}) | object_columns(capture.object)
    connection.execute(schema.captures.insert().values(row))
    if not held:
        release(connection, capture)
    return capture.capture_id


def release(connection: sa.Connection, capture: Capture) -> None:
    """Let a capture go its way to the queue, unless it has gone it or was set aside."""
    if is_correlated(connection, capture.capture_id):
        return
    if quarantine_reason(connection, capture.capture_id) is None:
        row = {"capture_id": capture.capture_id, "received_at": capture.received_at}
        insert_once(connection, schema.pending, row)


def capture_of(connection: sa.Connection, feed_id: str, sha256: str) -> str | None:
    """The id under which this feed filed these bytes, if it did."""
    table = schema.captures
    return connection.scalar(
        sa.select(table.c.capture_id).where(table.c.feed_id == feed_id, table.c.sha256 == sha256)
    )


def load_capture(connection: sa.Connection, capture_id: str) -> Capture:
    """Raises KeyError if there is no such capture."""
    table = schema.captures
    statement = sa.select(table).where(table.c.capture_id == capture_id)
    row = connection.execute(statement).mappings().first()
    if row is None:
        raise KeyError(capture_id)
    return capture_from(row)


def was_pulled(
    connection: sa.Connection, feed_id: str, name: str, size: int, modified_at: datetime
) -> bool:
    """Whether a dropped file of this name, size and time was filed already."""
    table = schema.pulls
    return (
        connection.scalar(
            sa.select(table.c.capture_id).where(
                table.c.feed_id == feed_id,
                table.c.source_name == name,
                table.c.size == size,
                table.c.modified_at == modified_at,
            )
        )
        is not None
    )


def note_pull(
    connection: sa.Connection,
    feed_id: str,
    name: str,
    size: int,
    modified_at: datetime,
    capture_id: str,
) -> None:
    """Remember that a dropped file was filed."""
    insert_once(
        connection,
        schema.pulls,
        {
            "feed_id": feed_id,
            "source_name": name,
            "size": size,
            "modified_at": modified_at,
            "capture_id": capture_id,
        },
    )


def quarantine(connection: sa.Connection, capture_id: str, reason: str, now: datetime) -> None:
    """Set a capture aside: its bytes stay, but nobody can decode them, or they came too late."""
    row = {"capture_id": capture_id, "reason": reason, "at": now}
    insert_once(connection, schema.quarantine, row)
    finish(connection, capture_id)


def finish(connection: sa.Connection, capture_id: str) -> None:
    """Note that a capture's way is finished: all its leads are in the queue, or it has none."""
    table = schema.pending
    connection.execute(table.delete().where(table.c.capture_id == capture_id))


def quarantined(connection: sa.Connection) -> list[dict[str, Any]]:
    """Captures set aside, newest first: capture_id, feed_id, source_name, reason, at."""
    q, c = schema.quarantine, schema.captures
    rows = connection.execute(
        sa.select(q.c.capture_id, c.c.feed_id, c.c.source_name, q.c.reason, q.c.at)
        .join(c)
        .order_by(q.c.at.desc())
    )
    return [dict(row) for row in rows.mappings()]


def note_observation(
    connection: sa.Connection, observation: Observation, stored: StoredObject, now: datetime
) -> None:
    """Record what a model saw; the document itself lies in the store."""
    row = {
        "capture_id": observation.capture_id,
        "model": observation.model,
        "model_digest": observation.model_digest,
        "config_digest": observation.config_digest,
        "tracks": len(observation.tracks),
        "observed_at": now,
    }
    insert_once(connection, schema.observations, row | object_columns(stored))


def observation_objects(
    connection: sa.Connection, capture_id: str
) -> dict[tuple[str, str, str], StoredObject]:
    """Stored observations of a capture by (model, model digest, configuration digest)."""
    table = schema.observations
    rows = connection.execute(
        sa.select(table).where(table.c.capture_id == capture_id).order_by(table.c.observed_at)
    ).mappings()
    return {
        (row["model"], row["model_digest"], row["config_digest"]): object_from(row) for row in rows
    }


class StoredVersion(NamedTuple):
    """One version of a model that has looked at captures of a feed."""

    model: str
    model_digest: str
    config_digest: str
    captures: int
    first_at: datetime
    last_at: datetime
    """When the first and the last of these captures begin."""


def versions_of_feed(connection: sa.Connection, feed_id: str) -> list[StoredVersion]:
    """All versions of models whose observations of this feed's captures are stored."""
    o, c = schema.observations, schema.captures
    key = (o.c.model, o.c.model_digest, o.c.config_digest)
    begun = c.c.captured_at
    rows = connection.execute(
        sa.select(*key, sa.func.count(), sa.func.min(begun), sa.func.max(begun))
        .join(c)
        .where(c.c.feed_id == feed_id)
        .group_by(*key)
        .order_by(o.c.model, sa.func.max(o.c.observed_at).desc())
    )
    return [StoredVersion(*row) for row in rows]


def versions_between(
    connection: sa.Connection, feed_id: str, start: datetime, end: datetime
) -> dict[str, list[tuple[str, str, str]]]:
    """By capture that begins in ``[start, end)`` and was not set aside: model, model digest and
    configuration digest of its observations, the latest last; none for one that waits for a look.
    """
    o, c, q = schema.observations, schema.captures, schema.quarantine
    rows = connection.execute(
        sa.select(c.c.capture_id, o.c.model, o.c.model_digest, o.c.config_digest)
        .outerjoin(o, o.c.capture_id == c.c.capture_id)
        .outerjoin(q, q.c.capture_id == c.c.capture_id)
        .where(c.c.feed_id == feed_id, q.c.capture_id.is_(None))
        .where(c.c.captured_at >= start, c.c.captured_at < end)
        .order_by(c.c.captured_at, c.c.capture_id, o.c.observed_at)
    )
    found: dict[str, list[tuple[str, str, str]]] = {}
    for capture_id, model, model_digest, config_digest in rows:
        seen = found.setdefault(capture_id, [])
        if model is not None:
            seen.append((model, model_digest, config_digest))
    return found


def note_correlation(
    connection: sa.Connection, capture_id: str, rules_digest: str, findings: int, now: datetime
) -> None:
    """Record that a capture's observations were held against a set of rules."""
    row = {
        "capture_id": capture_id,
        "rules_digest": rules_digest,
        "findings": findings,
        "at": now,
    }
    insert_once(connection, schema.correlations, row)


def taken_between(
    connection: sa.Connection, feed_id: str, start: datetime, end: datetime
) -> list[str]:
    """Captures of a feed that begin in ``[start, end)`` by the device's clock, in that order."""
    table = schema.captures
    return list(
        connection.scalars(
            sa.select(table.c.capture_id)
            .where(table.c.feed_id == feed_id)
            .where(table.c.captured_at >= start, table.c.captured_at < end)
            .order_by(table.c.captured_at, table.c.capture_id)
        )
    )


def begun_between(
    connection: sa.Connection, feed_id: str, start: datetime, end: datetime
) -> list[Capture]:
    """Captures of a feed that begin in ``[start, end)`` in true UTC, in that order.

    Without those that were set aside.
    """
    table, q = schema.captures, schema.quarantine
    of_feed = table.c.feed_id == feed_id
    # Each capture has its own offset; databases differ in how they would add it.
    offsets = sa.select(
        sa.func.min(table.c.clock_offset_s), sa.func.max(table.c.clock_offset_s)
    ).where(of_feed)
    least_s, most_s = connection.execute(offsets).one()
    if least_s is None:
        return []
    rows = connection.execute(
        sa.select(table)
        .outerjoin(q, q.c.capture_id == table.c.capture_id)
        .where(of_feed, q.c.capture_id.is_(None))
        .where(table.c.captured_at >= start - timedelta(seconds=most_s))
        .where(table.c.captured_at < end - timedelta(seconds=least_s))
    )
    found = sorted(
        (capture_from(row) for row in rows.mappings()),
        key=lambda one: (one.began_at, one.capture_id),
    )
    return [one for one in found if start <= one.began_at < end]


def due_by_feed(
    connection: sa.Connection, limit: int, *, of: str | None = None, but: str | None = None
) -> list[list[str]]:
    """Captures whose way to the queue is not finished, those of a feed in the order of time.

    Of more than ``limit`` the longest waiting ones, as they were received; only those of one media
    type, or all but those of one.
    """
    pending, table = schema.pending, schema.captures
    longest = sa.select(pending.c.capture_id).order_by(pending.c.received_at).limit(limit)
    if of is not None or but is not None:
        wanted = table.c.media_type == of if of is not None else table.c.media_type != but
        longest = longest.join(table, table.c.capture_id == pending.c.capture_id).where(wanted)
    rows = connection.execute(
        sa.select(table.c.feed_id, table.c.capture_id)
        .where(table.c.capture_id.in_(longest.scalar_subquery()))
        .order_by(table.c.feed_id, table.c.captured_at, table.c.capture_id)
    )
    batches: dict[str, list[str]] = {}
    for feed_id, capture_id in rows:
        batches.setdefault(feed_id, []).append(capture_id)
    return list(batches.values())


def is_correlated(connection: sa.Connection, capture_id: str) -> bool:
    """Whether rules have been held against what was seen in it."""
    table = schema.correlations
    found = sa.select(table.c.capture_id).where(table.c.capture_id == capture_id)
    return connection.scalar(found.limit(1)) is not None


def quarantine_reason(connection: sa.Connection, capture_id: str) -> str | None:
    """Why a capture was set aside, or None if it was not."""
    table = schema.quarantine
    return connection.scalar(sa.select(table.c.reason).where(table.c.capture_id == capture_id))


def all_captures(connection: sa.Connection) -> list[Capture]:
    """Every capture ever filed, oldest first."""
    rows = connection.execute(sa.select(schema.captures).order_by(schema.captures.c.received_at))
    return [capture_from(row) for row in rows.mappings()]
