"""What became of the feeds: gaps, what collectors report, view problems, and health of each."""

import itertools
from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from enforcement.feed_health import (
    DAY,
    DAYS_REFUSED,
    DAYS_SHOWN,
    CollectorReport,
    FeedGap,
    FeedHealth,
    RefusedFlight,
    SensorTrouble,
)
from enforcement.footage import ViewFinding, ViewProblem
from storage.records import flights, schema, windows
from storage.records.database import insert_once


def note_gap(connection: sa.Connection, feed_id: str, gap: FeedGap, now: datetime) -> None:
    """Record that nothing was kept; the same gap is recorded once."""
    row = gap.model_dump() | {"feed_id": feed_id, "noted_at": now}
    insert_once(connection, schema.gaps, row)


def note_view(connection: sa.Connection, capture_id: str, view: Iterable[ViewFinding]) -> None:
    """Record what was wrong with the view in a capture."""
    for finding in view:
        row = finding.model_dump() | {"capture_id": capture_id, "problem": finding.problem.value}
        insert_once(connection, schema.view_problems, row)


def note_state(connection: sa.Connection, feed_id: str, report: CollectorReport) -> None:
    """Replace what the collector said before."""
    table = schema.feed_states
    row = {
        "at": report.at,
        "state": report.state,
        "detail": report.model_dump(mode="json", exclude={"at", "state"}),
    }
    if not insert_once(connection, table, row | {"feed_id": feed_id}):
        connection.execute(table.update().where(table.c.feed_id == feed_id).values(row))


def gaps_since(connection: sa.Connection, since: datetime) -> dict[str, list[FeedGap]]:
    """Gaps that ended after that moment, by feed, in the order of time."""
    table = schema.gaps
    rows = connection.execute(
        sa.select(table.c.feed_id, table.c.from_at, table.c.to_at, table.c.reason)
        .where(table.c.to_at > since)
        .order_by(table.c.from_at)
    )
    found: dict[str, list[FeedGap]] = {}
    for feed_id, from_at, to_at, reason in rows:
        found.setdefault(feed_id, []).append(FeedGap(from_at=from_at, to_at=to_at, reason=reason))
    return found


def health(connection: sa.Connection, now: datetime) -> dict[str, FeedHealth]:
    """Of every feed that ever gave something or is collected."""
    since = now - DAY
    known, grown = _captured(connection, since), _grown(connection, now)
    waiting, quarantined = _waiting(connection), _quarantined(connection, since)
    gaps, view = gaps_since(connection, since), _view(connection, since)
    states, sensors = _states(connection), _sensors(connection, since)
    strays, refused = flights.strays_of(connection), _refused(connection, now)
    return {
        feed_id: known.get(feed_id, FeedHealth(feed_id=feed_id)).model_copy(
            update={
                "stored_bytes_by_day": grown.get(feed_id, (0,) * DAYS_SHOWN),
                "waiting": waiting.get(feed_id, 0),
                "quarantined": quarantined.get(feed_id, 0),
                "gaps": tuple(gaps.get(feed_id, ())),
                "view": tuple(view.get(feed_id, ())),
                "sensors": sensors.get(feed_id, ()),
                "strays": strays.get(feed_id, ()),
                "refused_flights": refused.get(feed_id, ()),
                "collector": states.get(feed_id),
            }
        )
        for feed_id in sorted({*known, *gaps, *states, *strays})
    }


def _captured(connection: sa.Connection, since: datetime) -> dict[str, FeedHealth]:
    c = schema.captures
    recent = c.c.received_at > since
    rows = connection.execute(
        sa.select(
            c.c.feed_id,
            sa.func.max(c.c.captured_at),
            sa.func.max(c.c.received_at),
            sa.func.count(sa.case((recent, 1))),
            sa.func.coalesce(sa.func.sum(sa.case((recent, c.c.size), else_=0)), 0),
            sa.func.sum(c.c.size),
        ).group_by(c.c.feed_id)
    )
    return {
        feed_id: FeedHealth(
            feed_id=feed_id, last_captured_at=captured_at, last_received_at=received_at,
            captures=captures, stored_bytes=int(size), stored_bytes_ever=int(ever),
        )
        for feed_id, captured_at, received_at, captures, size, ever in rows
    }  # fmt: skip


