"""Who wears no helmet: looks at the heads of people whom another detector follows.

Each person's head is looked at about twice a second. The head is cut out where training cut it: at
the middle of the top of the person's box, in proportion to its width. Where it can't be there or
can't be read (too small, cut off by the picture's edge, hidden by somebody else, a person who bends
or is seen in part only) the look is unclear and says nothing; unclear is not bare.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from detectors.crops import HEAD_CLASSES, CropClassifier
from detectors.detector import (
    Carried,
    Detector,
    DetectorConfig,
    Moment,
    Tracked,
    Watch,
    source_digest,
)
from detectors.models import PEOPLE_AND_VEHICLES
from enforcement.footage import Label, Track, TrackPoint
from enforcement.geometry import Box, covered, intersection
from enforcement.model import Score
from media.footage import FootageInfo, Image

MODEL = "helmets"
"""Its name in the rules."""

_BARE = HEAD_CLASSES.index("no_helmet")


class HelmetConfig(DetectorConfig):
    """Which heads are looked at."""

    every_s: Annotated[float, Field(ge=0, le=60)] = 0.4
    """A person's head is looked at no more often than this."""
    head: Score = 0.42
    """Side of the head's square as a share of the width of the person's box."""
    around: Annotated[float, Field(ge=1, le=4)] = 1.6
    """Side of what is cut out, in sides of the head."""
    head_min_px: Annotated[float, Field(ge=4, le=512)] = 16.0
    """A smaller head is unclear."""
    person_min: Score = 0.5
    """A person of whom the other detector is less sure is not looked at."""
    upright_min: Annotated[float, Field(gt=0, le=10)] = 1.5
    """Height over width: a person who stands or walks. Below, the head is not where it should be
    (somebody bends or sits), or only the upper part is seen."""
    upright_max: Annotated[float, Field(gt=0, le=20)] = 5.0
    """Above, only a strip of the person is seen."""
    edge: Score = 0.01
    """Nearer to the top or the sides of the picture than this, the person may be cut off."""
    hidden_max: Score = 0.15
    """Of the head, no more than this may lie behind somebody nearer or on another one's head."""
    threads: Annotated[int, Field(ge=1, le=1)] = 1
    """Fixed by the classifier."""


@dataclass
class _Growing:
    """What was seen of one person's head so far."""

    points: list[TrackPoint] = field(default_factory=list)
    unclear: int = 0
    due_s: float = 0.0

    def track(self, number: int) -> Track:
        bare = sum(point.score >= 0.5 for point in self.points)
        traits = {"looks": len(self.points), "bare": bare, "unclear": self.unclear}
        return Track(
            track_id=number,
            label=Label.PERSON,
            points=tuple(self.points),
            traits={name: float(value) for name, value in traits.items()},
        )


class HelmetDetector(Detector):
    """Looks at heads; needs the people that are tracked at the same moments."""

    after = (PEOPLE_AND_VEHICLES,)

    def __init__(self, classifier: CropClassifier, config: HelmetConfig | None = None) -> None:
        self._classifier, self._config = classifier, config or HelmetConfig()
        super().__init__(self._config)

    @property
    def model(self) -> str:
        return MODEL

    @property
    def model_digest(self) -> str:
        """Over the classifier's digest and this module."""
        return source_digest(__file__, weights=[self._classifier.digest])

    def watch(self, info: FootageInfo, carried: Carried | None) -> "_Watch":
        aspect = info.width_px / info.height_px
        return _Watch(self._classifier, self._config, aspect, info.width_px)


class _Watch(Watch):
    """Watches one capture."""

    def __init__(
        self, classifier: CropClassifier, config: HelmetConfig, aspect: float, width_px: int
    ) -> None:
        self._classifier, self._config = classifier, config
        self._aspect, self._width_px = aspect, width_px
        self._people: dict[int, _Growing] = {}

    def see(self, moment: Moment) -> None:
        people = moment.people
        due: list[tuple[_Growing, Tracked]] = []
        for person in people:
            seen = self._people.setdefault(person.number, _Growing())
            if moment.t_s < seen.due_s - 1e-3:
                continue
            seen.due_s = moment.t_s + self._config.every_s
            if is_readable(person, people, self._config, self._aspect, self._width_px):
                due.append((seen, person))
            else:
                seen.unclear += 1
        if not due:
            return
        crops = [
            moment.crop(head_of(one.box, self._config, self._aspect, self._config.around))
            for _, one in due
        ]
        with moment.costs.of("hazards"):
            chances = bare(self._classifier, crops)
        for (seen, person), chance in zip(due, chances, strict=True):
            score = round(min(1.0, chance), 4)
            seen.points.append(TrackPoint(t_s=round(moment.t_s, 3), box=person.box, score=score))

    def tracks(self) -> tuple[Track, ...]:
        read = (one for one in self._people.values() if one.points)
        return tuple(one.track(number) for number, one in enumerate(read, start=1))


def bare(classifier: CropClassifier, crops: Sequence[Image]) -> list[float]:
    """How sure it is of each head that it is bare.

    The mean over the head and its mirror image, which should say the same: on 300 helmets of a
    collection that was not trained on, made as small as far ones, 4 instead of 9 look bare (0.7).
    """
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    chances = classifier.classify([*crops, *mirrored])[:, _BARE]
    return [float(chance) for chance in (chances[: len(crops)] + chances[len(crops) :]) / 2]


def head_of(person: Box, config: HelmetConfig, aspect: float, factor: float = 1.0) -> Box:
    """The head's square at the middle of the top of a person's box, sides times ``factor``.

    ``aspect`` is the picture's width over its height; the square is one in pixels, clipped to the
    picture.
    """
    side = person.width * config.head
    x, y = person.centre.x, person.top + side * aspect / 2
    half = side * factor / 2
    return Box(
        max(0.0, x - half), max(0.0, y - half * aspect),
        min(1.0, x + half), min(1.0, y + half * aspect),
    )  # fmt: skip


def is_readable(
    person: Tracked,
    people: Iterable[Tracked],
    config: HelmetConfig,
    aspect: float,
    width_px: int,
) -> bool:
    """Whether the head is large enough, whole, where it should be, and not hidden."""
    box = person.box
    if person.score < config.person_min or box.width <= 0:
        return False
    upright = box.height / (box.width * aspect)
    is_cut = box.top < config.edge or box.left < config.edge or box.right > 1 - config.edge
    head = head_of(box, config, aspect)
    return (
        config.head * box.width * width_px >= config.head_min_px
        and config.upright_min <= upright <= config.upright_max
        and not is_cut
        and not any(
            _hides(other.box, box, head, config, aspect)
            for other in people
            if other.number != person.number
        )
    )


def _hides(other: Box, mine: Box, head: Box, config: HelmetConfig, aspect: float) -> bool:
    """Whether the other stands before my head, or has the own head there.

    Whose feet are lower in the picture is nearer to the camera.
    """
    if other.bottom >= mine.bottom and covered(head, other) > config.hidden_max:
        return True
    theirs = head_of(other, config, aspect)
    return intersection(head, theirs) > config.hidden_max * min(head.area, theirs.area)
