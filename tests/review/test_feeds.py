"""Feed health as people, programs and Prometheus see it."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from enforcement.feed_health import CollectorReport, FeedGap
from enforcement.footage import Capture, StoredObject, ViewFinding, ViewProblem
from enforcement.missions import FlightKey, FlightState, Mission
from enforcement.places import DroneFolder, Feed
from review.__main__ import _free_bytes
from storage.evidence_store import EvidenceStore
from storage.records import captures, feeds, flights, windows
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


def received(stage: Stage, feed_id: str, days_ago: float, size: int) -> str:
    """File a capture of so many bytes; returns its id."""
    at = stage.clock() - timedelta(days=days_ago)
    digest = hashlib.sha256(f"{feed_id} {days_ago}".encode()).hexdigest()
    stored = StoredObject(
        bucket="b", key=digest, version_id="v", sha256=digest, size=size, media_type="video/mp4"
    )
    capture = Capture(
        capture_id=f"{feed_id}-{days_ago}", feed_id=feed_id, object=stored, captured_at=at,
        received_at=at, clock_offset_s=0.0, source_name="x.mp4",
    )  # fmt: skip
    with stage.database.transaction() as connection:
        captures.finish(connection, captures.file_capture(connection, capture))
    return capture.capture_id


GIB = 2**30


def test_growth_is_told_by_day_for_each_feed_and_for_all(stage: Stage) -> None:
    for days_ago, size in ((0.0, 1), (0.9, 2), (1.0, 4), (1.9, 8), (13.9, 16), (14.0, 32)):
        received(stage, "gate-cam", days_ago, size * GIB)
    received(stage, "gone-cam", 0.5, GIB)
    client = stage.client("ana")
    health = client.get("/api/v1/feeds").json()[0]["health"]
    assert health["stored_bytes_by_day"] == [n * GIB for n in (16, *[0] * 11, 12, 3)]
    assert health["stored_bytes"] == 3 * GIB
    stage.free_bytes = 38 * GIB
    storage = client.get("/api/v1/storage").json()
    assert storage["stored"] == 64 * GIB, "what a former feed gave is still there"
    assert storage["by_day"][-2:] == [12 * GIB, 4 * GIB]
    assert storage["per_day"] == 16 * GIB // 7
    page = client.get("/feeds").text
    for text in ("64.0 GiB", "+4.0 GiB", "day before: 12.0 GiB", "38.0 GiB", "in about 16 days"):
        assert text in page, text
    assert page.count('class="bars"') == 2
    chinese = stage.client("ana", **{"accept-language": "zh-CN"}).get("/feeds").text
    assert "约 16 天后" in chinese


def test_room_that_nobody_knows_is_not_guessed(stage: Stage, tmp_path: Path) -> None:
    received(stage, "gate-cam", 0.5, GIB)
    page = stage.client("ana").get("/feeds").text
    assert "not known" in page
    assert "in about" not in page
    assert _free_bytes(None) is None
    assert _free_bytes(tmp_path / "nowhere") is None
    assert (_free_bytes(tmp_path) or 0) > 0


def test_officers_do_not_see_the_storage(stage: Stage) -> None:
    assert stage.client("olga").get("/api/v1/storage").status_code == 403


def drones(stage: Stage) -> None:
    """A dock with a mission each day, one whose approval ends, and one for when it is needed."""
    dock = Feed(feed_id="dock", title="Dock", site_id="north-gate", source=DroneFolder(path="dock"))
    approval = {
        "approval_id": "A-1", "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2027-01-01T00:00:00Z",
        "area": [[31.0, 121.0], [31.1, 121.0], [31.1, 121.1]],
    }  # fmt: skip
    ends = approval | {"valid_until": "2026-11-20T04:00:00Z"}
    shanghai = {"time_zone": "Asia/Shanghai"}
    missions = tuple(
        Mission.model_validate(
            {"mission_id": name, "title": name.title(), "feed_id": "dock", "purpose": "waste"}
            | more
        )
        for name, more in (
            ("on-call", {"approval": approval}),
            ("quarry", {"approval": ends, "schedule": "0 8 * * *"}),
            ("fields", {"approval": approval, "schedule": "30 6 * * *", "conventions": shanghai}),
        )
    )
    known = stage.catalog
    stage.catalog = known.model_copy(update={"feeds": (*known.feeds, dock), "missions": missions})


def test_of_each_mission_the_next_and_the_last_flight_are_told(stage: Stage) -> None:
    drones(stage)
    began = stage.clock() - timedelta(days=2, hours=1)
    key = FlightKey("dock", "quarry", "f-1")
    capture_id = received(stage, "dock", 2, 9)
    with stage.database.transaction() as connection:
        now = stage.clock() - timedelta(days=2)
        flights.note_file(connection, key, "a.mp4", 9, now, capture_id, now)
        flight = flights.load(connection, key)
        update = {"state": FlightState.REFUSED, "began_at": began, "closed_at": now}
        flights.close(connection, flight.model_copy(update=update))
    lines = {one["feed_id"]: one for one in stage.client("ana").get("/api/v1/feeds").json()}
    assert lines["gate-cam"]["missions"] == []
    quarry, fields, on_call = lines["dock"]["missions"]
    assert quarry["next_flight_at"] == "2026-11-20T08:00:00Z"
    assert quarry["next_is_approved"] is False, "the approval ends at 04:00"
    assert (quarry["last_flight"], datetime.fromisoformat(quarry["last_flight_at"])) == (
        "refused",
        began,
    )
    assert fields["next_flight_at"] == "2026-11-20T22:30:00Z"
    assert (fields["next_is_approved"], fields["last_flight_at"]) == (True, None)
    assert (on_call["mission_id"], on_call["next_flight_at"]) == ("on-call", None)
    page = stage.client("ana").get("/feeds").text
    for text in (
        "Patrol flights",
        "2026-11-20 22:30:00 UTC",
        "the approval ends before",
        "when called for",
        "not flown yet",
        "refused",
        "Drone (folder)",
    ):
        assert text in page, text
    chinese = stage.client("ana", **{"accept-language": "zh-CN"}).get("/feeds").text
    for text in ("巡检飞行", "届时飞行批准已失效", "无人机（文件夹）"):
        assert text in chinese, text


def flew(stage: Stage, flight_id: str, at: datetime, **changes: object) -> None:
    """One file of a flight of the mission ``fields`` came then."""
    key = FlightKey("dock", "fields", flight_id)
    capture_id = received(stage, "dock", (stage.clock() - at) / timedelta(days=1), 9)
    with stage.database.transaction() as connection:
        flights.note_file(connection, key, "a.mp4", 9, at, capture_id, at)
        flight = flights.load(connection, key)
        flights.close(connection, flight.model_copy(update={"closed_at": at} | changes))


def dock_line(stage: Stage) -> dict[str, object]:
    (line,) = [
        one for one in stage.client("ana").get("/api/v1/feeds").json() if one["feed_id"] == "dock"
    ]
    assert isinstance(line, dict)
    return line


def test_a_turn_without_a_flight_is_missed_once_the_mission_was_ever_flown(stage: Stage) -> None:
    """``fields`` is due at 22:30 UTC; a flight of it is missed two hours later."""
    drones(stage)
    assert dock_line(stage)["troubles"] == [], "never flown"
    turn = datetime(2026, 11, 19, 22, 30, tzinfo=UTC)
    assert stage.clock() > turn + timedelta(hours=2)
    flew(stage, "f-1", turn - timedelta(days=1), state=FlightState.ACCEPTED)
    line = dock_line(stage)
    assert line["troubles"] == ["flight_missed"]
    page = stage.client("ana").get("/feeds").text
    assert "Flight missed: <time" in page or "Flight missed: 2026-11-19 22:30:00 UTC" in page
    assert "架次未到" in stage.client("ana", **{"accept-language": "zh-CN"}).get("/feeds").text
    flew(stage, "f-2", turn - timedelta(minutes=14), state=FlightState.ACCEPTED)
    assert dock_line(stage)["troubles"] == []
    following = turn + timedelta(days=1)
    stage.clock.passes(seconds=(following + timedelta(minutes=119) - stage.clock()).total_seconds())
    assert dock_line(stage)["troubles"] == [], "it may still come"
    stage.clock.passes(minutes=2)
    assert dock_line(stage)["troubles"] == ["flight_missed"]


def test_refused_flights_and_stray_files_are_told_with_their_reasons(stage: Stage) -> None:
    drones(stage)
    reasons = {"a.mp4": "too high <b>", "b.mp4": "too high <b>"}
    flew(
        stage, "f-1", stage.clock() - timedelta(hours=5), state=FlightState.REFUSED, refused=reasons
    )
    with stage.database.transaction() as connection:
        flights.note_strays(connection, "dock", ["x.jpg: lies outside"], stage.clock())
    assert dock_line(stage)["troubles"] == ["stray", "flight_refused"]
    page = stage.client("ana").get("/feeds").text
    for text in ("Files outside of any flight", "x.jpg: lies outside", "Flight refused"):
        assert text in page, text
    assert page.count("too high &lt;b&gt;") == 1
    assert "fields/f-1" in page
    chinese = stage.client("ana", **{"accept-language": "zh-CN"}).get("/feeds").text
    assert "有不属于任何架次的文件" in chinese
    assert "架次被拒" in chinese


def test_without_missions_there_is_no_word_of_flights(stage: Stage) -> None:
    assert "Patrol flights" not in stage.client("ana").get("/feeds").text


def test_metrics_tell_storage_and_flights(
    tmp_path: Path, store: EvidenceStore, records: Path
) -> None:
    with served(make_stage(tmp_path, store, records, metrics_token="s3cret")) as stage:
        drones(stage)
        received(stage, "gate-cam", 0.5, 1000)
        received(stage, "gate-cam", 3.0, 500)
        stage.free_bytes = 12345
        header = {"authorization": "Bearer s3cret"}
        text = stage.client().get("/metrics", headers=header).text
    assert 'sightline_feed_stored_bytes{feed="gate-cam"} 1500.0' in text
    assert 'sightline_feed_stored_last_day_bytes{feed="gate-cam"} 1000.0' in text
    assert "sightline_store_free_bytes 12345.0" in text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    name = 'sightline_mission_next_flight_timestamp_seconds{feed="dock",mission="fields"}'
    due = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert float(samples[name]) == due.timestamp()
    assert not any("on-call" in sample for sample in samples)
    captured = 'sightline_feed_last_captured_timestamp_seconds{feed="gate-cam"}'
    assert float(samples[captured]) == (stage.clock() - timedelta(days=0.5)).timestamp()
