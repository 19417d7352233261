"""Requests that are wrong, large or hostile, and what every answer carries."""

import time
from pathlib import Path

import pytest

from storage.evidence_store import EvidenceStore
from storage.s3_client import Timeouts
from tests.review.stage import Stage, make_stage, served


def test_problems_of_the_api_are_problem_documents(stage: Stage) -> None:
    ana = stage.client("ana")
    lead = stage.lead()
    at = f"/api/v1/leads/{lead}"
    cases = {
        404: ana.get("/api/v1/leads/none"),
        405: ana.delete(at),
        409: ana.post(f"{at}/claim", json={"version": 7}),
        422: ana.post(f"{at}/claim", json={"version": "many"}),
        403: ana.post(f"{at}/recall", json={"version": 1, "reason": "x"}),
        400: ana.post(
            f"{at}/claim", content=b"{not json", headers={"content-type": "application/json"}
        ),
        401: stage.client().get(at),
        413: ana.post(f"{at}/claim", content=b" " * 70_000),
    }
    for status, answer in cases.items():
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert ana.get("/api/v1/nowhere").headers["content-type"] == "application/problem+json"


def test_a_large_body_without_a_length_is_refused(stage: Stage) -> None:
    def pieces() -> "list[bytes]":
        return [b"x" * 10_000] * 8

    answer = stage.client("ana").post("/api/v1/session", content=iter(pieces()))
    assert answer.status_code == 413


@pytest.mark.parametrize("content", [b"[" * 60_000, b'{"version": 1e999}', b"\xff\xfe", b"null"])
def test_hostile_json_is_refused(stage: Stage, content: bytes) -> None:
    lead = stage.lead()
    headers = {"content-type": "application/json"}
    answer = stage.client("ana").post(
        f"/api/v1/leads/{lead}/claim", content=content, headers=headers
    )
    assert answer.status_code in {400, 422}
    assert stage.case(lead).version == 1


def test_control_characters_and_lone_surrogates_are_refused(stage: Stage) -> None:
    lead = stage.lead()
    ana = stage.client("ana")
    ana.post(f"/api/v1/leads/{lead}/claim", json={"version": 1})
    for note in (b'"a\\u0000b"', b'"\\ud800"', b'"\\u001b[2J"'):
        body = b'{"version":2,"verdict":"violation","reason":"as_described","note":' + note + b"}"
        headers = {"content-type": "application/json"}
        answer = ana.post(f"/api/v1/leads/{lead}/triage", content=body, headers=headers)
        assert answer.status_code in {400, 422}, note


def test_every_answer_is_hardened(stage: Stage) -> None:
    ana = stage.browser("ana")
    lead = stage.lead()
    for path in ("/", f"/leads/{lead}", "/nowhere", "/api/v1/leads", "/login", "/healthz"):
        headers = ana.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'self' http://127.0.0.1:8081 http://localhost:8081" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


def test_pages_hold_no_inline_scripts_or_styles(stage: Stage) -> None:
    ana = stage.browser("ana")
    lead = stage.lead()
    for path in ("/", f"/leads/{lead}", "/login", "/nowhere"):
        page = ana.get(path).text
        assert "style=" not in page
        assert "<style" not in page
        assert " onclick" not in page
        assert "javascript:" not in page
        for script in page.split("<script")[1:]:
            assert "src=" in script.split(">")[0] or 'type="application/json"' in script


HOSTILE = '<img src=x onerror=alert(1)>"\'{{7*7}}=cmd|"/c calc"!A1\u202egpj.exe'


def test_hostile_metadata_is_shown_harmlessly(stage: Stage) -> None:
    lead = stage.candidate(
        source_name=HOSTILE, reasons=(HOSTILE,), matter=f"</script><script>{HOSTILE}"
    )
    for name in ("sue", "otto", "ana"):
        page = stage.browser(name).get(f"/leads/{lead}").text
        assert "<img src=x" not in page
        assert "<script>" not in page
        assert "\u202e" not in page
        assert "[U+202E]" in page
        assert "{{7*7}}" in page


def test_a_service_reads_and_does_nothing_else(stage: Stage) -> None:
    lead = stage.candidate()
    robot = stage.client("robot")
    assert robot.get(f"/api/v1/leads/{lead}").json()["may"] == []
    assert robot.get("/api/v1/denials").status_code == 403


def test_the_interface_describes_itself(stage: Stage) -> None:
    spec = stage.client().get("/api/v1/openapi.json").json()
    assert {"/api/v1/leads/{lead_id}/confirm", "/api/v1/session"} <= set(spec["paths"])
    assert all(path.startswith("/api/v1/") for path in spec["paths"])


def test_a_store_that_does_not_answer_is_told_and_the_queue_still_works(
    tmp_path: Path, store: EvidenceStore, stage: Stage
) -> None:
    lead = stage.lead()
    silent = EvidenceStore(
        "127.0.0.1:9", "nobody", "secret-secret", secure=False, retention_days=1,
        timeouts=Timeouts(0.2, 0.2),
    )  # fmt: skip
    folder = tmp_path / "other"
    folder.mkdir()
    lame = make_stage(folder, silent)
    lame.database.close()
    lame.database = stage.database
    with served(lame) as running:
        ana = running.browser("ana")
        assert lead in ana.get("/").text
        began = time.monotonic()
        page = ana.get(f"/leads/{lead}")
        assert page.status_code == 503
        assert "evidence store" in page.text
        assert time.monotonic() - began < 20
        answer = ana.get(f"/api/v1/leads/{lead}")
        assert answer.json()["type"] == "urn:sightline:problem:unavailable"


def test_health_fails_when_the_records_do(stage: Stage, tmp_path: Path) -> None:
    client = stage.client()
    assert client.get("/healthz").status_code == 200
    stage.database.close()
    (tmp_path / "records.sqlite").unlink()
    assert client.get("/healthz").status_code == 503
