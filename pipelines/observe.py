"""Observe: let the detectors look at a capture, once; their observations go into the store.

The captures of a feed are to be observed in the order of time: what the detectors know at the end
of one is carried over to the next.
"""

from collections.abc import Callable, Sequence

from detectors.cascade import Cascade
from enforcement.errors import BadFootage, ModelError
from enforcement.footage import Capture, Observation
from feeds.messages import MEDIA_TYPE as MESSAGES
from pipelines import memory
from pipelines.wiring import Wiring, wire
from storage.canonical import canonical_bytes, parse_canonical
from storage.evidence_store import BucketRole
from storage.records import captures, feeds

ModelKey = tuple[str, str, str]
"""Model, model digest, configuration digest."""


def due_batches(limit: int = 200, limit_messages: int = 5000) -> list[list[str]]:
    """Captures whose way to the queue is not finished: one batch a feed, in the order of time.

    Captures of messages are many and quick to read; they keep none of footage waiting.
    """
    with wire().database.transaction() as connection:
        footage = captures.due_by_feed(connection, limit, but=MESSAGES)
        return footage + captures.due_by_feed(connection, limit_messages, of=MESSAGES)


def observe(capture_id: str, progress: Callable[[str, float], None] | None = None) -> str:
    """Let the feed's detectors look at this capture if one has not yet; returns the capture id.

    Footage that nobody can decode is quarantined. ``progress`` gets a step's name and a share.
    Out of a capture of messages the readings are taken.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        capture = captures.load_capture(connection, capture_id)
        seen = captures.observation_objects(connection, capture_id)
    if capture.object.media_type == MESSAGES:
        from pipelines.sensing import read_capture  # pandas: not for those who look at footage

        return read_capture(capture_id)
    cascade = wiring.cascade_for(wiring.catalog.feed(capture.feed_id))
    if all(key in seen for key in keys_of(cascade)):
        return capture_id
    report = None if progress is None else _Report(progress, "looking")
    try:
        with wiring.footage_of(capture) as path:
            known = memory.recall(wiring.store, cascade, capture)
            looks = cascade.look(
                path,
                capture_id,
                memory=None if known is None else known.arrays,
                gap_s=0.0 if known is None else known.gap_s(capture),
                progress=report,
            )
    except BadFootage as error:
        with wiring.database.transaction() as connection:
            captures.quarantine(connection, capture_id, str(error), wiring.clock())
        return capture_id
    origin = (
        {}
        if known is None
        else {"carried_from": known.capture_id, "gap_s": round(known.gap_s(capture), 3)}
    )
    for observation in looks.observations:
        _note(wiring, capture, observation.model_copy(update=origin))
    # Last, so that a capture that is observed again finds the memory of the one before it.
    memory.keep(wiring.store, cascade, capture, looks.duration_s, looks.memory)
    return capture_id


def keys_of(cascade: Cascade) -> list[ModelKey]:
    """What identifies the observations that a cascade makes of a capture, one for each detector."""
    return [(one.model, one.model_digest, cascade.config_digest(one)) for one in cascade.detectors]


def observations_of(
    wiring: Wiring, capture: Capture, keys: Sequence[ModelKey] | None = None
) -> list[Observation]:
    """What detectors saw in a capture: today's, or those of these versions.

    Raises ModelError if one has not looked yet.
    """
    with wiring.database.transaction() as connection:
        stored = captures.observation_objects(connection, capture.capture_id)
    if keys is None:
        keys = keys_of(wiring.cascade_for(wiring.catalog.feed(capture.feed_id)))
    missing = [key[0] for key in keys if key not in stored]
    if missing:
        raise ModelError(f"{', '.join(missing)} has not looked at this capture yet: observe first")
    return [parse_canonical(Observation, wiring.store.read(stored[key])) for key in keys]


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
        feeds.note_view(connection, capture.capture_id, observation.view)
