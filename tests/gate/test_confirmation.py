"""Nothing leaves before enough distinct, qualified people confirmed exactly this evidence."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rfc8785

from enforcement.cases import CaseState
from enforcement.cases import ConfirmVerdict as Answer
from enforcement.errors import GateRefusal, NotPermitted, StaleVersion
from enforcement.people import Role
from pipelines.dispatch import deliver_due, dispatch_confirmed
from review.desk import FactsChange, Verdict
from storage.canonical import sha256_hex
from tests.gate.house import ALL_FOUR, House, person
from tests.gate.receiver import Receiver


def test_two_officers_confirm_and_the_recipient_gets_one_verifiable_event(
    house: House, receiver: Receiver
) -> None:
    lead_id = house.confirmed()
    assert dispatch_confirmed() == [lead_id]
    assert house.state(lead_id) is CaseState.DISPATCHED
    assert deliver_due() == {"delivered": 1, "failed": 0}
    assert house.state(lead_id) is CaseState.ACKNOWLEDGED
    ((event_id, body),) = receiver.accepted
    event = json.loads(body)
    assert event["id"] == event_id
    assert event["data"]["evidence_digest"] == house.case(lead_id).evidence_digest
    assert sha256_hex(rfc8785.dumps(event["data"]["facts"])) == event["data"]["evidence_digest"]
    assert len(event["data"]["confirmations"]) == 2
    assert dispatch_confirmed() == []
    assert deliver_due() == {"delivered": 0, "failed": 0}
    assert len(receiver.accepted) == 1


@pytest.mark.parametrize("officers", [(), ("olga",)])
def test_nothing_leaves_before_two_officers_confirm(
    house: House, receiver: Receiver, officers: tuple[str, ...]
) -> None:
    lead_id = house.candidate()
    for name in officers:
        house.say(lead_id, name)
    assert dispatch_confirmed() == []
    deliver_due()
    assert house.outbox_size() == 0
    assert receiver.accepted == []


def test_one_person_with_two_accounts_counts_once(house: House) -> None:
    house.add(person("olga-2", Role.OFFICER, person_id="person-olga"))
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    with pytest.raises(NotPermitted, match="already decided"):
        house.say(lead_id, "olga-2")
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED
    assert house.denials(lead_id)


def test_who_accepted_the_lead_cannot_confirm_it_from_another_account(house: House) -> None:
    house.add(person("ana-2", Role.OFFICER, person_id="person-ana"))
    lead_id = house.candidate()
    with pytest.raises(NotPermitted, match="accepted the lead"):
        house.say(lead_id, "ana-2")
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.denials(lead_id)


@pytest.mark.parametrize("who", ["ana", "sue", "robot"])
def test_only_officers_confirm(house: House, who: str) -> None:
    house.add(person("robot", Role.SERVICE))
    lead_id = house.candidate()
    with pytest.raises(NotPermitted, match="role"):
        house.say(lead_id, who)
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.denials(lead_id)


@pytest.mark.parametrize(("start", "end"), [(-365, -1), (1, 365)], ids=["expired", "not yet valid"])
def test_an_officer_without_a_valid_certificate_cannot_confirm(
    house: House, start: int, end: int
) -> None:
    dates: dict[str, Any] = {
        "certificate_valid_from": house.now + timedelta(days=start),
        "certificate_valid_until": house.now + timedelta(days=end),
    }
    house.add(person("old", Role.OFFICER, **dates))
    lead_id = house.candidate()
    with pytest.raises(NotPermitted, match="certificate"):
        house.say(lead_id, "old")
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.denials(lead_id)


def test_a_recused_officer_cannot_confirm(house: House) -> None:
    lead_id = house.candidate()
    house.desk.recuse(house.people["olga"], lead_id, "my cousin's van")
    with pytest.raises(NotPermitted, match="conflict"):
        house.say(lead_id, "olga")
    assert house.denials(lead_id)


def test_an_incomplete_attestation_confirms_nothing(house: House) -> None:
    lead_id = house.candidate()
    digest = house.case(lead_id).evidence_digest
    unclear = ALL_FOUR.model_copy(update={"clear": False})
    answer = Verdict(digest, Answer.CONFIRM, None, "", unclear)
    with pytest.raises(GateRefusal, match="attestations"):
        house.desk.judge(house.people["olga"], lead_id, answer)
    assert house.state(lead_id) is CaseState.CANDIDATE


def test_a_confirmation_over_other_evidence_is_refused(house: House) -> None:
    lead_id = house.candidate()
    with pytest.raises(StaleVersion, match="changed"):
        house.say(lead_id, "olga", digest="f" * 64)
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.denials(lead_id)


def test_a_replayed_confirmation_counts_once(house: House) -> None:
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    for _ in range(3):
        with pytest.raises(NotPermitted, match="already decided"):
            house.say(lead_id, "olga")
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED


def test_confirmations_that_race_each_count_once(house: House) -> None:
    lead_id = house.candidate()
    digest = house.case(lead_id).evidence_digest
    outcomes = _at_once(
        *(lambda who=who: house.say(lead_id, who, digest=digest) for who in ("olga",) * 3)
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED


def test_a_confirmation_that_races_a_rejection_never_confirms(house: House) -> None:
    lead_id = house.candidate()
    digest = house.case(lead_id).evidence_digest
    _at_once(
        lambda: house.say(lead_id, "olga", digest=digest),
        lambda: house.say(lead_id, "otto", Answer.REJECT, digest),
    )
    assert house.state(lead_id) in {CaseState.DISPUTED, CaseState.NOT_CONFIRMED}
    assert dispatch_confirmed() == []
    assert house.outbox_size() == 0


def test_a_dispute_is_settled_by_a_third_person(house: House) -> None:
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    assert house.say(lead_id, "otto", Answer.REJECT).state is CaseState.DISPUTED
    assert dispatch_confirmed() == []
    assert house.say(lead_id, "oskar").state is CaseState.CONFIRMED


def test_two_rejections_end_a_case(house: House) -> None:
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    house.say(lead_id, "otto", Answer.REJECT)
    assert house.say(lead_id, "oskar", Answer.REJECT).state is CaseState.NOT_CONFIRMED


@pytest.mark.parametrize(
    "change",
    [
        FactsChange("noise", "", ""),
        FactsChange("illegal_dumping", "somebody", ""),
        FactsChange("illegal_dumping", "", "behind the shed"),
    ],
    ids=["matter", "party", "place"],
)
def test_a_change_of_facts_voids_the_confirmations(house: House, change: FactsChange) -> None:
    lead_id = house.confirmed()
    house.desk.revise_facts(house.people["sue"], lead_id, house.case(lead_id).version, change)
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert dispatch_confirmed() == []
    assert house.outbox_size() == 0
    house.say(lead_id, "olga")
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED


def test_a_planted_case_never_leaves(house: House) -> None:
    lead_id = house.candidate(seeded=True)
    house.say(lead_id, "olga")
    house.say(lead_id, "otto")
    assert dispatch_confirmed() == []
    assert house.outbox_size() == 0
    assert any("quality-control" in reason for reason in house.denials(lead_id))


def test_a_stale_version_claims_nothing(house: House) -> None:
    lead_id = house.sealed_lead()
    version = house.case(lead_id).version
    house.add(person("abe", Role.ANALYST))
    house.desk.claim(house.people["ana"], lead_id, version)
    with pytest.raises(StaleVersion):
        house.desk.claim(house.people["abe"], lead_id, version)
    with pytest.raises(StaleVersion, match="somebody else"):
        house.desk.claim(house.people["abe"], lead_id, house.case(lead_id).version)


def test_a_claim_runs_out_after_fifteen_minutes(house: House) -> None:
    lead_id = house.sealed_lead()
    house.add(person("abe", Role.ANALYST))
    house.desk.claim(house.people["ana"], lead_id, house.case(lead_id).version)
    house.now += timedelta(minutes=16)
    claimed = house.desk.claim(house.people["abe"], lead_id, house.case(lead_id).version)
    assert claimed.claimed_by == "account-abe"


def test_time_confirms_nothing(house: House) -> None:
    lead_id = house.candidate()
    house.say(lead_id, "olga")
    house.now = datetime(2034, 1, 1, tzinfo=UTC)
    assert dispatch_confirmed() == []
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED


def _at_once(*acts: object) -> list[Exception | None]:
    """Run the acts in threads that start together; what each raised, if anything."""
    start = threading.Barrier(len(acts))
    outcomes: list[Exception | None] = [None] * len(acts)

    def run(number: int) -> None:
        start.wait(5)
        try:
            acts[number]()  # type: ignore[operator]
        except GateRefusal as refusal:
            outcomes[number] = refusal

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return outcomes
