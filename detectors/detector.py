"""What all detectors have in common: a frozen configuration with a digest, and one verb."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from enforcement.footage import Observation
from enforcement.model import Record

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


class Detector(Protocol):
    """Looks at one capture file and says what it saw. Raises BadFootage if nothing decodes.

    Model, model digest and configuration digest together name what would look: equal ones see
    the same in the same capture.
    """

    @property
    def model(self) -> str: ...

    @property
    def model_digest(self) -> str: ...

    @property
    def config_digest(self) -> str: ...

    def observe(
        self, path: Path, capture_id: str, progress: Progress | None = None
    ) -> Observation: ...
