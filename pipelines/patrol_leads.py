"""Patrol leads: compare each flight of a mission with the one before; what is new on the ground
becomes a lead with pictures before and after, sealed and in the queue.

Which pairs are compared follows from the flights' times, not from the order in which they came:
one that comes late is compared with its neighbours then.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise, product
from pathlib import Path

from detectors import change
from detectors.crops import CropClassifier
from detectors.models import PEOPLE_AND_VEHICLES, installed
from enforcement import incidents
from enforcement.cases import Lead
from enforcement.changes import Change, ChangeFinding, ChangeOnGround, changes_on_ground
from enforcement.errors import ConfigurationError, NoGroundPosition, SightlineError, StepsFailed
from enforcement.flights import AircraftPose, pose_at
from enforcement.footage import Capture
from enforcement.geometry import WHOLE_BOX, Box
from enforcement.missions import Flight, FlightState, Mission, file_kind
from enforcement.places import Feed
from enforcement.rules import Rule
from feeds.georeference import image_point, view_from_pose
from media.footage import probe
from pipelines.missions import poses_of
from pipelines.overflight import where
from pipelines.patrol import POSE_GAP_S, FlownPass, PassChanges, compare_passes
from pipelines.seal_changes import Seen, seal_change
from pipelines.wiring import Wiring, wire
from settings.catalog import rule_digest
from storage.records import captures, flights

_LEADS = uuid.UUID("3d7a6f12-8f5b-4a0e-9c57-2b6b1c9d4e83")
"""Namespace of the ids of leads of changes: the same change between the same footage always has
the same id."""


@dataclass(frozen=True)
class _Flown:
    """A flight that may be compared, and its videos."""

    flight: Flight
    videos: tuple[Capture, ...]

    @property
    def began_at(self) -> datetime:
        return self.flight.began_at or self.flight.first_file_at


def due_pairs() -> list[list[str]]:
    """Pairs of flights, one right after the other, that were not compared yet: mission, earlier
    and later flight."""
    wiring = wire()
    return [
        [mission.mission_id, earlier.flight.flight_id, later.flight.flight_id]
        for mission in wiring.missions
        if _ground_rules(wiring, mission, {})
        for earlier, later in pairwise(_flown(wiring, mission))
        if not _was_compared(wiring, mission, earlier, later)
    ]


def pairs_between(
    wiring: Wiring, feed: Feed, start: datetime, end: datetime
) -> list[tuple[str, str, str]]:
    """As ``due_pairs``, of one feed: all whose later flight began in ``[start, end)``."""
    return [
        (mission.mission_id, earlier.flight.flight_id, later.flight.flight_id)
        for mission in wiring.missions
        if mission.feed_id == feed.feed_id
        for earlier, later in pairwise(_flown(wiring, mission))
        if start <= later.began_at < end
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
    flown = {one.flight.flight_id: one for one in _flown(wiring, mission)}
    earlier, later = flown[before], flown[after]
    rules = _ground_rules(wiring, mission, pins or {})
    raised: list[str] = []
    with ExitStack() as files:
        firsts = [files.enter_context(_local(wiring, one)) for one in earlier.videos]
        seconds = [files.enter_context(_local(wiring, one)) for one in later.videos]
        look = _compared(wiring, firsts, seconds)
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
            look.refusal, len(look.changes), wiring.clock(),
        )  # fmt: skip
    return raised


def _flown(wiring: Wiring, mission: Mission) -> list[_Flown]:
    """The accepted flights of a mission with their videos, in the order in which they were
    flown."""
    found = []
    with wiring.database.transaction() as connection:
        for flight in flights.of_mission(connection, mission.mission_id):
            if flight.state is not FlightState.ACCEPTED or flight.feed_id != mission.feed_id:
                continue
            videos = tuple(
                captures.load_capture(connection, file.capture_id)
                for file in flights.files_of(connection, flight.key)
                if file_kind(file.name) == "videos"
                and file.name not in flight.refused
                and captures.quarantine_reason(connection, file.capture_id) is None
            )
            found += [_Flown(flight, videos)] if videos else []
    return sorted(found, key=lambda one: (one.began_at, one.flight.flight_id))


def _ground_rules(wiring: Wiring, mission: Mission, pins: Mapping[str, int]) -> list[Rule]:
    purposes = {zone.purpose for zone in mission.zones}
    return [
        rule
        for rule in wiring.catalog.rules_at(pins)
        if isinstance(rule.params, ChangeOnGround) and rule.purpose in purposes
    ]


def _inputs_digest(earlier: _Flown, later: _Flown) -> str:
    """Over the footage: a file that comes later has the pair compared again."""
    parts = [" ".join(video.object.sha256 for video in one.videos) for one in (earlier, later)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _was_compared(wiring: Wiring, mission: Mission, earlier: _Flown, later: _Flown) -> bool:
    with wiring.database.transaction() as connection:
        return flights.was_compared(
            connection, mission.mission_id, earlier.flight.flight_id, later.flight.flight_id,
            _inputs_digest(earlier, later),
        )  # fmt: skip


@dataclass(frozen=True)
class _Local:
    """Footage of a flight as a local file, with its positions."""

    capture: Capture
    path: Path
    poses: tuple[AircraftPose, ...]

    def pose(self, t_s: float) -> AircraftPose | None:
        return pose_at(self.poses, t_s, POSE_GAP_S)

    def moment(self, t_s: float) -> datetime:
        """True UTC: by the satellites where the telemetry says it."""
        pose = self.pose(t_s)
        if pose is not None and pose.moment is not None:
            return pose.moment
        return self.capture.began_at + timedelta(seconds=t_s)


@contextmanager
def _local(wiring: Wiring, capture: Capture) -> Iterator[_Local]:
    poses = poses_of(wiring, capture)
    with wiring.footage_of(capture) as path:
        yield _Local(capture, path, tuple(pose for pose in poses if pose.t_s is not None))


@dataclass(frozen=True)
class _Look:
    """All that was found between the footage of two flights."""

    changes: tuple[Change, ...]
    shown: tuple[tuple[_Local, _Local, PassChanges, int], ...]
    """Of each change: the footage that shows it, and its number in that comparison."""
    refusal: str | None
    model_digest: str

    def findings(self, rule: Rule, mission: Mission) -> tuple[ChangeFinding, ...]:
        if not isinstance(rule.params, ChangeOnGround):
            return ()
        return changes_on_ground(rule.params, rule.purpose, mission.zones, self.changes)


def _compared(wiring: Wiring, firsts: Sequence[_Local], seconds: Sequence[_Local]) -> _Look:
    backbone = installed(PEOPLE_AND_VEHICLES, wiring.settings.models)
    classifier = CropClassifier.blobs(backbone)
    found: list[Change] = []
    shown: list[tuple[_Local, _Local, PassChanges, int]] = []
    refusals: list[str] = []
    for first, second in product(firsts, seconds):
        compared = compare_passes(
            FlownPass(first.path, first.poses),
            FlownPass(second.path, second.poses),
            classify=classifier.classify,
        )
        found += compared.changes
        shown += [(first, second, compared, n) for n in range(len(compared.changes))]
        refusals += [compared.refusal] if compared.refusal is not None else []
    refused = len(refusals) == len(firsts) * len(seconds)
    return _Look(
        changes=tuple(found),
        shown=tuple(shown),
        refusal="; ".join(dict.fromkeys(refusals)) if refused else None,
        model_digest=change.model_digest(classifier.digest),
    )


def _raise_once(
    wiring: Wiring, rule: Rule, mission: Mission, earlier: _Flown, look: _Look,
    finding: ChangeFinding,
) -> str | None:  # fmt: skip
    """Raise and seal a lead unless there is one of the same thing; returns its id if it did."""
    first, second, compared, number = look.shown[finding.changes[0]]
    best = look.changes[finding.changes[0]]
    alarm_at = second.moment(best.after_t_s)
    if not rule.is_valid_at(alarm_at):
        return None
    lead = _lead(wiring, rule, mission, second, finding, best, alarm_at)
    span = timedelta(seconds=rule.quiet_after_rejection_s)
    with wiring.database.transaction() as connection:
        known = flights.leads_on_ground(
            connection, rule.rule_id, mission.mission_id, earlier.began_at - span, alarm_at
        )
        of_this = [one.lead for one in known if one.lead.lead_id == lead.lead_id]
        if not of_this:
            fix = finding.place, finding.radius_m
            if any(
                incidents.is_known_on_ground(
                    rule, fix, (earlier.began_at, alarm_at),
                    (one.place, one.radius_m), (one.from_at, one.to_at), one.state,
                )
                for one in known
            ):  # fmt: skip
                return None
            flights.raise_ground_lead(connection, lead, mission.mission_id, *fix, earlier.began_at)
    # Also a lead that an earlier try raised but did not seal.
    seen = Seen(
        before=first.capture, before_path=first.path, after=second.capture,
        after_path=second.path, change=best, finding=finding,
        pictures=compared.pictures[number], model_digest=look.model_digest,
    )  # fmt: skip
    is_new = seal_change(wiring, of_this[0] if of_this else lead, seen)
    return lead.lead_id if is_new else None


def _lead(
    wiring: Wiring, rule: Rule, mission: Mission, second: _Local, finding: ChangeFinding,
    best: Change, alarm_at: datetime,
) -> Lead:  # fmt: skip
    capture = second.capture
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
        alarm_at=alarm_at,
        alarm_at_s=round(best.after_t_s, 3),
        onset_s=round(best.after_t_s, 3),
        end_s=None,
        score=round(finding.score, 4),
        box=_box(second, best),
        reasons=(*finding.reasons, where((finding.place, finding.radius_m))),
        raised_at=wiring.clock(),
    )


def _box(second: _Local, best: Change) -> Box:
    """Where the thing is in the picture that shows it best; all of it if that can't be told."""
    pose = second.pose(best.after_t_s)
    info = probe(second.path)
    if pose is None:
        return WHOLE_BOX
    try:
        view = view_from_pose(pose, aspect=info.width_px / info.height_px)
    except NoGroundPosition:
        return WHOLE_BOX
    corners = [image_point(view, place) for place in best.outline]
    seen = [corner for corner in corners if corner is not None]
    if not seen:
        return WHOLE_BOX
    xs, ys = [corner.x for corner in seen], [corner.y for corner in seen]
    return Box(min(xs), min(ys), max(xs), max(ys)).grown(_BOX_MARGIN)


_BOX_MARGIN = 0.5
"""Boxes are drawn larger by half: a position is off by a metre or two."""
