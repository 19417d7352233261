"""The sealed set for one lead: evidence items, their manifest, and the facts people confirm."""

from collections import Counter
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from enforcement.footage import StoredObject
from enforcement.geometry import Box
from enforcement.model import Name, Record, Sha256, Utc

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000)]

Seconds = Annotated[float, Field(allow_inf_nan=False)]

Tool = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+$", max_length=200)]
"""``name@version`` of what made an item, e.g. ``sightline.clip@0.1.0``."""


class EvidenceKind(StrEnum):
    ORIGINAL = "original"
    """The capture exactly as received."""
    PRECEDING = "preceding"
    """The original that came before this one without a break, where the matter began in it."""
    FURTHER_ORIGINAL = "further_original"
    """Another capture as received: of a sensor, with other readings on which the matter rests, or
    of a camera that had the sensor's place in view."""
    CLIP = "clip"
    KEY_FRAME = "key_frame"
    OBSERVATION = "observation"
    TELEMETRY = "telemetry"
    READINGS = "readings"
    """What sensors said, taken out of the originals."""
    COMPARISON = "comparison"
    """What a model found to differ between two originals."""


_STANDALONE = frozenset(
    {
        EvidenceKind.ORIGINAL,
        EvidenceKind.PRECEDING,
        EvidenceKind.FURTHER_ORIGINAL,
        EvidenceKind.TELEMETRY,
    }
)
"""Kinds that arrive from outside; every other kind is made from another item."""


class EvidenceItem(Record):
    """One stored object of the set, and how it came to be."""

    item_id: Name
    kind: EvidenceKind
    object: StoredObject
    derived_from: Name | None = None
    made_by: Tool
    parameters: dict[str, float | int | str | bool] = Field(default_factory=dict)
    start_s: Seconds | None = None
    """Seconds from the first frame of the original, or, of messages, from when it was received;
    None: the whole of it.

    Negative: in the preceding footage, or in that of a camera, whose own captures are further
    originals. So all moments of a package are told in the same seconds.
    """
    end_s: Seconds | None = None

    @model_validator(mode="after")
    def _origin_fits_kind(self) -> Self:
        if self.kind is EvidenceKind.ORIGINAL and self.derived_from is not None:
            raise ValueError("an original is not derived from anything")
        if self.kind not in _STANDALONE and self.derived_from is None:
            raise ValueError(f"a {self.kind} must name the item it is derived from")
        return self

    @model_validator(mode="after")
    def _span_runs_forwards(self) -> Self:
        if (self.start_s is None) != (self.end_s is None):
            raise ValueError("a time span has both a start and an end")
        if self.start_s is not None and self.end_s is not None and self.start_s > self.end_s:
            raise ValueError("end_s must not lie before start_s")
        return self


class Provenance(Record):
    """Where the original came from: the first link of the chain of custody."""

    capture_id: Annotated[str, StringConstraints(min_length=1)]
    feed_id: Name
    site_id: Name
    device_id: Name | None = None
    source_name: str
    captured_at: Utc
    """By the device's clock."""
    received_at: Utc
    """By our clock."""
    clock_offset_s: Annotated[float, Field(allow_inf_nan=False)]
    """What must be added to the device's clock to get true UTC."""


class ModelUsed(Record):
    """A model whose observations the lead rests on."""

    name: Name
    digest: Sha256
    config_digest: Sha256


