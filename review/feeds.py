"""Feed health: the page, the REST answer and the metrics for those who keep feeds running."""

import secrets
from collections.abc import Iterable
from datetime import datetime

from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from enforcement.feed_health import FeedHealth, Trouble, troubles
from enforcement.model import Name, Record
from enforcement.people import Role
from enforcement.places import Feed
from review import pages
from review.desk import Desk
from review.sign_in import AtDesk, SignedIn
from storage.records import feeds

_ROLES = (Role.ANALYST, Role.SUPERVISOR, Role.SERVICE)


class FeedLine(Record):
    """One feed of the catalog, how it is doing and what is wrong with it."""

    feed_id: Name
    title: str
    site: str
    source: str
    """Kind of source: ``folder``, ``rtsp``, ``mqtt``, ``hj212``."""
    enabled: bool
    health: FeedHealth
    troubles: tuple[Trouble, ...]


def lines(desk: Desk, now: datetime) -> list[FeedLine]:
    """All feeds of the catalog, those in trouble first, the gravest at the top."""
    catalog = desk.catalogs()
    with desk.database.transaction() as connection:
        known = feeds.health(connection, now)
    sites = {site.site_id: site.title for site in catalog.sites}
    found = [
        _line(feed, sites[feed.site_id], known.get(feed.feed_id), now) for feed in catalog.feeds
    ]
    gravity = list(Trouble)
    return sorted(
        found,
        key=lambda one: (
            gravity.index(one.troubles[0]) if one.troubles else len(gravity),
            not one.enabled,
            one.feed_id,
        ),
    )


def _line(feed: Feed, site: str, health: FeedHealth | None, now: datetime) -> FeedLine:
    known = health or FeedHealth(feed_id=feed.feed_id)
    return FeedLine(
        feed_id=feed.feed_id,
        title=feed.title,
        site=site,
        source=feed.source.kind,
        enabled=feed.enabled,
        health=known,
        troubles=troubles(known, now, feed.silent_after_s) if feed.enabled else (),
    )


def router() -> APIRouter:
    """The routes of this module."""
    routes = APIRouter()

    @routes.get("/feeds", include_in_schema=False)
    def page(request: Request, desk: AtDesk, visit: SignedIn) -> Response:
        with desk.refusals_logged(visit.account, "view", None):
            visit.account.require(*_ROLES)
        now = desk.clock()
        return pages.render(request, "feeds.html", lines=lines(desk, now), now=now)

    @routes.get("/api/v1/feeds", tags=["feeds"])
    def listing(desk: AtDesk, visit: SignedIn) -> list[FeedLine]:
        """How every feed is doing; for analysts, supervisors and services."""
        with desk.refusals_logged(visit.account, "view", None):
            visit.account.require(*_ROLES)
        return lines(desk, desk.clock())

    @routes.get("/metrics", include_in_schema=False)
    def metrics(request: Request, desk: AtDesk) -> Response:
        token = desk.settings.metrics_token
        if token is None:
            raise HTTPException(404)
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not secrets.compare_digest(given.encode(), token.get_secret_value().encode()):
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        now = desk.clock()
        return Response(_exposed(lines(desk, now), now), media_type=CONTENT_TYPE_LATEST)

    return routes


def _exposed(found: Iterable[FeedLine], now: datetime) -> bytes:
    """The lines in Prometheus' text format."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sightline_feed_{name}", text, ["feed", *labels], registry=registry)

    received = gauge("last_received_seconds", "Seconds since anything was received")
    lag = gauge("lag_seconds", "From taking to receiving the latest capture")
    captures = gauge("captures_day", "Captures of the last day")
    stored = gauge("stored_bytes", "Bytes of all captures")
    waiting = gauge("waiting", "Captures whose way to the queue is not finished")
    quarantined = gauge("quarantined_day", "Captures set aside in the last day")
    gaps = gauge("gap_seconds_day", "Seconds of the last day of which nothing was kept")
    clock = gauge("clock_offset_seconds", "The device's clock minus ours")
    trouble = gauge("trouble", "1 if this is wrong with the feed", "trouble")
    for line in (one for one in found if one.enabled):
        name, health = line.feed_id, line.health
        if health.last_received_at is not None:
            received.labels(name).set((now - health.last_received_at).total_seconds())
        if health.lag_s is not None:
            lag.labels(name).set(health.lag_s)
        if health.collector is not None and health.collector.clock_offset_s is not None:
            clock.labels(name).set(health.collector.clock_offset_s)
        captures.labels(name).set(health.captures)
        stored.labels(name).set(health.stored_bytes_ever)
        waiting.labels(name).set(health.waiting)
        quarantined.labels(name).set(health.quarantined)
        gaps.labels(name).set(health.gap_s)
        for one in Trouble:
            trouble.labels(name, one.value).set(one in line.troubles)
    return generate_latest(registry)
