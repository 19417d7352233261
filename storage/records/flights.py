"""Flights of drones: their files, how far each has come, comparisons, places on the ground."""

import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from enforcement.cases import UNDECIDED, CaseState, Lead
from enforcement.dock import DockUpload
from enforcement.flights import GroundPoint
from enforcement.footage import Capture
from enforcement.missions import Flight, FlightKey, FlightState, file_kind
from storage.records import schema
from storage.records.captures import capture_from
from storage.records.casebook import load_lead, raise_lead
from storage.records.database import insert_once, serialise
from storage.records.incidents import with_cases


class FlightFile(NamedTuple):
    """A file of a flight as it is filed."""

    name: str
    capture_id: str


class GroundLead(NamedTuple):
    """A lead with a place on the ground, and when what it is about came to be there."""

    lead: Lead
    state: CaseState
    place: GroundPoint
    radius_m: float
    from_at: datetime
    to_at: datetime


def filed(connection: sa.Connection, key: FlightKey) -> set[tuple[str, int, datetime]]:
    """Name, size and time of each file of a flight that is filed already."""
    table = schema.flight_files
    rows = connection.execute(
        sa.select(table.c.name, table.c.size, table.c.modified_at).where(*_of(table, key))
    )
    return {(name, size, modified_at) for name, size, modified_at in rows}


def note_file(
    connection: sa.Connection, key: FlightKey, name: str, size: int, modified_at: datetime,
    capture_id: str, now: datetime,
) -> None:  # fmt: skip
    """Record a file of a flight; a flight that was closed awaits its end again then."""
    row = key._asdict() | {
        "name": name, "capture_id": capture_id, "size": size, "modified_at": modified_at,
        "filed_at": now,
    }  # fmt: skip
    serialise(connection, "flight", *key)
    if not insert_once(connection, schema.flight_files, row):
        return
    table = schema.flights
    came = {"state": FlightState.AWAITED.value, "last_file_at": now}
    new = key._asdict() | came | {"first_file_at": now, "detail": {}}
    if not insert_once(connection, table, new):
        connection.execute(table.update().where(*_of(table, key)).values(came))


def files_of(connection: sa.Connection, key: FlightKey) -> tuple[FlightFile, ...]:
    """The files of a flight by name; of several with one name the last that came."""
    table = schema.flight_files
    rows = connection.execute(
        sa.select(table.c.name, table.c.capture_id)
        .where(*_of(table, key))
        .order_by(table.c.filed_at, table.c.capture_id)
    )
    newest = {name: FlightFile(name, capture_id) for name, capture_id in rows}
    return tuple(newest[name] for name in sorted(newest))


def captures_of(connection: sa.Connection, key: FlightKey) -> dict[str, Capture]:
    """The files of a flight as ``files_of`` has them, without those that were set aside."""
    files, table, bad = schema.flight_files, schema.captures, schema.quarantine
    rows = connection.execute(
        sa.select(files.c.name, bad.c.capture_id.label("set_aside"), *table.c)
        .join(table, table.c.capture_id == files.c.capture_id)
        .outerjoin(bad, bad.c.capture_id == files.c.capture_id)
        .where(*_of(files, key))
        .order_by(files.c.filed_at, files.c.capture_id)
    ).mappings()
    newest = {row["name"]: row for row in rows}
    return {
        name: capture_from(row) for name, row in sorted(newest.items()) if row["set_aside"] is None
    }


def flight_of(connection: sa.Connection, capture_id: str) -> tuple[FlightKey, str] | None:
    """The flight of which a capture is a file, and the file's name there.

    Of several the first; one that is not refused comes before others: who laid a card into the
    wrong folder lays it into the right one next.
    """
    table, state = schema.flight_files, schema.flights
    same = [table.c[name] == state.c[name] for name in FlightKey._fields]
    row = connection.execute(
        sa.select(*_key_columns(table), table.c.name)
        .join(state, sa.and_(*same))
        .where(table.c.capture_id == capture_id)
        .order_by(state.c.state == FlightState.REFUSED.value, table.c.filed_at, table.c.flight_id)
        .limit(1)
    ).first()
    return None if row is None else (FlightKey(*row[:3]), row.name)


def is_released(connection: sa.Connection, capture_id: str) -> bool:
    """Whether a capture is footage that the approval of its flight covers."""
    found = flight_of(connection, capture_id)
    if found is None or file_kind(found[1]) != "videos":
        return False
    flight = load(connection, found[0])
    return flight.state is FlightState.ACCEPTED and found[1] not in flight.refused


def load(connection: sa.Connection, key: FlightKey) -> Flight:
    """Raises KeyError if no file of this flight ever came."""
    table = schema.flights
    row = connection.execute(sa.select(table).where(*_of(table, key))).mappings().first()
    if row is None:
        raise KeyError(key)
    return _flight(row)


