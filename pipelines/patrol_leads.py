"""Patrol leads: compare each flight of a mission with the one before; what is new on the ground
becomes a lead with pictures before and after, sealed and in the queue.

Which pairs are compared follows from the flights' times, not from the order in which they came:
one that comes late is compared with its neighbours then.
"""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise, product

from detectors import change
from detectors.crops import CropClassifier
from detectors.models import PEOPLE_AND_VEHICLES, installed
from enforcement import incidents
from enforcement.cases import Lead
from enforcement.changes import Change, ChangeFinding, ChangeOnGround, changes_on_ground
from enforcement.errors import ConfigurationError, NoGroundPosition, SightlineError, StepsFailed
from enforcement.geometry import WHOLE_BOX, Box
from enforcement.missions import Flight, Mission
from enforcement.places import Feed
from enforcement.rules import Rule
from feeds.georeference import image_point, view_from_pose
from pipelines.flown import Flown, Sighting, Take, accepted, flown
from pipelines.overflight import where
from pipelines.patrol import PassChanges, compare_passes
from pipelines.seal_changes import Seen, seal_change
from pipelines.wiring import Wiring, wire
from settings.catalog import rule_digest
from storage.records import flights

_NOTHING_ALIKE = "they brought no footage of one kind: both videos, or both stills of one camera"

_LEADS = uuid.UUID("3d7a6f12-8f5b-4a0e-9c57-2b6b1c9d4e83")
"""Namespace of the ids of leads of changes: the same change between the same footage always has
the same id."""


def due_pairs() -> list[list[str]]:
    """Pairs of flights, one right after the other, that were not compared yet: mission, earlier
    and later flight."""
    wiring = wire()
    return [
        [mission.mission_id, earlier.flight_id, later.flight_id]
        for mission in wiring.missions
        if _ground_rules(wiring, mission, {})
        for earlier, later, compared_at in _neighbours(wiring, mission)
        if not _was_compared(wiring, mission, earlier, later, compared_at)
    ]


def pairs_between(
    wiring: Wiring, feed: Feed, start: datetime, end: datetime
) -> list[tuple[str, str, str]]:
    """As ``due_pairs``, of one feed: all whose later flight began in ``[start, end)``."""
    return [
        (mission.mission_id, earlier.flight_id, later.flight_id)
        for mission in wiring.missions
        if mission.feed_id == feed.feed_id
        for earlier, later, _ in _neighbours(wiring, mission)
        if start <= later.flown_at < end
    ]


def compare_all(pairs: Sequence[Sequence[str]]) -> list[str]:
    """Compare each pair; returns the ids of new leads. Raises StepsFailed at the end for those
    that could not be compared for now."""
    raised: list[str] = []
    failed: list[str] = []
    for mission_id, before, after in pairs:
        try:
            raised += compare_flights(mission_id, before, after)
        except SightlineError as error:
            failed.append(f"{mission_id} {before} {after}: {error}")
    if failed:
        raise StepsFailed(f"{len(failed)} of {len(pairs)} pairs: " + "; ".join(failed))
    return raised


def compare_flights(
    mission_id: str, before: str, after: str, pins: Mapping[str, int] | None = None
) -> list[str]:
    """Compare two flights of a mission; returns the ids of new leads, each sealed and in the queue.

    ``pins``: versions of rules to be held instead of the current ones.
    Running it again raises nothing twice. Raises ConfigurationError for a mission that is
    not there, KeyError for a flight that is not accepted.
    """
    wiring = wire()
    mission = next((one for one in wiring.missions if one.mission_id == mission_id), None)
    if mission is None:
        raise ConfigurationError(f"there is no mission {mission_id}")
    listed_at = wiring.clock()
    known = {flight.flight_id: flight for flight in accepted(wiring, mission)}
    earlier, later = flown(wiring, known[before]), flown(wiring, known[after])
    rules = _ground_rules(wiring, mission, pins or {})
    raised: list[str] = []
    with ExitStack() as files:
        look = _compared(wiring, earlier, later, files)
        for rule in rules:
            found = look.findings(rule, mission)
            raised += [
                lead_id
                for finding in found
                if (lead_id := _raise_once(wiring, rule, mission, earlier, look, finding))
            ]
    with wiring.database.transaction() as connection:
        flights.note_comparison(
            connection, mission_id, before, after, _inputs_digest(earlier, later),
            look.refusal, len(look.changes), listed_at,
        )  # fmt: skip
    return raised