class Manifest(Record):
    """What belongs to one lead's evidence package; sealed once, named by its SHA-256."""

    schema_tag: Literal["sightline.manifest/1"] = "sightline.manifest/1"
    lead_id: Annotated[str, StringConstraints(min_length=1)]
    created_at: Utc
    items: Annotated[tuple[EvidenceItem, ...], Field(min_length=3)]
    provenance: Provenance
    rule_id: Name
    rule_version: Annotated[int, Field(ge=1)]
    rule_digest: Sha256
    models: tuple[ModelUsed, ...]
    """None if the lead rests on readings alone."""
    alarm_at: Utc
    """The moment at which the rule was satisfied, in true UTC."""
    finding_box: Box
    """Where in the picture, in image fractions."""
    reasons: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Why the rule holds, in words for the reviewer."""
    notes: tuple[Text, ...] = ()
    """What else the reviewer should know of the package: what it lacks, and why."""
    software_version: Annotated[str, StringConstraints(min_length=1)]

    def of_kind(self, kind: EvidenceKind) -> tuple[EvidenceItem, ...]:
        """The items of one kind, in the order of the manifest."""
        return tuple(item for item in self.items if item.kind is kind)

    @model_validator(mode="after")
    def _set_is_complete(self) -> Self:
        kinds = Counter(item.kind for item in self.items)
        if kinds[EvidenceKind.ORIGINAL] != 1:
            raise ValueError("a manifest has exactly one original")
        if kinds[EvidenceKind.PRECEDING] > 1:
            raise ValueError("a manifest has at most one preceding original")
        if not kinds[EvidenceKind.PRECEDING]:
            further = {one.item_id for one in self.of_kind(EvidenceKind.FURTHER_ORIGINAL)}
            early = (item for item in self.items if (item.start_s or 0.0) < 0)
            if any(item.derived_from not in further for item in early):
                raise ValueError("what begins before the original needs the footage of that time")
        if not kinds[EvidenceKind.KEY_FRAME]:
            raise ValueError("a manifest has at least one key frame")
        # What rests on readings has nothing to play, and no model looked at it.
        if not kinds[EvidenceKind.READINGS]:
            (original,) = self.of_kind(EvidenceKind.ORIGINAL)
            if not kinds[EvidenceKind.CLIP] and not original.object.is_still:
                raise ValueError(
                    "a manifest has at least one clip, unless it rests on readings or on a still"
                )
            if not self.models:
                raise ValueError("a manifest names a model, unless it rests on readings")
        return self

    @model_validator(mode="after")
    def _every_item_has_a_known_origin(self) -> Self:
        origins = {item.item_id: item.derived_from for item in self.items}
        if len(origins) != len(self.items):
            raise ValueError("two items of one manifest have the same item_id")
        for start in origins:
            seen: set[str] = set()
            item_id: str | None = start
            while item_id is not None:
                if item_id not in origins:
                    raise ValueError(f"{start} is derived from {item_id}, which is not here")
                if item_id in seen:
                    raise ValueError(f"{start} is derived from itself")
                seen.add(item_id)
                item_id = origins[item_id]
        return self


class Place(Record):
    """Where it happened: the site, and in words what the site's name doesn't say."""

    site_id: Name
    text: Annotated[str, StringConstraints(max_length=2000)] = ""


DeviceStatus = Literal["valid", "invalid", "unregistered"]
"""Whether legal and technical review covered the device when it captured the original."""


class CaseFacts(Record):
    """Exactly what a confirmation confirms.

    The SHA-256 of its canonical bytes is the *evidence digest*. The manifest is named by version
    and digest, so any change of evidence, matter, party, place or device status changes it and
    voids the confirmations that were bound to the old one.
    """

    schema_tag: Literal["sightline.facts/1"] = "sightline.facts/1"
    lead_id: Annotated[str, StringConstraints(min_length=1)]
    revision: Annotated[int, Field(strict=True, ge=1)]
    manifest: StoredObject
    rule_id: Name
    rule_version: Annotated[int, Field(ge=1)]
    matter: Text
    party: Annotated[str, StringConstraints(max_length=2000)] = ""
    """The party concerned; empty: unknown. A word for a person's role in a procedure, no more."""
    place: Place
    device_status: DeviceStatus
    confirmations_required: Annotated[int, Field(strict=True, ge=1)]
    """Distinct officers who must confirm; never below one, and never read from text."""
    seeded: bool = False
    """A known case of quality control; it can never leave."""
    further: tuple[StoredObject, ...] = ()
    """Manifests of the other leads of the same incident, in the order in which they joined."""

    @property
    def manifests(self) -> tuple[StoredObject, ...]:
        """All packages of the case, its own first."""
        return (self.manifest, *self.further)