def open_to_judgement(connection: sa.Connection) -> list[Flight]:
    """Flights that are awaited or of which something was refused, those first whose files came
    first."""
    table = schema.flights
    in_part = sa.and_(
        table.c.state == FlightState.ACCEPTED.value,
        sa.cast(table.c.detail["refused"], sa.Text) != "{}",
    )
    whole = table.c.state.in_([FlightState.AWAITED.value, FlightState.REFUSED.value])
    rows = connection.execute(
        sa.select(table)
        .where(sa.or_(whole, in_part))
        .order_by(table.c.first_file_at, *_key_columns(table))
    )
    return [_flight(row) for row in rows.mappings()]


def of_mission(connection: sa.Connection, mission_id: str, limit: int = 1000) -> list[Flight]:
    """The latest flights of a mission, in the order in which they were flown."""
    table = schema.flights
    flown = sa.func.coalesce(table.c.began_at, table.c.first_file_at)
    rows = connection.execute(
        sa.select(table)
        .where(table.c.mission_id == mission_id)
        .order_by(flown.desc(), table.c.flight_id)
        .limit(limit)
    ).mappings()
    return [_flight(row) for row in rows][::-1]


def closed_before(
    connection: sa.Connection, feed_id: str, moment: datetime
) -> set[tuple[str, str]]:
    """Mission and flight of a feed's closed flights whose last file came before that moment."""
    table = schema.flights
    rows = connection.execute(
        sa.select(table.c.mission_id, table.c.flight_id).where(
            table.c.feed_id == feed_id,
            table.c.state != FlightState.AWAITED.value,
            table.c.last_file_at < moment,
        )
    )
    return {(mission_id, flight_id) for mission_id, flight_id in rows}


def refused_since(
    connection: sa.Connection, since: datetime, limit: int = 1000
) -> dict[str, list[Flight]]:
    """Flights closed after that moment that were refused, or of which files were; by feed, the
    last ones first."""
    table = schema.flights
    judged = (FlightState.REFUSED.value, FlightState.ACCEPTED.value)
    rows = connection.execute(
        sa.select(table)
        .where(table.c.closed_at > since, table.c.state.in_(judged))
        .order_by(table.c.closed_at.desc(), *_key_columns(table))
    ).mappings()
    read = (_flight(row) for row in rows)
    bad = (one for one in read if one.state is FlightState.REFUSED or one.refused)
    found: dict[str, list[Flight]] = {}
    for flight in itertools.islice(bad, limit):
        found.setdefault(flight.feed_id, []).append(flight)
    return found


def note_strays(
    connection: sa.Connection, feed_id: str, lines: Sequence[str], now: datetime
) -> None:
    """Replace what was said to lie outside of any flight; without lines nothing does."""
    table = schema.strays
    if not lines:
        connection.execute(table.delete().where(table.c.feed_id == feed_id))
        return
    row = {"at": now, "lines": list(lines)}
    if not insert_once(connection, table, row | {"feed_id": feed_id}):
        connection.execute(table.update().where(table.c.feed_id == feed_id).values(row))


def strays_of(connection: sa.Connection) -> dict[str, tuple[str, ...]]:
    """What lies outside of any flight at present, and why it is left; by feed."""
    table = schema.strays
    rows = connection.execute(sa.select(table.c.feed_id, table.c.lines))
    return {feed_id: tuple(lines) for feed_id, lines in rows}


def close(connection: sa.Connection, flight: Flight) -> None:
    """Write what became of a flight, unless another file came since it was read."""
    table = schema.flights
    connection.execute(
        table.update()
        .where(*_of(table, flight.key), table.c.last_file_at == flight.last_file_at)
        .values(
            state=flight.state.value,
            closed_at=flight.closed_at,
            began_at=flight.began_at,
            mission_digest=flight.mission_digest,
            detail=flight.model_dump(mode="json", include={"overdue", "refused"}),
        )
    )


def note_upload(connection: sa.Connection, upload: DockUpload, capture_id: str) -> None:
    """Record what a dock said of one file that it uploaded."""
    row = {
        "flight_id": upload.flight_id, "object_key": upload.object_key,
        "expected": upload.expected, "uploaded": upload.uploaded, "gateway": upload.gateway,
        "received_at": upload.received_at, "capture_id": capture_id,
    }  # fmt: skip
    insert_once(connection, schema.dock_uploads, row)


def dock_counts(connection: sa.Connection, key: FlightKey) -> tuple[int, int] | None:
    """Files that the dock expects of a flight and those that it uploaded; None if it said none.

    Docks name no mission, only the objects' keys: what went to another mission's flight of the same
    name does not count.
    """
    table = schema.dock_uploads
    rows = connection.execute(
        sa.select(table.c.object_key, table.c.expected, table.c.uploaded).where(
            table.c.flight_id == key.flight_id
        )
    ).all()
    own = [row for row in rows if f"{key.mission_id}/{key.flight_id}/" in row.object_key]
    expected = [row.expected for row in own if row.expected is not None]
    uploaded = [row.uploaded for row in own if row.uploaded is not None]
    return (max(expected), max(uploaded)) if expected and uploaded else None


