"""What a flight brought to be compared: its videos, and its stills camera by camera."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from enforcement.errors import BadFootage
from enforcement.flights import AircraftPose, pose_at
from enforcement.footage import Capture
from enforcement.missions import Flight, FlightState, Mission, camera_of, file_kind
from media.footage import Image, frame_at
from media.stills import read_still
from pipelines.missions import poses_of
from pipelines.patrol import HEIGHT_PX, POSE_GAP_S, FlownPass, FlownStills, FlownVideo, Shot
from pipelines.wiring import Wiring
from storage.records import captures, flights


@dataclass(frozen=True)
class Sighting:
    """Where in a flight's footage something is seen."""

    capture: Capture
    t_s: float
    """In that capture."""
    moment: datetime
    """True UTC: by the satellites where the telemetry says it."""
    pose: AircraftPose | None
    path: Path
    """The capture as a local file."""

    def picture(self) -> Image:
        """The whole picture. Raises BadFootage."""
        if self.capture.object.is_still:
            return read_still(self.path)
        return frame_at(self.path, self.t_s)


class Take(Protocol):
    """Footage that one camera took on one flight, at hand to be compared."""

    @property
    def flown(self) -> FlownPass: ...

    def sighting(self, t_s: float) -> AbstractContextManager[Sighting]:
        """What was seen at that time of the pass, for as long as its file is needed."""


@dataclass(frozen=True)
class StoredTake:
    """Footage that one camera took on one flight, in the store: one video, or all its stills."""

    is_video: bool
    camera: str
    captures: tuple[Capture, ...]

    @property
    def kind(self) -> tuple[bool, str]:
        """Only takes of one kind are compared: another camera shows all things otherwise."""
        return self.is_video, self.camera

    def fetched(self, wiring: Wiring) -> AbstractContextManager[Take]:
        """Raises BadTelemetry, StoreUnavailable."""
        if self.is_video:
            return _video(wiring, self.captures[0])
        return nullcontext(_Stills.of(wiring, self.captures))


@dataclass(frozen=True)
class Flown:
    """An accepted flight and what of its footage may be compared."""

    flight: Flight
    takes: tuple[StoredTake, ...]

    @property
    def sha256s(self) -> list[str]:
        """Of all that may be compared."""
        return [capture.object.sha256 for take in self.takes for capture in take.captures]


def accepted(wiring: Wiring, mission: Mission) -> list[Flight]:
    """The accepted flights of a mission, in the order in which they were flown."""
    with wiring.database.transaction() as connection:
        found = flights.of_mission(connection, mission.mission_id)
    return [
        flight
        for flight in found
        if flight.state is FlightState.ACCEPTED and flight.feed_id == mission.feed_id
    ]


def flown(wiring: Wiring, flight: Flight) -> Flown:
    """A flight with its footage: what is refused, damaged or shows heat is left out."""
    with wiring.database.transaction() as connection:
        filed = flights.captures_of(connection, flight.key)
    footage = [
        (name, capture)
        for name, capture in filed.items()
        if file_kind(name) in {"videos", "stills"} and name not in flight.refused
    ]
    return Flown(flight, tuple(_takes(footage)))


def _takes(footage: Sequence[tuple[str, Capture]]) -> Iterator[StoredTake]:
    stills: dict[str, list[Capture]] = {}
    for name, capture in footage:
        if (camera := camera_of(name)) is None:
            continue
        if file_kind(name) == "videos":
            yield StoredTake(True, camera, (capture,))
        else:
            stills.setdefault(camera, []).append(capture)
    for camera, taken in sorted(stills.items()):
        yield StoredTake(False, camera, tuple(taken))


@dataclass(frozen=True)
class _Video:
    capture: Capture
    path: Path
    poses: tuple[AircraftPose, ...]

    @property
    def flown(self) -> FlownPass:
        return FlownVideo(self.path, self.poses)

    def sighting(self, t_s: float) -> AbstractContextManager[Sighting]:
        pose = pose_at(self.poses, t_s, POSE_GAP_S)
        moment = pose.moment if pose is not None else None
        moment = moment or self.capture.began_at + timedelta(seconds=t_s)
        return nullcontext(Sighting(self.capture, t_s, moment, pose, self.path))


@contextmanager
def _video(wiring: Wiring, capture: Capture) -> Iterator[_Video]:
    poses = poses_of(wiring, capture)
    with wiring.footage_of(capture) as path:
        yield _Video(capture, path, tuple(pose for pose in poses if pose.t_s is not None))


@dataclass(frozen=True)
class _Stills:
    wiring: Wiring
    taken: tuple[tuple[AircraftPose, Capture], ...]
    """In the order of time."""

    @classmethod
    def of(cls, wiring: Wiring, stills: Sequence[Capture]) -> "_Stills":
        posed = [(poses_of(wiring, capture)[0], capture) for capture in stills]
        posed.sort(key=lambda one: (one[0].moment or one[1].began_at, one[1].source_name))
        return cls(wiring, tuple(posed))

    @property
    def flown(self) -> FlownPass:
        return FlownStills([Shot(pose, partial(self._picture, one)) for pose, one in self.taken])

    @contextmanager
    def sighting(self, t_s: float) -> Iterator[Sighting]:
        pose, capture = self.taken[round(t_s)]
        with self.wiring.footage_of(capture) as path:
            yield Sighting(capture, 0.0, pose.moment or capture.began_at, pose, path)

    def _picture(self, capture: Capture) -> Image | None:
        """Smaller, to be compared; one that can't be decoded is quarantined."""
        try:
            with self.wiring.footage_of(capture) as path:
                return read_still(path, HEIGHT_PX)
        except BadFootage as error:
            with self.wiring.database.transaction() as connection:
                captures.quarantine(connection, capture.capture_id, str(error), self.wiring.clock())
            return None
