"""Flights that bring stills: held against the approval, compared, sealed, whichever camera took
them."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.changes import metres_apart
from enforcement.errors import ConfigurationError
from enforcement.evidence import EvidenceKind
from enforcement.flights import GroundPoint, TelemetryConventions
from enforcement.missions import Flight, FlightState
from media.patrol_scenes import PASSES, PatrolTruth, changes_of, patrol, render_patrol
from pipelines import flown, missions, patrol_leads
from pipelines.patrol import compare_passes, flown_pass
from pipelines.verify import verify_all
from pipelines.wiring import Wiring
from storage.records import captures, feeds, flights
from storage.seaweed import SeaweedServer
from tests.gate.conftest import postgresql_roles
from tests.pipelines.drone_site import FEED, MISSION, DroneSite, drone_site, mission
from tests.pipelines.patrol_stills import take_stills
from tests.pipelines.sensor_site import migrated

pytestmark = pytest.mark.timeout(300)

PLAN = replace(patrol(1), to_east_m=75.0)
EVERY_M = 10.0
CONVENTIONS = TelemetryConventions()

Stills = dict[str, list[Path]]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PatrolTruth:
    """Where the site lies: a second's flight tells it."""
    short = replace(PLAN, fps=1.0, to_east_m=PLAN.from_east_m + 5.0)
    return render_patrol(short, tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Stills:
    folder = tmp_path_factory.mktemp("stills")
    return {
        "before": take_stills(PLAN, "before", folder / "before", every_m=EVERY_M),
        "after": take_stills(PLAN, "after", folder / "after", every_m=EVERY_M),
    }


@pytest.fixture
def site(
    request: pytest.FixtureRequest, tmp_path: Path, s3_server: SeaweedServer,
    monkeypatch: pytest.MonkeyPatch, truth: PatrolTruth,
) -> Iterator[DroneSite]:  # fmt: skip
    """On SQLite, unless the test asks for PostgreSQL."""
    urls = [f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3
    if getattr(request, "param", "sqlite") == "postgresql":
        urls = postgresql_roles(request.getfixturevalue("postgresql_url"))
    planned = mission(truth, expected_files={"stills": 8})
    site = drone_site(tmp_path, migrated(urls), s3_server, monkeypatch, planned)
    yield site
    site.wiring.database.close()


def heap() -> GroundPoint:
    return next(one.place for one in changes_of(PLAN) if one.kind == "heap")


@pytest.mark.parametrize("site", ["sqlite", "postgresql"], indirect=True)
def test_a_heap_between_two_flights_of_stills_is_one_lead(site: DroneSite, stills: Stills) -> None:
    site.bring("monday", stills["before"])
    assert site.take_in() == []
    site.bring("tuesday", stills["after"])
    [lead_id] = site.take_in()
    with site.wiring.database.transaction() as connection:
        fix = flights.fix_of(connection, lead_id)
    assert fix is not None
    assert metres_apart(fix[0], heap()) <= 3.0
    [(lead, _)] = site.queue()
    assert lead.box.area < 0.05
    assert lead.alarm_at_s == 0.0, "a still has no other moment"
    manifest = site.manifest(lead_id)
    assert {item.item_id for item in manifest.items} == {
        "original", "before", "comparison", "ground-before", "ground-after", "alarm",
        "alarm-marked",
    }  # fmt: skip
    original, *_ = manifest.of_kind(EvidenceKind.ORIGINAL)
    assert original.object.media_type == "image/jpeg"
    assert not verify_all(site.wiring).damaged
    assert site.take_in() == []


def test_stills_are_taken_in_the_order_of_their_times_whatever_their_names(
    site: DroneSite, stills: Stills, tmp_path: Path
) -> None:
    """Counters begin anew within a flight."""
    renamed = [
        Path(shutil.copyfile(path, tmp_path / f"DJI_{(number + 4) % 8:04}_V.JPG"))
        for number, path in enumerate(stills["before"])
    ]
    site.bring("monday", renamed)
    site.take_in()
    [take] = flown.flown(site.wiring, site.flight("monday")).takes
    with take.fetched(site.wiring) as opened:
        moments = [pose.moment for pose in opened.flown.poses]
        with opened.sighting(0.0) as first:
            assert first.capture.source_name.endswith("DJI_0004_V.JPG")
    assert len(moments) == 8
    assert moments == sorted(moments, key=str)


def test_files_of_flights_that_were_compared_are_not_listed_again(
    site: DroneSite, stills: Stills, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.bring("monday", stills["before"])
    site.bring("tuesday", stills["after"])
    assert len(site.take_in()) == 1
    listed: list[str] = []

    def listing(wiring: Wiring, flight: Flight) -> flown.Flown:
        listed.append(flight.flight_id)
        return flown.flown(wiring, flight)

    monkeypatch.setattr(patrol_leads, "flown", listing)
    assert patrol_leads.due_pairs() == []
    assert listed == []
    # A file that comes later has the pair looked at again, but the rest of the flight is the same.
    site.later(seconds=5)
    site.bring("tuesday", [stills["before"][0]])
    assert site.take_in() == []
    assert "tuesday" in listed


def test_the_same_stills_brought_twice_give_no_duplicate(site: DroneSite, stills: Stills) -> None:
    site.bring("monday", stills["before"])
    site.bring("tuesday", stills["after"])
    assert len(site.take_in()) == 1
    site.bring("tuesday-again", stills["after"])
    assert site.take_in() == []
    assert site.flight("tuesday-again").state is FlightState.REPEATED


@pytest.mark.parametrize("site", ["sqlite", "postgresql"], indirect=True)
def test_stills_outside_the_approval_are_refused_one_by_one_until_it_covers_them(
    site: DroneSite, stills: Stills, truth: PatrolTruth
) -> None:
    """Unlike a video, which is one piece."""
    planned = mission(truth, expected_files={"stills": 8})
    began = PLAN.after.started_at
    # One is taken every two seconds: two are covered, and the heap is not in them.
    ends = {"valid_until": (began + timedelta(seconds=3)).isoformat()}
    site.know(planned | {"approval": planned["approval"] | ends})
    site.bring("monday", stills["before"])
    site.bring("tuesday", stills["after"])
    assert site.take_in() == []
    flight = site.flight("tuesday")
    assert flight.state is FlightState.ACCEPTED
    assert set(flight.refused) == {path.name for path in stills["after"][2:]}
    assert all("after the approval ended" in reason for reason in flight.refused.values())
    assert missions.due_flights() == []
    # The rest is judged again; what was accepted stays so, though the new one begins too late.
    begins = {"valid_from": (began + timedelta(seconds=3)).isoformat()}
    site.know(planned | {"approval": planned["approval"] | begins})
    site.later(seconds=5)
    assert len(site.take_in()) == 1
    assert site.flight("tuesday").refused == {}
    assert missions.due_flights() == []


def test_a_damaged_still_is_set_aside_and_the_rest_compared(
    site: DroneSite, stills: Stills, tmp_path: Path
) -> None:
    cut = tmp_path / stills["after"][0].name
    cut.write_bytes(stills["after"][0].read_bytes()[:-5_000])
    site.bring("monday", stills["before"])
    site.bring("tuesday", [cut, *stills["after"][1:]])
    assert len(site.take_in()) == 1
    with site.wiring.database.transaction() as connection:
        [set_aside] = captures.quarantined(connection)
    assert "no whole JPEG" in set_aside["reason"]
    [take] = flown.flown(site.wiring, site.flight("tuesday")).takes
    assert len(take.captures) == 7, "it is not tried again"
    assert site.take_in() == []


def by_camera(paths: list[Path], letter: str, folder: Path) -> list[Path]:
    """Copies, as if another camera of the aircraft had taken them."""
    folder.mkdir()
    return [
        Path(shutil.copyfile(path, folder / path.name.replace("_V.", f"_{letter}.")))
        for path in paths
    ]


def test_stills_of_two_cameras_are_not_compared_and_that_is_told(
    site: DroneSite, stills: Stills, tmp_path: Path
) -> None:
    site.bring("monday", stills["before"])
    site.bring("tuesday", by_camera(stills["after"], "W", tmp_path / "wide"))
    assert site.take_in() == []
    assert site.flight("tuesday").state is FlightState.ACCEPTED
    with site.wiring.database.transaction() as connection:
        [told] = feeds.health(connection, site.now)[FEED].refused_flights
    assert "no footage of one kind" in told.reasons[0]


def test_pictures_of_heat_are_kept_and_never_compared(
    site: DroneSite, stills: Stills, tmp_path: Path
) -> None:
    for flight_id, which in (("monday", "before"), ("tuesday", "after")):
        site.bring(flight_id, by_camera(stills[which], "T", tmp_path / which))
    assert site.take_in() == []
    assert site.flight("tuesday").state is FlightState.ACCEPTED
    with site.wiring.database.transaction() as connection:
        assert len(captures.all_captures(connection)) == 16
        assert flights.comparisons_of(connection, MISSION) == {}


@pytest.mark.parametrize("seed", [1, 5])
def test_two_stills_that_show_a_place_are_enough(tmp_path: Path, seed: int) -> None:
    """A still each 18 m at 60 m height: 60 % of overlap."""
    plan = patrol(seed)
    before, after = (
        flown_pass(take_stills(plan, which, tmp_path / which, every_m=18.0)[0].parent, CONVENTIONS)
        for which in PASSES
    )
    found = compare_passes(before, after)
    [heap] = [one.place for one in changes_of(plan) if one.kind == "heap"]
    [there] = [one for one in found.changes if metres_apart(one.place, heap) <= 3.0]
    assert (there.sign, there.pairs) == ("appeared", 2)


def test_the_command_compares_two_folders_of_stills(stills: Stills, tmp_path: Path) -> None:
    before, after = (flown_pass(stills[which][0].parent, CONVENTIONS) for which in PASSES)
    found = compare_passes(before, after)
    assert any(
        one.sign == "appeared" and metres_apart(one.place, heap()) <= 3.0 for one in found.changes
    )
    with pytest.raises(ConfigurationError, match="no still in it"):
        flown_pass(tmp_path, CONVENTIONS)
    for letter in "VW":
        shutil.copyfile(stills["before"][0], tmp_path / f"DJI_20260512093000_0001_{letter}.JPG")
    with pytest.raises(ConfigurationError, match="several cameras"):
        flown_pass(tmp_path, CONVENTIONS)
