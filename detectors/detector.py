"""What all detectors have in common: a frozen configuration with a digest, and one verb."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from enforcement.footage import Observation, Track
from enforcement.model import Record
from media.footage import FootageInfo, Frame, Image, probe

Progress = Callable[[float], None]
"""Called now and then with the share of the footage seen so far, 0 to 1."""


class DetectorConfig(Record):
    """Everything that can change what a detector sees, beside its model and the footage."""

    @property
    def as_recorded(self) -> dict[str, float | int | str | bool]:
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON (sorted keys, no spaces)."""
        canonical = json.dumps(self.as_recorded, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


class Watch(Protocol):
    """Sees one capture from its first to its last picture, and then says what was in it."""

    def see(self, image: Image, now_s: float) -> None: ...

    def tracks(self) -> tuple[Track, ...]: ...

    def unsteady_s(self, duration_s: float) -> tuple[tuple[float, float], ...]: ...


class Detector(ABC):
    """Looks at one capture file after another and says what it saw.

    Model, model digest and configuration digest together name what would look: equal ones see
    the same in the same capture.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self._recorded, self.config_digest = config.as_recorded, config.digest

    @property
    @abstractmethod
    def model(self) -> str:
        """Its name in the rules."""

    @property
    @abstractmethod
    def model_digest(self) -> str:
        """SHA-256 of its weights or, without weights, of its source."""

    @abstractmethod
    def _watch(self, info: FootageInfo) -> Watch:
        """What looks at one capture. Raises ModelError."""

    @abstractmethod
    def _pictures(self, path: Path) -> Iterator[Frame]:
        """The pictures that it wants to see of a file."""

    @property
    @abstractmethod
    def sample_fps(self) -> float:
        """Pictures a second that it wants to see."""

    def observe(self, path: Path, capture_id: str, progress: Progress | None = None) -> Observation:
        """All that it sees in the file. Raises BadFootage if nothing decodes, ModelError."""
        info = probe(path)
        watch = self._watch(info)
        seen = 0
        for frame in self._pictures(path):
            watch.see(frame.image, frame.t_s)
            seen += 1
            if progress is not None and info.duration_s > 0:
                progress(min(1.0, frame.t_s / info.duration_s))
        return Observation(
            capture_id=capture_id,
            model=self.model,
            model_digest=self.model_digest,
            config_digest=self.config_digest,
            config=self._recorded,
            width_px=info.width_px,
            height_px=info.height_px,
            duration_s=info.duration_s,
            frames_seen=seen,
            sample_fps=self.sample_fps,
            tracks=watch.tracks(),
            unsteady_s=watch.unsteady_s(info.duration_s),
        )