def _grown(connection: sa.Connection, now: datetime) -> dict[str, tuple[int, ...]]:
    """Bytes received in each of the last days, the earliest first, by feed."""
    c = schema.captures
    edges = [now - DAY * back for back in range(DAYS_SHOWN, -1, -1)]
    days = [
        sa.func.sum(
            sa.case((sa.and_(c.c.received_at > start, c.c.received_at <= end), c.c.size), else_=0)
        )
        for start, end in itertools.pairwise(edges)
    ]
    rows = connection.execute(
        sa.select(c.c.feed_id, *days).where(c.c.received_at > edges[0]).group_by(c.c.feed_id)
    )
    return {row[0]: tuple(int(size) for size in row[1:]) for row in rows}


def _waiting(connection: sa.Connection) -> dict[str, int]:
    c, p = schema.captures, schema.pending
    counted = sa.select(c.c.feed_id, sa.func.count()).join(p).group_by(c.c.feed_id)
    return {row[0]: int(row[1]) for row in connection.execute(counted)}


def _quarantined(connection: sa.Connection, since: datetime) -> dict[str, int]:
    c, q = schema.captures, schema.quarantine
    counted = (
        sa.select(c.c.feed_id, sa.func.count()).join(q).where(q.c.at > since).group_by(c.c.feed_id)
    )
    return {row[0]: int(row[1]) for row in connection.execute(counted)}


def _view(connection: sa.Connection, since: datetime) -> dict[str, list[ViewProblem]]:
    c, v = schema.captures, schema.view_problems
    rows = connection.execute(
        sa.select(c.c.feed_id, v.c.problem)
        .join(v)
        .where(c.c.received_at > since)
        .distinct()
        .order_by(c.c.feed_id, v.c.problem)
    )
    found: dict[str, list[ViewProblem]] = {}
    for feed_id, problem in rows:
        found.setdefault(feed_id, []).append(ViewProblem(problem))
    return found


def _sensors(connection: sa.Connection, since: datetime) -> dict[str, tuple[SensorTrouble, ...]]:
    return {
        feed_id: tuple(
            SensorTrouble(
                device_id=one.device_id, quantity=one.quantity, kind=one.kind,
                since=one.onset_at, is_over=one.end_at is not None,
            )
            for one in problems
        )
        for feed_id, problems in windows.problems_since(connection, since).items()
    }  # fmt: skip


def _refused(connection: sa.Connection, now: datetime) -> dict[str, tuple[RefusedFlight, ...]]:
    """Flights that may not be looked at, and those that can't be compared with the one before."""
    since = now - DAY * DAYS_REFUSED
    found = {
        feed_id: [
            RefusedFlight(
                mission_id=one.mission_id, flight_id=one.flight_id,
                reasons=tuple(dict.fromkeys(one.refused.values())),
            )
            for one in refused
        ]
        for feed_id, refused in flights.refused_since(connection, since).items()
    }  # fmt: skip
    for pair in flights.refused_comparisons(connection, since):
        reason = f"not compared with {pair.before_flight}: {pair.refusal}"
        found.setdefault(pair.feed_id, []).append(
            RefusedFlight(
                mission_id=pair.mission_id, flight_id=pair.after_flight, reasons=(reason,)
            )
        )
    return {feed_id: tuple(refused) for feed_id, refused in found.items()}


def _states(connection: sa.Connection) -> dict[str, CollectorReport]:
    table = schema.feed_states
    rows = connection.execute(sa.select(table)).mappings()
    return {
        row["feed_id"]: CollectorReport(at=row["at"], state=row["state"], **row["detail"])
        for row in rows
    }
