"""Findings in single flights: when they were, where on the ground, and how many they are."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from enforcement.changes import metres_apart
from enforcement.evidence import EvidenceKind
from enforcement.flights import AircraftPose, GroundPoint, pose_at
from enforcement.footage import Capture, Label, Observation, Track, TrackPoint
from enforcement.geometry import Box
from enforcement.places import Zone, ZonePurpose
from feeds.georeference import image_point, view_from_pose
from media.patrol_scenes import PatrolTruth, patrol, render_patrol
from media.patrol_telemetry import ground_point
from pipelines import missions
from pipelines.correlate import correlate
from pipelines.observe import ModelKey
from pipelines.seal import seal_capture
from storage.canonical import canonical_bytes
from storage.evidence_store import BucketRole
from storage.records import captures, casebook, flights
from storage.seaweed import SeaweedServer
from tests.pipelines.drone_site import FEED, MISSION, DroneSite, drone_site, mission
from tests.pipelines.sensor_site import migrated

FLAMES, PEOPLE = "yolov8-flames", "yolov8n-coco"
KEYS: list[ModelKey] = [(name, "0" * 64, "1" * 64) for name in (FLAMES, PEOPLE)]
HALF = 0.02


@pytest.fixture(scope="module")
def flown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatrolTruth]:
    folder = tmp_path_factory.mktemp("flown")
    return folder, render_patrol(replace(patrol(1), to_east_m=60.0), folder)


@pytest.fixture
def site(
    tmp_path: Path, s3_server: SeaweedServer, monkeypatch: pytest.MonkeyPatch,
    flown: tuple[Path, PatrolTruth],
) -> Iterator[DroneSite]:  # fmt: skip
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    site = drone_site(
        tmp_path, migrated([url, url, url]), s3_server, monkeypatch, mission(flown[1])
    )
    feed = site.wiring.catalog.feed(FEED)
    zone = Zone(zone_id="view", purpose=ZonePurpose.NO_FIRE)
    site.wiring.__dict__["catalog"] = site.wiring.catalog.model_copy(
        update={"feeds": (feed.model_copy(update={"zones": (zone,)}),)}
    )
    site.bring("monday", [flown[0] / flown[1].before.video, flown[0] / flown[1].before.telemetry])
    site.take_in()
    yield site
    site.wiring.database.close()


@pytest.fixture
def footage(site: DroneSite) -> tuple[Capture, tuple[AircraftPose, ...]]:
    key = site.flight("monday").key
    with site.wiring.database.transaction() as connection:
        files = flights.files_of(connection, key)
        [video] = [one for one in files if one.name.endswith(".MP4")]
        capture = captures.load_capture(connection, video.capture_id)
    return capture, missions.poses_of(site.wiring, capture)


def burning(
    place: GroundPoint, poses: tuple[AircraftPose, ...], first_s: float, track_id: int
) -> Track:
    """A flame that stands on the ground there, as the passing aircraft sees it for three
    seconds."""
    points = []
    for number in range(16):
        t_s = round(first_s + number * 0.2, 3)
        pose = pose_at(poses, t_s, 1.5)
        assert pose is not None
        foot = image_point(view_from_pose(pose, aspect=16 / 9), place)
        assert foot is not None
        box = Box(foot.x - HALF, foot.y - 2 * HALF, foot.x + HALF, foot.y)
        points.append(TrackPoint(t_s=t_s, box=box, score=0.8))
    return Track(track_id=track_id, label=Label.FIRE, points=tuple(points), traits={"flicker": 0.4})


def seen(site: DroneSite, capture: Capture, *fires: Track) -> list[str]:
    """Let detectors have seen these flames; returns the ids of the capture's leads."""
    for (model, digest, config), tracks in zip(KEYS, (fires, ()), strict=True):
        observation = Observation(
            capture_id=capture.capture_id, model=model, model_digest=digest, config_digest=config,
            config={}, width_px=1280, height_px=720, duration_s=12.0, frames_seen=24,
            sample_fps=5.0, tracks=tracks,
        )  # fmt: skip
        stored = site.wiring.store.put_bytes(
            BucketRole.CAPTURES, canonical_bytes(observation), "application/json", prefix="seen"
        )
        with site.wiring.database.transaction() as connection:
            captures.note_observation(connection, observation, stored, site.now)
    return correlate(capture.capture_id, keys=KEYS)


