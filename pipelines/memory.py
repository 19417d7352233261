"""What the detectors of a feed know at the end of one capture, kept for the next one.

One working object for each feed and set of detectors, overwritten by every capture that ends later
than the one before. Losing it costs a few seconds of learning anew, never a capture.
"""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.cascade import Cascade
from enforcement.footage import Capture
from storage.evidence_store import EvidenceStore

_HEAD = "head"
_OVERLAP_S = 1.0
"""Captures of one feed that overlap by more than this are no continuation of each other."""


@dataclass(frozen=True)
class Memory:
    """Arrays by detector, and where in time they belong."""

    capture_id: str
    ends_at: datetime
    arrays: Mapping[str, Mapping[str, NDArray[Any]]]

    def gap_s(self, capture: Capture) -> float:
        """From the end of the remembered capture to the start of this one."""
        return (capture.captured_at - self.ends_at).total_seconds()

    def as_bytes(self) -> bytes:
        """A NumPy archive; its head says what it belongs to."""
        head = json.dumps({"capture_id": self.capture_id, "ends_at": self.ends_at.isoformat()})
        flat: dict[str, Any] = {_HEAD: np.frombuffer(head.encode(), np.uint8)}
        for model, arrays in self.arrays.items():
            flat |= {f"{model}/{name}": values for name, values in arrays.items()}
        buffer = BytesIO()
        np.savez_compressed(buffer, **flat)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Memory":
        """Raises ValueError if it is damaged."""
        arrays: dict[str, dict[str, NDArray[Any]]] = {}
        try:
            with np.load(BytesIO(data), allow_pickle=False) as archive:
                head = json.loads(archive[_HEAD].tobytes())
                for name in archive.files:
                    if name != _HEAD:
                        model, _, rest = name.partition("/")
                        arrays.setdefault(model, {})[rest] = archive[name]
                ends_at = datetime.fromisoformat(head["ends_at"])
                return cls(str(head["capture_id"]), ends_at, arrays)
        except (zipfile.BadZipFile, KeyError, EOFError, OSError) as error:
            raise ValueError("the memory is damaged") from error


def recall(store: EvidenceStore, cascade: Cascade, capture: Capture) -> Memory | None:
    """What was known just before this capture, if the feed was watched without a break."""
    memory = _latest(store, cascade, capture.feed_id)
    if memory is None:
        return None
    goes_on = -_OVERLAP_S <= memory.gap_s(capture) <= cascade.config.gap_max_s
    return memory if goes_on else None


def keep(
    store: EvidenceStore,
    cascade: Cascade,
    capture: Capture,
    duration_s: float,
    arrays: Mapping[str, Mapping[str, NDArray[Any]]],
) -> None:
    """Remember the end of this capture, unless a later one is remembered already."""
    ends_at = capture.captured_at + timedelta(seconds=duration_s)
    latest = _latest(store, cascade, capture.feed_id)
    if latest is None or latest.ends_at < ends_at:
        memory = Memory(capture.capture_id, ends_at, arrays)
        store.keep(_key(cascade, capture.feed_id), memory.as_bytes())


def _latest(store: EvidenceStore, cascade: Cascade, feed_id: str) -> Memory | None:
    data = store.kept(_key(cascade, feed_id))
    if data is None:
        return None
    try:
        return Memory.from_bytes(data)
    except ValueError:  # written by a process that was killed, or by hand: learn anew
        return None


def _key(cascade: Cascade, feed_id: str) -> str:
    return f"{feed_id}/memory/{cascade.digest}"
