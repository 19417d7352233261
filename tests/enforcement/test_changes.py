"""Facts about which changes between two passes become findings, and where."""

from math import atan2, degrees, hypot
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyproj import Geod

from enforcement.changes import (
    Change,
    ChangeOnGround,
    Objection,
    changes_on_ground,
    joined,
    metres_apart,
    objections,
    same_places,
)
from enforcement.flights import GroundPoint
from enforcement.places import GroundZone, ZonePurpose

NO_DUMPING = ZonePurpose.NO_DUMPING

_WGS84 = Geod(ellps="WGS84")
_CORNER = GroundPoint(31.23, 121.47)


def at(east_m: float, north_m: float) -> GroundPoint:
    bearing_deg, distance_m = degrees(atan2(east_m, north_m)), hypot(east_m, north_m)
    lon, lat, _ = _WGS84.fwd(_CORNER.longitude_deg, _CORNER.latitude_deg, bearing_deg, distance_m)
    return GroundPoint(float(lat), float(lon))


def square(west: float, east: float, south: float, north: float) -> tuple[GroundPoint, ...]:
    return at(west, south), at(east, south), at(east, north), at(west, north)


SITE = GroundZone(zone_id="site", purpose=NO_DUMPING, polygon=square(0, 120, 0, 80), title="Depot")
CAR_PARK = GroundZone(
    zone_id="car-park", purpose=ZonePurpose.LAWFUL_USE, polygon=square(70, 100, 50, 78)
)
ZONES = (SITE, CAR_PARK)
RULE = ChangeOnGround()


def change(east_m: float = 30.0, north_m: float = 30.0, **fields: Any) -> Change:
    given_: dict[str, Any] = {
        "sign": "appeared",
        "place": at(east_m, north_m),
        "radius_m": 3.0,
        "outline": square(east_m - 1.5, east_m + 1.5, north_m - 1.5, north_m + 1.5),
        "area_m2": 9.0,
        "score": 0.9,
        "is_vehicle": False,
        "pairs": 8,
    }
    return Change(**{**given_, **fields})


def test_a_new_heap_in_the_watched_ground_is_one_finding() -> None:
    seen = change(shows={"waste": 0.98, "vehicle": 0.01})
    (finding,) = changes_on_ground(RULE, NO_DUMPING, ZONES, [seen])
    assert finding.zone_id == "site"
    assert metres_apart(finding.place, at(30, 30)) < 0.01
    assert finding.radius_m == pytest.approx(3.0)
    assert finding.changes == (0,)
    assert finding.reasons == (
        "something new on about 9 m² of ground",
        "the same in 8 pairs of pictures of both passes",
        "no vehicle by size and shape",
        "in Depot, outside the lawful areas",
        "resembles waste with 0.98",
    )


@pytest.mark.parametrize(
    ("fields", "objection"),
    [
        ({"sign": "disappeared"}, Objection.NOT_NEW),
        ({"area_m2": 3.9}, Objection.TOO_SMALL),
        ({"score": 0.39}, Objection.UNSURE),
        ({"is_vehicle": True}, Objection.VEHICLE),
        ({"east_m": -5.0}, Objection.OUTSIDE),
        ({"east_m": 85.0, "north_m": 60.0}, Objection.LAWFUL_PLACE),
    ],
)
def test_each_condition_alone_keeps_a_change_from_being_a_finding(
    fields: dict[str, Any], objection: Objection
) -> None:
    assert objections(RULE, NO_DUMPING, ZONES, change(**fields)) == (objection,)
    assert changes_on_ground(RULE, NO_DUMPING, ZONES, [change(**fields)]) == ()


def test_what_is_just_enough_counts() -> None:
    assert objections(RULE, NO_DUMPING, ZONES, change(area_m2=4.0, score=0.4)) == ()
    assert objections(RULE, NO_DUMPING, ZONES, change(sign="replaced")) == ()


def test_all_objections_are_told_at_once() -> None:
    told = objections(RULE, NO_DUMPING, ZONES, change(85, 60, is_vehicle=True, sign="disappeared"))
    assert told == (Objection.NOT_NEW, Objection.VEHICLE, Objection.LAWFUL_PLACE)


