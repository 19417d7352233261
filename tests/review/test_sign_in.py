"""Signing in, sessions, and forms that are not ours."""

import httpx
import pytest

from enforcement.people import Role
from storage.records import accounts
from tests.review.stage import PASSWORD, Stage


def try_in(stage: Stage, name: str, password: str) -> int:
    body = {"username": name, "password": password}
    return stage.client().post("/api/v1/session", json=body).status_code


def test_names_that_differ_in_case_or_width_share_one_count_of_failures(stage: Stage) -> None:
    for name in ("otto", "OTTO", "ｏｔｔｏ", " Otto ", "oＴto"):
        assert try_in(stage, name, "wrong") == 401
    assert try_in(stage, "otto", PASSWORD) == 403
    assert try_in(stage, "olga", PASSWORD) == 201
    stage.clock.passes(minutes=15)
    assert try_in(stage, "otto", PASSWORD) == 201


def test_the_page_tells_a_throttled_person_why(stage: Stage) -> None:
    client = stage.client()
    client.get("/login")
    form = {"username": "otto", "password": "wrong", "csrf": client.cookies["sightline_form"]}
    for _ in range(5):
        assert client.post("/login", data=form).status_code == 401
    answer = client.post("/login", data=form | {"password": PASSWORD})
    assert answer.status_code == 429
    assert "15 minutes" in answer.text
    assert "sightline_session" not in client.cookies


def test_a_form_without_the_sessions_token_is_refused_and_logged(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.browser("ana")
    del ana.headers["x-csrf-token"]
    for csrf in ("", "guess"):
        form = {"version": "1", "csrf": csrf}
        assert ana.post(f"/leads/{lead}/claim", data=form).status_code == 403
        headers = {"x-csrf-token": csrf}
        at = f"/api/v1/leads/{lead}/claim"
        assert ana.post(at, json={"version": 1}, headers=headers).status_code == 403
    assert stage.case(lead).version == 1
    assert len(stage.denials()) == 4


def test_a_form_of_another_origin_is_refused_even_with_the_token(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.browser("ana")
    at = f"/api/v1/leads/{lead}/claim"
    for origin in ("http://evil.example", "null"):
        headers = {"origin": origin}
        assert ana.post(at, json={"version": 1}, headers=headers).status_code == 403
    assert ana.post(at, json={"version": 1}, headers={"origin": stage.url}).status_code == 200


def test_the_sign_in_form_is_tied_to_the_browser_that_got_it(stage: Stage) -> None:
    form = {"username": "otto", "password": PASSWORD, "csrf": "anything"}
    answer = stage.client().post("/login", data=form)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def cookies_of(answer: httpx.Response) -> list[str]:
    return [value.lower() for value in answer.headers.get_list("set-cookie")]


def test_cookies_are_kept_from_scripts_and_other_sites(stage: Stage) -> None:
    client = stage.client()
    (form_cookie,) = cookies_of(client.get("/login"))
    assert "httponly" in form_cookie
    assert "samesite=strict" in form_cookie
    form = {"username": "otto", "password": PASSWORD, "csrf": client.cookies["sightline_form"]}
    (session_cookie,) = cookies_of(client.post("/login", data=form))
    assert "httponly" in session_cookie
    assert "samesite=lax" in session_cookie
    assert "secure" not in session_cookie


def test_behind_tls_cookies_are_secure(secure_stage: Stage) -> None:
    client = secure_stage.client()
    page = client.get("/login")
    token = page.text.split('name="csrf" value="')[1].split('"')[0]
    form = {"username": "otto", "password": PASSWORD, "csrf": token}
    answer = client.post("/login", data=form, headers={"cookie": f"sightline_form={token}"})
    (session_cookie,) = cookies_of(answer)
    assert session_cookie.startswith("__host-sightline_session=")
    assert "; secure" in session_cookie
    assert "strict-transport-security" in answer.headers


def test_signing_in_again_ends_the_old_session(stage: Stage) -> None:
    browser = stage.client()
    browser.get("/login")
    form = {"username": "otto", "password": PASSWORD, "csrf": browser.cookies["sightline_form"]}
    browser.post("/login", data=form)
    old = browser.cookies["sightline_session"]
    browser.post("/login", data=form | {"username": "olga"})
    assert browser.cookies["sightline_session"] != old
    assert browser.get("/api/v1/me").json()["username"] == "olga"
    bearer = {"authorization": f"Bearer {old}"}
    assert stage.client(**bearer).get("/api/v1/me").status_code == 401


def test_a_fixed_session_cookie_is_not_taken_over(stage: Stage) -> None:
    client = stage.client()
    client.cookies.set("sightline_session", "chosen-by-somebody-else")
    client.get("/login")
    form = {"username": "otto", "password": PASSWORD, "csrf": client.cookies["sightline_form"]}
    answer = client.post("/login", data=form)
    assert "chosen-by-somebody-else" not in str(cookies_of(answer))


def test_signing_out_ends_the_session_on_the_server(stage: Stage) -> None:
    browser = stage.browser("otto")
    token = browser.cookies["sightline_session"]
    assert browser.post("/logout", data={}).status_code == 303
    bearer = {"authorization": f"Bearer {token}"}
    assert stage.client(**bearer).get("/api/v1/me").status_code == 401


def test_a_session_ends_after_a_working_day_and_with_its_account(stage: Stage) -> None:
    otto, olga = stage.client("otto"), stage.client("olga")
    with stage.database.transaction() as connection:
        accounts.set_active(connection, "olga", False)
    assert olga.get("/api/v1/me").status_code == 401
    assert otto.get("/api/v1/me").status_code == 200
    stage.clock.passes(hours=10)
    assert otto.get("/api/v1/me").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_leads_nowhere_else(stage: Stage, target: str) -> None:
    client = stage.client()
    client.get("/login")
    form = {
        "username": "otto",
        "password": PASSWORD,
        "csrf": client.cookies["sightline_form"],
        "next": target,
    }
    assert client.post("/login", data=form).headers["location"] == "/"
    answer = client.get("/language/zh-Hans", params={"next": target})
    assert answer.headers["location"] == "/"


def test_a_closed_account_cannot_sign_in(stage: Stage) -> None:
    stage.person("gone", Role.ANALYST, active=False)
    assert try_in(stage, "gone", PASSWORD) == 401
