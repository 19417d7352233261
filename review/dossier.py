"""What one person may see of one case. The pages and the API show nothing else.

Until a case is settled, an officer judges blind: ``candidate``, ``first_confirmed`` and
``disputed`` look the same, and neither the score nor what others decided is shown. Nothing that
counts acts (version, number of events) is shown either. An analyst sees the score only after the
triage. Supervisors see everything.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from enforcement.cases import (
    UNDECIDED,
    Case,
    CaseEvent,
    CaseState,
    Confirmation,
    Lead,
)
from enforcement.errors import ConfigurationError, NotPermitted
from enforcement.evidence import CaseFacts, EvidenceItem, EvidenceKind, Manifest
from enforcement.footage import Observation, StoredObject
from enforcement.lifecycle import AWAITING_CONFIRMATION
from enforcement.people import Account, Role
from enforcement.rules import Wording
from review.desk import UNTRIAGED, Desk, NotFound
from review.documents import Documents
from review.labels import AWAITING
from review.shown import (
    Claim,
    DeliveryShown,
    Dossier,
    FactsShown,
    Given,
    Overlay,
    PackageShown,
    RecordLine,
    RuleShown,
    Summary,
    TrackShown,
    ViewShown,
    ZoneShown,
)
from settings.catalog import rule_digest
from storage.records import accounts, casebook, incidents, oversight

SETTLED = frozenset(CaseState) - UNDECIDED

SCORED = frozenset({EvidenceKind.OBSERVATION, EvidenceKind.COMPARISON})
"""Kinds whose bytes hold the model's scores."""


@dataclass(frozen=True)
class _Part:
    """What one person did so far: verdicts as (lead, evidence digest), recusals as leads."""

    person_id: str
    judged: frozenset[tuple[str, str]]
    recused: frozenset[str]

    def in_case(self, case: Case) -> str | None:
        if case.triaged_by == self.person_id:
            return "triaged"
        if (case.lead_id, case.evidence_digest) in self.judged:
            return "judged"
        return "recused" if case.lead_id in self.recused else None


