"""Backfill: re-run a range of a feed's time, by what holds now or by pinned rules and models.

What was raised stays as it is, decided or not; running it again raises nothing twice.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from enforcement.errors import ConfigurationError
from enforcement.places import Feed, Hj212Source, MqttSource
from feeds.messages import MEDIA_TYPE as MESSAGES
from pipelines.correlate import correlate
from pipelines.model_versions import Held, ModelPin, held_against
from pipelines.observe import ModelKey, observe
from pipelines.patrol_leads import compare_flights, pairs_between
from pipelines.seal import seal_capture
from pipelines.sensing import WINDOW, reach_of, window_of
from pipelines.windows import evaluate_window
from pipelines.wiring import Wiring, wire
from storage.records import captures, flights, windows
from storage.records.casebook import leads_of_capture


class Backfilled(NamedTuple):
    """What came of re-running a range."""

    captures: int
    """Captures that were looked at."""
    windows: int
    """Hours that were evaluated, of a feed of sensors."""
    raised: tuple[str, ...]
    """Ids of new leads."""
    models: dict[str, int]
    """How many captures were held against each pinned version, ``NAME@DIGEST/CONFIG`` in full."""


def backfill(
    feed_id: str,
    start: datetime,
    end: datetime,
    pins: Mapping[str, int] | None = None,
    models: Sequence[ModelPin] = (),
) -> Backfilled:
    """Look at the captures of ``[start, end)`` again, and hold them against the rules.

    ``pins``: versions of rules to be held instead of the current ones. ``models``: versions of
    models whose stored observations count instead of today's. Of a feed of sensors, the readings
    that came too late for their windows are taken in. Footage is looked at again only if the
    detectors have changed since. Of a drone, flights that began in the range are compared again
    with those before them.

    Raises ConfigurationError for a feed or a rule that the catalog lacks and for pins that cannot
    be meant, ModelError for a version that is neither stored nor installed: both before anything
    is done.
    """
    wiring = wire()
    feed = wiring.catalog.feed(feed_id)
    for rule_id, version in (pins or {}).items():
        wiring.catalog.rule(rule_id, version)
    if isinstance(feed.source, MqttSource | Hj212Source):
        if models:
            raise ConfigurationError(
                f"feed {feed_id} brings readings, which no model looks at: pin its rules alone"
            )
        return _backfill_readings(wiring, feed, start, end, pins)
    held = None
    if models:
        rules = wiring.catalog.rules_at(pins or {})
        held = held_against(wiring, feed, (start, end), models, rules)
    done = _backfill_footage(wiring, feed, start, end, pins, held)
    if feed.view_is_fixed:
        return done
    changed = [
        lead_id
        for pair in pairs_between(wiring, feed, start, end)
        for lead_id in compare_flights(*pair, pins)
    ]
    return done._replace(raised=(*done.raised, *changed))


def _backfill_footage(
    wiring: Wiring, feed: Feed, start: datetime, end: datetime, pins: Mapping[str, int] | None,
    held: Held | None,
) -> Backfilled:  # fmt: skip
    with wiring.database.transaction() as connection:
        again = captures.taken_between(connection, feed.feed_id, start, end)
        known = {lead.lead_id for one in again for lead in leads_of_capture(connection, one)}
        if not feed.view_is_fixed:
            again = [one for one in again if flights.is_released(connection, one)]
    if held is not None:
        again = [one for one in again if one in held.keys]
    raised: list[str] = []
    for capture_id in again:
        keys = None if held is None else held.keys[capture_id]
        if keys is None or not _are_stored(wiring, capture_id, keys):
            observe(capture_id)
        correlate(capture_id, pins, keys)
        raised += [one for one in seal_capture(capture_id, keys) if one not in known]
    return Backfilled(len(again), 0, tuple(raised), {} if held is None else held.versions)


def _are_stored(wiring: Wiring, capture_id: str, keys: Sequence[ModelKey]) -> bool:
    with wiring.database.transaction() as connection:
        return captures.observation_objects(connection, capture_id).keys() >= set(keys)


def _backfill_readings(
    wiring: Wiring, feed: Feed, start: datetime, end: datetime, pins: Mapping[str, int] | None
) -> Backfilled:
    until = end + timedelta(seconds=feed.reopens_s)
    with wiring.database.transaction() as connection:
        again = windows.captures_to_reread(connection, feed.feed_id, MESSAGES, start, end, until)
    for capture_id in again:
        observe(capture_id)
    starts = _starts_with_readings(wiring, feed, start, end)
    raised: list[str] = []
    for one in starts:
        raised += evaluate_window(feed.feed_id, one, pins, all_readings=True)
    return Backfilled(len(again), len(starts), tuple(raised), {})


def _starts_with_readings(
    wiring: Wiring, feed: Feed, start: datetime, end: datetime
) -> list[datetime]:
    """Windows of a range that have ended and that readings concern, in the order of time."""
    reach = reach_of(wiring, feed)
    with wiring.database.transaction() as connection:
        spans = windows.spans_between(connection, feed.feed_id, start - WINDOW - reach, end)
    found: list[datetime] = []
    window, ended_by = window_of(start), wiring.clock()
    while window < end and window + WINDOW <= ended_by:
        if any(first < window + WINDOW and last + reach >= window for first, last in spans):
            found.append(window)
        window += WINDOW
    return found
