"""Two flights over one site: their footage and telemetry brought together and compared."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from pyproj import Proj

from detectors.change import Comparison, compare
from detectors.change_objects import Classify, GroundChange
from detectors.change_votes import ChangeConfig
from detectors.ground_map import GroundFrame, homography
from enforcement.changes import Change
from enforcement.errors import BadTelemetry, ConfigurationError, NoGroundPosition
from enforcement.flights import AircraftPose, GroundPoint, TelemetryConventions, pose_at
from enforcement.geometry import Point
from enforcement.missions import camera_of
from feeds.georeference import View, ground_position, view_from_pose
from feeds.telemetry import read_telemetry
from media.footage import Image, frames
from media.stills import read_still

VIDEO_CONFIG = ChangeConfig()
STILLS_CONFIG = ChangeConfig(pairs_min=2)
"""Stills are taken seconds apart: nobody on his way is at one place in two of them."""

_SAMPLE_FPS = 2.0
HEIGHT_PX = 1080
"""Larger pictures are made smaller; a pixel then covers 4 cm of ground from 60 m height."""
POSE_GAP_S = 1.5
_GRID = tuple(product((0.0, 0.25, 0.5, 0.75, 1.0), (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)))
_GRID_MIN = 12
"""So many places of a picture must lie on the ground, or it is left out."""


class Sight(NamedTuple):
    """A picture with the pose from which it was taken."""

    image: Image
    pose: AircraftPose
    t_s: float
    """Its time in the pass."""


class FlownPass(Protocol):
    """The pictures of one flight over the site."""

    @property
    def poses(self) -> Sequence[AircraftPose]:
        """What is known of its way, in the order of time."""

    @property
    def config(self) -> ChangeConfig:
        """How it is compared with another of its kind."""

    def sights(self) -> Iterator[Sight]:
        """In the order of time. Raises BadFootage."""


@dataclass(frozen=True)
class FlownVideo:
    """A video with what its telemetry says."""

    footage: Path
    poses: Sequence[AircraftPose]
    """In order of their ``t_s``, which each must have."""
    config: ChangeConfig = VIDEO_CONFIG

    def sights(self) -> Iterator[Sight]:
        for frame in frames(self.footage, sample_fps=_SAMPLE_FPS):
            if (pose := pose_at(self.poses, frame.t_s, POSE_GAP_S)) is not None:
                yield Sight(frame.picture(HEIGHT_PX), pose, frame.t_s)


@dataclass(frozen=True)
class Shot:
    """A still, looked at when its turn comes: a flight has hundreds."""

    pose: AircraftPose
    picture: Callable[[], Image | None]
    """At most ``HEIGHT_PX`` high; None where it is damaged."""


@dataclass(frozen=True)
class FlownStills:
    """Stills of one camera, in the order of time; the time of each in the pass is its number from
    0."""

    shots: Sequence[Shot]
    config: ChangeConfig = STILLS_CONFIG

    @property
    def poses(self) -> Sequence[AircraftPose]:
        return [shot.pose for shot in self.shots]

    def sights(self) -> Iterator[Sight]:
        for number, shot in enumerate(self.shots):
            if (picture := shot.picture()) is not None:
                yield Sight(picture, shot.pose, float(number))


@dataclass(frozen=True)
class PassChanges:
    """What two passes show otherwise, on the globe."""

    changes: tuple[Change, ...] = ()
    pictures: tuple[tuple[Image, Image], ...] = ()
    """Of each change: the same square of ground before and after, ``(N, N, 3)`` uint8 BGR."""
    refusal: str | None = None
    """Why the passes can't be compared; None if they were."""
    comparison: Comparison = field(default_factory=Comparison)
    """What the detector told, in metres from ``origin``."""
    origin: GroundPoint | None = None


