"""Patrol missions: what is to be flown, when, by which approval, and when a flight has arrived."""

import re
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, StringConstraints, model_validator

from enforcement.flights import (
    AircraftPose,
    FlightApproval,
    GroundPoint,
    Latitude,
    Longitude,
    TelemetryConventions,
    Trespass,
    ground_contains,
    trespasses,
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
    others: Annotated[int, Field(ge=0)] = 0
    """Logs of satellites' signals and the like: kept, and counted by docks, but read by nobody."""

    @property
    def total(self) -> int:
        return self.videos + self.stills + self.telemetry + self.others

    def reaches(self, expected: "FileCounts") -> bool:
        """Whether of every kind at least as many files are there."""
        return (
            self.videos >= expected.videos
            and self.stills >= expected.stills
            and self.telemetry >= expected.telemetry
            and self.others >= expected.others
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

    @property
    def missed_after_s(self) -> float:
        """So long after a turn of the schedule a flight of which nothing has come is missed: an
        hour to fly and to begin to upload, and the grace time."""
        return 3_600.0 + self.grace_s

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
        stated.append(expected > 0 and uploaded >= expected and arrived.total >= expected)
    if stated and all(stated):
        return Completeness.COMPLETE
    waited_s = (now - last_arrival).total_seconds()
    return Completeness.OVERDUE if waited_s >= mission.grace_s else Completeness.AWAITED


class FlightKey(NamedTuple):
    """Which flight: as the folders are named into which its files came."""

    feed_id: str
    mission_id: str
    flight_id: str


class FlightState(StrEnum):
    """How far a flight has come."""

    AWAITED = "awaited"
    """Its files are still coming."""
    ACCEPTED = "accepted"
    """What its approval covers is looked at and compared."""
    REFUSED = "refused"
    """Nothing of it is: no mission of the catalog, or no approval, covers it."""
    REPEATED = "repeated"
    """The same files as those of an earlier flight."""


class Flight(Record):
    """A flight as far as its files have come."""

    feed_id: Name
    mission_id: str
    flight_id: str
    state: FlightState
    first_file_at: Utc
    last_file_at: Utc
    closed_at: Utc | None = None
    began_at: Utc | None = None
    """When its first footage was taken, in true UTC."""
    mission_digest: str | None = None
    """Of the mission that it was held against."""
    overdue: bool = False
    """It was closed without all its files."""
    refused: dict[str, str] = Field(default_factory=dict)
    """Files that nobody may look at, and why."""

    @property
    def key(self) -> FlightKey:
        return FlightKey(self.feed_id, self.mission_id, self.flight_id)

    @property
    def flown_at(self) -> Utc:
        """When it was, as far as is known."""
        return self.began_at or self.first_file_at


_EARLY = timedelta(minutes=15)
"""A flight may be begun so long before its turn: the weather, or another flight, may ask for it."""


def is_of_turn(flight: Flight, due_at: Utc) -> bool:
    """Whether a flight may be the one that was due then: flown, or at least come, no earlier.

    A copy of an earlier flight is none.
    """
    if flight.state is FlightState.REPEATED:
        return False
    return flight.flown_at >= due_at - _EARLY


FileKind = Literal["videos", "stills", "telemetry", "others"]

_KINDS: dict[FileKind, frozenset[str]] = {
    "videos": frozenset({".mp4", ".mov", ".mkv", ".avi", ".ts", ".mts", ".m2ts"}),
    "stills": frozenset({".jpg", ".jpeg", ".dng", ".tif", ".tiff", ".png"}),
    "telemetry": frozenset({".srt", ".klv", ".bin"}),
}


def file_kind(name: str) -> FileKind:
    """What a file of a flight is, by the end of its name."""
    suffix = PurePosixPath(name).suffix.lower()
    return next((kind for kind, suffixes in _KINDS.items() if suffix in suffixes), "others")


_CAMERA = re.compile(r"_\d+_([A-Z])$")
"""DJI ends the names of what aircraft with several cameras take with a letter: W wide, Z zoom,
V visible, T thermal (``DJI_20260511093000_0001_V.JPG``)."""


def camera_of(name: str) -> str | None:
    """Which of an aircraft's cameras took a file, by its name; empty where it has but one.

    None: its pictures show heat, not what lies there.
    """
    found = _CAMERA.search(PurePosixPath(name).stem.upper())
    camera = found[1] if found else ""
    return None if camera == "T" else camera


def counted(names: Sequence[str]) -> FileCounts:
    """How many files there are of each kind."""
    kinds = [file_kind(name) for name in names]
    return FileCounts(
        videos=kinds.count("videos"),
        stills=kinds.count("stills"),
        telemetry=kinds.count("telemetry"),
        others=kinds.count("others"),
    )


def refusal(poses: Sequence[AircraftPose], approval: FlightApproval) -> str | None:
    """Why footage with these poses must not be looked at, in words; None if the approval covers
    every one of them."""
    if not poses:
        return "no position is known: nobody can show that it was flown inside the approved area"
    against: dict[Trespass, list[AircraftPose]] = {}
    for pose in poses:
        for trespass in trespasses(pose, approval):
            against.setdefault(trespass, []).append(pose)
    parts = [
        f"{_WORDS[trespass]} {_span(found)}({len(found)} of {len(poses)} positions)"
        for trespass, found in against.items()
    ]
    return f"approval {approval.approval_id}: " + "; ".join(parts) if parts else None


_WORDS = {
    Trespass.OUTSIDE_AREA: "outside the approved area",
    Trespass.BEFORE_APPROVAL: "before the approval begins",
    Trespass.AFTER_APPROVAL: "after the approval ended",
    Trespass.TIME_UNKNOWN: "at a time that nobody can tell: name the time zone of its telemetry in"
    " the mission's conventions",
    Trespass.TOO_HIGH: "above the approved height",
}


def _span(poses: Sequence[AircraftPose]) -> str:
    times = [pose.t_s for pose in poses if pose.t_s is not None]
    return f"from {min(times):.1f} s to {max(times):.1f} s " if times else ""
