"""What docks say of their uploads, from the messages as they are kept onto the records."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.missions import FlightKey
from enforcement.places import Feed
from feeds.messages import Message
from pipelines import backfill
from storage.records import flights
from storage.seaweed import SeaweedServer
from tests.pipelines.sensor_site import NIGHT, SensorSite, migrated, sensor_site

DOCKS = Feed.model_validate(
    {
        "feed_id": "docks", "title": "Docks", "site_id": "works",
        "source": {
            "kind": "mqtt", "host": "127.0.0.1", "topics": ["thing/product/+/events"],
            "format": {"kind": "dji_dock"},
        },
    }
)  # fmt: skip


@pytest.fixture
def site(
    s3_server: SeaweedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SensorSite]:
    url = migrated([f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3)
    site = sensor_site(tmp_path, url, s3_server, monkeypatch)
    site.give(DOCKS)
    yield site
    site.wiring.database.close()


def uploaded(number: int, expected: int, flight_id: str = "f1") -> Message:
    content = {
        "method": "file_upload_callback",
        "data": {
            "file": {"object_key": f"river/{flight_id}/{number}", "ext": {"flight_id": flight_id}},
            "flight_task": {"uploaded_file_count": number, "expected_file_count": expected},
        },
    }
    at = NIGHT + timedelta(seconds=number)
    return Message(at, json.dumps(content).encode(), "thing/product/DOCK7/events")


def counts(
    site: SensorSite, flight_id: str = "f1", mission_id: str = "river"
) -> tuple[int, int] | None:
    with site.wiring.database.transaction() as connection:
        return flights.dock_counts(connection, FlightKey("drone", mission_id, flight_id))


def test_the_counts_of_docks_come_onto_the_records_and_no_readings(
    site: SensorSite, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Message(NIGHT, b'{"method": "file_upload_callback"}', "thing/product/DOCK7/events")
    site.deliver([uploaded(1, 3), uploaded(2, 3), broken], "docks")
    assert counts(site) == (3, 2)
    assert "1 messages of docks could not be read" in caplog.text
    site.deliver([uploaded(3, 3), uploaded(1, 9, "f2")], "docks")
    assert (counts(site), counts(site, "f2"), counts(site, "f3")) == ((3, 3), (9, 1), None)
    assert counts(site, "f1", "another-mission") is None
    assert site.quarantined() == []
    assert site.sweep(NIGHT + timedelta(hours=3)) == []


def test_the_same_messages_again_change_nothing(site: SensorSite) -> None:
    batch = [uploaded(1, 3), uploaded(2, 3)]
    site.deliver(batch, "docks")
    site.deliver(list(reversed(batch)), "docks")
    assert counts(site) == (3, 2)


def test_what_docks_said_before_the_feed_had_a_format_is_read_by_a_backfill(
    site: SensorSite,
) -> None:
    source = DOCKS.source.model_copy(update={"format": None})
    site.give(DOCKS.model_copy(update={"source": source}))
    site.deliver([uploaded(2, 2)], "docks")
    assert counts(site) is None
    site.give(DOCKS)
    done = backfill.backfill("docks", NIGHT, NIGHT + timedelta(hours=1))
    assert counts(site) == (2, 2)
    assert done.raised == ()
