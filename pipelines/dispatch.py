"""Dispatch: hand confirmed cases to their recipients, and recalled ones back.

Two steps. ``dispatch_confirmed`` writes the outbox in the transaction that makes a case
dispatched; ``deliver_due`` hands its events over. Nothing else in Sightline writes the outbox.
Events are CloudEvents 1.0 in JSON, signed by Standard Webhooks; a retry carries the same id.
"""

import json
import uuid
from collections import Counter
from datetime import datetime
from pathlib import Path

import httpx
import sqlalchemy as sa
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

from enforcement import lifecycle
from enforcement.cases import CaseState, ConfirmedCase
from enforcement.errors import DeliveryFailed, EvidenceError, GateRefusal
from enforcement.evidence import Manifest
from enforcement.places import Recipient
from pipelines.wiring import Wiring, wire
from storage.canonical import parse_canonical
from storage.records import casebook, outbox

_TIMEOUT_S = 10.0


def dispatch_confirmed() -> list[str]:
    """Make every confirmed case dispatched whose evidence still verifies; returns their ids.

    A refusal, or evidence that is not what was sealed, leaves the case as it is and is written to
    the denial log; the other cases go on.
    """
    wiring = wire()
    with wiring.database.transaction() as connection:
        waiting = casebook.lead_ids_in(connection, [CaseState.CONFIRMED])
    return [lead_id for lead_id in waiting if _dispatch(wiring, lead_id)]


def deliver_due() -> dict[str, int]:
    """Hand over the events that are due; returns counts of ``delivered`` and ``failed``."""
    wiring = wire()
    now = wiring.clock()
    with wiring.database.transaction() as connection:
        for event in outbox.to_recall(connection):
            _write_recall(wiring, connection, event, now)
        due = outbox.undelivered(connection, now)
    done = Counter(delivered=0, failed=0)
    for event in due:
        done["delivered" if _deliver(wiring, event) else "failed"] += 1
    return dict(done)


def _dispatch(wiring: Wiring, lead_id: str) -> bool:
    try:
        with wiring.database.transaction() as connection:
            case = casebook.confirmed_case(connection, lead_id)
        _hold_evidence(wiring, case)
        with wiring.database.transaction() as connection:
            _write_dispatch(wiring, connection, lead_id)
    except (GateRefusal, EvidenceError) as refusal:
        with wiring.database.transaction() as connection:
            casebook.deny(connection, "dispatch", "dispatch", lead_id, str(refusal), wiring.clock())
        return False
    return True


def _hold_evidence(wiring: Wiring, case: ConfirmedCase) -> None:
    """Re-hash all packages of the case and keep them beyond their first retention."""
    for sealed in case.facts.manifests:
        manifest = parse_canonical(Manifest, wiring.store.read(sealed))
        for stored in (sealed, *(item.object for item in manifest.items)):
            wiring.store.verify(stored)
            wiring.store.place_legal_hold(stored)


def _write_dispatch(wiring: Wiring, connection: sa.Connection, lead_id: str) -> None:
    case = casebook.load_case(connection, lead_id, lock=True)
    proof = casebook.confirmed_case(connection, lead_id)
    now = wiring.clock()
    for recipient in _recipients(wiring, proof.facts.rule_id):
        event_id = str(uuid.uuid4())
        payload = _event(wiring, event_id, "dispatched", lead_id, now, _case_data(proof))
        outbox.write_dispatch(
            connection,
            proof,
            event_id=event_id,
            recipient_id=recipient.recipient_id,
            payload=payload,
            now=now,
        )
    step = lifecycle.by_pipeline(case, CaseState.DISPATCHED, "dispatched", "dispatch", now)
    casebook.take(connection, case, step)


def _write_recall(
    wiring: Wiring, connection: sa.Connection, sent: outbox.Outgoing, now: datetime
) -> None:
    event_id = str(uuid.uuid4())
    data: dict[str, object] = {"lead_id": sent.lead_id, "recalled_event_id": sent.event_id}
    payload = _event(wiring, event_id, "recalled", sent.lead_id, now, data)
    outbox.write_recall(connection, sent, event_id=event_id, payload=payload, now=now)


def _recipients(wiring: Wiring, rule_id: str) -> list[Recipient]:
    found = [r for r in wiring.catalog.recipients if not r.rules or rule_id in r.rules]
    if not found:
        raise GateRefusal(f"the catalog names no recipient for cases of rule {rule_id}")
    return found


def _case_data(proof: ConfirmedCase) -> dict[str, object]:
    counted = [
        c for c in proof.confirmations if c.counts_for(proof.evidence_digest, proof.triaged_by)
    ]
    return {
        "lead_id": proof.lead_id,
        "evidence_digest": proof.evidence_digest,
        "facts": json.loads(proof.facts_document),
        "confirmations": [
            {
                "confirmation_id": c.confirmation_id,
                "certificate_no": c.certificate_no,
                "evidence_digest": c.evidence_digest,
                "decided_at": c.decided_at.isoformat(),
            }
            for c in counted
        ],
    }


def _event(
    wiring: Wiring,
    event_id: str,
    kind: str,
    lead_id: str,
    now: datetime,
    data: dict[str, object],
) -> str:
    event = CloudEvent(
        attributes={
            "id": event_id,
            "source": f"{wiring.settings.review_link}/leads/{lead_id}",
            "type": f"org.sightline.case.{kind}.v1",
            "specversion": "1.0",
            "subject": lead_id,
            "time": now,
            "datacontenttype": "application/json",
        },
        data=data,
    )
    return JSONFormat().write(event).decode()


def _deliver(wiring: Wiring, event: outbox.Outgoing) -> bool:
    try:
        answer, delivered = _post(wiring, event), True
    except DeliveryFailed as failure:
        answer, delivered = str(failure), False
    now = wiring.clock()
    with wiring.database.transaction() as connection:
        outbox.note_attempt(connection, event, delivered, answer, now)
        case = casebook.load_case(connection, event.lead_id, lock=True)
        dispatched = case.state is CaseState.DISPATCHED
        if delivered and dispatched and outbox.fully_delivered(connection, event.lead_id):
            step = lifecycle.by_pipeline(
                case, CaseState.ACKNOWLEDGED, "acknowledged", "deliver", now
            )
            casebook.take(connection, case, step)
    return delivered


def _post(wiring: Wiring, event: outbox.Outgoing) -> str:
    """Send the event; returns the answer's first line. Raises DeliveryFailed."""
    recipient = next(
        (r for r in wiring.catalog.recipients if r.recipient_id == event.recipient_id), None
    )
    if recipient is None:
        raise DeliveryFailed(f"the catalog no longer names the recipient {event.recipient_id}")
    sent_at = wiring.clock()
    signer = Webhook(_secret(wiring.in_home(recipient.secret_file)))
    headers = {
        "content-type": "application/cloudevents+json; charset=UTF-8",
        "webhook-id": event.event_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": signer.sign(event.event_id, sent_at, event.payload),
    }
    try:
        answer = httpx.post(
            recipient.url, content=event.payload.encode(), headers=headers, timeout=_TIMEOUT_S
        )
    except httpx.HTTPError as error:
        raise DeliveryFailed(f"{recipient.recipient_id}: {type(error).__name__}") from error
    if not answer.is_success:
        raise DeliveryFailed(f"{recipient.recipient_id} answered {answer.status_code}")
    return f"{answer.status_code}"


def _secret(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise DeliveryFailed(f"the webhook secret {path} cannot be read") from error
