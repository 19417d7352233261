"""From messages of sensors to leads in the queue: the same ones, in whatever order things come."""

import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.errors import ConfigurationError, StepsFailed, StoreUnavailable
from enforcement.evidence import EvidenceKind
from enforcement.places import Feed
from feeds.messages import encode_batch
from pipelines import backfill, batches, observe, pull, windows
from pipelines.model_versions import ModelPin
from pipelines.seal_readings import ReadingsDocument
from pipelines.verify import verify_all
from storage.canonical import parse_canonical
from storage.records import casebook
from storage.records import windows as records
from storage.seaweed import SeaweedServer
from tests.gate.conftest import postgresql_roles
from tests.pipelines.sensor_site import NIGHT, SensorSite, loud, message, migrated, sensor_site

pytestmark = pytest.mark.timeout(300)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
IN_TIME = NIGHT + timedelta(hours=1, minutes=11)
"""When the first hour of the night is due: it has ended, and lateness is over."""


@pytest.fixture(params=["sqlite", "postgresql"])
def site(
    request: pytest.FixtureRequest,
    s3_server: SeaweedServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SensorSite]:
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / 'records.sqlite'}"] * 3
    else:
        urls = postgresql_roles(request.getfixturevalue("postgresql_url"))
    site = sensor_site(tmp_path, migrated(urls), s3_server, monkeypatch)
    yield site
    site.wiring.database.close()


def test_an_exceedance_at_night_is_one_lead_with_its_messages_and_a_picture(
    site: SensorSite,
) -> None:
    captures = [site.deliver([one]) for one in loud(NIGHT, 50)]
    assert site.sweep(IN_TIME - timedelta(minutes=2)) == [], "lateness is not over yet"
    assert len(site.sweep(IN_TIME)) == 1
    assert windows.due() == [], "what was evaluated is not due until something comes"
    [(lead, case)] = site.queue()
    assert (lead.rule_id, lead.alarm_at) == ("night-noise", NIGHT + timedelta(minutes=30))
    assert lead.capture_id == captures[2]
    assert "limit of the night, 22:00 to 06:00 local time (Asia/Shanghai)" in lead.reasons
    manifest = site.manifest(lead.lead_id)
    kinds = [item.kind for item in manifest.items]
    assert kinds == ["original", "further_original", "further_original", "readings", "key_frame"]
    assert manifest.provenance.device_id == "meter-1"
    [trace] = manifest.of_kind(EvidenceKind.KEY_FRAME)
    assert site.wiring.store.read(trace.object).startswith(b"\x89PNG")
    with site.wiring.database.transaction() as connection:
        assert casebook.current_facts(connection, lead.lead_id).device_status == "valid"
    assert case.state == "lead"
    assert site.sweep(IN_TIME + DAY) == []
    assert len(site.queue()) == 1


def test_the_same_messages_twice_shuffled_and_late_are_the_same_lead(site: SensorSite) -> None:
    messages = loud(NIGHT, 50)
    site.deliver(messages, "meter-1")
    shuffled = random.Random(4).sample(messages, len(messages))
    late = shuffled.pop()._replace(received_at=IN_TIME - timedelta(minutes=3))
    for batch in (shuffled, [shuffled[0]], shuffled, [late]):
        site.deliver(batch, "meter-2")
    site.sweep(IN_TIME)
    assert len(site.alarms("meter-1")) == 1
    assert site.alarms("meter-1") == site.alarms("meter-2")


def test_late_readings_reopen_a_window_and_what_they_open_is_raised(site: SensorSite) -> None:
    site.deliver(loud(NIGHT, 20))
    assert site.sweep(IN_TIME) == []
    site.deliver([message(NIGHT + timedelta(minutes=30), 62.5, received_s=86400)])
    assert len(site.sweep(IN_TIME + DAY)) == 1


def test_late_readings_that_move_an_alarm_raise_nothing_new(site: SensorSite) -> None:
    site.deliver(loud(NIGHT + timedelta(minutes=20), 30))
    [first] = site.sweep(IN_TIME)
    site.deliver(loud(NIGHT, 20))
    assert site.sweep(IN_TIME + DAY) == []
    assert [lead.lead_id for lead, _ in site.queue()] == [first]


def test_an_episode_that_late_readings_begin_hours_earlier_is_no_second_lead(
    site: SensorSite,
) -> None:
    """Between its new beginning and the lead lie windows in which it goes on."""
    site.deliver(loud(NIGHT + 3 * HOUR, 50))
    [first] = site.sweep(IN_TIME + 3 * HOUR)
    site.deliver(loud(NIGHT, 180))
    assert site.sweep(IN_TIME + DAY) == []
    assert [lead.lead_id for lead, _ in site.queue()] == [first]