def flown_pass(footage: Path, conventions: TelemetryConventions) -> FlownPass:
    """A flight by its video, with the subtitles or stream of telemetry beside it, or by a folder
    of stills, whose headers tell their poses; those that tell none are left out.

    Raises ConfigurationError if there is none, BadTelemetry if none of it can be used.
    """
    if footage.is_dir():
        return _flown_stills(footage, conventions)
    beside = (footage.with_suffix(suffix) for suffix in (".SRT", ".srt", ".ts", ".TS"))
    telemetry = next((path for path in beside if path.is_file()), None)
    if telemetry is None:
        raise ConfigurationError(
            f"{footage.name}: no telemetry lies beside it: {footage.stem}.SRT, say"
        )
    return FlownVideo(footage, read_telemetry(telemetry, conventions).poses)


def _flown_stills(folder: Path, conventions: TelemetryConventions) -> FlownStills:
    shots, cameras = [], set()
    # Their names count up.
    for path in sorted(folder.iterdir()):
        camera = camera_of(path.name)
        if camera is None or path.suffix.lower() not in {".jpg", ".jpeg"}:
            continue
        with suppress(BadTelemetry):
            pose = read_telemetry(path, conventions).poses[0]
            shots.append(Shot(pose, partial(read_still, path, HEIGHT_PX)))
            cameras.add(camera)
    if not shots:
        raise ConfigurationError(f"{folder}: no still in it says from where it was taken")
    if len(cameras) > 1:
        raise ConfigurationError(f"{folder}: stills of several cameras; compare them one by one")
    return FlownStills(shots)


def compare_passes(
    before: FlownPass, after: FlownPass, classify: Classify | None = None
) -> PassChanges:
    """What is new, gone or exchanged on the ground from one flight to the next, both of one kind.

    Raises BadFootage if the footage can't be decoded.
    """
    if not before.poses or not after.poses:
        return PassChanges(refusal="one of the passes has no telemetry")
    origin = before.poses[0].position
    plane = Proj(proj="aeqd", ellps="WGS84", lat_0=origin.latitude_deg, lon_0=origin.longitude_deg)
    passes = [_laid_down(one, plane) for one in (before, after)]
    found = compare(passes[0], passes[1], after.config, classify)
    return PassChanges(
        changes=tuple(_on_the_globe(one, plane) for one in found.changes),
        pictures=tuple((one.before, one.after) for one in found.changes),
        refusal=found.refusal,
        comparison=found,
        origin=origin,
    )


def _laid_down(one: FlownPass, plane: Proj) -> Iterator[GroundFrame]:
    """The pictures whose pose is known and that look at the ground."""
    for image, pose, t_s in one.sights():
        try:
            view = view_from_pose(pose, aspect=image.shape[1] / image.shape[0])
        except NoGroundPosition:
            continue
        seen = [(at, place) for at in _GRID if (place := _ground(view, at)) is not None]
        if len(seen) < _GRID_MIN:
            continue
        fractions = np.array([at for at, _ in seen], np.float64)
        longitudes = [place.longitude_deg for _, place in seen]
        latitudes = [place.latitude_deg for _, place in seen]
        places = np.stack(plane(longitudes, latitudes), axis=1)
        yield GroundFrame(image, homography(fractions, places), t_s)


def _ground(view: View, at: tuple[float, float]) -> GroundPoint | None:
    try:
        return ground_position(view, Point(*at)).place
    except NoGroundPosition:
        return None


def _on_the_globe(one: GroundChange, plane: Proj) -> Change:
    def place(east_m: float, north_m: float) -> GroundPoint:
        longitude, latitude = plane(east_m, north_m, inverse=True)
        return GroundPoint(float(latitude), float(longitude))

    return Change(
        sign=one.sign,
        place=place(one.east_m, one.north_m),
        radius_m=one.radius_m,
        outline=tuple(place(float(east), float(north)) for east, north in one.outline),
        area_m2=one.area_m2,
        score=one.score,
        is_vehicle=one.is_vehicle,
        shows=one.shows,
        pairs=one.pairs,
        before_t_s=one.before_t_s,
        after_t_s=one.after_t_s,
    )