@dataclass(frozen=True)
class Reader:
    """Reads cases for one person.

    The store is asked only after the records' transaction has ended: with SQLite, a slow store
    would otherwise keep everybody from writing.
    """

    desk: Desk
    documents: Documents
    account: Account

    def todo(self) -> list[Summary]:
        """What waits for this very person, oldest alarm first."""
        if self.account.role is Role.OFFICER:
            return [one for one in self._summaries(AWAITING_CONFIRMATION) if one.own_part is None]
        if self.account.role is Role.ANALYST:
            return self._summaries(UNTRIAGED)
        return self._summaries(UNDECIDED)

    def in_state(self, shown: str) -> list[Summary]:
        """Cases that this person sees in this state; none for a state closed to the role."""
        return self._summaries({state for state in self.open_states if self.shown(state) == shown})

    @property
    def open_states(self) -> frozenset[CaseState]:
        """States of the cases that this role may see at all."""
        if self.account.role is Role.OFFICER:
            return frozenset(CaseState) - UNTRIAGED - {CaseState.SCREENED_OUT}
        return frozenset(CaseState)

    @property
    def states(self) -> list[str]:
        """The names of states that this person can meet, in the order of a case's way."""
        names = [self.shown(state) for state in CaseState if state in self.open_states]
        return list(dict.fromkeys(names))

    def manifest(self, lead_id: str) -> Manifest:
        """The current manifest of a case's own lead. Raises NotFound, NotPermitted."""
        return self._packages(lead_id, only_own=True)[""]

    def _packages(self, lead_id: str, *, only_own: bool = False) -> dict[str, Manifest]:
        """The manifests of a case by what the addresses of their items begin with."""
        with self._reading(lead_id) as connection:
            self._case(connection, lead_id)
            stored = casebook.current_facts(connection, lead_id).manifests
        return {
            _prefix(number): self.documents.get(self.desk, one, Manifest)
            for number, one in enumerate(stored[:1] if only_own else stored, 1)
        }

    def item(self, lead_id: str, item_id: str) -> EvidenceItem:
        """One piece of evidence of this very case. Raises NotFound, NotPermitted."""
        with self._reading(lead_id) as connection:
            _, case = self._case(connection, lead_id)
        for prefix, manifest in self._packages(lead_id).items():
            for item in manifest.items:
                if prefix + item.item_id != item_id:
                    continue
                if item.kind in SCORED and not self._sees_score(case):
                    reason = "the model's scores stay hidden until you have judged"
                    with self.desk.refusals_logged(self.account, "view", lead_id):
                        raise NotPermitted(reason)
                return item
        raise NotFound(item_id)

    def dossier(self, lead_id: str) -> Dossier:
        """All that this person may see of a case. Raises NotFound, NotPermitted."""
        with self._reading(lead_id) as connection:
            lead, case = self._case(connection, lead_id)
            facts = casebook.current_facts(connection, lead_id)
            names = _names(connection)
            confirmations = casebook.confirmations_of(connection, lead_id)
            summary = self._summary(lead, case, names, self._part(connection))
            joined = _joined(connection, lead_id)
            record = self._record(connection, case, names)
            deliveries = _deliveries(connection, lead_id) if self._supervises else None
            views = _views(connection, lead_id, names) if self._supervises else None
        manifest = self.documents.get(self.desk, facts.manifest, Manifest)
        return Dossier(
            **summary.model_dump(),
            evidence_digest=case.evidence_digest,
            facts=_facts_shown(facts, self._sees_all(case)),
            rule=_rule_shown(self.desk, lead),
            reasons=manifest.reasons,
            device_title=_device_title(self.desk, manifest),
            provenance=manifest.provenance,
            manifest=manifest,
            further=tuple(
                self._package_shown(number, one, facts.manifests[number - 1], case)
                for number, one in enumerate(joined, 2)
            ),
            record=record,
            verdicts=self._verdicts(case, confirmations, names),
            deliveries=deliveries,
            views=views,
            may=self._may(case, summary, confirmations),
        )

    def _package_shown(
        self, number: int, lead: Lead, stored: StoredObject, case: Case
    ) -> PackageShown:
        manifest = self.documents.get(self.desk, stored, Manifest)
        catalog = self.desk.catalog
        return PackageShown(
            number=number,
            lead_id=lead.lead_id,
            rule=_rule_shown(self.desk, lead),
            feed_title=_title(catalog.feed, lead.feed_id),
            site_title=_title(catalog.site, lead.site_id),
            alarm_at=lead.alarm_at,
            reasons=manifest.reasons,
            device_title=_device_title(self.desk, manifest),
            manifest=manifest,
            score=lead.score if self._sees_score(case) else None,
        )

    def overlay(self, lead_id: str, package: int = 1) -> Overlay:
        """Boxes and zones for the player of one package of a case, without scores.

        ``package`` counts from 1, the case's own. Raises NotFound, also for a package without a
        clip, NotPermitted.
        """
        with self._reading(lead_id) as connection:
            own, _ = self._case(connection, lead_id)
            stored = casebook.current_facts(connection, lead_id).manifests
            if not 1 <= package <= len(stored):
                raise NotFound(f"package {package}")
            lead = [own, *_joined(connection, lead_id)][package - 1]
        manifest = self.documents.get(self.desk, stored[package - 1], Manifest)
        clip = next(iter(manifest.of_kind(EvidenceKind.CLIP)), None)
        if clip is None:
            raise NotFound(f"clip of package {package}")
        box = manifest.finding_box
        # A sensor's zone and finding have no place in the view of a camera nearby.
        of_sensor = bool(manifest.of_kind(EvidenceKind.READINGS))
        return Overlay(
            received_at=manifest.provenance.captured_at if of_sensor else None,
            clip_start_s=clip.start_s or 0.0,
            clip_end_s=clip.end_s,
            onset_s=lead.onset_s,
            alarm_at_s=lead.alarm_at_s,
            end_s=lead.end_s,
            finding_box=None if of_sensor else (box.left, box.top, box.right, box.bottom),
            zones=() if of_sensor else _zones_shown(self.desk, lead),
            tracks=self._tracks(manifest),
        )

    def _tracks(self, manifest: Manifest) -> tuple[TrackShown, ...]:
        return tuple(
            TrackShown(
                track=f"{number}-{track.track_id}",
                label=track.label,
                points=tuple((point.t_s, *point.box) for point in track.points),
            )
            for number, item in enumerate(manifest.of_kind(EvidenceKind.OBSERVATION))
            for track in self.documents.get(self.desk, item.object, Observation).tracks
        )

    @contextmanager
    def _reading(self, lead_id: str) -> Iterator[sa.Connection]:
        with (
            self.desk.refusals_logged(self.account, "view", lead_id),
            self.desk.database.transaction() as connection,
        ):
            yield connection

    def _case(self, connection: sa.Connection, lead_id: str) -> tuple[Lead, Case]:
        case = casebook.find_case(connection, lead_id)
        if case is None:
            raise NotFound(lead_id)
        if case.state not in self.open_states:
            raise NotPermitted("officers see cases only after an analyst accepted them")
        return casebook.load_lead(connection, lead_id), case

    @property
    def _supervises(self) -> bool:
        return self.account.role is Role.SUPERVISOR

    def shown(self, state: CaseState) -> str:
        return AWAITING if state in AWAITING_CONFIRMATION and not self._supervises else state

    def _sees_all(self, case: Case) -> bool:
        return self._supervises or case.state in SETTLED

    def _sees_score(self, case: Case) -> bool:
        return self._sees_all(case) or self._triaged(case)

    def _triaged(self, case: Case) -> bool:
        return self.account.role is Role.ANALYST and case.triaged_by == self.account.person_id

    def _summaries(self, states: Collection[CaseState]) -> list[Summary]:
        if not states:
            return []
        # What waits is worked off oldest first; what is settled is looked up newest first.
        settled = not UNDECIDED.intersection(states)
        with self.desk.database.transaction() as connection:
            names, part = _names(connection), self._part(connection)
            return [
                self._summary(lead, case, names, part)
                for lead, case in casebook.queue(connection, states, newest_first=settled)
            ]

    def _summary(self, lead: Lead, case: Case, names: Mapping[str, str], part: _Part) -> Summary:
        catalog = self.desk.catalog
        counted = self._sees_all(case) or case.state in UNTRIAGED
        return Summary(
            lead_id=lead.lead_id,
            state=self.shown(case.state),
            rule_id=lead.rule_id,
            rule_version=lead.rule_version,
            rule_title=_rule_shown(self.desk, lead).title,
            feed_id=lead.feed_id,
            feed_title=_title(catalog.feed, lead.feed_id),
            site_id=lead.site_id,
            site_title=_title(catalog.site, lead.site_id),
            zone_id=lead.zone_id,
            alarm_at=lead.alarm_at,
            raised_at=lead.raised_at,
            claim=self._claim(case, names),
            own_part=part.in_case(case),
            version=case.version if counted else None,
            score=lead.score if self._sees_score(case) else None,
        )

    def _part(self, connection: sa.Connection) -> _Part:
        person = self.account.person_id
        if self.account.role is not Role.OFFICER:
            return _Part(person, frozenset(), frozenset())
        return _Part(
            person,
            frozenset(oversight.judged_by(connection, person)),
            frozenset(oversight.recused_by(connection, person)),
        )

    def _claim(self, case: Case, names: Mapping[str, str]) -> Claim | None:
        until = case.lease_until
        if case.claimed_by is None or until is None or self.desk.clock() >= until:
            return None
        return Claim(
            holder=names.get(case.claimed_by, case.claimed_by),
            mine=case.claimed_by == self.account.account_id,
            until=until,
        )

    def _record(
        self, connection: sa.Connection, case: Case, names: Mapping[str, str]
    ) -> tuple[RecordLine, ...]:
        events = casebook.events_of(connection, case.lead_id)
        if self._sees_all(case):
            return tuple(_line(event, names, whole=True) for event in events)
        return tuple(_line(one, names, whole=False) for one in events if self._may_read(one))

    def _verdicts(
        self, case: Case, confirmations: Sequence[Confirmation], names: Mapping[str, str]
    ) -> tuple[Given, ...]:
        return tuple(
            _given(one, case, names)
            for one in confirmations
            if self._sees_all(case) or one.person_id == self.account.person_id
        )

    def _may_read(self, event: CaseEvent) -> bool:
        """Whether an event of an unsettled case is silent on what others decided."""
        if event.kind in {"sealed", "facts_revised", "evidence_joined"}:
            return True
        if event.kind == "judged":
            return event.actor == self.account.account_id
        return self.account.role is Role.ANALYST

    def _may(
        self, case: Case, summary: Summary, confirmations: Sequence[Confirmation]
    ) -> tuple[str, ...]:
        role, state = self.account.role, case.state
        acts: list[str] = []
        if role is Role.ANALYST and state in UNTRIAGED:
            mine = summary.claim is not None and summary.claim.mine
            acts += ["claim"] if summary.claim is None or mine else []
            acts += ["triage", "release"] if mine else []
        if role is Role.OFFICER and state in AWAITING_CONFIRMATION and summary.own_part is None:
            acts.append("confirm")
            if all(one.person_id != self.account.person_id for one in confirmations):
                acts.append("recuse")
        if role is Role.SUPERVISOR:
            if state in AWAITING_CONFIRMATION | {CaseState.CONFIRMED}:
                acts.append("revise_facts")
            if state in {CaseState.CONFIRMED, CaseState.DISPATCHED, CaseState.ACKNOWLEDGED}:
                acts.append("recall")
        return tuple(acts)


