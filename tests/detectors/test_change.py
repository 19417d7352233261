"""Facts about the comparison of two passes over one ground, on rendered patrols."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import hypot
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import Geod

from detectors.change import Comparison, compare
from detectors.change_light import Shade, light_of, other_texture
from detectors.change_objects import GroundChange, things
from detectors.change_votes import ChangeConfig, Votes
from detectors.crops import BLOB_CLASSES
from detectors.ground_map import GroundFrame, homography, mapped
from enforcement.flights import AircraftPose, GroundPoint
from enforcement.geometry import Point
from feeds.georeference import ground_position, view_from_pose
from media.footage import Image
from media.patrol_scenes import Flight, Pass, Patrol, along_route, flight_pictures, patrol
from media.patrol_site import CAR_PARK, Thing
from media.patrol_telemetry import ORIGIN

_WGS84 = Geod(ellps="WGS84")
_FRACTIONS = np.array([(0.0, 1.0), (1.0, 1.0), (1.0, 0.25), (0.0, 0.25), (0.5, 0.6)])
_RESTING = (Thing("van", 50.0, 30.3, look=2), Thing("heap", 60.0, 52.0, size_m=3.5, look=77))
"""There at both flights: only their shadows move."""
_TOO_SMALL = Thing("heap", 30.0, 46.0, size_m=1.4, look=3)


def in_metres(place: GroundPoint) -> tuple[float, float]:
    azimuth_deg, _, distance_m = _WGS84.inv(
        ORIGIN.longitude_deg, ORIGIN.latitude_deg, place.longitude_deg, place.latitude_deg
    )
    azimuth = np.radians(azimuth_deg)
    return float(distance_m * np.sin(azimuth)), float(distance_m * np.cos(azimuth))


def laid_down(pose: AircraftPose, image: Image) -> GroundFrame:
    view = view_from_pose(pose, aspect=16 / 9)
    places = [in_metres(ground_position(view, Point(*at)).place) for at in _FRACTIONS]
    return GroundFrame(image, homography(_FRACTIONS, np.array(places)), pose.t_s or 0.0)


def flown(plan: Patrol, which: Pass) -> list[GroundFrame]:
    return [laid_down(pose, image) for pose, image in flight_pictures(plan, which)]


def with_things(flight: Flight, *things: Thing) -> Flight:
    return replace(flight, things=(*flight.things, *things))


@pytest.fixture(scope="module")
def plan() -> Patrol:
    """A heap at 70, 24; rubble on concrete at 36, 60; a car from 30 to 82 on the road; what else
    there is should not matter."""
    usual = patrol(3)
    heap = Thing("heap", 70.0, 24.0, size_m=3.0, look=4)
    before = with_things(usual.before, *_RESTING)
    things = tuple(thing for thing in usual.after.things if thing.kind != "heap")
    light = replace(usual.after.sun, exposure=0.8, gain_bgr=(0.8, 1.0, 1.15))
    rubble = Thing("rubble", 36.0, 60.0, size_m=3.0, look=5)
    things = (*things, heap, rubble, _TOO_SMALL, *_RESTING)
    after = replace(usual.after, sun=light, things=things)
    return replace(usual, before=before, after=after, fps=1.0)


@pytest.fixture(scope="module")
def passes(plan: Patrol) -> tuple[list[GroundFrame], list[GroundFrame]]:
    return flown(plan, "before"), flown(plan, "after")


@pytest.fixture(scope="module")
def found(passes: tuple[list[GroundFrame], list[GroundFrame]]) -> Comparison:
    return compare(*passes)


def outside_the_car_park(found: Comparison) -> list[GroundChange]:
    west, east, south, north = CAR_PARK
    return [
        one
        for one in found.changes
        if not (west - 2 < one.east_m < east + 2 and south - 2 < one.north_m < north + 2)
    ]


def told_at(found: Comparison, east_m: float, north_m: float) -> GroundChange:
    """The one change within three metres."""
    (one,) = (one for one in found.changes if metres_off(one, east_m, north_m) <= 3.0)
    return one


def metres_off(one: GroundChange, east_m: float, north_m: float) -> float:
    return hypot(one.east_m - east_m, one.north_m - north_m)


def test_the_new_heap_is_found_once_and_nearly_where_it_is(found: Comparison) -> None:
    heap = told_at(found, 70.0, 24.0)
    assert (heap.sign, heap.is_vehicle) == ("appeared", False)
    assert metres_off(heap, 70.0, 24.0) <= heap.radius_m
    assert 5.0 < heap.area_m2 < 10.0
    assert heap.score > 0.5
    assert heap.pairs >= 3


def test_a_car_that_moved_is_a_vehicle_gone_and_a_vehicle_come(found: Comparison) -> None:
    gone, come = told_at(found, 30.0, 30.3), told_at(found, 82.0, 30.3)
    assert (gone.sign, gone.is_vehicle) == ("disappeared", True)
    assert (come.sign, come.is_vehicle) == ("appeared", True)


def test_grey_rubble_on_grey_concrete_is_told_by_its_texture(found: Comparison) -> None:
    rubble = told_at(found, 36.0, 60.0)
    assert (rubble.sign, rubble.is_vehicle) == ("appeared", False)
    assert 4.0 < rubble.area_m2 < 10.0


def test_shadows_walkers_and_what_stayed_are_no_changes(found: Comparison) -> None:
    """With the heap, the rubble and the two places of the car all is told."""
    assert found.refusal is None
    assert len(outside_the_car_park(found)) == 4
    assert found.compared_m2 > 9_000


def test_the_difference_of_the_stated_positions_is_measured(
    plan: Patrol, found: Comparison
) -> None:
    east_m = plan.after.bias_east_m - plan.before.bias_east_m
    north_m = plan.after.bias_north_m - plan.before.bias_north_m
    assert hypot(east_m, north_m) > 1.0
    assert hypot(found.offset_east_m - east_m, found.offset_north_m - north_m) < 0.6
    assert found.misfit_m < 0.25


def test_the_outline_lies_around_the_centre(found: Comparison) -> None:
    for one in outside_the_car_park(found):
        low, high = one.outline.min(axis=0), one.outline.max(axis=0)
        assert (low < (one.east_m, one.north_m)).all()
        assert (high > (one.east_m, one.north_m)).all()
        assert np.prod(high - low) >= 0.9 * one.area_m2


def test_the_pictures_show_the_same_place_without_and_with_the_thing(found: Comparison) -> None:
    heap = told_at(found, 70.0, 24.0)
    assert heap.before.shape == heap.after.shape
    middle = heap.before.shape[0] // 2
    reach = middle // 5
    inner = (slice(middle - reach, middle + reach),) * 2
    outer = (slice(0, middle // 3),) * 2
    change = heap.after.astype(np.float32) - heap.before.astype(np.float32)
    apart = np.abs(change - np.median(change, axis=(0, 1))).mean(axis=2)
    assert apart[inner].mean() > 3 * apart[outer].mean()
    assert 0 <= heap.before_t_s <= 24
    assert 0 <= heap.after_t_s <= 24


def test_one_pass_against_itself_shows_nothing(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    itself = compare(passes[1][10:16], passes[1][10:16])
    assert itself.refusal is None
    assert itself.changes == ()
    assert itself.compared_m2 > 3_000


def test_the_same_pictures_give_the_same_answer(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    a, b = (compare(passes[0][12:17], passes[1][12:17]) for _ in range(2))
    assert a.changes
    for one, other in zip(a.changes, b.changes, strict=True):
        assert (one.east_m, one.north_m, one.score, one.sign, one.area_m2) == (
            other.east_m, other.north_m, other.score, other.sign, other.area_m2,
        )  # fmt: skip
        assert np.array_equal(one.outline, other.outline)
        assert np.array_equal(one.after, other.after)


def test_passes_over_different_ground_cannot_be_compared(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    beyond = np.array([[1.0, 0, 500], [0, 1, 0], [0, 0, 1]])
    elsewhere = [replace(frame, to_ground=beyond @ frame.to_ground) for frame in passes[1][:4]]
    apart = compare(passes[0][:4], elsewhere)
    assert apart.changes == ()
    assert apart.refusal == "the passes show no ground in common"


def test_passes_that_only_claim_the_same_ground_cannot_be_compared(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    """The pictures of one end of the site, with the poses of the other."""
    wrong = [
        replace(frame, to_ground=pose.to_ground)
        for frame, pose in zip(passes[1][:5], passes[1][-5:], strict=True)
    ]
    apart = compare(passes[0][-5:], wrong)
    assert apart.changes == ()
    assert apart.refusal is not None
    assert "recognised" in apart.refusal


def test_without_sharp_ground_nothing_can_be_said(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    coarse = np.diag([40.0, 40.0, 1.0])
    high = [replace(frame, to_ground=coarse @ frame.to_ground) for frame in passes[0][:3]]
    assert compare(high, passes[1][:3]).refusal is not None
    assert compare([], passes[1][:3]).refusal is not None


class Classified:
    """A classifier that always says the same, and keeps what it was shown."""

    def __init__(self, name: str, seen: list[Image]) -> None:
        self._row = [0.97 if one == name else 0.01 for one in BLOB_CLASSES]
        self._seen = seen

    def __call__(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        self._seen.extend(crops)
        return np.array([self._row] * len(crops), np.float32)


def around_the_heap(passes: tuple[list[GroundFrame], list[GroundFrame]]
                  ) -> tuple[list[GroundFrame], list[GroundFrame]]:  # fmt: skip
    return passes[0][13:18], passes[1][13:18]


@pytest.mark.parametrize(("says", "is_vehicle"), [("waste", False), ("other", True)])
def test_a_classifier_sure_of_waste_outweighs_the_shape(
    passes: tuple[list[GroundFrame], list[GroundFrame]], says: str, is_vehicle: bool
) -> None:
    shown: list[Image] = []
    some = compare(*around_the_heap(passes), classify=Classified(says, shown))
    (car,) = (one for one in outside_the_car_park(some) if metres_off(one, 82.0, 30.3) < 3)
    assert car.is_vehicle is is_vehicle
    assert car.shows[says] == pytest.approx(0.97)
    assert len(shown) == len(some.changes)
    assert all(min(crop.shape[:2]) > 30 for crop in shown)


def test_smaller_things_than_asked_for_are_left_out(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    few = compare(*around_the_heap(passes), ChangeConfig(area_min_m2=60.0))
    assert few.changes == ()


def test_a_long_pass_is_compared_in_stretches_and_tells_each_thing_once(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
    found: Comparison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detectors.change._STRETCH", 7)
    monkeypatch.setattr("detectors.change._STRETCH_OVERLAP", 5)
    parts = outside_the_car_park(compare(passes[0][11:20], passes[1][11:20]))
    whole = [one for one in outside_the_car_park(found) if one.east_m > 50]
    assert len(whole) == len(parts) == 2
    for one, other in zip(whole, parts, strict=True):
        assert (one.sign, one.is_vehicle) == (other.sign, other.is_vehicle)
        assert metres_off(one, other.east_m, other.north_m) < 1.5


def test_a_slanting_view_finds_the_heap_too() -> None:
    usual = patrol(0)
    short = replace(usual, fps=1.0, from_east_m=65.0, to_east_m=105.0)
    slanting = along_route(short, -60.0)
    found = compare(flown(slanting, "before"), flown(slanting, "after"))
    (heap,) = (one for one in outside_the_car_park(found) if not one.is_vehicle)
    assert heap.sign == "appeared"
    assert metres_off(heap, 90.0, 15.0) <= 3.0


def test_the_mapping_goes_through_its_points() -> None:
    places = np.array([(0.0, 0.0), (80.0, 2.0), (82.0, 45.0), (-1.0, 44.0), (40.0, 18.0)])
    matrix = homography(_FRACTIONS[:4], places[:4])
    assert np.allclose(mapped(matrix, _FRACTIONS[:4]), places[:4], atol=1e-6)


def test_passes_that_state_places_far_apart_say_so_in_the_radius(
    passes: tuple[list[GroundFrame], list[GroundFrame]], found: Comparison
) -> None:
    before, after = around_the_heap(passes)
    six_metres_east = np.array([[1.0, 0, 6], [0, 1, 0], [0, 0, 1]])
    moved = [replace(one, to_ground=six_metres_east @ one.to_ground) for one in after]
    heap = told_at(compare(before, moved), 73.0, 24.0)
    assert 3.0 < metres_off(heap, 70.0, 24.0) < heap.radius_m
    assert told_at(found, 70.0, 24.0).radius_m < 3.5


def test_a_white_car_of_which_little_but_the_panes_differs_is_a_vehicle() -> None:
    usual = replace(patrol(4), fps=1.0, from_east_m=85.0, to_east_m=115.0)
    plan = replace(usual, after=with_things(usual.after, Thing("car", 100.0, 30.3, look=5)))
    car = told_at(compare(flown(plan, "before"), flown(plan, "after")), 100.0, 30.3)
    assert car.area_m2 < 6.5
    assert car.is_vehicle


def test_what_leans_otherwise_from_a_track_beside_is_no_change() -> None:
    """Five metres lie between the two tracks over a house, and a car is gone."""
    usual = replace(patrol(1, heap=False), fps=1.0, from_east_m=12.0, to_east_m=42.0)
    before = replace(usual.before, bias_north_m=-2.5)
    after = replace(usual.after, bias_north_m=2.5)
    plan = replace(usual, before=before, after=after)
    (car,) = compare(flown(plan, "before"), flown(plan, "after")).changes
    assert (car.sign, car.is_vehicle) == ("disappeared", True)


def test_a_strip_is_an_edge_and_no_thing() -> None:
    differs = np.zeros((90, 90), np.bool_)
    differs[10:14, 5:85] = True
    differs[40:60, 40:60] = True
    votes = SimpleNamespace(differs=differs, belongs=differs, config=ChangeConfig())
    whole = things(cast(Votes, votes))
    assert not whole[:30].any()
    assert whole[42:58, 42:58].all()


def test_what_too_few_pairs_of_pictures_show_is_not_told(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    """The heap is in three of these pairs."""
    some = [flight[16:22] for flight in passes]
    assert told_at(compare(some[0], some[1], ChangeConfig(pairs_min=3)), 70.0, 24.0).pairs == 3
    few = compare(some[0], some[1], ChangeConfig(pairs_min=5))
    assert few.refusal is None
    assert not [one for one in few.changes if metres_off(one, 70.0, 24.0) < 5]


def test_frames_may_come_one_by_one(
    passes: tuple[list[GroundFrame], list[GroundFrame]],
) -> None:
    def one_by_one(frames: list[GroundFrame]) -> Iterator[GroundFrame]:
        yield from frames

    some = compare(one_by_one(passes[1][10:13]), one_by_one(passes[1][10:13]))
    assert some.refusal is None


def grained(colour: tuple[float, float, float], seed: int, amount: float = 0.35) -> Image:
    """A surface ``(90, 90, 3)`` of one colour with lumps of about three cells."""
    noise = np.random.default_rng(seed).normal(0, 1, (30, 30))
    lumps = np.kron(noise, np.ones((3, 3)))[..., None]
    return np.asarray(np.clip(np.array(colour) * (1 + amount * lumps), 5, 240), np.uint8)


GREY, GREEN = (90.0, 90.0, 90.0), (60.0, 100.0, 70.0)


def texture_apart(a: Image, b: Image) -> float:
    """In the middle, as a median."""
    apart = other_texture(light_of(a), light_of(b), cell_m=0.15, slack=0)
    return float(np.median(apart[20:70, 20:70]))


def test_other_texture_on_grey_ground_differs_and_on_plants_does_not() -> None:
    assert texture_apart(grained(GREY, 1), grained(GREY, 2)) > ChangeConfig().differs_min
    assert texture_apart(grained(GREEN, 1), grained(GREEN, 2)) == 0.0


def test_texture_that_agrees_in_part_is_the_same_in_new_light() -> None:
    a, b = grained(GREY, 1).astype(np.float32), grained(GREY, 2).astype(np.float32)
    mixed = np.clip(90 + 0.8 * (a - 90) + 0.6 * (b - 90), 5, 240).astype(np.uint8)
    assert texture_apart(grained(GREY, 1), mixed) == 0.0


def test_shade_is_no_other_surface_and_another_colour_is() -> None:
    ground = grained((80.0, 90.0, 100.0), 1, amount=0.1)
    shade = Shade.measured([])
    dark = np.exp(-0.75 * shade.way)
    shaded = np.clip((ground + 8.0) * dark - 8.0, 0, 255).astype(np.uint8)
    soil = grained((50.0, 80.0, 120.0), 1, amount=0.1)
    for other, least, most in ((shaded, 0.0, 0.05), (soil, 0.2, 1.0)):
        apart = shade.other_surface(light_of(ground), light_of(other), slack=0)
        assert least <= float(np.median(apart)) <= most


def test_the_way_of_shade_is_measured_where_there_is_enough_of_it() -> None:
    usual = Shade.measured([])
    assert usual.depth == 0.0
    way = np.array([0.47, 0.58, 0.66], np.float32)
    way /= np.linalg.norm(way)
    few, many = (np.tile(-0.8 * way, (count, 1)).astype(np.float32) for count in (100, 1000))
    assert np.allclose(Shade.measured([few]).way, usual.way)
    measured = Shade.measured([many])
    assert np.allclose(measured.way, way, atol=1e-3)
    assert measured.depth == pytest.approx(0.8, abs=1e-3)
