"""Dispatch and delivery under attack: swapped evidence, retries, crashes, recalls."""

import json
from datetime import timedelta
from io import BytesIO
from typing import NoReturn

import pytest

from enforcement.cases import CaseState, ConfirmedCase
from enforcement.errors import EvidenceError, NotConfirmed
from enforcement.evidence import Manifest
from pipelines import dispatch
from pipelines.dispatch import deliver_due, dispatch_confirmed
from storage.canonical import canonical_bytes, parse_canonical
from storage.evidence_store import BucketRole
from storage.records import casebook, outbox
from tests.gate.house import House
from tests.gate.receiver import Receiver


class Crash(BaseException):
    """The process ends here; nothing may catch it on the way."""


def crash(*_: object) -> NoReturn:
    raise Crash


def proof_of(house: House, lead_id: str) -> ConfirmedCase:
    with house.owner.transaction() as connection:
        return casebook.confirmed_case(connection, lead_id)


def test_a_proof_without_enough_confirmations_cannot_be_made_or_loaded(house: House) -> None:
    proof = proof_of(house, house.confirmed())
    one = proof.model_dump() | {"confirmations": proof.confirmations[:1]}
    with pytest.raises(NotConfirmed, match="1 of 2"):
        ConfirmedCase.model_validate(one)
    twice = proof.model_dump() | {"confirmations": (proof.confirmations[0],) * 2}
    with pytest.raises(NotConfirmed, match="1 of 2"):
        ConfirmedCase.model_validate(twice)


@pytest.mark.parametrize(
    ("field", "value"),
    [("matter", "noise"), ("party", "me"), ("device_status", "invalid"), ("revision", 2)],
)
def test_a_proof_does_not_carry_over_to_other_facts(
    house: House, field: str, value: object
) -> None:
    proof = proof_of(house, house.confirmed())
    changed = proof.facts.model_copy(update={field: value})
    other = proof.model_dump() | {"facts_document": canonical_bytes(changed).decode()}
    with pytest.raises(NotConfirmed):
        ConfirmedCase.model_validate(other)


def test_whoever_triaged_does_not_count_as_a_confirmer(house: House) -> None:
    proof = proof_of(house, house.confirmed())
    swapped = proof.model_dump() | {"triaged_by": proof.confirmations[0].person_id}
    with pytest.raises(NotConfirmed):
        ConfirmedCase.model_validate(swapped)


def test_evidence_swapped_in_the_store_after_confirmation_stays_here(house: House) -> None:
    lead_id = house.confirmed()
    facts = proof_of(house, lead_id).facts
    manifest = parse_canonical(Manifest, house.store.read(facts.manifest))
    clip = manifest.items[1].object
    # Object Lock keeps versions, not keys: a newer version under the same key is possible.
    house.store._client.put_object(
        clip.bucket, clip.key, BytesIO(b"other footage"), len(b"other footage")
    )
    assert dispatch_confirmed() == [lead_id]
    assert house.store.read(clip) != b"other footage"


def test_a_case_whose_manifest_points_to_other_bytes_does_not_leave(
    house: House, receiver: Receiver
) -> None:
    lead_id = house.confirmed()
    facts = proof_of(house, lead_id).facts
    manifest = parse_canonical(Manifest, house.store.read(facts.manifest))
    clip = manifest.items[1].object
    forged = clip.model_copy(
        update={
            "version_id": house.store.put_bytes(
                BucketRole.EVIDENCE, b"forged", "video/mp4", prefix="forged"
            ).version_id
        }
    )
    with pytest.raises(EvidenceError):
        house.store.verify(forged)
    item = manifest.items[1].model_copy(update={"object": forged})
    altered = manifest.model_copy(update={"items": (manifest.items[0], item, manifest.items[2])})
    stored = house.store.put_bytes(
        BucketRole.EVIDENCE, canonical_bytes(altered), "application/json", prefix="forged"
    )
    with house.owner.transaction() as connection:
        swapped = facts.model_copy(update={"manifest": stored, "revision": 2})
        casebook.add_facts(connection, swapped, house.now)
    assert dispatch_confirmed() == []
    assert house.outbox_size() == 0
    assert receiver.accepted == []
    assert house.denials(lead_id)


