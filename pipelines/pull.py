"""Pull: bring footage in. Every capture is filed and hashed before any detector looks at it.

Order matters: bytes into the store first, the manifest row second. A crash in between leaves
bytes without a row; the next sweep finds the same file again and the same bytes in the store.
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from enforcement.errors import BadFootage, ConfigurationError
from enforcement.feed_health import FeedGap
from enforcement.footage import Capture
from enforcement.places import DroneBucket, DroneFolder, Feed, FolderSource
from feeds.folder import finished_files
from feeds.messages import MEDIA_TYPE as MESSAGES
from feeds.segments import Segment
from media.footage import probe
from pipelines.wiring import Wiring, wire
from storage.canonical import sha256_file, sha256_hex
from storage.evidence_store import BucketRole
from storage.records import captures, feeds

_SPOOL_NAME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class Arrival:
    """A finished file and when its first frame was taken, by the device's clock."""

    path: Path
    source_name: str
    captured_at: datetime
    clock_offset_s: float | None = None
    """What must be added to get true UTC, where it was measured; else the feed's own."""


def enabled_feeds() -> list[str]:
    """Ids of the feeds that are to be pulled; live ones are collected."""
    return [
        feed.feed_id
        for feed in wire().catalog.feeds
        if feed.enabled and isinstance(feed.source, FolderSource | DroneFolder | DroneBucket)
    ]


def pull_feed(feed_id: str) -> list[str]:
    """File all that one feed has to give; returns the ids of new captures.

    Raises StoreUnavailable (retry) or ConfigurationError.
    """
    wiring = wire()
    feed = wiring.catalog.feed(feed_id)
    if isinstance(feed.source, DroneFolder | DroneBucket):
        from pipelines.missions import pull_flights

        return pull_flights(wiring, feed, feed.source)
    if not isinstance(feed.source, FolderSource):
        raise ConfigurationError(f"feed {feed_id} is live: `sightline collect` takes it in")
    return _pull_folder(wiring, feed, feed.source)


def file_arrival(
    wiring: Wiring, feed: Feed, arrival: Arrival, *, held: bool = False
) -> tuple[str, bool]:
    """File one finished file; returns its capture id and whether it is new.

    Nobody looks at a ``held`` one before it is released.
    """
    sha256 = sha256_file(arrival.path)
    if (known := _known(wiring, feed.feed_id, sha256)) is not None:
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
        clock_offset_s=(
            feed.clock_offset_s if arrival.clock_offset_s is None else arrival.clock_offset_s
        ),
        source_name=arrival.source_name,
    )
    return _file(wiring, capture, held=held)


def file_segment(wiring: Wiring, feed: Feed, segment: Segment) -> tuple[str, bool]:
    """File a segment of live footage, then its gaps; returns its capture id and whether it is new.

    Its time is the camera's, with the offset that was measured while it was recorded, or ours;
    gaps are recorded in true UTC. Raises StoreUnavailable (retry).
    """
    by_camera = segment.captured_at_basis == "camera"
    ahead_s = segment.camera_ahead_s or 0.0
    name = f"{segment.captured_at.astimezone(UTC):{_SPOOL_NAME}}.mp4"
    arrival = Arrival(segment.path, name, segment.captured_at, -ahead_s if by_camera else 0.0)
    filed = file_arrival(wiring, feed, arrival)
    with wiring.database.transaction() as connection:
        for gap in segment.gaps:
            off = timedelta(seconds=ahead_s if gap.basis == "camera" else 0.0)
            told = FeedGap(from_at=gap.from_at - off, to_at=gap.to_at - off, reason=gap.reason)
            feeds.note_gap(connection, feed.feed_id, told, wiring.clock())
    return filed


def file_batch(
    wiring: Wiring, feed_id: str, batch: bytes, first_received_at: datetime
) -> tuple[str, bool]:
    """File a batch of messages; returns its capture id and whether it is new.

    Its time is ours, so there is no clock to correct. Raises StoreUnavailable (retry).
    """
    if (known := _known(wiring, feed_id, sha256_hex(batch))) is not None:
        return known, False
    # Filed under the day it came, not under that on which a store that was away is back.
    prefix = f"{feed_id}/{first_received_at.astimezone(UTC):%Y/%m/%d}"
    stored = wiring.store.put_bytes(BucketRole.CAPTURES, batch, MESSAGES, prefix=prefix)
    capture = Capture(
        capture_id=str(uuid.uuid4()),
        feed_id=feed_id,
        object=stored,
        captured_at=first_received_at,
        received_at=wiring.clock(),
        clock_offset_s=0.0,
        source_name=f"{first_received_at.astimezone(UTC):{_SPOOL_NAME}}.jsonl",
    )
    return _file(wiring, capture)


def _known(wiring: Wiring, feed_id: str, sha256: str) -> str | None:
    with wiring.database.transaction() as connection:
        return captures.capture_of(connection, feed_id, sha256)


def _file(wiring: Wiring, capture: Capture, *, held: bool = False) -> tuple[str, bool]:
    """Write the manifest row; returns the capture id and whether it is new."""
    with wiring.database.transaction() as connection:
        filed = captures.file_capture(connection, capture, held=held)
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


_MEDIA_TYPES = {".srt": "application/x-subrip", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
"""Of files beside footage; of footage itself the content tells."""


def _media_type(path: Path) -> str:
    if (known := _MEDIA_TYPES.get(path.suffix.lower())) is not None:
        return known
    try:
        return probe(path).media_type
    except BadFootage:
        return "application/octet-stream"
