"""The way of a lead through people, and the attacks on it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from enforcement.cases import CaseState
from enforcement.people import Role
from tests.review.stage import START, Stage

ZEROS = "0" * 64


def at(lead: str, act: str = "") -> str:
    return f"/api/v1/leads/{lead}" + (f"/{act}" if act else "")


def denied(stage: Stage, actor: str, lead: str | None) -> bool:
    return any(
        row["actor"] == f"account-{actor}" and row["lead_id"] == lead and row["reason"]
        for row in stage.denials()
    )


def test_two_officers_over_the_same_evidence_confirm_a_case(stage: Stage) -> None:
    lead = stage.candidate()
    assert stage.judge(stage.client("otto"), lead).status_code == 200
    assert stage.case(lead).state is CaseState.FIRST_CONFIRMED
    answer = stage.judge(stage.client("olga"), lead)
    assert answer.json()["state"] == "confirmed"
    assert stage.case(lead).state is CaseState.CONFIRMED
    assert stage.outbox_count() == 0


def test_a_dispute_is_settled_by_a_third_person(stage: Stage) -> None:
    lead = stage.candidate()
    stage.judge(stage.client("otto"), lead)
    stage.judge(stage.client("olga"), lead, "reject")
    assert stage.case(lead).state is CaseState.DISPUTED
    assert stage.judge(stage.client("odo"), lead).json()["state"] == "confirmed"


def test_the_same_officer_confirms_once(stage: Stage) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    stage.judge(otto, lead)
    assert stage.judge(otto, lead).status_code == 403
    assert stage.confirmation_count(lead) == 1
    assert denied(stage, "otto", lead)


def test_a_second_account_of_the_same_person_is_refused(stage: Stage) -> None:
    stage.person("otto2", Role.OFFICER, person_id="person-otto")
    lead = stage.candidate()
    stage.judge(stage.client("otto"), lead)
    assert stage.judge(stage.client("otto2"), lead).status_code == 403
    assert stage.confirmation_count(lead) == 1
    assert denied(stage, "otto2", lead)


def test_whoever_accepted_the_lead_cannot_confirm_it_as_officer(stage: Stage) -> None:
    stage.person("ana2", Role.OFFICER, person_id="person-ana")
    lead = stage.candidate("ana")
    assert stage.judge(stage.client("ana2"), lead).status_code == 403
    assert stage.confirmation_count(lead) == 0


def test_whoever_supervises_cannot_confirm_under_another_account(stage: Stage) -> None:
    stage.person("sue2", Role.OFFICER, person_id="person-sue")
    lead = stage.candidate()
    assert stage.judge(stage.client("sue2"), lead).status_code == 403
    assert stage.confirmation_count(lead) == 0


def test_a_double_click_gives_one_confirmation(stage: Stage) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: stage.judge(otto, lead).status_code, range(4)))
    assert sorted(answers) == [200, 403, 403, 403]
    assert stage.confirmation_count(lead) == 1


def test_two_officers_at_once_give_two_confirmations_and_one_confirmed_case(stage: Stage) -> None:
    lead = stage.candidate()
    officers = [stage.client("otto"), stage.client("olga")]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda one: stage.judge(one, lead).status_code, officers))
    assert answers == [200, 200]
    assert stage.case(lead).state is CaseState.CONFIRMED


def test_a_stale_digest_is_refused(stage: Stage) -> None:
    lead = stage.candidate()
    answer = stage.judge(stage.client("otto"), lead, evidence_digest=ZEROS)
    assert answer.status_code == 409
    assert stage.confirmation_count(lead) == 0
    assert denied(stage, "otto", lead)


def test_a_change_of_facts_voids_the_confirmations(stage: Stage) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    shown = otto.get(at(lead)).json()["evidence_digest"]
    stage.judge(stage.client("olga"), lead)
    body = {"version": stage.case(lead).version, "matter": "littering", "party": "unknown"}
    assert stage.client("sue").post(at(lead, "facts"), json=body).status_code == 200
    assert stage.case(lead).state is CaseState.CANDIDATE
    assert stage.judge(otto, lead, evidence_digest=shown).status_code == 409
    stage.judge(otto, lead)
    assert stage.case(lead).state is CaseState.FIRST_CONFIRMED


@pytest.mark.parametrize("missing", ["true", "clear", "complete", "accurate"])
def test_confirming_needs_each_of_the_four_attestations(stage: Stage, missing: str) -> None:
    lead = stage.candidate()
    given = dict.fromkeys(("true", "clear", "complete", "accurate"), True) | {missing: False}
    assert stage.judge(stage.client("otto"), lead, attestations=given).status_code == 409
    assert stage.confirmation_count(lead) == 0


def test_attestations_are_not_given_by_saying_nothing(stage: Stage) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    digest = otto.get(at(lead)).json()["evidence_digest"]
    body = {"evidence_digest": digest, "verdict": "confirm"}
    assert otto.post(at(lead, "confirm"), json=body).status_code == 409
    form = body | {"note": ""}
    page = stage.browser("otto")
    assert page.post(f"/leads/{lead}/confirm", data=form).status_code == 409
    assert stage.confirmation_count(lead) == 0


def test_a_rejection_needs_a_reason(stage: Stage) -> None:
    lead = stage.candidate()
    assert stage.judge(stage.client("otto"), lead, "reject", reason=None).status_code == 409
    assert stage.case(lead).state is CaseState.CANDIDATE


def test_a_recused_officer_is_refused(stage: Stage) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    assert otto.post(at(lead, "recuse"), json={"reason": "my brother"}).status_code == 200
    assert stage.judge(otto, lead).status_code == 403
    assert otto.get("/api/v1/leads").json() == []
    assert stage.confirmation_count(lead) == 0


def test_an_officer_whose_certificate_ran_out_is_refused(stage: Stage) -> None:
    lead = stage.candidate()
    stage.person("old", Role.OFFICER, certificate_valid_until=START + timedelta(minutes=10))
    assert stage.judge(stage.client("old"), lead).status_code == 403
    assert stage.confirmation_count(lead) == 0


ACTS = {
    "claim": {"version": 1},
    "triage": {"version": 1, "verdict": "violation", "reason": "as_described"},
    "confirm": {"evidence_digest": ZEROS, "verdict": "confirm"},
    "recuse": {"reason": "a friend"},
    "facts": {"version": 1, "matter": "other"},
    "recall": {"version": 1, "reason": "an error"},
}
ALLOWED = {
    "ana": {"claim", "triage"},
    "otto": {"confirm", "recuse"},
    "sue": {"facts", "recall"},
    "robot": set(),
}


@pytest.mark.parametrize("who", ALLOWED)
def test_each_role_has_its_own_acts_and_no_others(stage: Stage, who: str) -> None:
    lead = stage.candidate("bo")
    before = stage.case(lead)
    client = stage.client(who)
    for act, body in ACTS.items():
        status = client.post(at(lead, act), json=body).status_code
        if act not in ALLOWED[who]:
            assert status == 403, (who, act)
            assert any(row["actor"] == f"account-{who}" for row in stage.denials())
    if who != "otto":
        assert stage.case(lead) == before
    assert stage.confirmation_count(lead) == 0


@pytest.mark.parametrize(
    "forbidden",
    [
        {"state": "confirmed"},
        {"person_id": "person-olga"},
        {"seeded": False},
        {"confirmations_required": 1},
        {"decided_at": "2026-11-20T00:00:00Z"},
    ],
)
def test_fields_that_nobody_may_set_are_refused_and_logged(
    stage: Stage, forbidden: dict[str, Any]
) -> None:
    lead = stage.candidate()
    otto = stage.client("otto")
    answer = stage.judge(otto, lead, **forbidden)
    assert answer.status_code == 422
    assert stage.confirmation_count(lead) == 0
    assert denied(stage, "otto", lead)
    form = {"evidence_digest": ZEROS, "verdict": "confirm"} | dict.fromkeys(forbidden, "x")
    assert stage.browser("otto").post(f"/leads/{lead}/confirm", data=form).status_code == 422


def test_a_claim_keeps_others_away_for_fifteen_minutes(stage: Stage) -> None:
    lead = stage.lead()
    ana, bo = stage.client("ana"), stage.client("bo")
    assert ana.post(at(lead, "claim"), json={"version": 1}).json()["claim"]["mine"]
    shown = bo.get(at(lead)).json()
    assert shown["claim"]["holder"] == "Ana"
    assert bo.post(at(lead, "claim"), json={"version": shown["version"]}).status_code == 409
    stage.clock.passes(minutes=14, seconds=59)
    assert bo.post(at(lead, "claim"), json={"version": shown["version"]}).status_code == 409
    stage.clock.passes(seconds=1)
    assert bo.post(at(lead, "claim"), json={"version": shown["version"]}).status_code == 200


def test_a_verdict_after_the_claim_ran_out_is_refused(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    ana.post(at(lead, "claim"), json={"version": 1})
    stage.clock.passes(minutes=15)
    body = {"version": 2, "verdict": "violation", "reason": "as_described"}
    assert ana.post(at(lead, "triage"), json=body).status_code == 409
    assert stage.case(lead).state is CaseState.IN_TRIAGE


def test_a_lead_that_was_screened_out_is_closed(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    ana.post(at(lead, "claim"), json={"version": 1})
    body = {"version": 2, "verdict": "unclear", "reason": "poor_picture", "note": "fog"}
    assert ana.post(at(lead, "triage"), json=body).json()["state"] == "screened_out"
    assert ana.post(at(lead, "claim"), json={"version": 3}).status_code == 409


def test_a_confirmed_case_is_recalled_with_a_reason_only(stage: Stage) -> None:
    lead = stage.candidate()
    for name in ("otto", "olga"):
        stage.judge(stage.client(name), lead)
    sue = stage.client("sue")
    version = stage.case(lead).version
    body = {"version": version, "reason": "   "}
    assert sue.post(at(lead, "recall"), json=body).status_code == 422
    body["reason"] = "wrong address"
    assert sue.post(at(lead, "recall"), json=body).json()["state"] == "recalled"


def test_every_page_act_goes_the_same_way(stage: Stage) -> None:
    lead, other = stage.lead(), stage.lead()
    ana = stage.browser("ana")
    answer = ana.post(f"/leads/{lead}/claim", data={"version": "1"})
    assert answer.headers["location"] == f"/leads/{lead}?done=claimed"
    form = {"version": "2", "verdict": "violation", "reason": "as_described", "note": ""}
    answer = ana.post(f"/leads/{lead}/triage", data=form)
    assert answer.headers["location"] == f"/leads/{other}?done=triaged"
    for name in ("otto", "olga"):
        officer = stage.browser(name)
        page = officer.get(f"/leads/{lead}").text
        assert stage.case(lead).evidence_digest in page
        form = {"evidence_digest": stage.case(lead).evidence_digest, "verdict": "confirm"}
        form |= {f"attest_{kind}": "yes" for kind in ("true", "clear", "complete", "accurate")}
        answer = officer.post(f"/leads/{lead}/confirm", data=form | {"note": ""})
        assert answer.headers["location"] == "/?done=judged"
    assert stage.case(lead).state is CaseState.CONFIRMED


def test_nobody_acts_without_signing_in(stage: Stage) -> None:
    lead = stage.candidate()
    anybody = stage.client()
    for act, body in ACTS.items():
        assert anybody.post(at(lead, act), json=body).status_code == 401
    for path in (at(lead), "/api/v1/leads", "/api/v1/denials", at(lead, "evidence/clip")):
        assert anybody.get(path).status_code == 401
    for path in ("/", f"/leads/{lead}", "/supervision"):
        answer: httpx.Response = anybody.get(path)
        assert answer.headers["location"].startswith("/login")
