"""All that was seen in one capture, as one scene in which distances and moments can be asked.

Distances are in units of the picture's height, so that a metre to the right is as long as a metre
down; sizes of things are their longer side in the same unit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Annotated

from pydantic import Field

from enforcement.footage import Observation, Track, TrackPoint
from enforcement.geometry import Box

Seconds = Annotated[float, Field(ge=0, le=86400)]
"""A parameter that is a duration of at most a day."""

UNSEEN_S = 1.0
"""Between two points of a track no further apart than this, the thing is taken to be in between."""

_GRAIN_S = 0.2
"""Moments at which conditions are checked lie this far apart."""


@dataclass(frozen=True)
class Seen:
    """A track and the model that saw it."""

    model: str
    track: Track
    aspect: float
    """Width of the picture divided by its height."""

    def box_at(self, t_s: float) -> Box | None:
        """Where it was, interpolated; None before, after, and where it was unseen too long."""
        before: TrackPoint | None = None
        for point in self.track.points:
            if point.t_s >= t_s:
                if point.t_s - t_s < 1e-6:
                    return point.box
                if before is None or point.t_s - before.t_s > UNSEEN_S:
                    return None
                share = (t_s - before.t_s) / (point.t_s - before.t_s)
                sides = zip(before.box, point.box, strict=True)
                return Box(*(a + share * (b - a) for a, b in sides))
            before = point
        return None

    def near(self, t_s: float) -> Box | None:
        """Where it was, or was seen at most half a second before or after."""
        box = self.box_at(t_s)
        point = None if box is not None else self.track.at(t_s, UNSEEN_S / 2)
        return box if point is None else point.box

    def size(self, box: Box) -> float:
        return max(box.width * self.aspect, box.height)

    def gap(self, mine: Box, other: Box) -> float:
        """Shortest distance between two boxes, 0 if they touch."""
        across = max(0.0, mine.left - other.right, other.left - mine.right) * self.aspect
        return hypot(across, max(0.0, mine.top - other.bottom, other.top - mine.bottom))


class Scene:
    """All that the rule's models saw in the capture."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.duration_s = max(observation.duration_s for observation in observations)
        self.seen = tuple(
            Seen(observation.model, track, observation.width_px / observation.height_px)
            for observation in observations
            for track in observation.tracks
        )

    def actors(self) -> tuple[Seen, ...]:
        return tuple(seen for seen in self.seen if seen.track.label.is_actor)

    def end(self, last_s: float) -> float | None:
        """None if it was seen until the footage ended."""
        return None if last_s >= self.duration_s - UNSEEN_S else last_s


@dataclass(frozen=True)
class Incident:
    """What a kind of rule found, before it is said which rule and zone it belongs to."""

    alarm_at_s: float
    onset_s: float
    end_s: float | None
    box: Box
    score: float
    subjects: tuple[Seen, ...]
    reasons: tuple[str, ...]


def moments(first_s: float, last_s: float) -> Iterable[float]:
    """Moments from first to last, both included."""
    count = max(0, int((last_s - first_s) / _GRAIN_S))
    yield from (first_s + number * _GRAIN_S for number in range(count + 1))
    yield last_s


def last_box(points: Sequence[TrackPoint], now_s: float) -> Box:
    """Where it was last seen by then."""
    seen = [point.box for point in points if point.t_s <= now_s + 1e-6]
    return seen[-1] if seen else points[0].box
