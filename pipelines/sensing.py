"""Read: take the readings out of a capture of messages, and open the windows that they concern.

Readings are stored as a document of their own. Ones that come too late reopen nothing by
themselves: their capture is set aside where everybody sees it, and ``sightline backfill`` takes
them in.
"""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pandas as pd

from enforcement.errors import BadFootage, EvidenceError
from enforcement.footage import Capture, StoredObject
from enforcement.places import Feed, Hj212Source, MqttSource
from enforcement.readings import DockFormat, JsonFormat, Reading
from enforcement.sensor_rules import lookback_s
from feeds.dock import uploads
from feeds.messages import Message, decode_batch
from feeds.readings import Readings, from_bytes, merged
from feeds.sensors import read_hj212, read_json
from pipelines.wiring import Wiring, wire
from storage.canonical import sha256_hex
from storage.evidence_store import BucketRole, EvidenceStore
from storage.records import captures, windows
from storage.records.flights import note_upload
from storage.records.windows import ReadCapture

WINDOW = timedelta(hours=1)
"""Windows are the hours of UTC, the start included and the end not."""

_INSTANT = timedelta(microseconds=1)

_LOG = logging.getLogger("sightline.sensing")

READINGS = "application/vnd.sightline.readings+json"


def read_capture(capture_id: str) -> str:
    """Take the readings out of a capture of messages, once; returns the capture id.

    A batch that nobody can decode is quarantined. What is no reading is refused and counted.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        capture = captures.load_capture(connection, capture_id)
    feed = wiring.catalog.feed(capture.feed_id)
    digest = config_digest(feed)
    with wiring.database.transaction() as connection:
        if windows.is_read(connection, capture_id, digest):
            captures.finish(connection, capture_id)
            return capture_id
    try:
        messages = decode_batch(wiring.store.read(capture.object))
        readings = _taken_out(feed, messages)
    except BadFootage as error:
        with wiring.database.transaction() as connection:
            captures.quarantine(connection, capture_id, str(error), wiring.clock())
        return capture_id
    if is_of_docks(feed):
        note_uploads(wiring, capture, messages)
    if readings is not None:
        _note(wiring, feed, capture, digest, readings)
    with wiring.database.transaction() as connection:
        captures.finish(connection, capture_id)
    return capture_id


def is_of_docks(feed: Feed) -> bool:
    """Whether drones' docks tell on this feed what they uploaded."""
    return isinstance(feed.source, MqttSource) and isinstance(feed.source.format, DockFormat)


def note_uploads(wiring: Wiring, capture: Capture, messages: Iterable[Message]) -> None:
    """Record what docks say in these messages of the files that they uploaded. Idempotent."""
    found, refused = uploads(messages)
    if refused:
        _LOG.warning(
            "capture %s: %d messages of docks could not be read", capture.capture_id, refused
        )
    with wiring.database.transaction() as connection:
        for upload in found:
            note_upload(connection, upload, capture.capture_id)


def config_digest(feed: Feed) -> str:
    """SHA-256 over all that decides which readings a message of this feed holds."""
    source = feed.source
    form = source.format if isinstance(source, MqttSource | Hj212Source) else None
    content = {
        "format": None if form is None else form.model_dump(mode="json"),
        "device_id": feed.device_id,
        "clock_offset_s": feed.clock_offset_s,
    }
    return sha256_hex(json.dumps(content, sort_keys=True).encode())


def window_of(moment: datetime) -> datetime:
    """The start of the window that holds the moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def reach_of(wiring: Wiring, feed: Feed) -> timedelta:
    """From how long before a window the feed's rules need readings."""
    purposes = {zone.purpose for zone in feed.zones}
    needed_s = [
        lookback_s(rule.sensor_params)
        for rule in wiring.catalog.rules
        if rule.sensor_params is not None and rule.purpose in purposes
    ]
    return timedelta(seconds=max(needed_s, default=0.0))


