"""A site with noise meters over real parts, and messages as they would send them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from enforcement.cases import Case, Lead
from enforcement.evidence import Manifest
from enforcement.places import Device, Feed
from feeds.messages import Message, encode_batch
from pipelines import backfill, correlate, observe, pull, seal, sensing, windows
from pipelines.wiring import Wiring
from settings.environment import Settings
from storage.canonical import parse_canonical
from storage.records import captures, casebook, incidents, schema
from storage.records.database import Database
from storage.seaweed import SeaweedServer

NIGHT = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
"""22:00 in Shanghai: the limit of the night holds from here on."""
FEEDS = 64

_WORDS = {"en": "…", "zh": "…"}


def _rule(rule_id: str, kind: str, version: int = 1, **params: object) -> dict[str, object]:
    return {
        "rule_id": rule_id, "version": version, "kind": kind, "purpose": "noise_limit",
        "title": _WORDS, "matter": "noise", "text": _WORDS, "legal_basis": _WORDS,
        "params": {"quantity": "laeq", **params},
    }  # fmt: skip


def _noise(version: int, night: float) -> dict[str, object]:
    return _rule(
        "night-noise", "sensor_threshold", version, reading_kind="average", limit={"above": 70},
        night={"above": night}, persistence={"by": "count", "exceeding": 3, "of": 3},
        gap_max_s=900, calm_s=1800,
    )  # fmt: skip


RULES = [
    _noise(1, night=45),
    _noise(2, night=55),
    _rule("silent-meter", "sensor_missing", silent_s=7200),
    _rule(
        "loud-hours",
        "sensor_hourly_mean",
        reading_kind="average",
        limit={"above": 70},
        night={"above": 55},
        hours_min=2,
    )
    | {"purpose": "emission_limit"},
]

_METER = {
    "device_id": "meter-1", "title": "Noise meter", "purpose": "construction noise",
    "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z",
    "calibrations": [
        {"valid_from": "2026-06-01T00:00:00Z", "valid_until": "2027-06-01T00:00:00Z"}
    ],
}  # fmt: skip

FORMAT = {
    "time": "t",
    "columns": [
        {"quantity": "laeq", "value": "laeq", "unit": "dB(A)", "status_at": "flag",
         "kind": "average", "span_s": 600}
    ],
    "statuses": {"N": "normal", "C": "calibration"},
}  # fmt: skip


def _feed(feed_id: str) -> dict[str, object]:
    return {
        "feed_id": feed_id, "title": "Meter", "site_id": feed_id, "device_id": "meter-1",
        "source": {"kind": "mqtt", "host": "127.0.0.1", "topics": [feed_id], "format": FORMAT},
        "zones": [{"zone_id": "boundary", "purpose": "noise_limit"}],
    }  # fmt: skip


def _unread() -> dict[str, object]:
    source = {"kind": "mqtt", "host": "127.0.0.1", "topics": ["unread"]}
    return _feed("unread") | {"source": source}


def _hourly() -> dict[str, object]:
    zones = [{"zone_id": "boundary", "purpose": "emission_limit"}]
    return _feed("hourly") | {"zones": zones}


def catalog() -> dict[str, object]:
    """As it is written into a file; JSON is YAML.

    Each feed has a site of its own: at one site, two leads of one time are one incident.
    """
    feeds = [_feed(f"meter-{number}") for number in range(FEEDS)] + [_unread(), _hourly()]
    return {
        "sites": [
            {"site_id": feed["site_id"], "title": "Works", "time_zone": "Asia/Shanghai"}
            for feed in feeds
        ],
        "devices": [_METER],
        "feeds": feeds,
        "rules": RULES,
    }


def message(at: datetime, level: float, flag: str = "N", received_s: float = 2.0) -> Message:
    """A mean of ten minutes that ended then; received so long after."""
    payload = {"t": at.isoformat(), "laeq": level, "flag": flag}
    return Message(at + timedelta(seconds=received_s), json.dumps(payload).encode())


def loud(start: datetime, minutes: int, level: float = 62.5) -> list[Message]:
    """Every ten minutes, from ten minutes after the start on."""
    return [message(start + timedelta(minutes=n), level) for n in range(10, minutes + 1, 10)]


@dataclass
class SensorSite:
    """The parts, and what tests do with them."""

    wiring: Wiring
    now: datetime = NIGHT

    def clock(self) -> datetime:
        return self.now

    def deliver(self, messages: Iterable[Message], feed_id: str = "meter-0") -> str:
        """File and read a batch as it would come; returns its capture id."""
        batch = list(messages)
        first = min(one.received_at for one in batch)
        capture_id, _ = pull.file_batch(self.wiring, feed_id, encode_batch(batch), first)
        observe.observe(capture_id)
        return capture_id

    def give(self, feed: Feed) -> None:
        """Put this feed into the catalog instead of the one of its id."""
        known = self.wiring.catalog
        feeds = tuple(one for one in known.feeds if one.feed_id != feed.feed_id)
        self.wiring.__dict__["catalog"] = known.model_copy(update={"feeds": (*feeds, feed)})

    def give_devices(self, devices: Iterable[Device]) -> None:
        """Let the catalog have these devices and no others."""
        update = {"devices": tuple(devices)}
        self.wiring.__dict__["catalog"] = self.wiring.catalog.model_copy(update=update)

    def sweep(self, now: datetime | None = None) -> list[str]:
        """Evaluate all windows that are due; returns the ids of new leads."""
        self.now = now or self.now
        return [lead for batch in windows.due(self.now) for lead in windows.evaluate_all(batch)]

    def queue(self, feed_id: str = "meter-0") -> list[tuple[Lead, Case]]:
        with self.wiring.database.transaction() as connection:
            return [one for one in casebook.queue(connection) if one[0].feed_id == feed_id]

    def alarms(self, feed_id: str = "meter-0") -> list[tuple[object, ...]]:
        """All of the leads that must not depend on how they came about; each is in a case, be it
        its own or that of its incident."""
        table = schema.leads
        with self.wiring.database.transaction() as connection:
            wanted = sa.select(table.c.lead_id).where(table.c.feed_id == feed_id)
            ids = list(connection.scalars(wanted))
            assert all(incidents.case_of(connection, one) for one in ids)
            leads = [casebook.load_lead(connection, one) for one in ids]
        return sorted((lead.rule_id, lead.alarm_at, lead.reasons, lead.zone_id) for lead in leads)

    def manifest(self, lead_id: str) -> Manifest:
        with self.wiring.database.transaction() as connection:
            stored = casebook.current_facts(connection, lead_id).manifest
        return parse_canonical(Manifest, self.wiring.store.read(stored))

    def quarantined(self) -> list[str]:
        with self.wiring.database.transaction() as connection:
            return [str(row["reason"]) for row in captures.quarantined(connection)]


def settings_of(folder: Path, url: str, s3_server: SeaweedServer, prefix: str) -> Settings:
    """Of a home and its catalog in this folder, over these records and the session's S3 server.

    Sites of one kind share their buckets: the server has room for so many only.
    """
    return Settings(
        home=folder,
        catalog=folder / "catalog",
        records_url=SecretStr(url),
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.credentials.access_key,
        s3_secret_key=SecretStr(s3_server.credentials.secret_key),
        s3_secure=False,
        s3_bucket_prefix=prefix,
    )


def sensor_site(
    folder: Path, url: str, s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> SensorSite:
    """A site over these records and the session's S3 server."""
    (folder / "catalog").mkdir()
    (folder / "catalog" / "works.yaml").write_text(json.dumps(catalog()), "utf-8")
    settings = settings_of(folder, url, s3_server, "sensor-site")
    site = SensorSite(Wiring(settings))
    site.wiring = Wiring(settings, site.clock)
    site.wiring.store.ensure_buckets()
    for module in (backfill, correlate, observe, pull, seal, sensing, windows):
        monkeypatch.setattr(module, "wire", lambda: site.wiring)
    return site


def migrated(urls: Sequence[str]) -> str:
    """The pipeline's URL of migrated records; ``urls`` are owner's, pipeline's, review's."""
    owner = Database(urls[0])
    owner.migrate()
    owner.close()
    return urls[1]