def test_a_case_whose_evidence_is_not_what_was_sealed_stays_and_holds_up_no_other(
    house: House, receiver: Receiver
) -> None:
    swapped, whole = house.confirmed(swapped=True), house.confirmed()
    assert dispatch_confirmed() == [whole]
    assert house.state(swapped) is CaseState.CONFIRMED
    assert house.outbox_size() == 1
    assert house.denials(swapped)


def test_an_answer_lost_on_its_way_is_retried_with_the_same_event_id(
    house: House, receiver: Receiver
) -> None:
    lead_id = house.confirmed()
    dispatch_confirmed()
    receiver.answers = [500, 503]
    assert deliver_due() == {"delivered": 0, "failed": 1}
    assert deliver_due() == {"delivered": 0, "failed": 0}, "the next attempt is not due yet"
    house.now += timedelta(minutes=1)
    assert deliver_due() == {"delivered": 0, "failed": 1}
    house.now += timedelta(minutes=1)
    assert deliver_due() == {"delivered": 1, "failed": 0}
    assert len(receiver.accepted) == 3
    assert len(set(receiver.event_ids)) == 1, "one case for a receiver that drops repeats by id"
    assert len({body for _, body in receiver.accepted}) == 1
    assert house.state(lead_id) is CaseState.ACKNOWLEDGED


def test_a_crash_between_commit_and_send_loses_and_doubles_nothing(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.confirmed()
    dispatch_confirmed()
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "_post", crash)
        with pytest.raises(Crash):
            deliver_due()
    assert receiver.accepted == []
    assert deliver_due() == {"delivered": 1, "failed": 0}
    assert len(receiver.accepted) == 1


def test_a_crash_between_send_and_receipt_sends_the_same_event_again(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.confirmed()
    dispatch_confirmed()
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "note_attempt", crash)
        with pytest.raises(Crash):
            deliver_due()
    assert deliver_due() == {"delivered": 1, "failed": 0}
    assert len(receiver.accepted) == 2
    assert len(set(receiver.event_ids)) == 1


def test_a_recall_before_delivery_stops_it(house: House, receiver: Receiver) -> None:
    lead_id = house.confirmed()
    dispatch_confirmed()
    house.desk.recall(house.people["sue"], lead_id, house.case(lead_id).version, "wrong van")
    assert deliver_due() == {"delivered": 0, "failed": 0}
    assert receiver.accepted == []


@pytest.mark.parametrize("answer", [204, 500])
def test_a_recipient_that_may_have_the_case_is_told_of_its_recall(
    house: House, receiver: Receiver, answer: int
) -> None:
    lead_id = house.confirmed()
    dispatch_confirmed()
    receiver.answers = [answer]
    deliver_due()
    house.desk.recall(house.people["sue"], lead_id, house.case(lead_id).version, "wrong van")
    house.now += timedelta(minutes=1)
    assert deliver_due() == {"delivered": 1, "failed": 0}
    dispatched, recalled = (json.loads(body) for _, body in receiver.accepted)
    assert recalled["type"].endswith("recalled.v1")
    assert recalled["data"]["recalled_event_id"] == dispatched["id"]
    house.now += timedelta(minutes=1)
    assert deliver_due() == {"delivered": 0, "failed": 0}
    assert house.state(lead_id) is CaseState.RECALLED


def test_a_receiver_that_is_away_changes_nothing(house: House, receiver: Receiver) -> None:
    lead_id = house.confirmed()
    dispatch_confirmed()
    receiver.answers = [404]
    deliver_due()
    assert house.state(lead_id) is CaseState.DISPATCHED
    assert house.outbox_size() == 1


def test_a_request_with_another_signature_is_refused_by_the_recipient(
    house: House, receiver: Receiver
) -> None:
    (house.folder / "webhook-secret").write_text("whsec_" + "AAAA" * 8)
    house.confirmed()
    dispatch_confirmed()
    assert deliver_due() == {"delivered": 0, "failed": 1}
    assert receiver.refused == 1


def test_without_a_recipient_nothing_leaves_and_the_reason_is_logged(house: House) -> None:
    (house.folder / "catalog" / "recipients.yaml").write_text("")
    lead_id = house.confirmed()
    assert dispatch_confirmed() == []
    assert house.state(lead_id) is CaseState.CONFIRMED
    assert any("no recipient" in reason for reason in house.denials(lead_id))
