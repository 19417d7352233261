"""Sweeps over the folder of a drone: what is looked into, and what is told of the rest."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from enforcement.errors import CredentialsRefused, StepsFailed, StoreUnavailable
from enforcement.feed_health import RefusedFlight
from enforcement.missions import FlightKey, FlightState
from feeds.flight_files import FlightFile
from pipelines import missions, pull
from storage.records import feeds, flights
from storage.seaweed import SeaweedServer
from tests.gate.conftest import postgresql_roles
from tests.pipelines.drone_site import FEED, DroneSite, drone_site
from tests.pipelines.sensor_site import migrated


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    s3_server: SeaweedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[DroneSite]:
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3
    else:
        urls = postgresql_roles(request.getfixturevalue("postgresql_url"))
    site = drone_site(tmp_path, migrated(urls), s3_server, monkeypatch)
    yield site
    site.wiring.database.close()


def lay(site: DroneSite, name: str) -> None:
    path = site.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(name, "utf-8")


def strays(site: DroneSite) -> tuple[str, ...]:
    with site.wiring.database.transaction() as connection:
        health = feeds.health(connection, site.now)
    return health[FEED].strays if FEED in health else ()


def close(site: DroneSite) -> None:
    """No mission is known: every flight is refused."""
    missions.close_all(missions.due_flights())


def test_a_closed_flight_is_looked_into_for_seven_days_after_its_last_file(
    site: DroneSite,
) -> None:
    lay(site, "depot/f1/a.jpg")
    lay(site, "depot/f2/a.jpg")
    assert len(pull.pull_feed(FEED)) == 2
    close(site)
    site.later(days=6, hours=23)
    lay(site, "depot/f1/b.jpg")
    assert len(pull.pull_feed(FEED)) == 1
    site.later(hours=2)
    lay(site, "depot/f1/c.jpg")
    lay(site, "depot/f2/c.jpg")
    assert len(pull.pull_feed(FEED)) == 1, "f2 is done, f1 is awaited again"
    close(site)
    site.later(days=7, seconds=1)
    lay(site, "depot/f1/d.jpg")
    lay(site, "depot/f3/d.jpg")
    assert len(pull.pull_feed(FEED)) == 1, "of f3"


def test_a_flight_that_is_awaited_is_never_done(site: DroneSite) -> None:
    lay(site, "depot/f1/a.jpg")
    pull.pull_feed(FEED)
    site.later(days=30)
    lay(site, "depot/f1/b.jpg")
    assert len(pull.pull_feed(FEED)) == 1


def test_only_closed_flights_of_this_feed_count_before_the_moment(site: DroneSite) -> None:
    lay(site, "depot/f1/a.jpg")
    pull.pull_feed(FEED)
    close(site)
    last = site.flight("f1").last_file_at
    with site.wiring.database.transaction() as connection:
        after = last + timedelta(seconds=1)
        assert flights.closed_before(connection, FEED, after) == {("depot", "f1")}
        assert flights.closed_before(connection, FEED, last) == set()
        assert flights.closed_before(connection, "other", after) == set()


def test_a_stray_file_fails_no_sweep_and_is_told_until_it_is_gone(
    site: DroneSite, caplog: pytest.LogCaptureFixture
) -> None:
    missions._warn_of_stray.cache_clear()
    lay(site, "loose.jpg")
    lay(site, "depot/f1/a.jpg")
    line = "loose.jpg: lies outside MISSION/FLIGHT/"
    with caplog.at_level(logging.WARNING, "sightline.missions"):
        assert len(pull.pull_feed(FEED)) == 1
        assert pull.pull_feed(FEED) == []
    assert caplog.messages == [f"{FEED}: {line}"], "once, not at every sweep"
    assert strays(site) == (line,)
    lay(site, "another.jpg")
    pull.pull_feed(FEED)
    assert strays(site) == ("another.jpg: lies outside MISSION/FLIGHT/", line)
    (site.folder / "loose.jpg").unlink()
    (site.folder / "another.jpg").unlink()
    pull.pull_feed(FEED)
    assert strays(site) == ()
    with site.wiring.database.transaction() as connection:
        assert flights.strays_of(connection) == {}


def test_refused_keys_end_the_sweep_at_once_and_other_failures_do_not(
    site: DroneSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(site, "depot/f1/a.jpg")
    lay(site, "depot/f1/b.jpg")
    tried = []

    def failing(error: Exception) -> None:
        def fetched(_source: object, file: FlightFile, *_: object) -> NoReturn:
            tried.append(file.name)
            raise error

        monkeypatch.setattr(missions, "fetched", fetched)

    failing(CredentialsRefused("revoked"))
    with pytest.raises(CredentialsRefused, match="revoked"):
        pull.pull_feed(FEED)
    assert tried == ["a.jpg"]
    failing(StoreUnavailable("away"))
    with pytest.raises(StepsFailed, match=r"a\.jpg: away; .*b\.jpg: away"):
        pull.pull_feed(FEED)
    assert tried == ["a.jpg", "a.jpg", "b.jpg"]


def test_refused_flights_are_told_for_seven_days_with_each_reason_once(site: DroneSite) -> None:
    lay(site, "depot/f1/a.jpg")
    lay(site, "depot/f1/b.jpg")
    lay(site, "depot/f2/c.jpg")
    pull.pull_feed(FEED)
    close(site)
    key = FlightKey(FEED, "depot", "f2")
    with site.wiring.database.transaction() as connection:
        good = flights.load(connection, key).model_copy(
            update={"state": FlightState.ACCEPTED, "refused": {}}
        )
        flights.close(connection, good)

    def told() -> tuple[RefusedFlight, ...]:
        with site.wiring.database.transaction() as connection:
            return feeds.health(connection, site.now)[FEED].refused_flights

    (one,) = told()
    assert (one.mission_id, one.flight_id) == ("depot", "f1")
    assert one.reasons == ("the catalog has no mission depot of feed patrol-drone",)
    with site.wiring.database.transaction() as connection:
        flights.close(connection, good.model_copy(update={"refused": {"c.jpg": "too high"}}))
    assert [one.flight_id for one in told()] == ["f1", "f2"]
    site.later(days=7, seconds=1)
    assert told() == ()
