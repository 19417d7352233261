"""A case of readings: a picture instead of a clip, and its reasons in both languages."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from enforcement.cases import Lead
from enforcement.episodes import Window
from enforcement.evidence import CaseFacts, EvidenceItem, EvidenceKind, Manifest, Place, Provenance
from enforcement.footage import Capture
from enforcement.geometry import Box
from enforcement.readings import CalibrationInterval, Reading, ReadingStatus
from enforcement.sensing import evaluate
from enforcement.sensor_rules import (
    SensorHourlyMean,
    SensorLimit,
    SensorMissing,
    SensorParams,
    SensorRateOfChange,
    SensorStuck,
    SensorThreshold,
)
from media.traces import Level, Trace, Value, draw_trace
from review import labels, language
from settings.catalog import rule_digest
from storage.canonical import canonical_bytes
from storage.records import captures, casebook
from tests.review.stage import RULE, SCORE, START, Stage

AT = datetime(2026, 11, 2, 14, 0, tzinfo=UTC)
WINDOW = Window(start=AT, end=AT + timedelta(hours=3))
CALIBRATED = CalibrationInterval(
    device_id="meter", valid_from=AT - timedelta(days=9), valid_until=AT + timedelta(days=9)
)


def readings(*values: float) -> list[Reading]:
    return [
        Reading(
            device_id="meter", quantity="la", at=AT + timedelta(minutes=number), value=value,
            unit="dB(A)", status=ReadingStatus.NORMAL,
        )
        for number, value in enumerate(values)
    ]  # fmt: skip


def reasons(params: SensorParams, given: Iterable[Reading]) -> tuple[str, ...]:
    found = evaluate(params, given, [CALIBRATED], WINDOW, "Asia/Shanghai", ["meter"]).findings
    assert found
    return found[0].reasons


LIMIT, LOW = SensorLimit(above=70), SensorLimit(below=90)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        (SensorThreshold(quantity="la", limit=LIMIT), (80.5,)),
        (SensorThreshold(quantity="la", limit=LOW), (80.5,)),
        (SensorThreshold(quantity="la", limit=SensorLimit(above=99), night=LIMIT), (80.5,)),
        (SensorHourlyMean(quantity="la", limit=LIMIT), (80.5,) * 60),
        (SensorHourlyMean(quantity="la", limit=LOW, hours_min=2), (80.5,) * 120),
        (SensorRateOfChange(quantity="la", rise=9), (50.0, 80.5)),
        (SensorRateOfChange(quantity="la", fall=9), (80.5, 50.0)),
        (SensorStuck(quantity="la"), (60.0,) * 70),
        (SensorMissing(quantity="la"), (60.0,)),
    ],
)
def test_every_reason_of_a_sensor_rule_can_be_told_in_chinese(
    params: SensorParams, values: tuple[float, ...]
) -> None:
    for text in reasons(params, readings(*values)):
        told = language.retold("zh-Hans", text, labels.ALL)
        assert told != text, text
        assert "sound level" not in told
        assert not {"readings", "above", "below", "local"} & set(told.split()), told


def picture() -> bytes:
    trace = Trace(
        title="LAeq at meter", unit="dB(A)",
        values=[Value(one.at, one.value, True) for one in readings(50, 62, 63, 61)],
        limits=[Level(AT, AT + timedelta(minutes=3), 55.0)], nights=[(AT, WINDOW.end)],
        onset_at=AT, alarm_at=AT + timedelta(minutes=2), zone=ZoneInfo("Asia/Shanghai"),
    )  # fmt: skip
    return draw_trace(trace)


def sealed(stage: Stage) -> str:
    """A lead of readings as the pipeline seals it; returns its id."""
    lead_id, capture_id = str(uuid.uuid4()), str(uuid.uuid4())
    messages = "application/vnd.sightline.messages+jsonl"
    original = stage._put(lead_id.encode(), messages)
    lead = Lead(
        lead_id=lead_id, rule_id=RULE.rule_id, rule_version=1, rule_digest=rule_digest(RULE),
        feed_id="gate-cam", site_id="north-gate", zone_id="lane", capture_id=capture_id,
        alarm_at=START, alarm_at_s=0.0, onset_s=-60.0, end_s=None, score=SCORE,
        box=Box(0, 0, 1, 1), raised_at=START,
        reasons=reasons(SensorThreshold(quantity="la", limit=LIMIT), readings(80.5)),
    )  # fmt: skip

    def item(
        item_id: str, kind: EvidenceKind, data: bytes, media_type: str, origin: str
    ) -> EvidenceItem:
        return EvidenceItem(
            item_id=item_id, kind=kind, object=stage._put(data, media_type), derived_from=origin,
            made_by="sightline.test@1",
        )  # fmt: skip

    manifest = Manifest(
        lead_id=lead_id, created_at=START,
        items=(
            EvidenceItem(
                item_id="original", kind=EvidenceKind.ORIGINAL, object=original, made_by="t@1"
            ),
            item("readings", EvidenceKind.READINGS, b"{}", "application/json", "original"),
            item("trace", EvidenceKind.KEY_FRAME, picture(), "image/png", "readings"),
        ),
        provenance=Provenance(
            capture_id=capture_id, feed_id="gate-cam", site_id="north-gate", source_name="a.jsonl",
            captured_at=START, received_at=START, clock_offset_s=0.0,
        ),
        rule_id=RULE.rule_id, rule_version=1, rule_digest=lead.rule_digest, models=(),
        alarm_at=START, finding_box=lead.box, reasons=lead.reasons, software_version="1",
    )  # fmt: skip
    facts = CaseFacts(
        lead_id=lead_id, revision=1, rule_id=RULE.rule_id, rule_version=1, matter="noise",
        manifest=stage._put(canonical_bytes(manifest), "application/json"),
        place=Place(site_id="north-gate"), device_status="valid", confirmations_required=2,
    )  # fmt: skip
    capture = Capture(
        capture_id=capture_id, feed_id="gate-cam", object=original, captured_at=START,
        received_at=START, clock_offset_s=0.0, source_name="a.jsonl",
    )  # fmt: skip
    with stage.database.transaction() as connection:
        captures.file_capture(connection, capture)
        casebook.raise_lead(connection, lead)
        casebook.open_case(connection, facts, START)
    return lead_id


def test_its_page_shows_the_readings_and_nothing_to_play(stage: Stage) -> None:
    lead_id = sealed(stage)
    client = stage.browser("ana")
    answer = client.get(f"/leads/{lead_id}")
    assert answer.status_code == 200
    page = answer.text
    assert f'<img src="/leads/{lead_id}/evidence/trace"' in page
    assert "<video" not in page
    assert "player.js" not in page, "it would fail without a player, and take no keys"
    assert "verdict.js" in page
    assert "A-weighted sound level above 70 dB(A)" in page
    client.cookies.set("sightline_language", "zh-Hans")
    assert "个A 声级高于70 dB(A)" in client.get(f"/leads/{lead_id}").text


def test_its_picture_and_its_readings_can_be_seen_and_there_is_no_overlay(stage: Stage) -> None:
    lead_id = sealed(stage)
    client = stage.client("ana")
    trace = client.get(f"/leads/{lead_id}/evidence/trace")
    assert (trace.headers["content-type"], trace.content[:4]) == ("image/png", b"\x89PNG")
    assert client.get(f"/leads/{lead_id}/thumbnail").content == trace.content
    assert client.get(f"/leads/{lead_id}/evidence/readings").json() == {}
    assert client.get(f"/api/v1/leads/{lead_id}/overlay").status_code == 404
    assert client.get(f"/api/v1/leads/{lead_id}").status_code == 200


def test_the_case_before_it_fetches_no_clip_ahead(stage: Stage) -> None:
    footage = stage.lead(alarm_at=START - timedelta(hours=1))
    sealed(stage)
    page = stage.browser("ana").get(f"/leads/{footage}").text
    assert 'rel="next"' in page
    assert 'class="ahead"' not in page


def test_the_same_trace_is_the_same_picture() -> None:
    assert picture() == picture()
