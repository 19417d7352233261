"""Ingest: one file through all steps by hand, and a look at a feed's zones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from enforcement.cases import Lead
from enforcement.errors import ConfigurationError
from feeds.folder import dropped_file, finished_files
from media.drawing import draw_zones, encode_jpeg
from media.footage import frame_at, probe
from pipelines.correlate import correlate
from pipelines.observe import observe
from pipelines.pull import Arrival, file_arrival
from pipelines.seal import seal_capture
from pipelines.wiring import Wiring
from storage.records import captures, casebook


@dataclass(frozen=True)
class Ingested:
    """What came of one file."""

    file: str
    capture_id: str
    new: bool
    """False if these bytes of this feed were filed before."""
    quarantined: str | None
    """Why nobody can decode it, if so."""
    leads: tuple[Lead, ...]

    def as_json(self) -> dict[str, object]:
        """For programs; the same names as ``queue list --json``."""
        leads = [
            {
                "lead_id": lead.lead_id,
                "rule_id": lead.rule_id,
                "alarm_at_s": round(lead.alarm_at_s, 3),
            }
            for lead in self.leads
        ]
        return {
            "file": self.file,
            "capture_id": self.capture_id,
            "new": self.new,
            "quarantined": self.quarantined,
            "leads": leads,
        }


def ingest_file(
    wiring: Wiring, path: Path, feed_id: str, progress: Callable[[str, float], None] | None = None
) -> Ingested:
    """File, observe, correlate and seal one file."""
    feed = wiring.catalog.feed(feed_id)
    file = dropped_file(path, wiring.clock())
    arrival = Arrival(file.path, file.name, file.captured_at)
    capture_id, is_new = file_arrival(wiring, feed, arrival)
    observe(capture_id, progress)
    correlate(capture_id)
    seal_capture(capture_id)
    with wiring.database.transaction() as connection:
        leads = casebook.leads_of_capture(connection, capture_id)
        reason = captures.quarantine_reason(connection, capture_id)
    return Ingested(path.name, capture_id, is_new, reason, tuple(leads))


def preview(wiring: Wiring, feed_id: str, footage: Path | None, target: Path) -> None:
    """Draw a feed's zones into the middle frame of some footage and write a JPEG.

    Raises ConfigurationError if the feed has no footage yet, BadFootage if it cannot be read.
    """
    feed = wiring.catalog.feed(feed_id)
    path = footage or _newest_file(wiring, feed_id)
    picture = frame_at(path, probe(path).duration_s / 2)
    target.write_bytes(encode_jpeg(draw_zones(picture, feed.zones)))


def _newest_file(wiring: Wiring, feed_id: str) -> Path:
    source = wiring.catalog.feed(feed_id).source
    if source.kind != "folder":
        raise ConfigurationError(f"feed {feed_id} is a live camera: name a file with --footage")
    # Whatever lies there will do, finished or not.
    source = wiring.located(source).model_copy(update={"settle_s": 0.0})
    files = finished_files(source, wiring.clock())
    if not files:
        raise ConfigurationError(f"feed {feed_id} has no footage yet: name a file with --footage")
    return max(files, key=lambda file: file.modified_at).path
