"""Everything that Sightline raises on purpose, as one tree.

::

    SightlineError
    ├── ConfigurationError       stop: fix the setting or catalog that the message names
    ├── BadFootage               quarantine: the bytes are kept, nobody can decode them
    ├── BadTelemetry             quarantine: the bytes are kept, no position can be read from them
    ├── NoGroundPosition         go on without: the view does not meet the ground at a known place
    ├── FeedUnavailable          retry: the camera or its network does not answer
    │   └── CredentialsRefused   retry rarely: too many wrong passwords lock the account
    ├── StoreUnavailable         retry: the object store or the database does not answer
    │   └── SpoolFull            retry: the spool takes no more until the store is back
    ├── EvidenceError            stop: stored bytes, lock or digest are not what was recorded
    ├── ModelError               stop: a model file is missing or is not the one pinned
    ├── StepsFailed              retry: of a batch some captures failed; the text names each
    ├── DeliveryFailed           retry with the same event id: the recipient did not take it
    └── GateRefusal              ask the reviewer: an act that the gate does not allow
        ├── NotPermitted         this person may never do this (role, certificate, same person)
        ├── StaleVersion         somebody else acted first, or the evidence changed: reload
        └── NotConfirmed         the case lacks valid confirmations over its current evidence
"""


class SightlineError(Exception):
    """Root of the tree; its text is fit to be shown to a user (no secrets, no stack)."""


class ConfigurationError(SightlineError):
    """A setting or catalog entry is missing, unknown or contradictory."""


class BadFootage(SightlineError):
    """Footage that cannot be decoded; its bytes stay filed, its capture is quarantined."""


class BadTelemetry(SightlineError):
    """Telemetry of which no part says where the aircraft was; its bytes stay filed."""


class NoGroundPosition(SightlineError):
    """A place in a picture has no place on the ground: above or near the horizon, or the pose
    lacks what the step to the ground needs."""


class FeedUnavailable(SightlineError):
    """A source does not answer, or ended early."""


class CredentialsRefused(FeedUnavailable):
    """The camera does not take user and password: too many tries lock the account."""


class StoreUnavailable(SightlineError):
    """The object store or the records database does not answer."""


class SpoolFull(StoreUnavailable):
    """The spool has no room for another batch, or its disk has none."""


class EvidenceError(SightlineError):
    """Stored bytes, their lock or their digest differ from what was recorded."""


class ModelError(SightlineError):
    """A model is not in the catalog, not pulled, or its file fails its digest."""


class StepsFailed(SightlineError):
    """Some captures of a batch could not be taken a step further; all others were."""


class DeliveryFailed(SightlineError):
    """A recipient did not acknowledge an event."""


class GateRefusal(SightlineError):
    """The gate does not allow this act. Refusals are written to the denial log."""


class NotPermitted(GateRefusal):
    """This actor may not do this, now or later."""


class StaleVersion(GateRefusal):
    """The case moved on since it was read: its version, state or evidence digest differs."""


class NotConfirmed(GateRefusal):
    """The case has too few valid confirmations over its current evidence digest."""
