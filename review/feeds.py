"""Feed health: the page, the REST answer and the metrics for those who keep feeds running."""

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from enforcement.feed_health import (
    FeedHealth,
    StorageOutlook,
    Trouble,
    storage_outlook,
    troubles,
)
from enforcement.missions import Flight, FlightState, Mission, is_of_turn
from enforcement.model import Name, Record, Utc
from enforcement.people import Role
from enforcement.places import Feed
from review import pages
from review.desk import Desk
from review.sign_in import AtDesk, SignedIn
from settings import schedules
from settings.catalog import Catalog
from storage.records import feeds, flights, missions

_ROLES = (Role.ANALYST, Role.SUPERVISOR, Role.SERVICE)


class MissionLine(Record):
    """A mission of a drone: when it is flown next, and when it last was."""

    mission_id: Name
    title: str
    next_flight_at: Utc | None = None
    """By its schedule; None where it is flown when called for."""
    next_is_approved: bool = True
    """Whether its approval still holds then."""
    last_flight_at: Utc | None = None
    last_flight: FlightState | None = None
    """How far the last flight has come; None before the first one."""
    missed_turn_at: Utc | None = None
    """The last turn of its schedule, if it is over without a flight and there was one before."""


class FeedLine(Record):
    """One feed of the catalog, how it is doing and what is wrong with it."""

    feed_id: Name
    title: str
    site: str
    source: str
    """Kind of source: ``folder``, ``rtsp``, ``mqtt``, ``hj212``, ``drone_folder``,
    ``drone_bucket``."""
    enabled: bool
    health: FeedHealth
    troubles: tuple[Trouble, ...]
    missions: tuple[MissionLine, ...] = ()


class Overview(Record):
    """All feeds of the catalog, and the store that they fill."""

    lines: tuple[FeedLine, ...]
    """Those in trouble first, the gravest at the top."""
    storage: StorageOutlook


def overview(desk: Desk, now: datetime, free_bytes: int | None) -> Overview:
    """How feeds, missions and store are doing at this moment."""
    catalog = desk.catalogs()
    with desk.database.transaction() as connection:
        known = feeds.health(connection, now)
        flown = _missions(connection, catalog.with_missions(missions.given(connection)), now)
    sites = {site.site_id: site.title for site in catalog.sites}
    found = [
        _line(
            feed,
            sites[feed.site_id],
            known.get(feed.feed_id) or FeedHealth(feed_id=feed.feed_id),
            tuple(flown.get(feed.feed_id, ())),
            now,
        )
        for feed in catalog.feeds
    ]
    gravity = list(Trouble)
    found.sort(
        key=lambda one: (
            gravity.index(one.troubles[0]) if one.troubles else len(gravity),
            not one.enabled,
            one.feed_id,
        )
    )
    return Overview(lines=tuple(found), storage=storage_outlook(known.values(), free_bytes))


def _line(
    feed: Feed, site: str, known: FeedHealth, missions: tuple[MissionLine, ...], now: datetime
) -> FeedLine:
    missed = tuple(one.mission_id for one in missions if one.missed_turn_at is not None)
    known = known.model_copy(update={"missed_missions": missed})
    return FeedLine(
        feed_id=feed.feed_id,
        title=feed.title,
        site=site,
        source=feed.source.kind,
        enabled=feed.enabled,
        health=known,
        troubles=troubles(known, now, feed.silent_after_s) if feed.enabled else (),
        missions=missions,
    )


def _missions(
    connection: sa.Connection, catalog: Catalog, now: datetime
) -> dict[str, list[MissionLine]]:
    """By feed, those first that are flown next."""
    found: dict[str, list[MissionLine]] = {}
    for mission in catalog.missions:
        found.setdefault(mission.feed_id, []).append(_mission_line(connection, mission, now))
    for lines in found.values():
        lines.sort(key=lambda one: (one.next_flight_at is None, one.next_flight_at, one.title))
    return found


def _mission_line(connection: sa.Connection, mission: Mission, now: datetime) -> MissionLine:
    following = schedules.next_turn(mission, now)
    last = next(iter(flights.of_mission(connection, mission.mission_id, limit=1)), None)
    return MissionLine(
        mission_id=mission.mission_id,
        title=mission.title,
        next_flight_at=following,
        next_is_approved=following is None or following < mission.approval.valid_until,
        last_flight_at=None if last is None else last.flown_at,
        last_flight=None if last is None else last.state,
        missed_turn_at=_missed_turn(mission, last, now),
    )


def _missed_turn(mission: Mission, last: Flight | None, now: datetime) -> datetime | None:
    if last is None:
        return None
    due_at = schedules.last_turn(mission, now - timedelta(seconds=mission.missed_after_s))
    if due_at is None or due_at >= mission.approval.valid_until:
        return None
    return None if is_of_turn(last, due_at) else due_at


