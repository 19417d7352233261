"""Patrol missions: what is to be flown, when, by which approval, and when a flight has arrived."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from enforcement.flights import (
    FlightApproval,
    GroundPoint,
    Latitude,
    Longitude,
    TelemetryConventions,
    ground_contains,
)
from enforcement.model import Name, Record, Utc
from enforcement.places import GroundZone


class Waypoint(Record):
    """A stop of the planned route; height above the place of take-off."""

    latitude_deg: Latitude
    longitude_deg: Longitude
    height_m: Annotated[float, Field(ge=0, le=10_000)]


class FileCounts(Record):
    """Files of one flight, by kind."""

    videos: Annotated[int, Field(ge=0)] = 0
    stills: Annotated[int, Field(ge=0)] = 0
    telemetry: Annotated[int, Field(ge=0)] = 0

    def reaches(self, expected: "FileCounts") -> bool:
        """Whether of every kind at least as many files are there."""
        return (
            self.videos >= expected.videos
            and self.stills >= expected.stills
            and self.telemetry >= expected.telemetry
        )


class Mission(Record):
    """A patrol as it is planned and approved, flown once for each turn of its schedule."""

    mission_id: Name
    title: str
    feed_id: Name
    """Of the aircraft: site, device with its reviews, where its files come in, and zones in its
    view for what is told from one picture alone."""
    purpose: Annotated[str, StringConstraints(min_length=1)]
    approval: FlightApproval
    route: tuple[Waypoint, ...] = ()
    schedule: Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")] | None = None
    """Five cron fields in the zone of ``conventions``, or in UTC. None: flown when called for."""
    expected_files: FileCounts | None = None
    """What one flight brings; None where only the dock's own count or time tells."""
    grace_s: Annotated[float, Field(ge=0, le=7 * 86_400)] = 3_600.0
    """After the last file; then a flight is closed, whether or not its files are complete."""
    conventions: TelemetryConventions = TelemetryConventions()
    zones: tuple[GroundZone, ...] = ()
    """On the ground, for changes from one flight to the next."""

    @model_validator(mode="after")
    def _route_stays_inside(self) -> Self:
        for number, stop in enumerate(self.route, start=1):
            if not ground_contains(
                self.approval.area, GroundPoint(stop.latitude_deg, stop.longitude_deg)
            ):
                raise ValueError(f"waypoint {number} lies outside the approved area")
            limit = self.approval.max_height_m
            if limit is not None and stop.height_m > limit:
                raise ValueError(f"waypoint {number} lies above the approved {limit:g} m")
        return self


class Completeness(StrEnum):
    """How far the files of a flight have arrived."""

    AWAITED = "awaited"
    COMPLETE = "complete"
    OVERDUE = "overdue"
    """The grace time has passed: closed with what is there."""


def completeness(
    mission: Mission,
    arrived: FileCounts,
    last_arrival: Utc,
    now: Utc,
    dock_counts: tuple[int, int] | None = None,
) -> Completeness:
    """Whether a flight may be worked on.

    ``dock_counts``: files that the dock expects and those that it uploaded, from its last
    ``file_upload_callback``. Without it and without expected files, only the grace time tells.
    """
    stated: list[bool] = []
    if mission.expected_files is not None:
        stated.append(arrived.reaches(mission.expected_files))
    if dock_counts is not None:
        expected, uploaded = dock_counts
        here = arrived.videos + arrived.stills + arrived.telemetry
        stated.append(expected > 0 and uploaded >= expected and here >= expected)
    if stated and all(stated):
        return Completeness.COMPLETE
    waited_s = (now - last_arrival).total_seconds()
    return Completeness.OVERDUE if waited_s >= mission.grace_s else Completeness.AWAITED