def _joined(connection: sa.Connection, lead_id: str) -> list[Lead]:
    """The leads that joined a case, in the order of its further packages."""
    return [
        casebook.load_lead(connection, one.lead_id)
        for one in incidents.joined_leads(connection, lead_id)
    ]


def _prefix(number: int) -> str:
    """What the address of an item begins with, by the number of its package in the case."""
    return "" if number == 1 else f"{number}."


def _title(find: Callable[[str], Any], name: str) -> str:
    try:
        return str(find(name).title)
    except ConfigurationError:
        return name


def _rule_shown(desk: Desk, lead: Lead) -> RuleShown:
    try:
        rule = desk.catalog.rule(lead.rule_id, lead.rule_version)
    except ConfigurationError:
        unknown = Wording(en=lead.rule_id, zh=lead.rule_id)
        blank = Wording(en="", zh="")
        return RuleShown(
            rule_id=lead.rule_id,
            version=lead.rule_version,
            title=unknown,
            text=blank,
            legal_basis=blank,
            digest=lead.rule_digest,
            as_raised=False,
        )
    return RuleShown(
        rule_id=lead.rule_id,
        version=lead.rule_version,
        title=rule.title,
        text=rule.text,
        legal_basis=rule.legal_basis,
        digest=lead.rule_digest,
        as_raised=rule_digest(rule) == lead.rule_digest,
    )


