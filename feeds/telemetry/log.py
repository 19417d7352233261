"""What every telemetry parser gives back, and the steps that they share."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from enforcement.errors import BadTelemetry
from enforcement.flights import AircraftPose, TelemetryConventions, turned

MOST_CUES = 400_000
"""Poses and refusals of one file: 1.8 hours at 60 cues a second. What follows is not read."""


@dataclass(frozen=True, slots=True)
class RefusedCue:
    """A part of a telemetry file that gives no pose."""

    number: int
    """Which part of the file, counted from 1 in the order in which they stand there."""
    reason: str


@dataclass(frozen=True, slots=True)
class TelemetryLog:
    """What one file says. Parts that are missing from ``poses`` are in ``refused``."""

    poses: tuple[AircraftPose, ...]
    """At least one; in order of ``t_s`` where the file has such times, otherwise as they stood."""
    refused: tuple[RefusedCue, ...] = ()
    undated: int = 0
    """Poses whose local time nobody could turn into UTC: no zone is configured, or the clock
    showed that hour twice or not at all, for a change to or from summer time."""

    @property
    def reasons(self) -> dict[str, int]:
        """How many parts were refused for which reason, the most frequent first."""
        return dict(Counter(cue.reason for cue in self.refused).most_common())


class Refusal(Exception):
    """Why one part of a file gives no pose; its text is the reason."""


class LogBook:
    """Collects the parts of one file as they are read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._poses: list[AircraftPose] = []
        self._refused: list[RefusedCue] = []
        self._undated = 0

    @property
    def is_full(self) -> bool:
        return self._count >= MOST_CUES

    @property
    def _count(self) -> int:
        return len(self._poses) + len(self._refused)

    def take(self, pose: AircraftPose, undated: bool = False) -> None:
        self._poses.append(pose)
        self._undated += undated

    def refuse(self, reason: str) -> None:
        self._refused.append(RefusedCue(self._count + 1, reason))

    def close(self, kind: str) -> TelemetryLog:
        """Raises BadTelemetry, with the reasons and how often each, if there is no pose."""
        if not self._poses:
            reasons = Counter(cue.reason for cue in self._refused).most_common(3)
            why = "; ".join(f"{reason} ({times}×)" for reason, times in reasons)
            raise BadTelemetry(f"{self._name}: {why or f'it holds no {kind}'}.")
        poses = self._poses
        if all(pose.t_s is not None for pose in poses):
            poses = sorted(poses, key=lambda pose: pose.t_s or 0.0)
        return TelemetryLog(tuple(poses), tuple(self._refused), self._undated)


def pose_of(fields: dict[str, Any]) -> AircraftPose:
    """The pose of these fields; raises Refusal if one is out of range or there was no fix."""
    if fields.get("latitude_deg") == 0 and fields.get("longitude_deg") == 0:
        raise Refusal("position 0, 0: no satellite fix")
    try:
        return AircraftPose(**fields)
    except ValidationError as error:
        names = sorted({str(one["loc"][0]) for one in error.errors() if one["loc"]})
        raise Refusal(f"out of range: {', '.join(names)}") from error


def in_utc(local: datetime, conventions: TelemetryConventions) -> datetime | None:
    """A moment from the aircraft's local clock; None if that can't be told for sure."""
    if conventions.time_zone is None:
        return None
    zone = ZoneInfo(conventions.time_zone)
    try:
        early = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
        late = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    except OverflowError:
        return None
    return early if early == late else None


def gimbal_yaw(
    stated_deg: float, heading_deg: float | None, conventions: TelemetryConventions
) -> float | None:
    """The camera's yaw from true north; None if it counts from a nose that points nobody knows
    where."""
    if conventions.gimbal_yaw == "from_north":
        return stated_deg
    return None if heading_deg is None else turned(stated_deg + heading_deg)