def _ground_rules(wiring: Wiring, mission: Mission, pins: Mapping[str, int]) -> list[Rule]:
    purposes = {zone.purpose for zone in mission.zones}
    return [
        rule
        for rule in wiring.catalog.rules_at(pins)
        if isinstance(rule.params, ChangeOnGround) and rule.purpose in purposes
    ]


def _inputs_digest(earlier: Flown, later: Flown) -> str:
    """Over the footage: a file that comes later has the pair compared again."""
    parts = [" ".join(one.sha256s) for one in (earlier, later)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _neighbours(wiring: Wiring, mission: Mission) -> list[tuple[Flight, Flight, datetime | None]]:
    """Flights that brought something to compare, each with the next one, and when both were."""
    with wiring.database.transaction() as connection:
        compared = flights.comparisons_of(connection, mission.mission_id)
    # The files of those need not be listed again and again: a flight may have hundreds.
    known = {flight_id for pair in compared for flight_id in pair}
    found = [
        flight
        for flight in accepted(wiring, mission)
        if flight.flight_id in known or flown(wiring, flight).takes
    ]
    return [
        (one, other, compared.get((one.flight_id, other.flight_id)))
        for one, other in pairwise(found)
    ]


def _was_compared(
    wiring: Wiring, mission: Mission, earlier: Flight, later: Flight, at: datetime | None
) -> bool:
    """Whether the pair was compared since both were closed, or with these very files."""
    if at is None:
        return False
    if all(flight.closed_at is not None and flight.closed_at <= at for flight in (earlier, later)):
        return True
    digest = _inputs_digest(flown(wiring, earlier), flown(wiring, later))
    with wiring.database.transaction() as connection:
        return flights.was_compared(
            connection, mission.mission_id, earlier.flight_id, later.flight_id, digest
        )


@dataclass(frozen=True)
class _Look:
    """All that was found between the footage of two flights."""

    changes: tuple[Change, ...]
    shown: tuple[tuple[Take, Take, PassChanges, int], ...]
    """Of each change: the footage that shows it, and its number in that comparison."""
    refusal: str | None
    model_digest: str

    def findings(self, rule: Rule, mission: Mission) -> tuple[ChangeFinding, ...]:
        if not isinstance(rule.params, ChangeOnGround):
            return ()
        return changes_on_ground(rule.params, rule.purpose, mission.zones, self.changes)


def _compared(wiring: Wiring, earlier: Flown, later: Flown, files: ExitStack) -> _Look:
    """Everything that both flights brought of one kind; it stays at hand until ``files`` close."""
    backbone = installed(PEOPLE_AND_VEHICLES, wiring.settings.models)
    classifier = CropClassifier.blobs(backbone)
    found: list[Change] = []
    shown: list[tuple[Take, Take, PassChanges, int]] = []
    refusals: list[str] = []
    alike = [
        (one, other) for one, other in product(earlier.takes, later.takes) if one.kind == other.kind
    ]
    at_hand = {
        take: files.enter_context(take.fetched(wiring))
        for take in dict.fromkeys(take for pair in alike for take in pair)
    }
    for one, other in alike:
        first, second = at_hand[one], at_hand[other]
        compared = compare_passes(first.flown, second.flown, classify=classifier.classify)
        found += compared.changes
        shown += [(first, second, compared, n) for n in range(len(compared.changes))]
        refusals += [compared.refusal] if compared.refusal is not None else []
    if not alike:
        refusals.append(_NOTHING_ALIKE)
    refused = len(refusals) >= len(alike)
    return _Look(
        changes=tuple(found),
        shown=tuple(shown),
        refusal="; ".join(dict.fromkeys(refusals)) if refused else None,
        model_digest=change.model_digest(classifier.digest),
    )


def _raise_once(
    wiring: Wiring, rule: Rule, mission: Mission, earlier: Flown, look: _Look,
    finding: ChangeFinding,
) -> str | None:  # fmt: skip
    """Raise and seal a lead unless there is one of the same thing; returns its id if it did."""
    first, second, compared, number = look.shown[finding.changes[0]]
    best = look.changes[finding.changes[0]]
    with first.sighting(best.before_t_s) as before, second.sighting(best.after_t_s) as after:
        seen = Seen(
            before=before, after=after, change=best, finding=finding,
            pictures=compared.pictures[number], model_digest=look.model_digest,
            config=second.flown.config,
        )  # fmt: skip
        return _raise_seen(wiring, rule, mission, earlier, seen)


def _raise_seen(
    wiring: Wiring, rule: Rule, mission: Mission, earlier: Flown, seen: Seen
) -> str | None:
    finding, alarm_at = seen.finding, seen.after.moment
    came_after = earlier.flight.flown_at
    if not rule.is_valid_at(alarm_at):
        return None
    lead = _lead(wiring, rule, mission, seen)
    span = timedelta(seconds=rule.quiet_after_rejection_s)
    with wiring.database.transaction() as connection:
        known = flights.leads_on_ground(
            connection, rule.rule_id, mission.mission_id, came_after - span, alarm_at
        )
        of_this = [one.lead for one in known if one.lead.lead_id == lead.lead_id]
        if not of_this:
            fix = finding.place, finding.radius_m
            if any(
                incidents.is_known_on_ground(
                    rule, fix, (came_after, alarm_at),
                    (one.place, one.radius_m), (one.from_at, one.to_at), one.state,
                )
                for one in known
            ):  # fmt: skip
                return None
            flights.raise_ground_lead(connection, lead, mission.mission_id, *fix, came_after)
    # Also a lead that an earlier try raised but did not seal.
    is_new = seal_change(wiring, of_this[0] if of_this else lead, seen)
    return lead.lead_id if is_new else None


def _lead(wiring: Wiring, rule: Rule, mission: Mission, seen: Seen) -> Lead:
    capture, finding = seen.after.capture, seen.finding
    place = finding.place
    name = (
        f"{rule.rule_id} {mission.mission_id} {finding.zone_id} {capture.object.sha256}"
        f" {place.latitude_deg:.6f} {place.longitude_deg:.6f}"
    )
    feed = wiring.catalog.feed(mission.feed_id)
    return Lead(
        lead_id=str(uuid.uuid5(_LEADS, name)),
        rule_id=rule.rule_id,
        rule_version=rule.version,
        rule_digest=rule_digest(rule),
        feed_id=feed.feed_id,
        site_id=feed.site_id,
        zone_id=finding.zone_id,
        capture_id=capture.capture_id,
        alarm_at=seen.after.moment,
        alarm_at_s=round(seen.after.t_s, 3),
        onset_s=round(seen.after.t_s, 3),
        end_s=None,
        score=round(finding.score, 4),
        box=_box(seen.after, seen.change),
        reasons=(*finding.reasons, where((finding.place, finding.radius_m))),
        raised_at=wiring.clock(),
    )


def _box(after: Sighting, change: Change) -> Box:
    """Where the thing is in the picture that shows it best; all of it if that can't be told."""
    if after.pose is None:
        return WHOLE_BOX
    height, width = after.picture().shape[:2]
    try:
        view = view_from_pose(after.pose, aspect=width / height)
    except NoGroundPosition:
        return WHOLE_BOX
    corners = [image_point(view, place) for place in change.outline]
    seen = [corner for corner in corners if corner is not None]
    if not seen:
        return WHOLE_BOX
    xs, ys = [corner.x for corner in seen], [corner.y for corner in seen]
    return Box(min(xs), min(ys), max(xs), max(ys)).grown(_BOX_MARGIN)


_BOX_MARGIN = 0.5
"""Boxes are drawn larger by half: a position is off by a metre or two."""