def test_an_episode_over_many_windows_is_one_lead_and_two_are_two(site: SensorSite) -> None:
    site.deliver(loud(NIGHT, 180))
    site.deliver(loud(NIGHT + 5 * HOUR, 60))
    site.sweep(IN_TIME + DAY)
    assert [alarm for _, alarm, *_ in site.alarms()] == [
        NIGHT + timedelta(minutes=30), NIGHT + timedelta(hours=5, minutes=30),
    ]  # fmt: skip


def test_two_loud_hours_in_a_row_are_one_lead_with_all_their_messages(site: SensorSite) -> None:
    for one in loud(NIGHT, 120):
        site.deliver([one], "hourly")
    assert site.sweep(NIGHT + 2 * HOUR + timedelta(minutes=11)) == []
    [lead_id] = site.sweep(NIGHT + 3 * HOUR + timedelta(minutes=11))
    [(lead, _)] = site.queue("hourly")
    assert (lead.rule_id, lead.alarm_at) == ("loud-hours", NIGHT + 2 * HOUR)
    assert lead.onset_s < 0, "it began in a capture before"
    manifest = site.manifest(lead_id)
    assert len(manifest.of_kind(EvidenceKind.FURTHER_ORIGINAL)) == 11
    assert "the hourly mean exceeds in 2 hours in a row" in manifest.reasons


def test_a_reading_that_may_not_open_a_case_never_does(site: SensorSite) -> None:
    flagged = [one._replace(payload=one.payload.replace(b'"N"', b'"C"')) for one in loud(NIGHT, 50)]
    unknown = [one._replace(payload=one.payload.replace(b'"N"', b'"?"')) for one in loud(NIGHT, 50)]
    before_calibration = loud(NIGHT - 200 * DAY, 50)
    for feed, batch in enumerate((flagged, unknown, before_calibration)):
        site.deliver(batch, f"meter-{feed}")
    site.sweep(IN_TIME + DAY)
    assert [site.queue(f"meter-{feed}") for feed in range(3)] == [[], [], []]


def test_readings_that_come_too_late_are_set_aside_and_backfill_takes_them_in(
    site: SensorSite,
) -> None:
    week = 8 * 86400.0
    late = [message(NIGHT + timedelta(minutes=n), 62.5, received_s=week) for n in (10, 20, 30)]
    site.now = NIGHT + 9 * DAY
    site.deliver(late)
    assert windows.due() == []
    [reason] = site.quarantined()
    assert reason.startswith("3 of 3 readings came more than 7 days after their hour")
    site.deliver([message(NIGHT + timedelta(minutes=40), 50.0, received_s=86400)])
    assert site.sweep() == [], "nor do they count when something else reopens the window"
    report = backfill.backfill("meter-0", NIGHT, NIGHT + HOUR)
    assert (report.windows, len(report.raised)) == (1, 1)
    assert backfill.backfill("meter-0", NIGHT, NIGHT + HOUR).raised == ()
    assert len(site.queue()) == 1


def test_backfill_holds_the_version_that_it_is_told(site: SensorSite) -> None:
    site.deliver(loud(NIGHT, 50, level=50.0))
    assert site.sweep(IN_TIME) == []
    assert backfill.backfill("meter-0", NIGHT, NIGHT + HOUR).raised == ()
    [lead_id] = backfill.backfill("meter-0", NIGHT, NIGHT + HOUR, {"night-noise": 1}).raised
    [(lead, _)] = site.queue()
    assert (lead.lead_id, lead.rule_version) == (lead_id, 1)
    with pytest.raises(ConfigurationError, match="no rule night-noise version 9"):
        backfill.backfill("meter-0", NIGHT, NIGHT + HOUR, {"night-noise": 9})
    pin = ModelPin("yolov8n-coco", "0" * 64)
    with pytest.raises(ConfigurationError, match="brings readings, which no model looks at"):
        backfill.backfill("meter-0", NIGHT, NIGHT + HOUR, {"night-noise": 1}, [pin])


def test_what_is_decided_is_not_changed_and_not_raised_again(site: SensorSite) -> None:
    site.deliver(loud(NIGHT, 50))
    [lead_id] = site.sweep(IN_TIME)
    [before] = site.queue()
    site.deliver(loud(NIGHT - HOUR, 60))
    for version in (1, 2):
        backfill.backfill("meter-0", NIGHT - HOUR, NIGHT + HOUR, {"night-noise": version})
    assert before in site.queue()
    assert before[0].lead_id == lead_id


def test_messages_of_a_feed_without_a_format_are_kept_until_it_has_one(site: SensorSite) -> None:
    site.deliver(loud(NIGHT, 50), "unread")
    assert observe.due_batches() == []
    assert site.sweep(IN_TIME) == []
    feed = site.wiring.catalog.feed("unread")
    site.give(feed.model_copy(update={"source": site.wiring.catalog.feed("meter-0").source}))
    assert len(backfill.backfill("unread", NIGHT, NIGHT + HOUR).raised) == 1


