"""Rules: what counts, where, for how long; and the pure check of observations against them."""

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from math import inf
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from enforcement.changes import ChangeOnGround
from enforcement.dumping import LeftBehind, left_behind
from enforcement.errors import ConfigurationError
from enforcement.footage import Observation
from enforcement.geometry import Box, at_one_place, iou
from enforcement.hazards import NoHelmet, OpenFire, Smoke, no_helmet, open_fire, smoke
from enforcement.model import Name, Record, Score, Utc
from enforcement.occupancy import (
    SAME_VEHICLE,
    StoppedVehicle,
    ZoneIntrusion,
    stopped_vehicle,
    zone_intrusion,
)
from enforcement.places import Zone, ZonePurpose
from enforcement.scene import Incident, Scene, Seconds
from enforcement.sensor_rules import (
    SensorHourlyMean,
    SensorMissing,
    SensorParams,
    SensorRateOfChange,
    SensorStuck,
    SensorThreshold,
)
from enforcement.throwing import Thrown, thrown

_RAISED_BEFORE_S = 1.0
"""An alarm so long before the capture begins was raised by the capture before, which knew as much.
What lies nearer to the border may be found twice: it is one incident all the same."""


class RuleKind(StrEnum):
    LEFT_BEHIND = "left_behind"
    THROWN = "thrown"
    ZONE_INTRUSION = "zone_intrusion"
    STOPPED_VEHICLE = "stopped_vehicle"
    NO_HELMET = "no_helmet"
    OPEN_FIRE = "open_fire"
    SMOKE = "smoke"
    SENSOR_THRESHOLD = "sensor_threshold"
    SENSOR_RATE_OF_CHANGE = "sensor_rate_of_change"
    SENSOR_HOURLY_MEAN = "sensor_hourly_mean"
    SENSOR_STUCK = "sensor_stuck"
    SENSOR_MISSING = "sensor_missing"
    CHANGE_ON_GROUND = "change_on_ground"

    @property
    def is_of_sensor(self) -> bool:
        """Whether it is held against readings, and not against what models saw."""
        return self in {
            RuleKind.SENSOR_THRESHOLD, RuleKind.SENSOR_RATE_OF_CHANGE, RuleKind.SENSOR_HOURLY_MEAN,
            RuleKind.SENSOR_STUCK, RuleKind.SENSOR_MISSING,
        }  # fmt: skip

    @property
    def is_of_footage(self) -> bool:
        """Whether it is held against what models saw in one capture, and not against readings or
        against two flights over one place."""
        return not self.is_of_sensor and self is not RuleKind.CHANGE_ON_GROUND

    @property
    def needs_fixed_view(self) -> bool:
        """Whether places and moments mean nothing to it while the view moves.

        A flame is a flame and a bare head a bare head in the view of a drone, too.
        """
        return self not in {RuleKind.NO_HELMET, RuleKind.OPEN_FIRE, RuleKind.SMOKE}

    @property
    def is_of_whole_zone(self) -> bool:
        """Whether all that happens in a zone at once is one incident, wherever in it.

        People walk about, a fire grows, and a moving view shifts everything.
        """
        return self in {
            RuleKind.ZONE_INTRUSION, RuleKind.NO_HELMET, RuleKind.OPEN_FIRE, RuleKind.SMOKE,
        }  # fmt: skip


class Wording(Record):
    """A text in the languages of the user interface."""

    en: str
    zh: str


