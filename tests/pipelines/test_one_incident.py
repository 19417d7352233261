"""One matter at one place, told by a camera and by a drone, is one case with all its evidence."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enforcement.cases import CaseState
from enforcement.changes import metres_apart
from enforcement.flights import GroundPoint
from enforcement.places import Feed
from media.patrol_scenes import PatrolTruth, patrol, render_patrol
from media.patrol_telemetry import polygon
from media.scenes import SCENES, render
from pipelines.ingest import ingest_file
from pipelines.verify import verify_all
from storage.records import casebook
from storage.records.incidents import joined_leads
from storage.seaweed import SeaweedServer
from tests.pipelines.drone_site import DroneSite, drone_site, mission
from tests.pipelines.sensor_site import migrated

pytestmark = pytest.mark.timeout(300)

SCENE = "layby-bag"


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatrolTruth]:
    folder = tmp_path_factory.mktemp("flown")
    return folder, render_patrol(replace(patrol(1), fps=1.0, to_east_m=75.0), folder)


@pytest.fixture
def site(
    tmp_path: Path, s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch,
    flown: tuple[Path, PatrolTruth],
) -> Iterator[DroneSite]:  # fmt: skip
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    site = drone_site(
        tmp_path, migrated([url, url, url]), s3_server, monkeypatch, mission(flown[1])
    )
    yield site
    site.wiring.database.close()


def camera(site: DroneSite, **changes: Any) -> Feed:
    """Put a camera of a reviewed device into the catalog."""
    feed = Feed.model_validate(
        {
            "feed_id": "mast", "title": "Mast", "site_id": "town", "device_id": "m30",
            "source": {"kind": "folder", "path": "inbox", "settle_s": 0},
            "zones": [zone.model_dump(mode="json") for zone in SCENES[SCENE].zones],
            **changes,
        }
    )  # fmt: skip
    known = site.wiring.catalog
    site.wiring.__dict__["catalog"] = known.model_copy(update={"feeds": (*known.feeds, feed)})
    return feed


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    footage = tmp_path_factory.mktemp("scene") / "scene.mp4"
    render(SCENE, footage)
    return footage


def dumped(site: DroneSite, scene: Path, when: str) -> str:
    """Let the camera see how a bag is left there; returns the lead."""
    footage = scene.with_name(f"mast_{when}.mp4")
    footage.write_bytes(scene.read_bytes())
    [lead] = ingest_file(site.wiring, footage, "mast").leads
    return lead.lead_id


def patrolled(site: DroneSite, flown: tuple[Path, PatrolTruth]) -> str:
    folder, truth = flown
    for flight_id, flight in (("monday", truth.before), ("tuesday", truth.after)):
        site.bring(flight_id, [folder / flight.video, folder / flight.telemetry])
    [lead_id] = site.take_in()
    return lead_id


BETWEEN, BEFORE = "20260512T230000Z", "20260511T230000Z"
"""Times of the footage: between the two flights, and before both."""
HERE, ELSEWHERE = polygon((20.0, 60.0, 20.0, 60.0)), polygon((200.0, 240.0, 20.0, 60.0))
"""Ground in view: around the heap, and beyond the site."""


def test_what_the_mast_and_the_drone_saw_at_one_place_is_one_case(
    site: DroneSite, flown: tuple[Path, PatrolTruth], scene: Path
) -> None:
    camera(site, in_view=HERE)
    first = dumped(site, scene, BETWEEN)
    later = patrolled(site, flown)
    [(lead, case)] = site.queue()
    assert (lead.lead_id, case.state) == (first, CaseState.LEAD)
    with site.wiring.database.transaction() as connection:
        facts = casebook.current_facts(connection, first)
        [joined] = joined_leads(connection)
        kinds = [event.kind for event in casebook.events_of(connection, first)]
    assert (joined.lead_id, joined.case_id) == (later, first)
    assert facts.further == (joined.manifest,)
    assert facts.revision == 2
    assert kinds == ["sealed", "evidence_joined"]
    assert not verify_all(site.wiring).damaged
    # Sealed again, nothing joins twice.
    assert site.take_in() == []
    assert len(site.queue()) == 1


@pytest.mark.parametrize(
    ("in_view", "when"), [(ELSEWHERE, BETWEEN), (HERE, BEFORE)], ids=["elsewhere", "before"]
)
def test_another_place_or_time_is_another_case(
    site: DroneSite,
    flown: tuple[Path, PatrolTruth],
    scene: Path,
    in_view: tuple[GroundPoint, ...],
    when: str,
) -> None:
    heap = next(one.place for one in flown[1].changes if one.kind == "heap")
    assert metres_apart(heap, HERE[0]) < 60 < metres_apart(heap, ELSEWHERE[0])
    camera(site, in_view=in_view)
    first = dumped(site, scene, when)
    later = patrolled(site, flown)
    assert {lead.lead_id for lead, _ in site.queue()} == {first, later}