Footage = tuple[Capture, tuple[AircraftPose, ...]]


def test_a_finding_has_its_place_with_a_radius_and_the_time_of_the_satellites(
    site: DroneSite, footage: Footage
) -> None:
    capture, poses = footage
    place = ground_point(25.0, 40.0)
    [lead_id] = seen(site, capture, burning(place, poses, 4.0, 1))
    with site.wiring.database.transaction() as connection:
        lead = casebook.load_lead(connection, lead_id)
        fix = flights.fix_of(connection, lead_id)
    assert fix is not None
    assert metres_apart(fix[0], place) < 0.5 < fix[1] < 20
    pose = pose_at(poses, lead.alarm_at_s, 1.5)
    assert pose is not None
    assert lead.alarm_at == pose.moment
    assert any("within" in reason and "95 %" in reason for reason in lead.reasons)


def test_one_place_in_overlapping_frames_is_one_lead_and_two_places_are_two(
    site: DroneSite, footage: Footage
) -> None:
    capture, poses = footage
    place, elsewhere = ground_point(25.0, 40.0), ground_point(50.0, 40.0)
    fires = [
        burning(place, poses, 2.0, 1),
        burning(place, poses, 5.5, 2),
        burning(elsewhere, poses, 7.0, 3),
    ]
    leads = seen(site, capture, *fires)
    assert len(leads) == 2
    with site.wiring.database.transaction() as connection:
        found = [flights.fix_of(connection, one) for one in leads]
    near = [fix[0] for fix in found if fix is not None]
    assert metres_apart(near[0], place) < 1
    assert metres_apart(near[1], elsewhere) < 1
    assert seen(site, capture, *fires) == leads


def test_without_a_place_the_lead_says_why(
    site: DroneSite, footage: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture, poses = footage
    level = tuple(pose.model_copy(update={"gimbal_pitch_deg": 20.0}) for pose in poses)
    fire = burning(ground_point(25.0, 40.0), poses, 4.0, 1)
    monkeypatch.setattr("pipelines.overflight.poses_of", lambda *_: level)
    [lead_id] = seen(site, capture, fire)
    with site.wiring.database.transaction() as connection:
        lead = casebook.load_lead(connection, lead_id)
        assert flights.fix_of(connection, lead_id) is None
    assert any(reason.startswith("place unknown") for reason in lead.reasons)


def test_the_package_holds_the_positions_and_the_facts_the_place(
    site: DroneSite, footage: Footage
) -> None:
    capture, poses = footage
    [lead_id] = seen(site, capture, burning(ground_point(25.0, 40.0), poses, 4.0, 1))
    assert seal_capture(capture.capture_id, KEYS) == [lead_id]
    manifest = site.manifest(lead_id)
    assert len(manifest.of_kind(EvidenceKind.TELEMETRY)) == 1
    with site.wiring.database.transaction() as connection:
        place = casebook.current_facts(connection, lead_id).place.text
    assert place.startswith("31.2")
    assert "±" in place


def test_what_is_undecided_is_known_however_long_ago_it_came(
    site: DroneSite, footage: Footage
) -> None:
    capture, poses = footage
    [lead_id] = seen(site, capture, burning(ground_point(25.0, 40.0), poses, 4.0, 1))
    with site.wiring.database.transaction() as connection:
        known = flights.leads_on_ground(connection, "open-fire", MISSION, site.now, site.now)
    assert [one.lead.lead_id for one in known] == [lead_id]
