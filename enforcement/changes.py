"""What changed on the ground between two passes of a patrol: which changes are findings, and where.

Places are WGS84 with the radius within which they lie with 95 % probability.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import cos, hypot, radians, sin, sqrt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from enforcement.flights import GroundPoint, GroundPolygon, ground_contains, turned
from enforcement.model import Name, Record, Score
from enforcement.places import GroundZone, ZonePurpose

Radius = Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
SquareMetres = Annotated[float, Field(ge=0, le=1e8, allow_inf_nan=False)]
Sign = Literal["appeared", "disappeared", "replaced"]

_SEMI_MAJOR_M, _ECCENTRICITY_2 = 6_378_137.0, 0.006_694_379_990_14
"""Of the WGS84 ellipsoid."""


class Change(Record):
    """One difference between two passes, as a detector tells it."""

    sign: Sign
    place: GroundPoint
    """Its centre."""
    radius_m: Radius
    outline: Annotated[GroundPolygon, Field(min_length=3)]
    area_m2: SquareMetres
    score: Score
    is_vehicle: bool
    shows: dict[Name, Score] = Field(default_factory=dict)
    """Probabilities of what it is, by class; empty if no classifier looked."""
    pairs: Annotated[int, Field(ge=1)] = 1
    """How many pairs of pictures show it."""
    before_t_s: float = 0.0
    after_t_s: float = 0.0
    """Where in the footage of each pass it is seen best."""


class ChangeOnGround(Record):
    """Something lies, stands or was dug in the watched ground that was not there before."""

    kind: Literal["change_on_ground"] = "change_on_ground"
    area_min_m2: SquareMetres = 4.0
    score_min: Score = 0.4
    vehicles: bool = False
    """Whether a vehicle that stands there now counts, too."""
    waste_min: Score = 0.0
    """Where a classifier looked, it must be at least this sure of waste; 0 lets earthworks and
    structures count as well."""
    lawful_margin_m: Annotated[float, Field(ge=0, le=50)] = 1.5
    """Lawful areas reach so far beyond their edge, for positions are off by about as much."""

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if self.vehicles and self.waste_min > 0:
            raise ValueError("vehicles and waste_min contradict each other: no vehicle is waste")
        return self


class Objection(StrEnum):
    """Why a change is no finding."""

    NOT_NEW = "not_new"
    """Something is gone."""
    TOO_SMALL = "too_small"
    UNSURE = "unsure"
    VEHICLE = "vehicle"
    NOT_WASTE = "not_waste"
    OUTSIDE = "outside"
    """In no zone that the rule watches."""
    LAWFUL_PLACE = "lawful_place"


class ChangeFinding(Record):
    """What changed at one place in one watched zone."""

    zone_id: Name
    place: GroundPoint
    radius_m: Radius
    outline: GroundPolygon
    """Of the clearest of its changes."""
    area_m2: SquareMetres
    """Of the largest."""
    score: Score
    changes: tuple[int, ...]
    """Which changes it rests on, by their numbers from 0; the clearest first."""
    reasons: tuple[str, ...]
    """Short facts, each of which the rule relied on."""


def objections(
    params: ChangeOnGround, purpose: ZonePurpose, zones: Iterable[GroundZone], change: Change
) -> tuple[Objection, ...]:
    """Every reason why this change is no finding in zones of this purpose; none if it is one."""
    zones = tuple(zones)
    found = []
    if change.sign == "disappeared":
        found.append(Objection.NOT_NEW)
    if change.area_m2 < params.area_min_m2:
        found.append(Objection.TOO_SMALL)
    if change.score < params.score_min:
        found.append(Objection.UNSURE)
    if change.is_vehicle and not params.vehicles:
        found.append(Objection.VEHICLE)
    if change.shows and change.shows.get("waste", 0.0) < params.waste_min:
        found.append(Objection.NOT_WASTE)
    if _watched(purpose, zones, change.place) is None:
        found.append(Objection.OUTSIDE)
    if any(_reaches(zone, change.place, params.lawful_margin_m) for zone in _lawful(zones)):
        found.append(Objection.LAWFUL_PLACE)
    return tuple(found)


def changes_on_ground(
    params: ChangeOnGround,
    purpose: ZonePurpose,
    zones: Iterable[GroundZone],
    changes: Sequence[Change],
) -> tuple[ChangeFinding, ...]:
    """The findings, one for each place in a zone of this purpose, the surest first.

    Changes count that are new, large and sure enough, are no vehicle, and lie in such a zone and in
    no lawful area. Those that may lie at one place are one finding.
    """
    zones = tuple(zones)
    watched: dict[str, list[int]] = {}
    for number, change in enumerate(changes):
        zone = _watched(purpose, zones, change.place)
        if zone is not None and not objections(params, purpose, zones, change):
            watched.setdefault(zone.zone_id, []).append(number)
    titles = {zone.zone_id: zone.title or zone.zone_id for zone in zones}
    findings = [
        _finding(zone_id, titles[zone_id], [numbers[n] for n in group], changes)
        for zone_id, numbers in watched.items()
        for group in same_places([(changes[n].place, changes[n].radius_m) for n in numbers])
    ]
    return tuple(sorted(findings, key=lambda finding: (-finding.score, finding.changes)))


def _finding(zone_id: str, title: str, numbers: Sequence[int], changes: Sequence[Change]
             ) -> ChangeFinding:  # fmt: skip
    clearest_first = sorted(numbers, key=lambda n: (-changes[n].score, n))
    best = changes[clearest_first[0]]
    place, radius_m = joined([(changes[n].place, changes[n].radius_m) for n in numbers])
    area_m2 = max(changes[n].area_m2 for n in numbers)
    new = "something new" if best.sign == "appeared" else "something else than before"
    reasons = [
        f"{new} on about {area_m2:.0f} m² of ground",
        f"the same in {best.pairs} pairs of pictures of both passes",
        "by size and shape a vehicle" if best.is_vehicle else "no vehicle by size and shape",
        f"in {title}, outside the lawful areas",
    ]
    if "waste" in best.shows:
        reasons.append(f"resembles waste with {best.shows['waste']:.2f}")
    if len(numbers) > 1:
        reasons.append(f"found {len(numbers)} times within {radius_m:.1f} m")
    return ChangeFinding(
        zone_id=zone_id,
        place=place,
        radius_m=radius_m,
        outline=best.outline,
        area_m2=area_m2,
        score=best.score,
        changes=tuple(clearest_first),
        reasons=tuple(reasons),
    )


Fix = tuple[GroundPoint, float]
"""A place and the radius within which it is with 95 % probability, in metres."""


def same_places(fixes: Sequence[Fix]) -> tuple[tuple[int, ...], ...]:
    """Groups of fixes that may be of one place, by their numbers, in order.

    Two may be of one place if they are no farther apart than both their errors together make
    likely: the root of the sum of their squared radii. Whoever joins does so with the group's
    joint place, so that a row of things does not become one.
    """
    groups: list[list[int]] = []
    for number, (place, radius_m) in enumerate(fixes):
        for group in groups:
            middle, joint_m = joined([fixes[member] for member in group])
            if metres_apart(middle, place) <= hypot(joint_m, radius_m):
                group.append(number)
                break
        else:
            groups.append([number])
    return tuple(tuple(group) for group in groups)


def joined(fixes: Sequence[Fix]) -> Fix:
    """One place for several fixes of it, the surer the more it weighs.

    Pictures of one flight share most of their error, so more of them make the place no surer: the
    radius is their mean one (harmonic, of squares), and more where they lie apart.
    """
    start = fixes[0][0]
    weights = [1 / radius_m**2 for _, radius_m in fixes]
    shifts = [_shift_m(start, place) for place, _ in fixes]
    total = sum(weights)
    east_m, north_m = (
        sum(w * shift[axis] for w, shift in zip(weights, shifts, strict=True)) / total
        for axis in (0, 1)
    )
    spread = (
        sum(
            w * ((shift[0] - east_m) ** 2 + (shift[1] - north_m) ** 2)
            for w, shift in zip(weights, shifts, strict=True)
        )
        / total
    )
    return _moved(start, east_m, north_m), sqrt(len(fixes) / total + spread)


def metres_apart(a: GroundPoint, b: GroundPoint) -> float:
    """Between places up to some kilometres apart, on the ellipsoid's local plane."""
    return hypot(*_shift_m(a, b))