@dataclass(frozen=True)
class FeedReadings:
    """What was read out of the captures of a feed."""

    wiring: Wiring
    feed: Feed
    with_late: bool = False
    """Those that came too late for their window as well."""

    def between(self, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """The readings of ``[start, end)``: of two for one moment, the one received first."""
        return merged(self._documents(start, end).values()).readings()

    def holders(self, readings: Iterable[Reading]) -> list[Capture]:
        """The captures in which these readings came first, in the order of the readings.

        Raises EvidenceError if one of them is in no capture.
        """
        wanted = list(readings)
        first = min(one.at for one in wanted)
        documents = self._documents(first, max(one.at for one in wanted) + _INSTANT)
        with self.wiring.database.transaction() as connection:
            known = [captures.load_capture(connection, one) for one in documents]
        known.sort(key=lambda one: (one.captured_at, one.object.sha256))
        came: dict[Reading, tuple[int, Capture]] = {}
        for capture in known:
            document = documents[capture.capture_id]
            received = document.frame["received_at"].astype("int64").tolist()
            for reading, at_us in zip(document.readings(), received, strict=True):
                if reading not in came or at_us < came[reading][0]:
                    came[reading] = at_us, capture
        if missing := [one for one in wanted if one not in came]:
            raise EvidenceError(f"no capture holds {len(missing)} of the readings of this lead")
        return [came[one][1] for one in wanted]

    def _documents(self, start: datetime, end: datetime) -> dict[str, Readings]:
        """The readings of ``[start, end)`` by capture."""
        with self.wiring.database.transaction() as connection:
            found = windows.read_between(connection, self.feed.feed_id, start, end)
        reopens_s = None if self.with_late else self.feed.reopens_s
        return {
            capture_id: _part(_document(self.wiring.store, stored, reopens_s), start, end)
            for capture_id, stored in found.items()
        }


@lru_cache(maxsize=2048)
def _document(store: EvidenceStore, stored: StoredObject, reopens_s: float | None) -> Readings:
    """Stored readings; without those that came too late, unless ``reopens_s`` is None.

    They never change, and neighbouring windows ask for the same ones.
    """
    whole = from_bytes(store.read(stored))
    if reopens_s is None:
        return whole
    frame, conflicts = (
        _rows(one, ~_are_too_late(one, reopens_s)) for one in (whole.frame, whole.conflicts)
    )
    return Readings(frame, conflicts, (), 0)


def _part(whole: Readings, start: datetime, end: datetime) -> Readings:
    """The readings of ``[start, end)``."""
    frame, conflicts = (
        _rows(one, (one["at"] >= start) & (one["at"] < end))
        for one in (whole.frame, whole.conflicts)
    )
    return Readings(frame, conflicts, (), 0)


def _rows(frame: pd.DataFrame, wanted: "pd.Series[bool]") -> pd.DataFrame:
    return frame if wanted.all() else frame[wanted].reset_index(drop=True)


def _are_too_late(frame: pd.DataFrame, reopens_s: float) -> "pd.Series[bool]":
    """Which rows of a frame came too late to reopen the window of their time."""
    ends = frame["at"].dt.floor("h") + WINDOW
    late: pd.Series[bool] = frame["received_at"] > ends + timedelta(seconds=reopens_s)
    return late


def _taken_out(feed: Feed, messages: Iterable[Message]) -> Readings | None:
    """None if the feed has no readings: its messages are only kept, or come from docks."""
    source = feed.source
    match source:
        case MqttSource(format=JsonFormat() as form):
            return read_json(messages, form, feed.device_id, feed.clock_offset_s)
        case Hj212Source(format=form):
            return read_hj212(messages, form, feed.device_id, feed.clock_offset_s)
        case _:
            return None


def _note(wiring: Wiring, feed: Feed, capture: Capture, digest: str, readings: Readings) -> None:
    """Bytes into the store first, then the row, with which the windows open."""
    stored = wiring.store.put_bytes(
        BucketRole.CAPTURES, readings.to_bytes(), READINGS, prefix=f"{feed.feed_id}/readings"
    )
    frame = readings.frame
    moments = frame["at"]
    late = _are_too_late(frame, feed.reopens_s)
    read = ReadCapture(
        capture_id=capture.capture_id,
        config_digest=digest,
        feed_id=feed.feed_id,
        object=stored,
        first_at=moments.min().to_pydatetime() if len(frame) else None,
        last_at=moments.max().to_pydatetime() if len(frame) else None,
        readings=len(frame),
        refused=sum(one.count for one in readings.refused),
        too_late=int(late.sum()),
    )
    spans = _concerned([one.to_pydatetime() for one in moments[~late]], reach_of(wiring, feed))
    with wiring.database.transaction() as connection:
        if windows.note_read(connection, read, wiring.clock()):
            windows.touch(connection, feed.feed_id, spans)
            if read.too_late:
                reason = (
                    f"{read.too_late} of {read.readings} readings came more than"
                    f" {feed.reopens_s / 86400:g} days after their hour:"
                    f" `sightline backfill {feed.feed_id}` takes them in"
                )
                captures.quarantine(connection, capture.capture_id, reason, wiring.clock())


def _concerned(moments: Iterable[datetime], reach: timedelta) -> set[tuple[datetime, datetime]]:
    """The windows that hold these moments, and those whose rules look back as far as them."""
    latest: dict[datetime, datetime] = {}
    for moment in moments:
        window = window_of(moment)
        latest[window] = max(moment, latest.get(window, moment))
    found: set[datetime] = set()
    for window, last in latest.items():
        reached = window
        while reached <= last + reach:
            found.add(reached)
            reached += WINDOW
    return {(window, window + WINDOW) for window in found}
