"""What all detectors have in common: a frozen configuration with a digest, and one verb.

A detector watches a capture moment by moment. Which moments there are and what moves in them is
decided before it, for all detectors of a feed at once: see `cascade`.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from numpy.typing import NDArray

from enforcement.footage import Label, Track, ViewFinding
from enforcement.geometry import Box
from enforcement.model import Record
from media.footage import FootageInfo, Frame, Grey, Image

Arrays = Mapping[str, NDArray[Any]]
"""What a detector knows at the end of a capture, times from that end."""


@dataclass(frozen=True)
class Carried:
    """What a detector knew at the end of the capture before, when the next one starts."""

    arrays: Arrays
    gap_s: float = 0.0
    """From the end of that capture to the start of this one; negative if they overlap."""


class DetectorConfig(Record):
    """Everything that can change what a detector sees, beside its model and the footage."""

    @property
    def as_recorded(self) -> dict[str, float | int | str | bool]:
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces)."""
        return digest_of(self.as_recorded)


def digest_of(recorded: Mapping[str, object]) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces."""
    canonical = json.dumps(recorded, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def source_digest(*files: str, weights: Iterable[str] = ()) -> str:
    """SHA-256 over source files, and over the digests of the weights that they work with."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(Path(file).read_bytes())
    for one in weights:
        digest.update(one.encode())
    return digest.hexdigest()


class Costs:
    """CPU seconds by stage: decode, gate, detect, track, background…

    Stages may nest; what an inner one costs does not count for the outer.
    """

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = {}
        self._inner_s = 0.0

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Count what happens inside for this stage."""
        outer_s, self._inner_s = self._inner_s, 0.0
        started_s = process_time()
        try:
            yield
        finally:
            spent_s = process_time() - started_s
            own_s = spent_s - self._inner_s
            self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + own_s
            self._inner_s = outer_s + spent_s


@dataclass(frozen=True)
class Tracked:
    """Something that a detector follows, where it is at this moment."""

    number: int
    """The same for the same thing within one capture."""
    label: Label
    box: Box
    score: float


class Moment:
    """One picture of a capture, and what is known of it by those who looked before."""

    def __init__(self, frame: Frame, moving: tuple[Box, ...] | None, costs: Costs) -> None:
        self._frame = frame
        self.t_s = frame.t_s
        self.moving = moving
        """Where something moves, in image fractions; None: not known, look everywhere."""
        self.tracked: list[Tracked] = []
        """People and vehicles, once the detector that follows them has looked."""
        self.costs = costs

    @property
    def people(self) -> list[Tracked]:
        return [one for one in self.tracked if one.label is Label.PERSON]

    def picture(self, height_px: int | None = None) -> Image:
        """``(H, W, 3)`` uint8 BGR, at most ``height_px`` lines high. Not to be changed in place."""
        with self.costs.of("decode"):
            return self._frame.picture(height_px)

    def grey(self, height_px: int) -> Grey:
        """Brightness, ``(H, W)`` uint8, at most ``height_px`` lines high."""
        with self.costs.of("decode"):
            return self._frame.grey(height_px)

    def crop(self, box: Box) -> Image:
        """The part of the full picture within a box; at least one pixel."""
        image = self.picture()
        height, width = image.shape[:2]
        left, top = int(box.left * width), int(box.top * height)
        right, bottom = round(box.right * width), round(box.bottom * height)
        left, top = min(left, width - 1), min(top, height - 1)
        return image[top : max(top + 1, bottom), left : max(left + 1, right)]


class Watch(ABC):
    """Sees one capture from its first to its last moment, and then says what was in it."""

    @abstractmethod
    def see(self, moment: Moment) -> None:
        """Take in the next moment."""

    @abstractmethod
    def tracks(self) -> tuple[Track, ...]:
        """All that was there, for as long as it was."""

    def unsteady_s(self, duration_s: float) -> tuple[tuple[float, float], ...]:
        """When the view moved or was lost, as far as this one can tell."""
        return ()

    def view(self, duration_s: float) -> tuple[ViewFinding, ...]:
        """What was wrong with the view, as far as this one can tell."""
        return ()

    def carried(self, duration_s: float) -> Arrays:
        """What its successor wants to know, times from the end of this capture; maybe nothing."""
        return {}


class Detector(ABC):
    """Looks at one capture after another and says what it saw.

    Model, model digest and configuration digest together name what would look: equal ones see
    the same in the same capture, if what was carried over is the same.
    """

    after: tuple[str, ...] = ()
    """Models whose results of the same moment it uses; they look first."""

    fast: bool = False
    """Whether it sees more pictures than others: what it looks for is gone within a second."""

    def __init__(self, config: DetectorConfig, **also: str) -> None:
        """``also``: whatever else what it sees depends on, by name, beside its model."""
        self.recorded = {**config.as_recorded, **also}
        self.config_digest = digest_of(self.recorded)

    @property
    @abstractmethod
    def model(self) -> str:
        """Its name in the rules."""

    @property
    @abstractmethod
    def model_digest(self) -> str:
        """SHA-256 of its weights or, without weights, of its source."""

    @abstractmethod
    def watch(self, info: FootageInfo, carried: Carried | None) -> Watch:
        """What looks at one capture; ``carried`` by the capture just before, if there was one.

        Raises ModelError.
        """
