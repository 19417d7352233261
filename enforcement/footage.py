"""What arrived and what models saw in it: captures, tracks, observations, stored objects."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from enforcement.geometry import Box
from enforcement.model import Name, Record, Score, Sha256, Utc


class StoredObject(Record):
    """The only way to name stored bytes: by key *and* version *and* digest."""

    bucket: str
    key: str
    version_id: str
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    media_type: str

    @property
    def is_still(self) -> bool:
        """Whether it is a single picture, with nothing to play."""
        return self.media_type == "image/jpeg"


class Capture(Record):
    """Bytes exactly as received, filed and hashed before any detector looked at them."""

    capture_id: str
    feed_id: Name
    object: StoredObject
    captured_at: Utc
    """By the device's clock: the moment of the first frame."""
    received_at: Utc
    """By our clock."""
    clock_offset_s: float
    source_name: str
    """How the source called it (file name or stream); never used as a key."""

    @property
    def began_at(self) -> datetime:
        """The moment of the first frame in true UTC."""
        return self.captured_at + timedelta(seconds=self.clock_offset_s)


class Label(StrEnum):
    PERSON = "person"
    BICYCLE = "bicycle"
    CAR = "car"
    MOTORCYCLE = "motorcycle"
    BUS = "bus"
    TRUCK = "truck"
    STATIC_OBJECT = "static_object"
    """Something that was not there before and has stopped moving: a bag, a box, a heap."""
    THROWN_OBJECT = "thrown_object"
    """Something that flew and fell, as thrown by somebody or out of a window."""
    FIRE = "fire"
    SMOKE = "smoke"

    @property
    def is_vehicle(self) -> bool:
        return self in {Label.CAR, Label.MOTORCYCLE, Label.BUS, Label.TRUCK}

    @property
    def is_actor(self) -> bool:
        """Whether it could have left something behind."""
        return self.is_vehicle or self in {Label.PERSON, Label.BICYCLE}


class TrackPoint(Record):
    """Where a track was at one moment, in seconds from the first frame of the capture.

    Negative: in the capture before, where the feed was watched without a break.
    """

    t_s: float
    box: Box
    score: Score


class Track(Record):
    """The same thing over time.

    ``traits`` are named measurements of the model that a rule may use, e.g. for a static object
    ``edge_ratio`` (its own edges against those of the ground it hides; below 1 a ghost) and
    ``appeared_s`` (moment at which its pixels first differed from the settled background).
    """

    track_id: Annotated[int, Field(ge=0)]
    label: Label
    points: Annotated[tuple[TrackPoint, ...], Field(min_length=1)]
    traits: dict[str, float] = Field(default_factory=dict)

    @property
    def first_s(self) -> float:
        return self.points[0].t_s

    @property
    def last_s(self) -> float:
        return self.points[-1].t_s

    @property
    def score(self) -> float:
        """Mean confidence over the track."""
        return sum(point.score for point in self.points) / len(self.points)

    def at(self, t_s: float, tolerance_s: float) -> TrackPoint | None:
        """The point nearest in time, or None if none lies within the tolerance."""
        best = min(self.points, key=lambda point: abs(point.t_s - t_s))
        return best if abs(best.t_s - t_s) <= tolerance_s else None


class ViewProblem(StrEnum):
    """What can be wrong with a view."""

    COVERED = "covered"
    BLACK = "black"
    FROZEN = "frozen"
    DEFOCUSED = "defocused"
    TURNED = "turned"
    """The camera sees something else than it did."""


class ViewFinding(Record):
    """A view was no good for a while, or a part of it; seconds from the first frame."""

    problem: ViewProblem
    start_s: float
    end_s: float
    share: Score
    """How much of the view."""


class Observation(Record):
    """All that one named model saw in one capture.

    Without tracks: it looked and saw nothing. An absent observation: it has not looked.
    """

    capture_id: str
    model: Name
    model_digest: Sha256
    """Digest of the weights or, for a model without weights, of its source code."""
    config_digest: Sha256
    config: dict[str, float | int | str | bool]
    width_px: int
    height_px: int
    duration_s: float
    frames_seen: int
    carried_from: str | None = None
    """The capture of the feed just before, if its models' knowledge was carried over."""
    gap_s: float = 0.0
    """From the end of that capture to the start of this one."""
    sample_fps: float
    """Frames a second that the model looked at."""
    tracks: tuple[Track, ...] = ()
    unsteady_s: tuple[tuple[float, float], ...] = ()
    """Spans, in order and apart, in which the view moved or was not recognised: nothing that
    rests on a fixed view may be concluded there. The whole capture, if that was so too often.
    Empty as well if the model does not look at the view."""
    view: tuple[ViewFinding, ...] = ()
    """What was wrong with the view, if the model looks at it."""