def test_without_a_watched_zone_nothing_is_found() -> None:
    assert changes_on_ground(RULE, NO_DUMPING, [CAR_PARK], [change()]) == ()
    assert changes_on_ground(RULE, NO_DUMPING, [], [change()]) == ()


def test_a_lawful_area_reaches_as_far_as_positions_are_off() -> None:
    assert objections(RULE, NO_DUMPING, ZONES, change(68.7, 60)) == (Objection.LAWFUL_PLACE,)
    assert objections(RULE, NO_DUMPING, ZONES, change(68.3, 60)) == ()
    exact = ChangeOnGround(lawful_margin_m=0)
    assert objections(exact, NO_DUMPING, ZONES, change(69.9, 60)) == ()
    assert objections(exact, NO_DUMPING, ZONES, change(70.1, 60)) == (Objection.LAWFUL_PLACE,)


def test_the_rule_can_ask_for_waste_or_for_vehicles() -> None:
    waste = ChangeOnGround(waste_min=0.5)
    assert objections(waste, NO_DUMPING, ZONES, change(shows={"waste": 0.4})) == (
        Objection.NOT_WASTE,
    )
    assert objections(waste, NO_DUMPING, ZONES, change(shows={"waste": 0.6})) == ()
    assert objections(waste, NO_DUMPING, ZONES, change()) == ()
    assert (
        objections(ChangeOnGround(vehicles=True), NO_DUMPING, ZONES, change(is_vehicle=True)) == ()
    )
    with pytest.raises(ValidationError, match="contradict"):
        ChangeOnGround(vehicles=True, waste_min=0.5)


def test_findings_at_one_place_become_one() -> None:
    seen = [change(30, 30), change(32, 31, score=0.95, area_m2=7.0), change(60, 30, score=0.6)]
    first, second = changes_on_ground(RULE, NO_DUMPING, ZONES, seen)
    assert first.changes == (1, 0)
    assert first.area_m2 == 9.0
    assert first.score == 0.95
    assert metres_apart(first.place, at(31, 30.5)) < 0.01
    assert first.reasons[-1] == f"found 2 times within {first.radius_m:.1f} m"
    assert second.changes == (2,)


def test_places_farther_apart_than_their_errors_stay_two() -> None:
    near, far = 4.2, 4.3
    assert same_places([(at(0, 0), 3.0), (at(near, 0), 3.0)]) == ((0, 1),)
    assert same_places([(at(0, 0), 3.0), (at(far, 0), 3.0)]) == ((0,), (1,))


def test_a_row_of_things_is_not_one_thing() -> None:
    row = [(at(4.0 * number, 0.0), 3.0) for number in range(6)]
    assert len(same_places(row)) >= 3


def test_the_surer_place_weighs_more_and_more_pictures_make_it_no_surer() -> None:
    place, radius_m = joined([(at(0, 0), 1.0), (at(3, 0), 2.0)])
    assert metres_apart(place, at(0.6, 0)) < 0.01
    assert 1.0 < radius_m < 2.0
    same = [(at(10, 10), 2.5)] * 9
    place, radius_m = joined(same)
    assert metres_apart(place, at(10, 10)) < 0.001
    assert radius_m == pytest.approx(2.5)
    assert joined([(at(0, 0), 2.0), (at(6, 0), 2.0)])[1] > 3.0


@given(st.floats(-80, 80), st.floats(-179.9, 179.9), st.floats(-500, 500), st.floats(-500, 500))
def test_distances_agree_with_the_ellipsoid(
    latitude: float, longitude: float, east_m: float, north_m: float
) -> None:
    start = GroundPoint(latitude, longitude)
    lon, lat, _ = _WGS84.fwd(longitude, latitude, 90.0, east_m)
    lon, lat, _ = _WGS84.fwd(lon, lat, 0.0, north_m)
    end = GroundPoint(float(lat), float(lon))
    _, _, true_m = _WGS84.inv(longitude, latitude, end.longitude_deg, end.latitude_deg)
    assert metres_apart(start, end) == pytest.approx(true_m, rel=1e-3, abs=1e-3)


def test_a_place_across_the_date_line_is_near() -> None:
    west, east = GroundPoint(10.0, 179.99999), GroundPoint(10.0, -179.99999)
    assert metres_apart(west, east) < 3
    place, _ = joined([(west, 2.0), (east, 2.0)])
    assert abs(place.longitude_deg) > 179.9999
