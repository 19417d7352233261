"""Officers judge blind: what they must not know is nowhere in what they get."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from enforcement.cases import CaseState
from tests.review.stage import SCORE, Stage

STATES = ("candidate", "first_confirmed", "disputed")
TELLING_KEYS = {"score", "from_state", "to_state", "seeded", "claim", "deliveries"}


def in_state(stage: Stage, state: str) -> str:
    """A case in one of the three states that look alike."""
    lead = stage.candidate()
    if state != "candidate":
        stage.judge(stage.client("otto"), lead, note="a first opinion")
    if state == "disputed":
        stage.judge(stage.client("olga"), lead, "reject", note="a second opinion")
    assert stage.case(lead).state == state
    return lead


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for one in value.values():
            yield from keys(one)
    elif isinstance(value, list):
        for one in value:
            yield from keys(one)


def shown_to(stage: Stage, name: str, lead: str) -> list[str]:
    """Every text of pages and API that this person can get about the case."""
    client = stage.browser(name)
    paths = [
        "/",
        "/?state=awaiting_confirmation",
        *(f"/?state={state}" for state in STATES),
        f"/leads/{lead}",
        "/api/v1/leads",
        "/api/v1/leads?state=awaiting_confirmation",
        *(f"/api/v1/leads?state={state}" for state in STATES),
        f"/api/v1/leads/{lead}",
        f"/api/v1/leads/{lead}/overlay",
        f"/leads/{lead}/evidence/observation",
        f"/api/v1/leads/{lead}/evidence/observation",
    ]
    return [client.get(path).text for path in paths]


@pytest.mark.parametrize("state", STATES)
def test_an_officer_learns_nothing_of_score_or_earlier_verdicts(stage: Stage, state: str) -> None:
    lead = in_state(stage, state)
    for text in shown_to(stage, "odo", lead):
        for telling in (
            "first_confirmed",
            "disputed",
            "First confirmation",
            "Disputed",
            str(SCORE),
            f">{SCORE:.2f}<",
            "0.8125",
            "Otto",
            "Olga",
            "opinion",
            "private remark",
            "person-",
        ):
            assert telling not in text, (telling, text[:200])


@pytest.mark.parametrize("state", STATES)
def test_the_three_waiting_states_look_alike(stage: Stage, state: str) -> None:
    lead = in_state(stage, state)
    client = stage.client("odo")
    shown = client.get(f"/api/v1/leads/{lead}").json()
    assert not TELLING_KEYS & set(keys(shown))
    assert "version" not in shown
    assert not any("version" in line for line in shown["record"])
    assert shown["state"] == "awaiting_confirmation"
    assert [line["kind"] for line in shown["record"]] == ["sealed"]
    assert shown["verdicts"] == []
    (listed,) = client.get("/api/v1/leads").json()
    assert not (TELLING_KEYS | {"version"}) & set(keys(listed))


def test_the_answers_of_two_states_are_the_same_but_for_ids(stage: Stage) -> None:
    texts = []
    for state in STATES[:2]:
        lead = in_state(stage, state)
        shown = stage.client("odo").get(f"/api/v1/leads/{lead}").json()
        texts.append(sorted(keys(shown)))
    assert texts[0] == texts[1]


def test_an_analyst_sees_no_score_before_the_triage(stage: Stage) -> None:
    lead = stage.lead()
    for text in shown_to(stage, "ana", lead):
        assert str(SCORE) not in text
        assert f">{SCORE:.2f}<" not in text
        assert "0.8125" not in text
    ana = stage.client("ana")
    at = f"/api/v1/leads/{lead}"
    ana.post(f"{at}/claim", json={"version": 1})
    body = {"version": 2, "verdict": "violation", "reason": "as_described"}
    assert ana.post(f"{at}/triage", json=body).json()["score"] == SCORE
    assert "score" not in stage.client("bo").get(at).json()


def test_an_analyst_does_not_learn_what_officers_said(stage: Stage) -> None:
    lead = in_state(stage, "disputed")
    shown = stage.client("bo").get(f"/api/v1/leads/{lead}").text
    assert "judged" not in shown
    assert "Otto" not in shown
    assert "disputed" not in shown


def test_one_sees_ones_own_verdict_and_no_other_until_the_end(stage: Stage) -> None:
    lead = in_state(stage, "disputed")
    shown = stage.client("olga").get(f"/api/v1/leads/{lead}").json()
    assert [one["by"] for one in shown["verdicts"]] == ["Officer Olga"]
    assert "Otto" not in json.dumps(shown)
    assert shown["state"] == "awaiting_confirmation"
    stage.judge(stage.client("odo"), lead)
    assert stage.case(lead).state is CaseState.CONFIRMED
    shown = stage.client("olga").get(f"/api/v1/leads/{lead}").json()
    assert len(shown["verdicts"]) == 3
    assert shown["score"] == SCORE
    assert shown["record"][-1]["to_state"] == "confirmed"


def test_refusals_do_not_tell_the_state(stage: Stage) -> None:
    lead = in_state(stage, "first_confirmed")
    ana = stage.client("ana")
    answers = [
        ana.post(f"/api/v1/leads/{lead}/claim", json={"version": 4}),
        stage.client("odo").post(f"/api/v1/leads/{lead}/claim", json={"version": 4}),
        stage.judge(stage.client("odo"), lead, evidence_digest="0" * 64),
        stage.judge(stage.client("otto"), lead),
    ]
    for answer in answers:
        assert answer.status_code in {403, 409}
        assert "first_confirmed" not in answer.text


def test_an_officer_does_not_see_leads_before_triage(stage: Stage) -> None:
    lead = stage.lead()
    otto = stage.client("otto")
    assert otto.get(f"/api/v1/leads/{lead}").status_code == 403
    assert otto.get(f"/api/v1/leads/{lead}/evidence/clip").status_code == 403
    assert otto.get("/api/v1/leads?state=lead").json() == []


def test_nobody_but_a_supervisor_can_tell_a_planted_lead(stage: Stage) -> None:
    planted = stage.candidate(seeded=True)
    for name in ("ana", "odo", "robot"):
        assert "seeded" not in set(keys(stage.client(name).get(f"/api/v1/leads/{planted}").json()))
    assert stage.client("sue").get(f"/api/v1/leads/{planted}").json()["facts"]["seeded"] is True


def test_a_supervisor_sees_everything(stage: Stage) -> None:
    lead = in_state(stage, "disputed")
    shown = stage.client("sue").get(f"/api/v1/leads/{lead}").json()
    assert shown["state"] == "disputed"
    assert shown["score"] == SCORE
    assert {one["by"] for one in shown["verdicts"]} == {"Officer Otto", "Officer Olga"}
    assert [line["version"] for line in shown["record"]] == [1, 2, 3, 4, 5]
    page = stage.browser("sue").get("/supervision")
    assert page.status_code == 200
    assert stage.browser("otto").get("/supervision").status_code == 403
