"""Overflight: when footage of a drone was taken, and where on the ground its findings are."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from enforcement.changes import Fix
from enforcement.errors import NoGroundPosition
from enforcement.flights import AircraftPose, pose_at
from enforcement.footage import Capture, Observation
from enforcement.rules import Finding
from feeds.georeference import ground_position, view_from_pose
from pipelines.missions import poses_of
from pipelines.patrol import POSE_GAP_S
from pipelines.wiring import Wiring
from storage.records import flights


@dataclass(frozen=True)
class Placed:
    """A finding, when it was and where."""

    finding: Finding
    alarm_at: datetime
    """True UTC: by the satellites where the telemetry says it."""
    fix: Fix | None
    """The ground below the middle of its lower edge; None where that is not known."""
    where: str
    """The place, or why there is none, as a reason for the reviewer."""


@dataclass(frozen=True)
class Overflight:
    """A piece of a drone's footage."""

    mission_id: str
    began_at: datetime
    """When the flight did."""
    capture: Capture
    poses: Sequence[AircraftPose]
    aspect: float

    @classmethod
    def of(cls, wiring: Wiring, capture: Capture, observations: Sequence[Observation]
           ) -> "Overflight":  # fmt: skip
        """Raises ConfigurationError if it was taken on no mission of the catalog, BadTelemetry if
        its positions can't be read."""
        poses = [pose for pose in poses_of(wiring, capture) if pose.t_s is not None]
        with wiring.database.transaction() as connection:
            found = flights.flight_of(connection, capture.capture_id)
            flight = None if found is None else flights.load(connection, found[0])
        seen = observations[0] if observations else None
        return cls(
            mission_id="" if flight is None else flight.mission_id,
            began_at=(flight and flight.began_at) or capture.began_at,
            capture=capture,
            poses=poses,
            aspect=16 / 9 if seen is None else seen.width_px / seen.height_px,
        )

    def placed(self, finding: Finding) -> Placed:
        """The finding with its moment and place."""
        pose = pose_at(self.poses, finding.alarm_at_s, POSE_GAP_S)
        alarm_at = self.capture.began_at + timedelta(seconds=finding.alarm_at_s)
        if pose is None:
            return Placed(finding, alarm_at, None, "place unknown: no position at that moment")
        try:
            view = view_from_pose(pose, aspect=self.aspect)
            found = ground_position(view, finding.box.foot)
        except NoGroundPosition as error:
            return Placed(finding, pose.moment or alarm_at, None, f"place unknown: {error}")
        fix = found.place, found.radius_m
        return Placed(finding, pose.moment or alarm_at, fix, where(fix))


def where(fix: Fix) -> str:
    """A place as reasons say it."""
    (latitude_deg, longitude_deg), radius_m = fix
    return (
        f"at {latitude_deg:.6f}, {longitude_deg:.6f}, within {radius_m:.1f} m with 95 % probability"
    )
