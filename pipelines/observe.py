"""Observe: let the detectors look at a capture, once each; their observations go into the store."""

from collections.abc import Callable

from detectors.detector import Detector
from enforcement.errors import BadFootage, ModelError
from enforcement.footage import Capture, Observation
from pipelines.wiring import Wiring, wire
from storage.canonical import canonical_bytes, parse_canonical
from storage.evidence_store import BucketRole
from storage.records import captures

ModelKey = tuple[str, str, str]
"""Model, model digest, configuration digest."""


def due_captures(limit: int = 200) -> list[str]:
    """Captures whose way to the queue is not finished, oldest first."""
    with wire().database.transaction() as connection:
        return captures.due_captures(connection, limit)


def observe(capture_id: str, progress: Callable[[str, float], None] | None = None) -> str:
    """Run every detector that has not looked at this capture yet; returns the capture id.

    Footage that nobody can decode is quarantined. ``progress`` gets a model name and a share.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        capture = captures.load_capture(connection, capture_id)
        seen = captures.observation_objects(connection, capture_id)
    feed = wiring.catalog.feed(capture.feed_id)
    missing = [d for d in wiring.detectors_for(feed) if key_of(d) not in seen]
    if not missing:
        return capture_id
    try:
        with wiring.footage_of(capture) as path:
            for detector in missing:
                report = None if progress is None else _Report(progress, detector.model)
                _note(wiring, capture, detector.observe(path, capture_id, report))
    except BadFootage as error:
        with wiring.database.transaction() as connection:
            captures.quarantine(connection, capture_id, str(error), wiring.clock())
    return capture_id


def key_of(detector: Detector) -> ModelKey:
    """What identifies a detector's observation of a capture."""
    return detector.model, detector.model_digest, detector.config_digest


def observations_of(wiring: Wiring, capture: Capture) -> list[Observation]:
    """What today's detectors saw in a capture. Raises ModelError if one has not looked yet."""
    with wiring.database.transaction() as connection:
        stored = captures.observation_objects(connection, capture.capture_id)
    detectors = wiring.detectors_for(wiring.catalog.feed(capture.feed_id))
    missing = [detector.model for detector in detectors if key_of(detector) not in stored]
    if missing:
        raise ModelError(f"{', '.join(missing)} has not looked at this capture yet: observe first")
    return [
        parse_canonical(Observation, wiring.store.read(stored[key_of(detector)]))
        for detector in detectors
    ]


class _Report:
    def __init__(self, progress: Callable[[str, float], None], model: str) -> None:
        self._progress, self._model = progress, model

    def __call__(self, share: float) -> None:
        self._progress(self._model, share)


def _note(wiring: Wiring, capture: Capture, observation: Observation) -> None:
    stored = wiring.store.put_bytes(
        BucketRole.CAPTURES,
        canonical_bytes(observation),
        "application/json",
        prefix=f"{capture.feed_id}/observations",
    )
    with wiring.database.transaction() as connection:
        captures.note_observation(connection, observation, stored, wiring.clock())
