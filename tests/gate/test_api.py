"""Attacks through the review application's API, on both databases."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from enforcement.cases import CaseState
from enforcement.people import Role
from pipelines.dispatch import dispatch_confirmed
from review.app import create_app
from settings.catalog import Catalog
from storage.records import accounts
from storage.verified_cache import VerifiedCache
from tests.gate.house import House, person
from tests.serving import serving

YES = {"true": True, "clear": True, "complete": True, "accurate": True}

Client = Callable[[str], httpx.Client]


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    """A client of the review application, signed in as somebody."""
    cache = VerifiedCache(house.store, house.folder / "cache", 10**7)
    settings = house.wiring.settings
    app = create_app(house.review, house.store, cache, Catalog, settings, clock=house.clock)
    opened = []

    with serving(app) as url:

        def of(name: str) -> httpx.Client:
            with house.review.transaction() as connection:
                token = accounts.open_session(connection, house.people[name], house.now)
            client = httpx.Client(base_url=url, headers={"authorization": f"Bearer {token}"})
            opened.append(client)
            return client

        yield of
        for one in opened:
            one.close()


def confirmation(house: House, lead_id: str, **more: object) -> dict[str, Any]:
    digest = house.case(lead_id).evidence_digest
    return {"evidence_digest": digest, "verdict": "confirm", "attestations": YES} | more


def test_a_confirmation_cannot_set_what_is_not_its_own(house: House, client: Client) -> None:
    lead_id = house.candidate()
    olga = client("olga")
    for number, (field, value) in enumerate(
        {
            "state": "confirmed",
            "seeded": False,
            "person_id": "person-otto",
            "account_id": "account-otto",
            "confirmations_required": 1,
            "decided_at": "2026-01-01T00:00:00Z",
        }.items(),
        start=1,
    ):
        body = confirmation(house, lead_id, **{field: value})
        answer = olga.post(f"/api/v1/leads/{lead_id}/confirm", json=body)
        assert answer.status_code == 422, field
        assert len(house.denials(lead_id)) == number, field
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.outbox_size() == 0


def test_there_is_no_request_for_a_later_state(house: House, client: Client) -> None:
    lead_id = house.candidate()
    for name in ("ana", "olga", "sue"):
        visitor = client(name)
        for path in ("", "/dispatch", "/state", "/acknowledge", "/events"):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                url = f"/api/v1/leads/{lead_id}{path}"
                answer = visitor.request(method, url, json={"state": "dispatched"})
                assert answer.status_code in {404, 405}, (name, method, path)
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.outbox_size() == 0


def test_an_officer_cannot_confirm_what_nobody_accepted(house: House, client: Client) -> None:
    lead_id = house.sealed_lead()
    answer = client("olga").post(
        f"/api/v1/leads/{lead_id}/confirm", json=confirmation(house, lead_id)
    )
    assert answer.status_code in {403, 404, 409}
    assert house.state(lead_id) is CaseState.LEAD
    assert house.denials(lead_id)


def test_a_services_token_confirms_nothing(house: House, client: Client) -> None:
    house.add(person("robot", Role.SERVICE))
    lead_id = house.candidate()
    body = confirmation(house, lead_id)
    answer = client("robot").post(f"/api/v1/leads/{lead_id}/confirm", json=body)
    assert answer.status_code == 403
    assert house.state(lead_id) is CaseState.CANDIDATE
    assert house.denials(lead_id)
    assert dispatch_confirmed() == []
    assert house.outbox_size() == 0


def test_a_token_of_another_system_confirms_nothing(house: House, client: Client) -> None:
    """Such as the one that Airflow gives to whoever signs in there."""
    lead_id = house.candidate()
    stranger = client("olga")
    stranger.headers["authorization"] = "Bearer eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.c2ln"
    url = f"/api/v1/leads/{lead_id}/confirm"
    assert stranger.post(url, json=confirmation(house, lead_id)).status_code == 401
    assert house.state(lead_id) is CaseState.CANDIDATE


def test_a_double_click_is_one_confirmation(house: House, client: Client) -> None:
    lead_id = house.candidate()
    olga = client("olga")
    body = confirmation(house, lead_id)
    codes = [olga.post(f"/api/v1/leads/{lead_id}/confirm", json=body).status_code for _ in "12"]
    assert codes == [200, 403]
    assert house.state(lead_id) is CaseState.FIRST_CONFIRMED