class Rule(Record):
    """One version of one rule, as the catalog states it."""

    rule_id: Name
    version: Annotated[int, Field(ge=1)]
    kind: RuleKind
    title: Wording
    matter: str
    """The recipient's code or name for this kind of case."""
    text: Wording
    legal_basis: Wording
    purpose: ZonePurpose
    params: Annotated[
        LeftBehind
        | Thrown
        | ZoneIntrusion
        | StoppedVehicle
        | NoHelmet
        | OpenFire
        | Smoke
        | SensorThreshold
        | SensorRateOfChange
        | SensorHourlyMean
        | SensorStuck
        | SensorMissing
        | ChangeOnGround,
        Field(discriminator="kind"),
    ]
    models: tuple[Name, ...] = ()
    """Whose observations it is held against: at least one for a rule of footage, else none."""
    valid_from: Utc | None = None
    valid_until: Utc | None = None
    quiet_after_rejection_s: Seconds = 0.0
    same_incident_s: Seconds = 60.0

    @model_validator(mode="before")
    @classmethod
    def _parameters_are_of_this_kind(cls, given: Any) -> Any:
        """Lets the catalog write ``kind`` once and leave out parameters that have defaults."""
        if isinstance(given, dict) and isinstance(given.get("params", {}), dict):
            return {**given, "params": {"kind": given.get("kind"), **given.get("params", {})}}
        return given

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.params.kind != self.kind:
            raise ValueError(f"parameters of {self.params.kind} in a rule of kind {self.kind}")
        if self.valid_from and self.valid_until and self.valid_from >= self.valid_until:
            raise ValueError("valid_until must lie after valid_from")
        if self.kind.is_of_footage != bool(self.models):
            needed = "at least one model" if self.kind.is_of_footage else "no model"
            raise ValueError(f"a rule of kind {self.kind} needs {needed}")
        return self

    @property
    def sensor_params(self) -> SensorParams | None:
        """Its parameters if it is held against readings."""
        params = self.params
        if isinstance(
            params,
            SensorThreshold | SensorRateOfChange | SensorHourlyMean | SensorStuck | SensorMissing,
        ):
            return params
        return None

    def is_valid_at(self, moment: Utc) -> bool:
        """Whether the rule was in force at this moment."""
        begun = self.valid_from is None or self.valid_from <= moment
        return begun and (self.valid_until is None or moment < self.valid_until)


class Finding(Record):
    """One rule satisfied in one zone of one capture; times in seconds from its first frame."""

    rule_id: Name
    rule_version: int
    zone_id: Name
    alarm_at_s: float
    """When the last condition became true."""
    onset_s: float
    """When what it is about began."""
    end_s: float | None
    """When it ended; None if it had not when the footage did."""
    box: Box
    score: Score
    subjects: dict[Name, tuple[int, ...]]
    """Track ids by model."""
    reasons: tuple[str, ...]
    """Short facts, each of which the rule relied on."""


def find(
    rule: Rule,
    zones: Iterable[Zone],
    observations: Iterable[Observation],
    *,
    view_is_fixed: bool = True,
) -> tuple[Finding, ...]:
    """All incidents of one capture, in the order of their alarms, one finding each.

    Unless ``view_is_fixed``, as from a drone, what is near in the picture says nothing of what is
    near on the ground: each track is a finding of its own then, for the caller to join.

    Only for rules of footage; ConfigurationError is raised for others: see ``enforcement.sensing``
    and ``enforcement.changes``.

    ``observations`` are those of one capture, one for each model. Raises ConfigurationError if
    one of the rule's models has not looked: absence of an observation is no absence of things.
    That the view was unsteady is believed of any of them, whether the rule names it or not, and
    matters to the kinds of rules that rest on a fixed view.
    """
    if not rule.kind.is_of_footage:
        raise ConfigurationError(f"rule {rule.rule_id} is not held against a single capture")
    seen = {observation.model: observation for observation in observations}
    missing = [model for model in rule.models if model not in seen]
    if missing:
        raise ConfigurationError(
            f"rule {rule.rule_id} needs observations by {', '.join(missing)}; it has not looked"
        )
    scene = Scene(tuple(seen[model] for model in rule.models))
    unsteady_s = sorted(span for look in seen.values() for span in look.unsteady_s)
    unsteady_s = [(a, inf if b >= scene.duration_s - 0.001 else b) for a, b in unsteady_s]
    found: list[Finding] = []
    for zone in zones:
        if zone.purpose is not rule.purpose:
            continue
        incidents = _incidents(rule, zone, scene)
        shaken_s = unsteady_s if rule.kind.needs_fixed_view else []
        steady = (_in_steady_view(incident, shaken_s) for incident in incidents)
        found += [
            _finding(incident, rule, zone)
            for incident in steady
            if incident is not None and incident.alarm_at_s > -_RAISED_BEFORE_S
        ]
    ordered = sorted(found, key=lambda finding: (finding.alarm_at_s, finding.box))
    return _merged(rule, ordered) if view_is_fixed else tuple(ordered)


