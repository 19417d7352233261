"""Cases as they are shown: what pages and API are made of. What may not be seen is absent."""

from enforcement.evidence import Manifest, Provenance
from enforcement.model import Record, Utc
from enforcement.rules import Wording


class RuleShown(Record):
    """The rule, in exactly the version that raised the lead."""

    rule_id: str
    version: int
    title: Wording
    text: Wording
    legal_basis: Wording
    digest: str
    as_raised: bool
    """Whether the catalog still holds this very rule; False: it is missing or was changed."""


class Claim(Record):
    holder: str
    mine: bool
    until: Utc


class Given(Record):
    """A verdict of an officer: one's own, or anybody's once the case is settled."""

    by: str
    verdict: str
    reason: str
    attested: bool
    evidence_digest: str
    decided_at: Utc
    counts: bool
    """Whether it is over the current evidence."""


class Summary(Record):
    """One line of the queue. What a viewer may not see is absent."""

    lead_id: str
    state: str
    rule_id: str
    rule_version: int
    rule_title: Wording
    feed_id: str
    feed_title: str
    site_id: str
    site_title: str
    zone_id: str
    alarm_at: Utc
    raised_at: Utc
    claim: Claim | None = None
    own_part: str | None = None
    """``triaged``, ``judged`` or ``recused`` where the viewer had a part in it."""
    version: int | None = None
    score: float | None = None


class FactsShown(Record):
    revision: int
    matter: str
    party: str
    place: str
    device_status: str
    confirmations_required: int
    seeded: bool | None = None


class RecordLine(Record):
    """One line of the full-process record."""

    at: Utc
    kind: str
    actor: str
    actor_role: str
    version: int | None = None
    from_state: str | None = None
    to_state: str | None = None
    detail: dict[str, str | int | float | bool | None]


class DeliveryShown(Record):
    kind: str
    recipient_id: str
    attempt: int
    at: Utc
    delivered: bool
    answer: str


class ViewShown(Record):
    at: Utc
    by: str
    item_id: str


class PackageShown(Record):
    """The package of a further lead of the same incident."""

    number: int
    """From 2; the address of an item is ``NUMBER.ITEM``, as in ``2.clip``, and what is drawn over
    the clip is ``overlay?package=NUMBER``."""
    lead_id: str
    rule: RuleShown
    feed_title: str
    site_title: str
    alarm_at: Utc
    reasons: tuple[str, ...]
    device_title: str
    manifest: Manifest
    score: float | None = None


class Dossier(Summary):
    """Everything that the viewer may see of one case."""

    evidence_digest: str
    facts: FactsShown
    rule: RuleShown
    reasons: tuple[str, ...]
    device_title: str
    provenance: Provenance
    manifest: Manifest
    further: tuple[PackageShown, ...] = ()
    """What joined: camera, drone and sensor tell of one incident."""
    record: tuple[RecordLine, ...]
    verdicts: tuple[Given, ...]
    deliveries: tuple[DeliveryShown, ...] | None = None
    views: tuple[ViewShown, ...] | None = None
    """Who was shown which evidence; for supervisors."""
    may: tuple[str, ...]
    """Acts that are open to the viewer now."""


class TrackShown(Record):
    track: str
    label: str
    points: tuple[tuple[float, float, float, float, float], ...]
    """(t_s, left, top, right, bottom): seconds from the first frame of the original."""


class ZoneShown(Record):
    zone_id: str
    title: str
    purpose: str
    polygon: tuple[tuple[float, float], ...]
    concerned: bool


class Overlay(Record):
    """What is drawn over the clip. Times in seconds from the first frame of the original, or, of
    messages, from when it was received."""

    received_at: Utc | None = None
    """When that was, for messages: their seconds mean little to people."""
    clip_start_s: float
    clip_end_s: float | None
    onset_s: float
    alarm_at_s: float
    end_s: float | None
    finding_box: tuple[float, float, float, float] | None
    """None where the clip is not what the rule was held against."""
    zones: tuple[ZoneShown, ...]
    tracks: tuple[TrackShown, ...]
