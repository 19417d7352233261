"""Sealed documents of the evidence store, read and checked once a process."""

from collections import OrderedDict
from threading import Lock
from typing import TypeVar

from pydantic import ValidationError

from enforcement.errors import EvidenceError
from enforcement.evidence import Manifest
from enforcement.footage import Observation, StoredObject
from review.desk import Desk
from storage.canonical import parse_canonical

D = TypeVar("D", Manifest, Observation)

_DOCUMENTS_KEPT = 400


class Documents:
    """Sealed documents that were read and checked before; they never change. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Manifest | Observation] = OrderedDict()
        self._guard = Lock()

    def get(self, desk: Desk, stored: StoredObject, kind: type[D]) -> D:
        """The document. Raises EvidenceError if it is not what was sealed, StoreUnavailable."""
        with self._guard:
            known = self._kept.get(stored.sha256)
            if known is not None:
                self._kept.move_to_end(stored.sha256)
        if not isinstance(known, kind):
            known = _parsed(desk, stored, kind)
            with self._guard:
                self._kept[stored.sha256] = known
                while len(self._kept) > _DOCUMENTS_KEPT:
                    self._kept.popitem(last=False)
        return known


def _parsed(desk: Desk, stored: StoredObject, kind: type[D]) -> D:
    try:
        data = desk.cache.path(stored).read_bytes()
    except FileNotFoundError:
        # Evicted between checking and opening: fetch it once more.
        data = desk.cache.path(stored).read_bytes()
    if kind is Manifest:
        return parse_canonical(kind, data)
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise EvidenceError(f"the stored {kind.__name__} cannot be read") from error
