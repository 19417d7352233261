"""From the picture to the ground and back, against closed forms and the ellipsoid."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from enforcement.errors import NoGroundPosition
from enforcement.flights import AircraftPose, GroundPoint
from enforcement.geometry import Point
from feeds.georeference import (
    SIGMAS_OF_95_PERCENT,
    PoseErrors,
    View,
    ground_position,
    horizontal_fov_deg,
    image_point,
    view_from_pose,
)

MIDDLE = Point(0.5, 0.5)
EXACT = PoseErrors(
    pitch_deg=0, yaw_deg=0, roll_deg=0, height_m=0, position_m=0, focal_share=0
)  # fmt: skip
PATROL = View(
    latitude_deg=31.2, longitude_deg=121.4, height_m=86.0, yaw_deg=0.0, pitch_deg=-24.0,
    horizontal_fov_deg=60.0, aspect=16 / 9,
)  # fmt: skip
WGS84 = Geod(ellps="WGS84")


def metres_apart(a: GroundPoint, b: GroundPoint) -> float:
    return float(WGS84.inv(a.longitude_deg, a.latitude_deg, b.longitude_deg, b.latitude_deg)[2])


def one_sigma(**error: float) -> float:
    fix = ground_position(PATROL, MIDDLE, replace(EXACT, **error))
    return fix.radius_m / SIGMAS_OF_95_PERCENT


def test_the_sensitivities_are_those_of_the_closed_forms() -> None:
    """At 86 m and -24°: 1° of pitch is 9 m, 1° of yaw 3 m, 5 m of height 11 m."""
    slope = math.radians(24)
    assert one_sigma(pitch_deg=1) == pytest.approx(
        86 / math.sin(slope) ** 2 * math.radians(1), 1e-4
    )
    assert one_sigma(yaw_deg=1) == pytest.approx(86 / math.tan(slope) * math.radians(1), 1e-4)
    assert one_sigma(height_m=5) == pytest.approx(5 / math.tan(slope), 1e-4)
    assert round(one_sigma(pitch_deg=1)) == 9
    assert round(one_sigma(yaw_deg=1)) == 3
    assert round(one_sigma(height_m=5)) == 11
    assert one_sigma(position_m=1.5) == pytest.approx(1.5)
    assert one_sigma(roll_deg=1) == pytest.approx(0.0, abs=1e-9)
    assert one_sigma(focal_share=0.05) == pytest.approx(0.0, abs=1e-9)


def test_off_the_middle_roll_and_focal_length_count_too() -> None:
    corner = Point(0.9, 0.9)
    for error in ("roll_deg", "focal_share"):
        fix = ground_position(PATROL, corner, replace(EXACT, **{error: 0.05}))
        assert fix.radius_m > 0.1


def test_the_radius_holds_95_percent_of_what_the_errors_do() -> None:
    """The linear step against 4,000 draws of the whole way, along the longer axis."""
    chance = random.Random(4)
    errors = PoseErrors(pitch_deg=0.3, yaw_deg=0.3, roll_deg=0.2, height_m=1.0)
    point = Point(0.7, 0.6)
    fix = ground_position(PATROL, point, errors)
    inside = 0
    for _ in range(4000):
        north, east = (chance.gauss(0, errors.position_m) for _ in range(2))
        longitude, latitude, _ = WGS84.fwd(
            PATROL.longitude_deg, PATROL.latitude_deg,
            math.degrees(math.atan2(east, north)), math.hypot(north, east),
        )  # fmt: skip
        half = math.tan(math.radians(30)) / (1 + chance.gauss(0, errors.focal_share))
        drawn = replace(
            PATROL, latitude_deg=latitude, longitude_deg=longitude,
            pitch_deg=PATROL.pitch_deg + chance.gauss(0, errors.pitch_deg),
            yaw_deg=chance.gauss(0, errors.yaw_deg), roll_deg=chance.gauss(0, errors.roll_deg),
            height_m=PATROL.height_m + chance.gauss(0, errors.height_m),
            horizontal_fov_deg=math.degrees(2 * math.atan(half)),
        )  # fmt: skip
        drawn_place = ground_position(drawn, point, EXACT).place
        inside += metres_apart(drawn_place, fix.place) <= fix.radius_m
    assert 0.94 <= inside / 4000 <= 0.99


def test_straight_down_the_middle_is_below_the_aircraft_and_the_top_lies_ahead() -> None:
    view = replace(PATROL, pitch_deg=-90.0, yaw_deg=90.0, height_m=60.0)
    fix = ground_position(view, MIDDLE)
    assert metres_apart(fix.place, GroundPoint(31.2, 121.4)) < 1e-6
    assert fix.depression_deg == pytest.approx(90.0)
    top = ground_position(view, Point(0.5, 0.0))
    assert top.place.longitude_deg > 121.4  # the nose, and so the picture's top, points east
    assert top.distance_m == pytest.approx(60 * math.tan(math.radians(30)) * 9 / 16)
    right = ground_position(view, Point(1.0, 0.5))
    assert right.place.latitude_deg < 31.2  # south, to the right of east
    assert right.distance_m == pytest.approx(60 * math.tan(math.radians(30)))


def test_a_camera_that_leans_to_the_right_sees_the_ground_nearer_on_the_right() -> None:
    level, leaning = PATROL, replace(PATROL, roll_deg=10.0)
    right = Point(0.9, 0.5)
    assert ground_position(leaning, right).distance_m < ground_position(level, right).distance_m
    left = Point(0.1, 0.5)
    assert ground_position(leaning, left).distance_m > ground_position(level, left).distance_m


def test_yaw_turns_the_place_clockwise_from_north() -> None:
    for yaw, (north, east) in {0: (1, 0), 90: (0, 1), 180: (-1, 0), -90: (0, -1)}.items():
        place = ground_position(replace(PATROL, yaw_deg=yaw), MIDDLE).place
        assert (place.latitude_deg - 31.2) * 111_000 == pytest.approx(north * 193.16, abs=1)
        metres_east = (place.longitude_deg - 121.4) * 111_320 * math.cos(math.radians(31.2))
        assert metres_east == pytest.approx(east * 193.16, abs=1)


@pytest.mark.parametrize("pitch", [0.0, -4.9, 20.0, 90.0])
def test_a_ray_at_or_near_the_horizon_is_refused(pitch: float) -> None:
    with pytest.raises(NoGroundPosition, match="too near the horizon"):
        ground_position(replace(PATROL, pitch_deg=pitch), MIDDLE, EXACT)


def test_only_the_part_of_the_picture_above_the_horizon_is_refused() -> None:
    view = replace(PATROL, pitch_deg=-10.0)
    assert ground_position(view, Point(0.5, 0.9)).distance_m > 0
    with pytest.raises(NoGroundPosition):
        ground_position(view, Point(0.5, 0.1))


def test_unsure_angles_move_the_limit_away_from_the_horizon() -> None:
    view = replace(PATROL, pitch_deg=-8.0)
    assert ground_position(view, MIDDLE, EXACT).distance_m > 600
    with pytest.raises(NoGroundPosition, match=r"less than 9\.0°"):
        ground_position(view, MIDDLE, replace(EXACT, pitch_deg=3.0))


def test_a_position_to_four_decimals_is_unsure_by_metres() -> None:
    coarse = ground_position(replace(PATROL, position_step_deg=1e-4), MIDDLE, EXACT)
    assert coarse.radius_m == pytest.approx(11.132 / math.sqrt(12) * SIGMAS_OF_95_PERCENT)
    fine = ground_position(replace(PATROL, position_step_deg=1e-6), MIDDLE, EXACT)
    assert fine.radius_m < 0.1


A_M, B_M = 6_378_137.0, 6_378_137.0 * (1 - 1 / 298.257223563)
"""Half axes of the WGS84 ellipsoid."""


def where_the_ray_meets_the_ellipsoid(view: View, point: Point) -> tuple[float, float, float]:
    """Earth-centred metres, without plane, geodesic, or code of the module: the ray is turned by
    one elementary rotation after the other."""
    half = math.tan(math.radians(view.horizontal_fov_deg) / 2)
    x, y, z = 1.0, (2 * point.x - 1) * half, (2 * point.y - 1) * half / view.aspect
    roll, pitch, yaw = (
        math.radians(angle) for angle in (view.roll_deg, view.pitch_deg, view.yaw_deg)
    )
    y, z = y * math.cos(roll) - z * math.sin(roll), y * math.sin(roll) + z * math.cos(roll)
    x, z = x * math.cos(pitch) + z * math.sin(pitch), -x * math.sin(pitch) + z * math.cos(pitch)
    north, east = x * math.cos(yaw) - y * math.sin(yaw), x * math.sin(yaw) + y * math.cos(yaw)
    lat, lon = math.radians(view.latitude_deg), math.radians(view.longitude_deg)
    ray = (
        -math.sin(lat) * math.cos(lon) * north - math.sin(lon) * east
        - math.cos(lat) * math.cos(lon) * z,
        -math.sin(lat) * math.sin(lon) * north + math.cos(lon) * east
        - math.cos(lat) * math.sin(lon) * z,
        math.cos(lat) * north - math.sin(lat) * z,
    )  # fmt: skip
    eye = earth_centred(view.latitude_deg, view.longitude_deg, view.height_m)
    weights = (1 / A_M**2, 1 / A_M**2, 1 / B_M**2)
    a = sum(w * r * r for w, r in zip(weights, ray, strict=True))
    b = sum(w * r * e for w, r, e in zip(weights, ray, eye, strict=True))
    c = sum(w * e * e for w, e in zip(weights, eye, strict=True)) - 1
    along = (-b - math.sqrt(b * b - a * c)) / a
    hit = [e + along * r for e, r in zip(eye, ray, strict=True)]
    return hit[0], hit[1], hit[2]


def earth_centred(
    latitude_deg: float, longitude_deg: float, height_m: float
) -> tuple[float, float, float]:
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    normal = A_M**2 / math.hypot(A_M * math.cos(lat), B_M * math.sin(lat))
    across = (normal + height_m) * math.cos(lat)
    up = (normal * (B_M / A_M) ** 2 + height_m) * math.sin(lat)
    return across * math.cos(lon), across * math.sin(lon), up


@settings(deadline=None)
@given(
    st.builds(
        View, latitude_deg=st.floats(-70, 70), longitude_deg=st.floats(-179, 179),
        height_m=st.floats(20, 120), yaw_deg=st.floats(-180, 180), pitch_deg=st.floats(-90, -50),
        roll_deg=st.floats(-5, 5), horizontal_fov_deg=st.floats(20, 70), aspect=st.just(16 / 9),
    ),
    st.floats(0, 1),
    st.floats(0, 1),
)  # fmt: skip
def test_the_plane_agrees_with_the_ellipsoid_to_centimetres(view: View, x: float, y: float) -> None:
    fix = ground_position(view, Point(x, y), EXACT)
    true = where_the_ray_meets_the_ellipsoid(view, Point(x, y))
    assert math.dist(earth_centred(*fix.place, 0.0), true) < 0.02


views = st.builds(
    View,
    latitude_deg=st.floats(-80, 80),
    longitude_deg=st.floats(-180, 180),
    height_m=st.floats(1, 500),
    yaw_deg=st.floats(-180, 360),
    pitch_deg=st.floats(-90, 30),
    roll_deg=st.floats(-45, 45),
    horizontal_fov_deg=st.floats(5, 120),
    aspect=st.floats(0.5, 2.5),
)


@settings(deadline=None)
@given(views, st.floats(0, 1), st.floats(0, 1))
def test_a_place_in_the_picture_comes_back_from_the_ground(view: View, x: float, y: float) -> None:
    try:
        fix = ground_position(view, Point(x, y), EXACT)
    except NoGroundPosition:
        return
    back = image_point(view, fix.place)
    assert back is not None
    assert back == pytest.approx((x, y), abs=1e-6)
    assert fix.radius_m >= 0


@settings(deadline=None)
@given(views, st.floats(-300, 300), st.floats(-300, 300))
def test_a_place_on_the_ground_comes_back_from_the_picture(
    view: View, north: float, east: float
) -> None:
    longitude, latitude, _ = WGS84.fwd(
        view.longitude_deg, view.latitude_deg, math.degrees(math.atan2(east, north)),
        math.hypot(north, east),
    )  # fmt: skip
    place = GroundPoint(latitude, longitude)
    point = image_point(view, place)
    if point is None:
        return
    try:
        fix = ground_position(view, point, EXACT)
    except NoGroundPosition:
        assert view.height_m < math.hypot(north, east) * math.tan(math.radians(5.001))
        return
    tolerance_m = 1e-3 + 1e-6 * fix.distance_m / math.sin(math.radians(fix.depression_deg)) ** 2
    assert metres_apart(fix.place, place) < tolerance_m


@settings(deadline=None)
@given(views, st.floats(0, 1), st.floats(0, 1))
def test_a_radius_is_finite_and_grows_with_the_errors(view: View, x: float, y: float) -> None:
    small, large = PoseErrors(), PoseErrors(pitch_deg=1.5, yaw_deg=2, height_m=8, position_m=3)
    try:
        fix, worse = (ground_position(view, Point(x, y), errors) for errors in (small, large))
    except NoGroundPosition:
        return
    assert 0 < fix.radius_m < worse.radius_m < math.inf


def test_what_is_behind_beside_or_above_the_view_is_not_in_the_picture() -> None:
    ahead = ground_position(PATROL, MIDDLE).place
    assert image_point(PATROL, ahead) == pytest.approx(MIDDLE)
    assert image_point(replace(PATROL, yaw_deg=180.0), ahead) is None
    assert image_point(replace(PATROL, yaw_deg=34.0), ahead) is None
    assert image_point(replace(PATROL, yaw_deg=32.0), ahead) is not None
    assert image_point(replace(PATROL, pitch_deg=-60.0), ahead) is None


def test_a_field_of_view_follows_from_diagonal_or_equivalent_focal_length() -> None:
    assert horizontal_fov_deg(aspect=1.5, focal_length_35mm_mm=24, sensor_aspect=1.5) == (
        pytest.approx(2 * math.degrees(math.atan(18 / 24)))
    )
    by_diagonal = horizontal_fov_deg(aspect=4 / 3, diagonal_fov_deg=94)
    assert by_diagonal == pytest.approx(
        2 * math.degrees(math.atan(math.tan(math.radians(47)) * 0.8))
    )
    # A film strip cut from a still camera's sensor keeps its width; a square loses some.
    assert horizontal_fov_deg(aspect=16 / 9, diagonal_fov_deg=94) == pytest.approx(by_diagonal)
    assert horizontal_fov_deg(aspect=1, diagonal_fov_deg=94) < by_diagonal
    with pytest.raises(NoGroundPosition, match="Neither field of view nor focal length"):
        horizontal_fov_deg(aspect=1.5)


def pose(**changes: Any) -> AircraftPose:
    values = {"latitude_deg": 31.2, "longitude_deg": 121.4, "height_m": 60.0, "altitude_m": 164.0,
              "gimbal_yaw_deg": 10.0, "gimbal_pitch_deg": -80.0, "focal_length_35mm_mm": 24.0,
              "position_step_deg": 1e-6}  # fmt: skip
    return AircraftPose(**{**values, **changes})


def test_a_view_stands_over_the_ground_as_far_as_is_known() -> None:
    assert view_from_pose(pose(), aspect=16 / 9).height_m == 60.0
    assert view_from_pose(pose(), aspect=1.5, ground_above_take_off_m=-5).height_m == 65.0
    assert view_from_pose(pose(), aspect=1.5, ground_altitude_m=100).height_m == 64.0
    low = view_from_pose(pose(altitude_m=None), aspect=1.5, ground_altitude_m=100)
    assert low.height_m == 60.0
    assert low.position_step_deg == 1e-6


def test_a_stated_field_of_view_is_worth_more_than_the_focal_length() -> None:
    by_focal = view_from_pose(pose(), aspect=4 / 3).horizontal_fov_deg
    assert by_focal == pytest.approx(horizontal_fov_deg(aspect=4 / 3, focal_length_35mm_mm=24))
    assert view_from_pose(pose(horizontal_fov_deg=50), aspect=4 / 3).horizontal_fov_deg == 50
    known = view_from_pose(pose(horizontal_fov_deg=50), aspect=4 / 3, fov_deg=48)
    assert known.horizontal_fov_deg == 48


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"gimbal_pitch_deg": None}, "where the camera looked"),
        ({"gimbal_yaw_deg": None}, "where the camera looked"),
        ({"height_m": None, "unnamed_altitude_m": 60.0}, "no height whose origin is known"),
        ({"focal_length_35mm_mm": None}, "Neither field of view"),
        ({"height_m": 0.0}, "0.0 m above the ground"),
        ({"height_m": -3.0}, "-3.0 m above the ground"),
    ],
)
def test_a_pose_that_lacks_what_is_needed_gives_no_view(
    change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(NoGroundPosition, match=reason):
        view_from_pose(pose(**change), aspect=16 / 9)


@pytest.mark.parametrize(
    "change",
    [{"height_m": math.nan}, {"horizontal_fov_deg": 180.0}, {"horizontal_fov_deg": 0.0},
     {"aspect": 0.0}, {"latitude_deg": 91.0}, {"yaw_deg": math.inf}, {"longitude_deg": -181.0}],
)  # fmt: skip
def test_an_impossible_view_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(NoGroundPosition):
        replace(PATROL, **change)