def was_compared(
    connection: sa.Connection, mission_id: str, before: str, after: str, inputs_digest: str
) -> bool:
    """Whether these very files of two flights were compared."""
    table = schema.comparisons
    found = sa.select(sa.literal(1)).where(
        table.c.mission_id == mission_id,
        table.c.before_flight == before,
        table.c.after_flight == after,
        table.c.inputs_digest == inputs_digest,
    )
    return connection.execute(found).first() is not None


def comparisons_of(connection: sa.Connection, mission_id: str) -> dict[tuple[str, str], datetime]:
    """When each pair of flights of a mission was last compared."""
    table = schema.comparisons
    rows = connection.execute(
        sa.select(table.c.before_flight, table.c.after_flight, sa.func.max(table.c.at))
        .where(table.c.mission_id == mission_id)
        .group_by(table.c.before_flight, table.c.after_flight)
    )
    return {(before, after): at for before, after, at in rows}


def note_comparison(
    connection: sa.Connection, mission_id: str, before: str, after: str, inputs_digest: str,
    refusal: str | None, changes: int, at: datetime,
) -> None:  # fmt: skip
    """Record that two flights were compared, or why they could not be; ``at``: when their files
    were listed."""
    row = {
        "mission_id": mission_id, "before_flight": before, "after_flight": after,
        "inputs_digest": inputs_digest, "refusal": refusal, "changes": changes, "at": at,
    }  # fmt: skip
    insert_once(connection, schema.comparisons, row)


class RefusedComparison(NamedTuple):
    """Two flights that could not be compared."""

    feed_id: str
    mission_id: str
    before_flight: str
    after_flight: str
    refusal: str


def refused_comparisons(connection: sa.Connection, since: datetime) -> list[RefusedComparison]:
    """Pairs of flights that could not be compared after that moment, newest first."""
    table, state = schema.comparisons, schema.flights
    rows = connection.execute(
        sa.select(
            state.c.feed_id,
            table.c.mission_id,
            table.c.before_flight,
            table.c.after_flight,
            table.c.refusal,
        )
        .join(
            state,
            sa.and_(
                state.c.mission_id == table.c.mission_id,
                state.c.flight_id == table.c.after_flight,
            ),
        )
        .where(table.c.refusal.is_not(None), table.c.at > since)
        .order_by(table.c.at.desc())
    )
    return [RefusedComparison(*row) for row in rows]


def raise_ground_lead(
    connection: sa.Connection, lead: Lead, mission_id: str, place: GroundPoint, radius_m: float,
    from_at: datetime,
) -> None:  # fmt: skip
    """Write a new lead and its place. The caller has made sure that its incident is new."""
    raise_lead(connection, lead)
    row = place._asdict() | {
        "lead_id": lead.lead_id, "radius_m": radius_m, "mission_id": mission_id,
        "from_at": from_at, "to_at": lead.alarm_at,
    }  # fmt: skip
    connection.execute(schema.ground_fixes.insert().values(row))


def fix_of(connection: sa.Connection, lead_id: str) -> tuple[GroundPoint, float] | None:
    """Where on the ground a lead is, and the radius of that in metres; None if it has no place."""
    table = schema.ground_fixes
    row = connection.execute(sa.select(table).where(table.c.lead_id == lead_id)).first()
    return None if row is None else (GroundPoint(row.latitude_deg, row.longitude_deg), row.radius_m)


def leads_on_ground(
    connection: sa.Connection, rule_id: str, mission_id: str, since: datetime, until: datetime
) -> list[GroundLead]:
    """Leads of a rule and a mission about something that came to be there between these moments,
    or before them and is undecided.

    Takes the lock that keeps two transactions from raising the same incident.
    """
    serialise(connection, "incident", rule_id, mission_id)
    g, l, k = schema.ground_fixes, schema.leads, schema.cases  # noqa: E741
    rows = connection.execute(
        sa.select(g, k.c.state)
        .select_from(with_cases(g.join(l, l.c.lead_id == g.c.lead_id), g.c.lead_id))
        .where(
            g.c.mission_id == mission_id,
            sa.or_(g.c.to_at >= since, k.c.state.is_(None), k.c.state.in_(sorted(UNDECIDED))),
            g.c.from_at <= until,
            l.c.rule_id == rule_id,
        )
        .order_by(g.c.to_at, g.c.lead_id)
    ).all()
    return [
        GroundLead(
            lead=load_lead(connection, row.lead_id),
            state=CaseState(row.state or CaseState.LEAD),
            place=GroundPoint(row.latitude_deg, row.longitude_deg),
            radius_m=row.radius_m,
            from_at=row.from_at,
            to_at=row.to_at,
        )
        for row in rows
    ]


def _key_columns(table: sa.Table) -> tuple[sa.Column[Any], ...]:
    return tuple(table.c[name] for name in FlightKey._fields)


def _of(table: sa.Table, key: FlightKey) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key._asdict().items()]


def _flight(row: sa.RowMapping) -> Flight:
    fields = {name: row[name] for name in Flight.model_fields if name in row}
    return Flight(**fields, **row["detail"])
