"""A patrol's whole way: files of flights, approval, comparison, a lead with pictures before and
after."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.cases import CaseState
from enforcement.changes import ChangeOnGround, metres_apart
from enforcement.evidence import EvidenceKind
from enforcement.flights import GroundPoint, pose_at
from enforcement.missions import FlightState
from feeds.georeference import image_point, view_from_pose
from media.patrol_scenes import FlightTruth, PatrolTruth, patrol, render_patrol
from pipelines import backfill, batches, missions, observe, patrol_leads, pull
from pipelines.patrol import PassChanges
from pipelines.verify import verify_all
from storage.records import captures, casebook, feeds, flights
from storage.seaweed import SeaweedServer
from tests.pipelines.drone_site import FEED, MISSION, DroneSite, drone_site, mission
from tests.pipelines.sensor_site import migrated

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatrolTruth]:
    """Two flights: a heap of 3 m by 3 m has appeared, a car has moved, cars come and go in the
    car park, the sun has moved."""
    folder = tmp_path_factory.mktemp("flown")
    return folder, render_patrol(replace(patrol(1), fps=1.0, to_east_m=75.0), folder)


def files(folder: Path, flight: FlightTruth) -> list[Path]:
    return [folder / flight.video, folder / flight.telemetry]


@pytest.fixture
def site(
    tmp_path: Path,
    s3_server: SeaweedServer,
    monkeypatch: pytest.MonkeyPatch,
    flown: tuple[Path, PatrolTruth],
) -> Iterator[DroneSite]:
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    site = drone_site(
        tmp_path, migrated([url, url, url]), s3_server, monkeypatch, mission(flown[1])
    )
    yield site
    site.wiring.database.close()


Bring = Callable[[str, str], None]


@pytest.fixture
def bring(site: DroneSite, flown: tuple[Path, PatrolTruth]) -> Bring:
    folder, truth = flown

    def lay(flight_id: str, which: str) -> None:
        site.bring(flight_id, files(folder, getattr(truth, which)))

    return lay


def heap(truth: PatrolTruth) -> GroundPoint:
    return next(one.place for one in truth.changes if one.kind == "heap")


def test_a_heap_between_two_flights_is_one_lead_with_pictures_before_and_after(
    site: DroneSite, bring: Bring, flown: tuple[Path, PatrolTruth]
) -> None:
    bring("monday", "before")
    assert site.take_in() == []
    bring("tuesday", "after")
    [lead_id] = site.take_in()
    [(lead, case)] = site.queue()
    assert (lead.lead_id, lead.rule_id, case.state) == (
        lead_id, "new-on-the-ground", CaseState.LEAD,
    )  # fmt: skip
    with site.wiring.database.transaction() as connection:
        fix = flights.fix_of(connection, lead_id)
        place = casebook.current_facts(connection, lead_id).place.text
    assert fix is not None
    assert metres_apart(fix[0], heap(flown[1])) <= 3.0
    assert f"{fix[0].latitude_deg:.6f}" in place
    manifest = site.manifest(lead_id)
    kinds = [item.kind for item in manifest.items]
    assert kinds.count(EvidenceKind.TELEMETRY) == 2
    assert kinds.count(EvidenceKind.FURTHER_ORIGINAL) == 1
    assert {"ground-before", "ground-after", "alarm-marked", "clip", "comparison"} <= {
        item.item_id for item in manifest.items
    }
    assert not verify_all(site.wiring).damaged


def test_the_box_lies_where_the_thing_is_in_the_picture(
    site: DroneSite, bring: Bring, flown: tuple[Path, PatrolTruth]
) -> None:
    bring("monday", "before")
    bring("tuesday", "after")
    site.take_in()
    [(lead, _)] = site.queue()
    assert lead.box.area < 0.05
    with site.wiring.database.transaction() as connection:
        footage = captures.load_capture(connection, lead.capture_id)
    poses = missions.poses_of(site.wiring, footage)
    pose = pose_at(poses, lead.alarm_at_s, 1.5)
    assert pose is not None
    seen = image_point(view_from_pose(pose, aspect=16 / 9), heap(flown[1]))
    assert seen is not None
    assert lead.box.left < seen.x < lead.box.right
    assert lead.box.top < seen.y < lead.box.bottom


def test_the_same_mission_ingested_twice_gives_no_duplicate(site: DroneSite, bring: Bring) -> None:
    for _ in range(2):
        bring("monday", "before")
        bring("tuesday", "after")
        site.take_in()
    bring("tuesday-again", "after")
    assert site.take_in() == []
    assert site.flight("tuesday-again").state is FlightState.REPEATED
    assert len(site.queue()) == 1


def test_an_earlier_flight_that_comes_late_doubles_nothing(
    site: DroneSite, bring: Bring, flown: tuple[Path, PatrolTruth], tmp_path: Path
) -> None:
    bring("tuesday", "after")
    bring("monday", "before")
    assert len(site.take_in()) == 1
    late = tmp_path / "late"
    again = replace(patrol(1), fps=1.0, to_east_m=75.0)
    again = replace(
        again,
        before=replace(again.before, started_at=again.before.started_at.replace(hour=3), seed=99),
    )
    truth = render_patrol(again, late)
    site.bring("monday-noon", files(late, truth.before))
    site.take_in()
    assert site.flight("monday-noon").state is FlightState.ACCEPTED
    assert len(site.queue()) == 1


def test_a_flight_waits_for_its_files_until_the_grace_time_has_passed(
    site: DroneSite, flown: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = flown
    site.know(mission(truth, expected_files={"videos": 2, "telemetry": 1}))
    site.bring("monday", files(folder, truth.before))
    site.take_in()
    assert site.flight("monday").state is FlightState.AWAITED
    site.later(seconds=601)
    site.take_in()
    closed = site.flight("monday")
    assert (closed.state, closed.overdue) == (FlightState.ACCEPTED, True)


def test_a_file_that_comes_after_all_reopens_its_flight(
    site: DroneSite, flown: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = flown
    site.bring("monday", [folder / truth.before.video])
    site.later(seconds=1)
    site.take_in()
    site.later(seconds=601)
    site.take_in()
    refused = site.flight("monday")
    assert refused.state is FlightState.REFUSED
    assert "no telemetry" in refused.refused[truth.before.video]
    site.bring("monday", [folder / truth.before.telemetry])
    site.take_in()
    assert site.flight("monday").state is FlightState.ACCEPTED


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"area": [[31.0, 121.0], [31.0, 121.1], [31.1, 121.1], [31.1, 121.0]]}, "outside the"),
        ({"valid_until": "2026-05-02T00:00:00Z"}, "after the approval ended"),
        ({"max_height_m": 50}, "above the approved height"),
    ],
)
def test_what_no_approval_covers_is_never_looked_at(
    site: DroneSite,
    bring: Bring,
    flown: tuple[Path, PatrolTruth],
    change: dict[str, object],
    reason: str,
) -> None:
    given = mission(flown[1])
    site.know(given | {"approval": given["approval"] | change})
    bring("monday", "before")
    bring("tuesday", "after")
    assert site.take_in() == []
    for flight_id in ("monday", "tuesday"):
        flight = site.flight(flight_id)
        assert flight.state is FlightState.REFUSED
        assert any(reason in told for told in flight.refused.values())
    with site.wiring.database.transaction() as connection:
        assert not flights.was_compared(connection, MISSION, "monday", "tuesday", "")
    assert patrol_leads.due_pairs() == []
    # Once the approval is put right, the same files are judged anew.
    site.know(given)
    assert len(site.take_in()) == 1


def test_telemetry_without_a_zone_is_refused_and_says_what_to_do(
    site: DroneSite, bring: Bring, flown: tuple[Path, PatrolTruth]
) -> None:
    site.know(mission(flown[1], conventions={}))
    bring("monday", "before")
    site.take_in()
    [reason] = set(site.flight("monday").refused.values())
    assert "time zone" in reason


def test_files_of_an_unknown_mission_are_kept_and_told(
    site: DroneSite, flown: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = flown
    site.bring("monday", files(folder, truth.before), mission_id="elsewhere")
    site.take_in()
    flight = site.flight("monday", mission_id="elsewhere")
    assert flight.state is FlightState.REFUSED
    assert "no mission elsewhere" in next(iter(flight.refused.values()))
    site.know(mission(truth), mission(truth, mission_id="elsewhere"))
    missions.close_all(missions.due_flights())
    assert site.flight("monday", mission_id="elsewhere").state is FlightState.ACCEPTED


def test_a_card_in_the_wrong_folder_counts_once_it_lies_in_the_right_one(
    site: DroneSite, flown: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = flown
    site.bring("monday", files(folder, truth.before), mission_id="elsewhere")
    site.take_in()
    site.bring("monday", files(folder, truth.before))
    site.take_in()
    assert site.flight("monday").state is FlightState.ACCEPTED
    assert len(observe.due_batches()) == 1


def test_flights_that_cannot_be_compared_are_told_and_not_tried_for_ever(
    site: DroneSite, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> PassChanges:
        return PassChanges(refusal="the passes show no ground in common")

    monkeypatch.setattr(patrol_leads, "compare_passes", refuse)
    bring("monday", "before")
    bring("tuesday", "after")
    assert site.take_in() == []
    assert patrol_leads.due_pairs() == []
    with site.wiring.database.transaction() as connection:
        [told] = feeds.health(connection, site.now)[FEED].refused_flights
    assert told.flight_id == "tuesday"
    assert told.reasons == ("not compared with monday: the passes show no ground in common",)


def test_a_crash_between_lead_and_package_loses_neither(
    site: DroneSite, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring("monday", "before")
    bring("tuesday", "after")

    def crash(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(patrol_leads, "seal_change", crash)
        with pytest.raises(KeyboardInterrupt):
            site.take_in()
    assert site.queue() == []
    assert len(site.take_in()) == 1
    assert len(site.queue()) == 1


def test_footage_of_a_flight_waits_for_its_approval_before_any_model_looks(
    site: DroneSite, flown: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = flown
    site.bring("monday", [folder / truth.before.video])
    filed = pull.pull_feed(FEED)
    assert len(filed) == 1
    assert observe.due_batches() == []
    site.bring("monday", [folder / truth.before.telemetry])
    site.take_in()
    assert observe.due_batches() == [filed]


def test_a_source_that_is_away_says_so(site: DroneSite) -> None:
    from enforcement.errors import ConfigurationError

    shutil.rmtree(site.folder)
    with pytest.raises(ConfigurationError, match="cannot be"):
        pull.pull_feed(FEED)


def test_a_backfill_compares_again_and_looks_at_no_file_that_is_no_footage(
    site: DroneSite, bring: Bring, flown: tuple[Path, PatrolTruth]
) -> None:
    given = site.wiring.catalog
    rules = tuple(
        one.model_copy(update={"params": ChangeOnGround(area_min_m2=500)})
        if isinstance(one.params, ChangeOnGround)
        else one
        for one in given.rules
    )
    site.wiring.__dict__["catalog"] = given.model_copy(update={"rules": rules})
    bring("monday", "before")
    bring("tuesday", "after")
    assert site.take_in() == []
    site.wiring.__dict__["catalog"] = given
    began, ends = flown[1].before.started_at, flown[1].after.started_at + timedelta(hours=1)
    done = backfill.backfill(FEED, began, ends)
    assert (done.captures, len(done.raised)) == (2, 1)
    assert backfill.backfill(FEED, began, ends).raised == ()
    with site.wiring.database.transaction() as connection:
        assert captures.quarantined(connection) == []


def test_a_change_is_never_sealed_as_if_one_capture_showed_it(
    site: DroneSite, bring: Bring, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring("monday", "before")
    bring("tuesday", "after")
    with monkeypatch.context() as broken:
        broken.setattr(patrol_leads, "seal_change", lambda *_: False)
        site.take_in()
    for batch in observe.due_batches():
        batches.observe_all(batch)
        batches.correlate_all(batch)
        batches.seal_all(batch)
    assert site.queue() == []