def _metres_a_degree(latitude_deg: float) -> tuple[float, float]:
    """Of longitude and of latitude there: radii of curvature of the ellipsoid."""
    latitude = radians(latitude_deg)
    bulge = 1 - _ECCENTRICITY_2 * sin(latitude) ** 2
    across_m = _SEMI_MAJOR_M / sqrt(bulge) * cos(latitude)
    along_m = _SEMI_MAJOR_M * (1 - _ECCENTRICITY_2) / bulge**1.5
    return radians(1) * across_m, radians(1) * along_m


def _shift_m(start: GroundPoint, end: GroundPoint) -> tuple[float, float]:
    """Metres east and north."""
    east, north = _metres_a_degree((start.latitude_deg + end.latitude_deg) / 2)
    return (
        turned(end.longitude_deg - start.longitude_deg) * east,
        (end.latitude_deg - start.latitude_deg) * north,
    )


def _moved(start: GroundPoint, east_m: float, north_m: float) -> GroundPoint:
    latitude_deg = start.latitude_deg + north_m / _metres_a_degree(start.latitude_deg)[1]
    east, _ = _metres_a_degree((start.latitude_deg + latitude_deg) / 2)
    return GroundPoint(latitude_deg, turned(start.longitude_deg + east_m / east))


def _watched(
    purpose: ZonePurpose, zones: Iterable[GroundZone], place: GroundPoint
) -> GroundZone | None:
    """The first zone of this purpose in which the place lies."""
    for zone in zones:
        if zone.purpose is purpose and ground_contains(zone.polygon, place):
            return zone
    return None


def _lawful(zones: Iterable[GroundZone]) -> list[GroundZone]:
    return [zone for zone in zones if zone.purpose is ZonePurpose.LAWFUL_USE]


def _reaches(zone: GroundZone, place: GroundPoint, margin_m: float) -> bool:
    return lies_within(zone.polygon, place, margin_m)


def lies_within(polygon: GroundPolygon, place: GroundPoint, margin_m: float) -> bool:
    """Whether the place lies in the polygon or no farther than the margin from its edge."""
    if ground_contains(polygon, place):
        return True
    corners = [_shift_m(place, corner) for corner in polygon]
    sides = zip(corners, [*corners[1:], corners[0]], strict=True)
    return any(_from_origin(a, b) <= margin_m for a, b in sides)


def _from_origin(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Distance of the line from a to b from the origin."""
    along = (b[0] - a[0], b[1] - a[1])
    length_2 = along[0] ** 2 + along[1] ** 2
    share = 0.0 if length_2 == 0 else -(a[0] * along[0] + a[1] * along[1]) / length_2
    share = min(1.0, max(0.0, share))
    return hypot(a[0] + share * along[0], a[1] + share * along[1])