def router(free_bytes: Callable[[], int | None] = lambda: None) -> APIRouter:
    """The routes of this module; ``free_bytes`` gives what is left on the store's disk."""
    routes = APIRouter()

    def seen(desk: Desk, visit: SignedIn) -> tuple[Overview, datetime]:
        with desk.refusals_logged(visit.account, "view", None):
            visit.account.require(*_ROLES)
        now = desk.clock()
        return overview(desk, now, free_bytes()), now

    @routes.get("/feeds", include_in_schema=False)
    def page(request: Request, desk: AtDesk, visit: SignedIn) -> Response:
        known, now = seen(desk, visit)
        return pages.render(
            request, "feeds.html", lines=known.lines, storage=known.storage, now=now
        )

    @routes.get("/api/v1/feeds", tags=["feeds"])
    def listing(desk: AtDesk, visit: SignedIn) -> tuple[FeedLine, ...]:
        """How every feed is doing; for analysts, supervisors and services."""
        return seen(desk, visit)[0].lines

    @routes.get("/api/v1/storage", tags=["feeds"])
    def storage(desk: AtDesk, visit: SignedIn) -> StorageOutlook:
        """How the captures of all feeds fill the store; for the same people."""
        return seen(desk, visit)[0].storage

    @routes.get("/metrics", include_in_schema=False)
    def metrics(request: Request, desk: AtDesk) -> Response:
        token = desk.settings.metrics_token
        if token is None:
            raise HTTPException(404)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), token.get_secret_value().encode()):
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        now = desk.clock()
        exposed = _exposed(overview(desk, now, free_bytes()), now)
        return Response(exposed, media_type=CONTENT_TYPE_LATEST)

    return routes


def _exposed(known: Overview, now: datetime) -> bytes:
    """The overview in Prometheus' text format."""
    registry = CollectorRegistry()
    _expose_feeds(registry, [one for one in known.lines if one.enabled], now)
    _expose_missions(registry, [one for one in known.lines if one.enabled])
    if known.storage.free is not None:
        text = "Bytes left on the store's disk"
        Gauge("sightline_store_free_bytes", text, registry=registry).set(known.storage.free)
    return generate_latest(registry)


def _expose_feeds(registry: CollectorRegistry, lines: Sequence[FeedLine], now: datetime) -> None:
    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sightline_feed_{name}", text, ["feed", *labels], registry=registry)

    received = gauge("last_received_seconds", "Seconds since anything was received")
    lag = gauge("lag_seconds", "From taking to receiving the latest capture")
    captures = gauge("captures_day", "Captures of the last day")
    captured = gauge(
        "last_captured_timestamp_seconds", "When the latest capture begins, by the device's clock"
    )
    stored = gauge("stored_bytes", "Bytes of all captures")
    stored_day = gauge("stored_last_day_bytes", "Bytes of the captures of the last day")
    waiting = gauge("waiting", "Captures whose way to the queue is not finished")
    quarantined = gauge("quarantined_day", "Captures set aside in the last day")
    gaps = gauge("gap_seconds_day", "Seconds of the last day of which nothing was kept")
    clock = gauge("clock_offset_seconds", "The device's clock minus ours")
    trouble = gauge("trouble", "1 if this is wrong with the feed", "trouble")
    for line in lines:
        name, health = line.feed_id, line.health
        if health.last_received_at is not None:
            received.labels(name).set((now - health.last_received_at).total_seconds())
        if health.last_captured_at is not None:
            captured.labels(name).set(health.last_captured_at.timestamp())
        if health.lag_s is not None:
            lag.labels(name).set(health.lag_s)
        if health.collector is not None and health.collector.clock_offset_s is not None:
            clock.labels(name).set(health.collector.clock_offset_s)
        captures.labels(name).set(health.captures)
        stored.labels(name).set(health.stored_bytes_ever)
        stored_day.labels(name).set(health.stored_bytes)
        waiting.labels(name).set(health.waiting)
        quarantined.labels(name).set(health.quarantined)
        gaps.labels(name).set(health.gap_s)
        for one in Trouble:
            trouble.labels(name, one.value).set(one in line.troubles)


def _expose_missions(registry: CollectorRegistry, lines: Sequence[FeedLine]) -> None:
    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"sightline_mission_{name}", text, ["mission", "feed"], registry=registry)

    following = gauge("next_flight_timestamp_seconds", "When it is to be flown next")
    last = gauge("last_flight_timestamp_seconds", "When its last flight was")
    for line in lines:
        for one in line.missions:
            if one.next_flight_at is not None:
                following.labels(one.mission_id, line.feed_id).set(one.next_flight_at.timestamp())
            if one.last_flight_at is not None:
                last.labels(one.mission_id, line.feed_id).set(one.last_flight_at.timestamp())
