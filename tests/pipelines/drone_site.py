"""A site over which a drone patrols, over real parts, and flights with the files they bring."""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from enforcement.cases import Case, Lead
from enforcement.evidence import Manifest
from enforcement.missions import Flight, FlightKey, Mission
from media.patrol_scenes import PatrolTruth
from media.patrol_telemetry import ORIGIN
from pipelines import backfill, correlate, missions, observe, patrol_leads, pull, seal
from pipelines.wiring import Wiring
from storage.canonical import parse_canonical
from storage.records import casebook, flights
from storage.seaweed import SeaweedServer
from tests.pipelines.sensor_site import settings_of

FEED, MISSION = "patrol-drone", "depot"

_AROUND_DEG = 0.01
"""Of the approved area about the rendered site: a kilometre on each side."""


def mission(truth: PatrolTruth, **changes: Any) -> dict[str, Any]:
    """The mission of a rendered patrol, as a catalog states it."""
    south, west = ORIGIN.latitude_deg - _AROUND_DEG, ORIGIN.longitude_deg - _AROUND_DEG
    north, east = ORIGIN.latitude_deg + _AROUND_DEG, ORIGIN.longitude_deg + _AROUND_DEG
    return {
        "mission_id": MISSION,
        "title": "Round of the depot",
        "feed_id": FEED,
        "purpose": "illegal dumping",
        "approval": {
            "approval_id": "UAS-7",
            "valid_from": "2026-05-01T00:00:00Z",
            "valid_until": "2026-06-01T00:00:00Z",
            "area": [[south, west], [south, east], [north, east], [north, west]],
            "max_height_m": 120,
        },
        "expected_files": {"videos": 1, "telemetry": 1},
        "grace_s": 600,
        "conventions": {"time_zone": truth.time_zone},
        "zones": [
            {"zone_id": "grounds", "purpose": "no_dumping", "polygon": truth.watched},
            {"zone_id": "car-park", "purpose": "lawful_use", "polygon": truth.car_park},
        ],
    } | changes


def catalog(*of_missions: dict[str, Any]) -> dict[str, Any]:
    return {
        "sites": [{"site_id": "town", "title": "Town"}],
        "devices": [
            {"device_id": "m30", "title": "Drone", "purpose": "illegal dumping",
             "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2027-01-01T00:00:00Z"}
        ],
        "feeds": [
            {"feed_id": FEED, "title": "Patrol drone", "site_id": "town", "device_id": "m30",
             "source": {"kind": "drone_folder", "path": "flights", "settle_s": 0}}
        ],
        "missions": list(of_missions),
    }  # fmt: skip


@dataclass
class DroneSite:
    """The parts, and what tests do with them."""

    wiring: Wiring
    now: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=60))
    """Ahead of the files' own times, by which they count as finished."""

    def clock(self) -> datetime:
        return self.now

    @property
    def folder(self) -> Path:
        return self.wiring.settings.home / "flights"

    def bring(self, flight_id: str, files: Iterable[Path], mission_id: str = MISSION) -> Path:
        """Lay files into a flight's folder, long enough ago to be finished."""
        target = self.folder / mission_id / flight_id
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, target / file.name)
            os.utime(target / file.name, (1_700_000_000, 1_700_000_000))
        return target

    def know(self, *of_missions: dict[str, Any]) -> None:
        """Let the catalog have these missions and no others."""
        parsed = tuple(Mission.model_validate(one) for one in of_missions)
        known = self.wiring.catalog
        self.wiring.__dict__["catalog"] = known.model_copy(update={"missions": parsed})

    def take_in(self) -> list[str]:
        """Pull, close what can be closed, compare what is due; returns the ids of new leads."""
        pull.pull_feed(FEED)
        missions.close_all(missions.due_flights())
        return patrol_leads.compare_all(patrol_leads.due_pairs())

    def flight(self, flight_id: str, mission_id: str = MISSION) -> Flight:
        with self.wiring.database.transaction() as connection:
            return flights.load(connection, FlightKey(FEED, mission_id, flight_id))

    def queue(self) -> list[tuple[Lead, Case]]:
        with self.wiring.database.transaction() as connection:
            return casebook.queue(connection)

    def manifest(self, lead_id: str) -> Manifest:
        with self.wiring.database.transaction() as connection:
            stored = casebook.current_facts(connection, lead_id).manifest
        return parse_canonical(Manifest, self.wiring.store.read(stored))

    def later(self, **by: float) -> None:
        self.now += timedelta(**by)


def drone_site(
    folder: Path,
    url: str,
    s3_server: SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
    *of_missions: dict[str, Any],
) -> DroneSite:
    """A site over these records and the session's S3 server, with the shipped rules."""
    (folder / "catalog").mkdir()
    (folder / "flights").mkdir()
    (folder / "catalog" / "town.yaml").write_text(json.dumps(catalog(*of_missions)), "utf-8")
    shipped = Path(__file__).parents[2] / "settings" / "shipped" / "rules.yaml"
    shutil.copyfile(shipped, folder / "catalog" / "rules.yaml")
    settings = settings_of(folder, url, s3_server, "drone-site")
    site = DroneSite(Wiring(settings))
    site.wiring = Wiring(settings, site.clock)
    site.wiring.store.ensure_buckets()
    for module in (backfill, correlate, missions, observe, patrol_leads, pull, seal):
        monkeypatch.setattr(module, "wire", lambda: site.wiring)
    return site