def _device_title(desk: Desk, manifest: Manifest) -> str:
    device = manifest.provenance.device_id
    return _title(desk.catalog.device, device) if device else ""


def _zones_shown(desk: Desk, lead: Lead) -> tuple[ZoneShown, ...]:
    try:
        zones = desk.catalog.feed(lead.feed_id).zones
    except ConfigurationError:
        return ()
    return tuple(
        ZoneShown(
            zone_id=zone.zone_id,
            title=zone.title or zone.zone_id,
            purpose=zone.purpose,
            polygon=tuple((corner.x, corner.y) for corner in zone.polygon),
            concerned=zone.zone_id == lead.zone_id,
        )
        for zone in zones
    )


def _facts_shown(facts: CaseFacts, sees_all: bool) -> FactsShown:
    return FactsShown(
        revision=facts.revision,
        matter=facts.matter,
        party=facts.party,
        place=facts.place.text,
        device_status=facts.device_status,
        confirmations_required=facts.confirmations_required,
        seeded=facts.seeded if sees_all else None,
    )


def _given(one: Confirmation, case: Case, names: Mapping[str, str]) -> Given:
    return Given(
        by=names.get(one.account_id, one.account_id),
        verdict=one.verdict,
        reason=one.reason,
        attested=one.attestations.all_given,
        evidence_digest=one.evidence_digest,
        decided_at=one.decided_at,
        counts=one.evidence_digest == case.evidence_digest,
    )


def _line(event: CaseEvent, names: Mapping[str, str], *, whole: bool) -> RecordLine:
    return RecordLine(
        at=event.at,
        kind=event.kind,
        actor=names.get(event.actor, event.actor),
        actor_role=event.actor_role,
        version=event.version if whole else None,
        from_state=event.from_state if whole else None,
        to_state=event.to_state if whole else None,
        detail=event.detail,
    )


def _names(connection: sa.Connection) -> dict[str, str]:
    """Display names by account."""
    return {one.account_id: one.display_name for one in accounts.all_accounts(connection)}


def _deliveries(connection: sa.Connection, lead_id: str) -> tuple[DeliveryShown, ...]:
    return tuple(
        DeliveryShown(
            kind=one.kind,
            recipient_id=one.recipient_id,
            attempt=one.attempt,
            at=one.at,
            delivered=one.delivered,
            answer=one.answer,
        )
        for one in oversight.deliveries(connection, lead_id)
    )


def _views(
    connection: sa.Connection, lead_id: str, names: Mapping[str, str]
) -> tuple[ViewShown, ...]:
    return tuple(
        ViewShown(at=one.at, by=names.get(one.account_id, one.account_id), item_id=one.item_id)
        for one in oversight.views(connection, lead_id)
    )
