"""Feed health as people, programs and Prometheus see it."""

from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.feed_health import CollectorReport, FeedGap
from enforcement.footage import ViewFinding, ViewProblem
from storage.evidence_store import EvidenceStore
from storage.records import captures, feeds, windows
from storage.records.windows import SensorProblem
from tests.review.stage import Stage, make_stage, served


def trouble(stage: Stage) -> None:
    """One capture with a covered view, one set aside, a gap, and a collector that is refused."""
    now = stage.clock()
    stage.lead(alarm_at=now - timedelta(minutes=30))
    stage.lead(alarm_at=now - timedelta(minutes=10))
    covered = ViewFinding(problem=ViewProblem.COVERED, start_s=1.0, end_s=4.0, share=0.9)
    gap = FeedGap(from_at=now - timedelta(minutes=9), to_at=now, reason="spool full")
    report = CollectorReport(at=now, state="refused", clock_offset_s=7.25, last_error="401")
    with stage.database.transaction() as connection:
        feeds.note_view(connection, "capture-1", [covered])
        feeds.note_view(connection, "capture-1", [covered])
        captures.quarantine(connection, "capture-2", "nothing decodes", now)
        feeds.note_gap(connection, "gate-cam", gap, now)
        feeds.note_gap(connection, "gate-cam", gap, now)
        feeds.note_state(connection, "gate-cam", report)


def test_a_feed_that_is_well_says_so(stage: Stage) -> None:
    (line,) = stage.client("ana").get("/api/v1/feeds").json()
    assert (line["feed_id"], line["source"], line["troubles"]) == ("gate-cam", "folder", [])
    page = stage.client("ana").get("/feeds").text
    assert "All feeds are well." in page
    assert "nothing yet" in page


def test_what_is_wrong_with_a_feed_is_told_with_its_figures(stage: Stage) -> None:
    trouble(stage)
    (line,) = stage.client("ana").get("/api/v1/feeds").json()
    assert line["troubles"] == ["not_recording", "view", "clock", "quarantine", "gaps"]
    health = line["health"]
    assert (health["captures"], health["waiting"], health["quarantined"]) == (2, 1, 1)
    assert health["stored_bytes"] == health["stored_bytes_ever"] > 0
    assert len(health["gaps"]) == 1
    assert health["view"] == ["covered"]
    page = stage.client("ana").get("/feeds").text
    for text in ("1 feed needs attention.", "Not recording", "refused by the device", "+7.2 s"):
        assert text in page, text
    chinese = stage.client("ana", **{"accept-language": "zh-CN"}).get("/feeds").text
    assert "1 个信源需要处理。" in chinese
    assert "被遮挡" in chinese


def test_what_is_older_than_a_day_no_longer_counts(stage: Stage) -> None:
    trouble(stage)
    stage.clock.passes(hours=25)
    health = stage.client("ana").get("/api/v1/feeds").json()[0]["health"]
    assert (health["captures"], health["quarantined"], health["gaps"]) == (0, 0, [])
    assert health["view"] == []
    assert health["stored_bytes_ever"] > 0


def test_officers_do_not_see_feeds(stage: Stage) -> None:
    assert stage.client("olga").get("/api/v1/feeds").status_code == 403
    assert stage.client("olga").get("/feeds").status_code == 403
    assert stage.client().get("/api/v1/feeds").status_code == 401


def test_metrics_need_their_token_and_tell_what_is_wrong(
    tmp_path: Path, store: EvidenceStore, records: Path, stage: Stage
) -> None:
    assert stage.client().get("/metrics").status_code == 404
    (tmp_path / "b").mkdir()
    with served(make_stage(tmp_path / "b", store, records, metrics_token="s3cret")) as open_stage:
        trouble(open_stage)
        client = open_stage.client()
        assert client.get("/metrics").status_code == 401
        wrong = {"authorization": "Bearer s3cre"}
        assert client.get("/metrics", headers=wrong).status_code == 401
        text = client.get("/metrics", headers={"authorization": "Bearer s3cret"}).text
    assert 'sightline_feed_gap_seconds_day{feed="gate-cam"} 540.0' in text
    assert 'sightline_feed_trouble{feed="gate-cam",trouble="view"} 1.0' in text
    assert 'sightline_feed_trouble{feed="gate-cam",trouble="silent"} 0.0' in text


def test_a_sensor_that_is_stuck_is_told_until_that_is_over(stage: Stage) -> None:
    since = stage.clock() - timedelta(hours=2)
    stuck = SensorProblem(
        feed_id="gate-cam", rule_id="stuck", kind="sensor_stuck", device_id="noise-7",
        quantity="la", continues=False, onset_at=since, alarm_at=since + timedelta(hours=1),
        last_at=stage.clock(), end_at=None, reasons=("la stays at 41",),
    )  # fmt: skip
    with stage.database.transaction() as connection:
        windows.note_problems(connection, "gate-cam", since, [stuck])
        feeds.note_state(
            connection, "gate-cam", CollectorReport(at=stage.clock(), state="listening")
        )
    (line,) = stage.client("ana").get("/api/v1/feeds").json()
    assert line["troubles"] == ["sensor"]
    assert "noise-7 · la: always the same value" in stage.client("ana").get("/feeds").text
    over = stuck.model_copy(update={"end_at": stage.clock()})
    with stage.database.transaction() as connection:
        windows.note_problems(connection, "gate-cam", since, [over])
    assert stage.client("ana").get("/api/v1/feeds").json()[0]["troubles"] == []


@pytest.mark.parametrize("path", ["/feeds", "/api/v1/feeds"])
def test_an_unknown_feed_in_the_records_breaks_nothing(stage: Stage, path: str) -> None:
    """It was taken out of the catalog; what it gave is still there."""
    report = CollectorReport(at=stage.clock(), state="stopped")
    with stage.database.transaction() as connection:
        feeds.note_state(connection, "gone-cam", report)
    assert stage.client("ana").get(path).status_code == 200
