"""Facts about rendered patrols: what is drawn, what is told of it, and that both agree."""

from dataclasses import replace
from math import atan, cos, degrees, hypot, radians, sin
from pathlib import Path

import cv2
import numpy as np
import pytest
from pyproj import Geod

from enforcement.errors import StoreUnavailable
from enforcement.flights import AircraftPose, GroundPoint, TelemetryConventions, ground_contains
from enforcement.geometry import Point
from feeds.georeference import View, ground_position, image_point, view_from_pose
from feeds.telemetry.srt import read_srt
from media.footage import Image, frames, probe
from media.patrol_scenes import (
    Patrol,
    PatrolTruth,
    changes_of,
    flight_pictures,
    patrol,
    render_patrol,
)
from media.patrol_site import Thing
from media.patrol_telemetry import ORIGIN, ground_point
from media.patrol_views import HEIGHT_PX, WIDTH_PX, Camera, LitSite, Sun

MORNING, EVENING = Sun(115.0, 45.0), Sun(235.0, 32.0)
ABOVE = Camera(60.0, 40.0, 60.0, 90.0, -90.0, 0.7211)


@pytest.fixture(scope="module")
def short() -> Patrol:
    return replace(patrol(0), from_east_m=80.0, to_east_m=92.5)


@pytest.fixture(scope="module")
def written(short: Patrol, tmp_path_factory: pytest.TempPathFactory
            ) -> tuple[Path, PatrolTruth]:  # fmt: skip
    folder = tmp_path_factory.mktemp("patrol")
    return folder, render_patrol(short, folder)


def test_both_flights_lie_there_as_an_aircraft_names_them(
    written: tuple[Path, PatrolTruth],
) -> None:
    folder, truth = written
    names = {path.name for path in folder.iterdir()}
    assert names == {
        truth.before.video, truth.before.telemetry, truth.after.video, truth.after.telemetry,
    }  # fmt: skip
    assert truth.before.video.removesuffix(".MP4") == truth.before.telemetry.removesuffix(".SRT")
    for flight in (truth.before, truth.after):
        info = probe(folder / flight.video)
        assert (info.width_px, info.height_px, info.codec) == (WIDTH_PX, HEIGHT_PX, "h264")
        assert flight.frames == 5
        assert sum(1 for _ in frames(folder / flight.video)) == 5


def test_the_subtitles_say_what_the_poses_say(
    short: Patrol, written: tuple[Path, PatrolTruth]
) -> None:
    folder, truth = written
    conventions = TelemetryConventions(time_zone=truth.time_zone)
    log = read_srt((folder / truth.after.telemetry).read_bytes(), "flight", conventions)
    stated = [pose for pose, _ in flight_pictures(short, "after")]
    assert not log.refused
    assert list(log.poses) == stated


