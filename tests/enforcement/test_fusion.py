"""Which camera saw it, and which leads are one incident."""

from datetime import UTC, datetime, timedelta

import pytest

from enforcement.cases import Lead
from enforcement.flights import GroundPoint, GroundPolygon
from enforcement.fusion import (
    LONGEST_CLIP,
    SENSOR_REACH_M,
    Sighting,
    cameras_seeing,
    clip_span,
    is_one_incident,
    lead_span,
    sensor_place,
)
from enforcement.geometry import WHOLE_FRAME, Box
from enforcement.places import Device, Feed, FolderSource, MqttSource, Site

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HERE = GroundPoint(31.2, 121.5)
DEG_PER_M = 1 / 110_870  # of latitude, at 31°


def north(metres: float) -> GroundPoint:
    return GroundPoint(HERE.latitude_deg + metres * DEG_PER_M, HERE.longitude_deg)


def square(centre: GroundPoint, half_m: float) -> GroundPolygon:
    reach = half_m * DEG_PER_M
    return tuple(
        GroundPoint(centre.latitude_deg + a * reach, centre.longitude_deg + b * reach)
        for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))
    )


def sighting(
    name: str = "a",
    *,
    at_s: float = 0.0,
    lasts_s: float = 0.0,
    fix: tuple[GroundPoint, float] | None = None,
    in_view: GroundPolygon | None = None,
    **changes: object,
) -> Sighting:
    fields = {
        "lead_id": name, "rule_id": f"rule-{name}", "rule_version": 1, "rule_digest": "0" * 64,
        "feed_id": f"feed-{name}", "site_id": f"site-{name}", "zone_id": "z", "capture_id": name,
        "alarm_at": NOON + timedelta(seconds=at_s), "alarm_at_s": 5.0, "onset_s": 5.0,
        "end_s": 5.0 + lasts_s, "score": 0.5, "box": Box(*WHOLE_FRAME[0], *WHOLE_FRAME[2]),
        "reasons": ("x",), "raised_at": NOON,
    }  # fmt: skip
    lead = Lead.model_validate(fields | changes)
    return Sighting(lead, lead_span(lead), fix, in_view)


def test_a_lead_runs_from_its_onset_to_its_end_or_its_alarm() -> None:
    lead = sighting(at_s=0, onset_s=-5.0, end_s=35.0).lead
    assert lead_span(lead) == (NOON - timedelta(seconds=10), NOON + timedelta(seconds=30))
    for end_s in (None, 1.0):
        going_on = lead.model_copy(update={"end_s": end_s})
        assert lead_span(going_on) == (NOON - timedelta(seconds=10), NOON)


@pytest.mark.parametrize(
    ("apart_s", "one"), [(0, True), (90, True), (150, True), (150.1, False), (-60, True),
                         (-60.1, False)]
)  # fmt: skip
def test_times_may_lie_apart_as_far_as_the_rules_say(apart_s: float, one: bool) -> None:
    """The first goes on for 90 s."""
    a = sighting("a", lasts_s=90, fix=(HERE, 5))
    b = sighting("b", at_s=apart_s, fix=(HERE, 5))
    assert is_one_incident(a, b, 60) is one
    assert is_one_incident(b, a, 60) is one


PLACES = {
    "two fixes within their errors": ({"fix": (HERE, 3)}, {"fix": (north(4.9), 4)}, True),
    "two fixes farther apart": ({"fix": (HERE, 3)}, {"fix": (north(5.1), 4)}, False),
    "a fix in a view": ({"fix": (HERE, 1)}, {"in_view": square(north(8), 10)}, True),
    "a fix near a view": ({"fix": (HERE, 9)}, {"in_view": square(north(18), 10)}, True),
    "a fix beside a view": ({"fix": (HERE, 7)}, {"in_view": square(north(18), 10)}, False),
    "views that overlap": (
        {"in_view": square(HERE, 10)}, {"in_view": square(north(19), 10)}, True,
    ),
    "a view within another": (
        {"in_view": square(HERE, 10)}, {"in_view": square(HERE, 100)}, True,
    ),
    "views that cross like a plus": (
        {"in_view": (north(-50), north(-50)._replace(longitude_deg=121.50001),
                      north(50)._replace(longitude_deg=121.50001), north(50))},
        {"in_view": tuple(
            GroundPoint(HERE.latitude_deg + a * DEG_PER_M, HERE.longitude_deg + b * 1e-3)
            for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))
        )},
        True,
    ),
    "views side by side": (
        {"in_view": square(HERE, 10)}, {"in_view": square(north(21), 10)}, False,
    ),
    "one site, nothing else known": ({"site_id": "s"}, {"site_id": "s"}, True),
    "another site, nothing else known": ({}, {}, False),
    "a view and one site": (
        {"in_view": square(HERE, 9), "site_id": "s"}, {"site_id": "s"}, True,
    ),
    "one site, but a fix out of view": (
        {"fix": (HERE, 5), "site_id": "s"},
        {"in_view": square(north(90), 10), "site_id": "s"}, False,
    ),
    "two things in one view": (
        {"feed_id": "f", "box": Box(0.1, 0.1, 0.2, 0.2)},
        {"feed_id": "f", "box": Box(0.7, 0.7, 0.8, 0.8)}, False,
    ),
    "one thing in one view": (
        {"feed_id": "f", "box": Box(0.1, 0.1, 0.2, 0.2)},
        {"feed_id": "f", "box": Box(0.22, 0.1, 0.3, 0.2)}, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLACES)