def test_a_batch_of_messages_goes_through_the_lane_of_footage_unharmed(site: SensorSite) -> None:
    captures = []
    for one in loud(NIGHT, 50):
        capture_id, _ = pull.file_batch(site.wiring, "meter-0", encode_batch([one]), NIGHT)
        captures.append(capture_id)
    [lane] = observe.due_batches()
    assert sorted(lane) == sorted(captures)
    assert [len(one) for one in observe.due_batches(limit=0, limit_messages=2)] == [2]
    assert observe.due_batches(limit_messages=0) == []
    assert batches.observe_all(lane) == lane
    assert observe.due_batches() == []
    assert len(site.sweep(IN_TIME)) == 1
    assert batches.correlate_all(lane) == []
    assert batches.seal_all(lane) == []


def test_two_meters_at_once_are_two_leads(site: SensorSite) -> None:
    form = site.wiring.catalog.feed("meter-0").source.model_dump()["format"]
    form |= {"device_at": "d", "devices": {"a": "meter-1", "b": "meter-9"}, "unflagged": "normal"}
    source = site.wiring.catalog.feed("unread").source.model_dump() | {"format": form}
    given = site.wiring.catalog.feed("meter-0").model_dump() | {"source": source}
    site.give(Feed.model_validate(given))
    both = [
        one._replace(payload=one.payload.replace(b"{", b'{"d": "%s", ' % name))
        for one in loud(NIGHT, 50)
        for name in (b"a", b"b")
    ]
    site.deliver(both)
    assert len(site.sweep(IN_TIME)) == 1, "the other one has no calibration on record"
    other = site.wiring.catalog.device("meter-1").model_copy(update={"device_id": "meter-9"})
    site.give_devices([*site.wiring.catalog.devices, other])
    site.deliver(both[:1])
    assert len(site.sweep(IN_TIME)) == 1
    assert len(site.queue()) == 2


def test_a_batch_that_nobody_can_read_is_set_aside(site: SensorSite) -> None:
    capture_id, _ = pull.file_batch(site.wiring, "meter-0", b"{}\n", NIGHT)
    observe.observe(capture_id)
    assert site.quarantined() == ["line 1 of the batch is no message"]
    assert observe.due_batches() == []


@pytest.mark.parametrize("status", ["invalid", "unregistered"])
def test_a_meter_that_was_not_covered_by_review_makes_no_evidence(
    site: SensorSite, status: str
) -> None:
    meter = site.wiring.catalog.device("meter-1")
    site.deliver(loud(NIGHT, 50))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "seal_sensor_lead", lambda *_: None)
        [lead_id] = site.sweep(IN_TIME)
    # Its review ended between two of the readings that opened the lead.
    ended = meter.model_copy(update={"valid_until": NIGHT + timedelta(minutes=25)})
    site.give_devices([ended] if status == "invalid" else [])
    backfill.backfill("meter-0", NIGHT, NIGHT + HOUR)
    with site.wiring.database.transaction() as connection:
        assert casebook.current_facts(connection, lead_id).device_status == status
    assert verify_all(site.wiring).damaged == ()


def test_a_silent_meter_raises_no_lead_but_is_on_record(site: SensorSite) -> None:
    site.deliver([message(NIGHT, 40.0)])
    site.sweep(NIGHT + DAY)
    assert site.queue() == []
    with site.wiring.database.transaction() as connection:
        known = records.problems_since(connection, NIGHT)
        assert records.problems_since(connection, NIGHT + DAY) == {}
    [problem] = known["meter-0"]
    assert (problem.kind, problem.onset_at) == ("sensor_missing", NIGHT)
    assert problem.alarm_at == NIGHT + 2 * HOUR
    assert problem.end_at is None


def test_a_lead_whose_sealing_failed_is_sealed_by_the_next_sweep(
    site: SensorSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deliver(loud(NIGHT, 50))

    def fails(*_: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(windows, "seal_sensor_lead", fails)
        with pytest.raises(StepsFailed, match="away"):
            site.sweep(IN_TIME)
    assert site.queue() == []
    assert site.sweep(IN_TIME) == [], "it was raised before"
    assert len(site.queue()) == 1


def test_what_is_sealed_of_the_readings_names_the_messages_that_hold_them(
    site: SensorSite,
) -> None:
    site.deliver([*loud(NIGHT - HOUR, 60, 50.0), *loud(NIGHT, 20)])
    site.deliver(loud(NIGHT + timedelta(minutes=20), 30))
    [lead_id] = site.sweep(IN_TIME)
    manifest = site.manifest(lead_id)
    [stored] = manifest.of_kind(EvidenceKind.READINGS)
    document = parse_canonical(ReadingsDocument, site.wiring.store.read(stored.object))
    assert [held.reading.value for held in document.opened_by] == [62.5] * 3
    held = {held.capture_sha256 for held in document.opened_by}
    originals = (EvidenceKind.ORIGINAL, EvidenceKind.FURTHER_ORIGINAL)
    assert held == {item.object.sha256 for item in manifest.items if item.kind in originals}
    assert len(document.around) > 5
