"""Pull: bring footage in. Every capture is filed and hashed before any detector looks at it.

Order matters: bytes into the store first, the manifest row second. A crash in between leaves
bytes without a row; the next sweep finds the same file again and the same bytes in the store.
"""

import os
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from enforcement.errors import BadFootage
from enforcement.footage import Capture
from enforcement.places import Feed, FolderSource, RtspSource
from feeds.folder import finished_files
from feeds.rtsp import record_window
from media.footage import probe
from pipelines.wiring import Wiring, wire
from storage.canonical import sha256_file
from storage.evidence_store import BucketRole
from storage.records import captures

_SPOOL_NAME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Arrival:
    """A finished file and when its first frame was taken, by the device's clock."""

    path: Path
    source_name: str
    captured_at: datetime


def enabled_feeds() -> list[str]:
    """Ids of the feeds that are to be pulled."""
    return [feed.feed_id for feed in wire().catalog.feeds if feed.enabled]


def pull_feed(feed_id: str) -> list[str]:
    """File all that one feed has to give; returns the ids of new captures.

    Raises FeedUnavailable (retry), StoreUnavailable (retry) or ConfigurationError.
    """
    wiring = wire()
    feed = wiring.catalog.feed(feed_id)
    if isinstance(feed.source, RtspSource):
        return _pull_window(wiring, feed, feed.source)
    return _pull_folder(wiring, feed, feed.source)


def file_arrival(wiring: Wiring, feed: Feed, arrival: Arrival) -> tuple[str, bool]:
    """File one finished file; returns its capture id and whether it is new."""
    sha256 = sha256_file(arrival.path)
    with wiring.database.transaction() as connection:
        known = captures.capture_of(connection, feed.feed_id, sha256)
    if known is not None:
        return known, False
    now = wiring.clock()
    stored = wiring.store.put_file(
        BucketRole.CAPTURES,
        arrival.path,
        _media_type(arrival.path),
        sha256=sha256,
        prefix=f"{feed.feed_id}/{now:%Y/%m/%d}",
    )
    capture = Capture(
        capture_id=str(uuid.uuid4()),
        feed_id=feed.feed_id,
        object=stored,
        captured_at=arrival.captured_at,
        received_at=now,
        clock_offset_s=feed.clock_offset_s,
        source_name=arrival.source_name,
    )
    with wiring.database.transaction() as connection:
        filed = captures.file_capture(connection, capture)
    return filed, filed == capture.capture_id


def _pull_folder(wiring: Wiring, feed: Feed, source: FolderSource) -> list[str]:
    new = []
    for file in finished_files(wiring.located(source), wiring.clock()):
        with wiring.database.transaction() as connection:
            if captures.was_pulled(
                connection, feed.feed_id, file.name, file.size, file.modified_at
            ):
                continue
        arrival = Arrival(file.path, file.name, file.captured_at)
        capture_id, is_new = file_arrival(wiring, feed, arrival)
        with wiring.database.transaction() as connection:
            captures.note_pull(
                connection, feed.feed_id, file.name, file.size, file.modified_at, capture_id
            )
        new += [capture_id] if is_new else []
    return new


def _pull_window(wiring: Wiring, feed: Feed, source: RtspSource) -> list[str]:
    spool = wiring.settings.home / "spool" / feed.feed_id
    spool.mkdir(parents=True, exist_ok=True)
    # What a killed task had recorded is fragmented MP4, readable up to its last second.
    new = [_file_spooled(wiring, feed, path) for path in sorted(spool.glob("*Z.mp4"))]
    draft = spool / "recording.mp4"
    _keep_leftover(draft)
    window = record_window(source, draft, environ=os.environ, now=wiring.clock())
    recorded = spool / f"{window.captured_at.astimezone(UTC):{_SPOOL_NAME}}.mp4"
    draft.rename(recorded)
    new.append(_file_spooled(wiring, feed, recorded))
    return [capture_id for capture_id in new if capture_id is not None]


def _file_spooled(wiring: Wiring, feed: Feed, path: Path) -> str | None:
    taken = datetime.strptime(path.stem, _SPOOL_NAME).replace(tzinfo=UTC)
    capture_id, is_new = file_arrival(wiring, feed, Arrival(path, path.name, taken))
    path.unlink()
    return capture_id if is_new else None


def _keep_leftover(draft: Path) -> None:
    if not draft.exists():
        return
    if draft.stat().st_size == 0:
        draft.unlink()
        return
    # Its start is not known better than by the file's birth; the next sweep files it.
    born = datetime.fromtimestamp(draft.stat().st_ctime, UTC)
    draft.rename(draft.with_name(f"{born:{_SPOOL_NAME}}.mp4"))


def _media_type(path: Path) -> str:
    try:
        return probe(path).media_type
    except BadFootage:
        return "application/octet-stream"