def test_the_same_plan_gives_the_same_bytes(
    short: Patrol, written: tuple[Path, PatrolTruth], tmp_path: Path
) -> None:
    folder, truth = written
    assert render_patrol(short, tmp_path) == truth
    for name in (truth.before.video, truth.after.telemetry):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_that_cannot_be_written_is_told(short: Patrol, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(StoreUnavailable, match="patrol"):
        render_patrol(replace(short, to_east_m=81.0), blocked)


def test_what_changed_is_told_with_its_place() -> None:
    plan = patrol(0)
    told = [one for one in changes_of(plan) if one.kind in {"heap", "car"}]
    (heap,) = (one for one in told if one.kind == "heap")
    assert heap.change == "appeared"
    assert heap.place == ground_point(90.0, 15.0)
    on_the_road = {(one.east_m, one.change) for one in told if 29 < one.north_m < 36}
    assert on_the_road == {(30.0, "disappeared"), (82.0, "appeared")}


def test_the_heap_is_watched_and_the_parked_cars_are_in_the_car_park(
    written: tuple[Path, PatrolTruth],
) -> None:
    _, truth = written
    for one in truth.changes:
        assert ground_contains(truth.watched, one.place)
        lawful = ground_contains(truth.car_park, one.place)
        assert lawful is (one.kind != "heap" and one.north_m > 40)
    assert sum(ground_contains(truth.car_park, one.place) for one in truth.changes) >= 6


@pytest.mark.parametrize("pitch_deg", [-90.0, -60.0, -45.0])
def test_the_camera_sees_the_ground_where_the_georeference_has_it(pitch_deg: float) -> None:
    camera = Camera(60.0, 40.0, 60.0, 37.0, pitch_deg, 0.7211)
    where = ground_point(60.0, 40.0)
    view = View(where.latitude_deg, where.longitude_deg, 60.0, 37.0, pitch_deg,
                degrees(2 * atan(0.7211)), 16 / 9)  # fmt: skip
    for fraction in (Point(0.2, 0.3), Point(0.9, 0.2), Point(0.5, 0.95)):
        place = ground_position(view, fraction).place
        x, y, depth = camera.plane(0.0) @ (*in_metres(place), 1.0)
        assert (x / depth + 0.5) / WIDTH_PX == pytest.approx(fraction.x, abs=2e-4)
        assert (y / depth + 0.5) / HEIGHT_PX == pytest.approx(fraction.y, abs=2e-4)


def in_metres(place: GroundPoint) -> tuple[float, float]:
    azimuth_deg, _, distance_m = Geod(ellps="WGS84").inv(
        ORIGIN.longitude_deg, ORIGIN.latitude_deg, place.longitude_deg, place.latitude_deg
    )
    return distance_m * sin(radians(azimuth_deg)), distance_m * cos(radians(azimuth_deg))


def test_stated_poses_are_off_by_their_bias_and_little_more() -> None:
    plan = patrol(2)
    heap = next(one for one in changes_of(plan) if one.kind == "heap")
    bias_m = hypot(plan.after.bias_east_m, plan.after.bias_north_m)
    assert 1.0 <= bias_m <= 2.0
    poses = [pose for pose, _ in _some(plan, 22, 26)]
    for pose in poses:
        view = view_from_pose(pose, aspect=16 / 9)
        seen = image_point(view, heap.place)
        assert seen is not None
        assert abs(pose.height_m or 0) == pytest.approx(60.0, abs=2.2)
        assert ground_position(view, Point(0.5, 0.5)).distance_m < 1.5


def _some(plan: Patrol, start: int, end: int) -> list[tuple[AircraftPose, Image]]:
    pictures = []
    for number, one in enumerate(flight_pictures(plan, "after")):
        if number >= end:
            break
        if number >= start:
            pictures.append(one)
    return pictures


def test_a_new_heap_changes_the_picture_there_and_hardly_elsewhere() -> None:
    heap = Thing("heap", 60.0, 20.0, size_m=3.0)
    without, with_heap = (LitSite(things, MORNING).picture(ABOVE) for things in ((), (heap,)))
    differs = cv2.absdiff(without, with_heap).max(axis=2) > 30
    rows, columns = np.nonzero(differs)
    x, y, depth = ABOVE.plane(0.0) @ (60.0, 20.0, 1.0)
    px_per_m = WIDTH_PX / 2 / 0.7211 / 60.0
    assert np.hypot(columns - x / depth, rows - y / depth).max() < 4.0 * px_per_m
    assert 5.0 < differs.sum() / px_per_m**2 < 14.0


def test_shadows_turn_with_the_sun_and_vanish_under_clouds() -> None:
    tree = Thing("tree", 60.0, 20.0, size_m=3.0, look=1)
    shades = []
    for sun in (MORNING, EVENING, replace(MORNING, strength=0.0)):
        bare = LitSite((), sun).picture(ABOVE).astype(np.float32)
        seen = LitSite((tree,), sun).picture(ABOVE).astype(np.float32)
        shades.append((seen / np.maximum(bare, 1)).mean(axis=2))
    # In this view east is up and south is to the right: morning shade falls down and to the left.
    x, y, depth = ABOVE.plane(0.0) @ (60.0, 20.0, 1.0)
    column, row = round(x / depth), round(y / depth)
    morning, evening = (row + 50, column - 60), (row - 85, column - 95)
    dark = [float(shade[place[0] - 6 : place[0] + 6, place[1] - 6 : place[1] + 6].mean())
            for shade, place in ((shades[0], morning), (shades[1], evening))]  # fmt: skip
    assert max(dark) < 0.8
    clear = shades[2][morning[0] - 6 : morning[0] + 6, morning[1] - 6 : morning[1] + 6]
    assert float(clear.mean()) == pytest.approx(1.0, abs=0.02)


def test_what_stands_up_leans_away_from_the_camera() -> None:
    box = Thing("shed", 60.0, 25.0)
    here, there = (replace(ABOVE, north_m=north_m) for north_m in (25.0, 60.0))
    sizes = []
    for camera in (here, there):
        bare, seen = (LitSite(things, replace(MORNING, strength=0.0)).picture(camera)
                      for things in ((), (box,)))  # fmt: skip
        differs = cv2.absdiff(bare, seen).max(axis=2) > 12
        columns = np.nonzero(differs)[1]
        sizes.append(float(np.ptp(columns)))
    assert sizes[1] > sizes[0] + 10


def test_somebody_walks_through() -> None:
    plan = replace(patrol(0), from_east_m=40.0, to_east_m=60.0)
    walk = plan.after.walks[0]
    first, later = walk.at(0.0), walk.at(5.0)
    assert hypot(later.east_m - first.east_m, later.north_m - first.north_m) == pytest.approx(6.5)
    assert walk.at(1000.0).kind == "person"


def test_positions_are_of_this_origin() -> None:
    assert ground_point(0.0, 0.0) == pytest.approx(ORIGIN)