def _incidents(rule: Rule, zone: Zone, scene: Scene) -> Iterable[Incident]:
    """What the rule's kind finds in the zone."""
    match rule.params:
        case LeftBehind() as params:
            return left_behind(params, zone, scene)
        case Thrown() as params:
            return thrown(params, zone, scene)
        case ZoneIntrusion() as params:
            return zone_intrusion(params, zone, scene)
        case StoppedVehicle() as params:
            return stopped_vehicle(params, zone, scene)
        case NoHelmet() as params:
            return no_helmet(params, zone, scene)
        case OpenFire() as params:
            return open_fire(params, zone, scene)
        case Smoke() as params:
            return smoke(params, zone, scene)
        case _:
            return ()


def _in_steady_view(
    incident: Incident, unsteady_s: Iterable[tuple[float, float]]
) -> Incident | None:
    """The incident, raised only once the view stands still; None if it was over by then."""
    for start_s, end_s in unsteady_s:
        if start_s <= incident.alarm_at_s < end_s:
            if end_s == inf or (incident.end_s is not None and incident.end_s < end_s):
                return None
            incident = replace(incident, alarm_at_s=end_s)
    return incident


def _finding(incident: Incident, rule: Rule, zone: Zone) -> Finding:
    ids: dict[str, tuple[int, ...]] = {}
    for seen in incident.subjects:
        ids[seen.model] = (*ids.get(seen.model, ()), seen.track.track_id)
    return Finding(
        rule_id=rule.rule_id,
        rule_version=rule.version,
        zone_id=zone.zone_id,
        alarm_at_s=round(max(0.0, incident.alarm_at_s), 3),
        onset_s=round(incident.onset_s, 3),
        end_s=None if incident.end_s is None else round(incident.end_s, 3),
        box=incident.box,
        score=round(min(1.0, max(0.0, incident.score)), 4),
        subjects=ids,
        reasons=incident.reasons,
    )


def _merged(rule: Rule, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in the order of their alarms, those of one incident joined to the first."""
    incidents: list[Finding] = []
    for finding in findings:
        for number, first in enumerate(incidents):
            if _is_same_incident(rule, first, finding):
                incidents[number] = _joined(first, finding)
                break
        else:
            incidents.append(finding)
    return tuple(incidents)


def _is_same_incident(rule: Rule, first: Finding, later: Finding) -> bool:
    """The same zone, near in time, and the same place or the same people."""
    if first.zone_id != later.zone_id:
        return False
    until_s = later.onset_s if first.end_s is None else first.end_s
    if later.alarm_at_s - max(first.alarm_at_s, until_s) > rule.same_incident_s:
        return False
    shared = any(
        set(ids) & set(later.subjects.get(model, ())) for model, ids in first.subjects.items()
    )
    if rule.kind.is_of_whole_zone:
        return True
    if rule.kind is RuleKind.STOPPED_VEHICLE:  # two vans side by side are two incidents
        return shared or iou(first.box, later.box) > SAME_VEHICLE
    return shared or at_one_place(first.box, later.box)


def _joined(first: Finding, later: Finding) -> Finding:
    models = sorted({*first.subjects, *later.subjects})
    subjects = {
        model: tuple(sorted({*first.subjects.get(model, ()), *later.subjects.get(model, ())}))
        for model in models
    }
    ends_s = [end_s for end_s in (first.end_s, later.end_s) if end_s is not None]
    return first.model_copy(
        update={
            "end_s": max(ends_s) if len(ends_s) == 2 else None,
            "onset_s": min(first.onset_s, later.onset_s),
            "score": max(first.score, later.score),
            "subjects": subjects,
        }
    )