def test_what_is_known_best_of_two_places_tells_whether_they_are_one(name: str) -> None:
    first, second, one = PLACES[name]
    a, b = sighting("a", **first), sighting("b", **second)  # type: ignore[arg-type]
    assert is_one_incident(a, b, 60) is one
    assert is_one_incident(b, a, 60) is one


def test_leads_of_one_rule_and_feed_differ_already_and_planted_ones_join_nothing() -> None:
    a = sighting("a", fix=(HERE, 5))
    same = sighting("b", fix=(HERE, 5), rule_id="rule-a", feed_id="feed-a")
    assert not is_one_incident(a, same, 60)
    assert is_one_incident(a, sighting("b", fix=(HERE, 5), rule_id="rule-a"), 60)
    assert is_one_incident(a, sighting("b", fix=(HERE, 5), feed_id="feed-a"), 60)
    planted = sighting("b", fix=(HERE, 5), seeded=True)
    assert not is_one_incident(a, planted, 60)
    assert not is_one_incident(planted, a, 60)


def device(name: str, place: GroundPoint | None) -> Device:
    return Device(
        device_id=name, title=name, purpose="x", place=place,
        valid_from=NOON - timedelta(days=1), valid_until=NOON + timedelta(days=1),
    )  # fmt: skip


def camera(name: str, **changes: object) -> Feed:
    fields: dict[str, object] = {
        "feed_id": name, "title": name, "site_id": "s", "device_id": name,
        "source": FolderSource(path="x"), "in_view": square(HERE, 20),
    }  # fmt: skip
    return Feed.model_validate(fields | changes)


def test_cameras_that_see_the_place_come_nearest_first_and_unknown_ones_last() -> None:
    masts = {"far": north(80), "near": north(30), "none": None, "b": north(50), "a": north(50)}
    feeds = [camera(name) for name in ("none", "far", "b", "a", "near")]
    feeds += [
        camera("off", enabled=False),
        camera("blind", in_view=None),
        camera("elsewhere", in_view=square(north(50), 20)),
        camera("meter", source=MqttSource(host="h", topics=("t",))),
    ]
    devices = [device(name, place) for name, place in masts.items()]
    found = cameras_seeing(HERE, feeds, devices)
    assert [one.feed.feed_id for one in found] == ["near", "a", "b", "far", "none"]
    assert found[0].distance_m == pytest.approx(30, abs=0.1)
    assert found[-1].distance_m is None


def test_a_sensor_stands_where_its_device_does_else_at_its_site() -> None:
    site = Site(site_id="s", title="S", latitude_deg=1.0, longitude_deg=2.0)
    assert sensor_place(device("d", HERE), site) == HERE
    assert sensor_place(device("d", None), site) == GroundPoint(1.0, 2.0)
    assert sensor_place(None, site) == GroundPoint(1.0, 2.0)
    assert sensor_place(None, Site(site_id="s", title="S")) is None


def test_of_a_long_time_the_end_with_the_alarm_is_shown() -> None:
    six = timedelta(seconds=6)
    assert clip_span(NOON - timedelta(seconds=90), NOON) == (
        NOON - timedelta(seconds=96), NOON + six,
    )  # fmt: skip
    start, end = clip_span(NOON - timedelta(hours=1), NOON)
    assert (end, end - start) == (NOON + six, LONGEST_CLIP)
    assert SENSOR_REACH_M == 50
