"""What becomes of sensor messages: readings in canonical units, and refusals with reasons."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcement.errors import EvidenceError
from enforcement.readings import Hj212Format, JsonFormat, Reading, ReadingKind, ReadingStatus
from feeds.hj212 import framed
from feeds.messages import Message
from feeds.readings import FRAME, Readings, from_bytes, from_readings, merged
from feeds.sensors import FACTORS, FLAGS, StationValues, read_hj212, read_json, read_station_values

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
ARRIVED = NOON + timedelta(seconds=1)
WATER = (
    b"##0178ST=32;CN=2011;PW=123456;MN=0873HHMZWSLH02;CP=&&DataTime=20160103133030;"
    b"060-Rtd=3.0943,060-Flag=N;011-Rtd=18.0412,011-Flag=N;001-Rtd=8.2137,001-Flag=N;"
    b"B01-Rtd=10.9890,B01-Flag=N&&A9C1\r\n"
)
QUESTION = (
    b"##0101QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;"
    b"CP=&&RtdInterval=30&&1C80\r\n"
)


def json_format(**changes: Any) -> JsonFormat:
    columns = [
        {"quantity": "laeq", "value": "laeq", "unit": "dB"},
        {"quantity": "pm2_5", "value": "dust.fine", "unit_at": "dust.unit", "status_at": "st"},
    ]
    given = {"time": "t", "columns": columns, "unflagged": "normal", **changes}
    return JsonFormat.model_validate(given)


def message(content: object, received_at: datetime = ARRIVED) -> Message:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Message(received_at, payload)


def of_json(*contents: object, device_id: str | None = "d1", **changes: Any) -> Readings:
    return read_json([message(one) for one in contents], json_format(**changes), device_id)


def the_reasons(result: Readings) -> list[tuple[str, str]]:
    return [(one.what, one.reason) for one in result.refused]


# JSON


def test_a_message_becomes_readings_in_canonical_units() -> None:
    result = of_json(
        {
            "t": "2026-03-10T20:00:00+08:00",
            "laeq": 61.5,
            "dust": {"fine": "0.0123", "unit": "mg/m3"},
        }
    )
    assert result.refused == ()
    assert result.readings() == (
        Reading(device_id="d1", quantity="laeq", at=NOON, value=61.5, unit="dB(A)",
                status=ReadingStatus.NORMAL),
        Reading(device_id="d1", quantity="pm2_5", at=NOON, value=12.3, unit="µg/m³",
                status=ReadingStatus.NORMAL),
    )  # fmt: skip


def test_one_bad_value_takes_nothing_else_along() -> None:
    dust = {"fine": 5, "unit": "furlong"}
    result = of_json({"t": "2026-03-10T12:00:00Z", "laeq": 60, "dust": dust}, b"{", {"laeq": 1})
    assert [one.quantity for one in result.readings()] == ["laeq"]
    assert the_reasons(result) == [
        ("message", "is no JSON"),
        ("pm2_5", "unit 'furlong' is not known"),
        ("record", "has nothing at t"),
    ]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "is no number"), (float("inf"), "is no number"), ("NaN", "is no number"),
        (None, "is no number"), (True, "is no number"), ("", "is no number"),
        (" 61", "is no number"), ("61,5", "is no number"), ("1_0", "is no number"),
        ("６１", "is no number"), ("0x3D", "is no number"), ([61], "is no number"),
        (-1, "lies outside 0 to 160 dB(A)"), (160.01, "lies outside 0 to 160 dB(A)"),
        ("1e999", "is not finite"), (-9999, "lies outside 0 to 160 dB(A)"),
    ],
)  # fmt: skip
def test_what_is_no_possible_value_is_refused(value: object, reason: str) -> None:
    result = of_json({"t": "2026-03-10T12:00:00Z", "laeq": value})
    assert len(result.frame) == 0
    assert the_reasons(result) == [("laeq", reason)]


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("dB(A)", "'dB(A)' is no unit of pm2_5, which is given in µg/m³"),
        ("ppm", "unit 'ppm' is not known"),
        (7, "unit '7' is not known"),
        (None, "unit is no text"),
    ],
)
def test_a_unit_is_never_guessed(unit: object, reason: str) -> None:
    result = of_json({"t": "2026-03-10T12:00:00Z", "dust": {"fine": 5, "unit": unit}})
    assert the_reasons(result) == [("pm2_5", reason)]


def test_a_value_of_which_no_unit_is_sent_is_refused() -> None:
    assert the_reasons(of_json({"t": "2026-03-10T12:00:00Z", "dust": {"fine": 5}})) == [
        ("pm2_5", "has nothing at dust.unit")
    ]


SAME = "2026-03-10T12:00:00Z"


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("2026-03-10T20:00:00", {"time_zone": "Asia/Shanghai"}),
        ("2026-03-10 13:00:00", {"time_zone": "Europe/Berlin"}),
        ("2026-03-10T13:00:00+01:00", {"time_zone": "Asia/Shanghai"}),
        ("20260310200000", {"time_as": "digits", "time_zone": "Asia/Shanghai"}),
        ("20260310200000000", {"time_as": "digits", "time_zone": "Asia/Shanghai"}),
        (1773144000, {"time_as": "epoch_s"}),
        ("1773144000.0", {"time_as": "epoch_s"}),
        (1773144000000, {"time_as": "epoch_ms"}),
    ],
)
def test_one_moment_in_many_forms(text: object, changes: dict[str, Any]) -> None:
    (reading,) = of_json({"t": text, "laeq": 60}, **changes).readings()
    assert reading.at == NOON


@pytest.mark.parametrize(
    ("text", "changes", "reason"),
    [
        ("2026-03-10T20:00:00", {}, "time names no zone, and none is configured"),
        ("2026-03-10", {"time_zone": "UTC"}, "time is not in the configured form"),
        ("noon", {}, "time is not in the configured form"),
        (None, {}, "time is not in the configured form"),
        (5, {}, "time is not in the configured form"),
        ("2026031020000", {"time_as": "digits"}, "time is not in the configured form"),
        ("20260230200000", {"time_as": "digits"}, "time is not in the configured form"),
        ("1970-01-01T00:00:00Z", {}, "time is that of a clock never set"),
        (0, {"time_as": "epoch_s"}, "time is that of a clock never set"),
        (1773144000000, {"time_as": "epoch_s"}, "is no possible time"),
        ("9" * 400, {"time_as": "epoch_s"}, "is no possible time"),
        ("2026-03-29T02:30:00", {"time_zone": "Europe/Berlin"},
         "the clock is put forward or back at this local time"),
        ("2025-10-26T02:30:00", {"time_zone": "Europe/Berlin"},
         "the clock is put forward or back at this local time"),
    ],
)  # fmt: skip
def test_a_time_that_cannot_be_told_is_refused(
    text: object, changes: dict[str, Any], reason: str
) -> None:
    result = of_json({"t": text, "laeq": 60}, **changes)
    assert the_reasons(result) == [("record", reason)]


@pytest.mark.parametrize(("ahead_s", "taken"), [(301, True), (301.001, False)])
def test_a_reading_from_the_future_is_refused(ahead_s: float, taken: bool) -> None:
    moment = NOON + timedelta(seconds=ahead_s)
    result = of_json({"t": moment.isoformat(), "laeq": 60})
    assert bool(len(result.frame)) is taken
    assert the_reasons(result) == ([] if taken else [("laeq", "time lies after its arrival")])


def test_a_known_clock_offset_is_taken_out() -> None:
    sent = [message({"t": SAME, "laeq": 60})]
    (reading,) = read_json(sent, json_format(), "d1", clock_offset_s=-12.5).readings()
    assert reading.at == NOON - timedelta(seconds=12.5)


def test_values_over_a_span_end_at_their_moment() -> None:
    column = {"quantity": "laeq", "value": "laeq", "unit": "dB", "kind": "average", "span_s": 60}
    for stamp, at in (("end", NOON), ("start", NOON + timedelta(seconds=60))):
        result = of_json({"t": SAME, "laeq": 60}, columns=[column], stamp=stamp)
        (reading,) = result.readings()
        assert (reading.kind, reading.span_s, reading.at) == (ReadingKind.AVERAGE, 60.0, at)


def test_statuses_are_those_of_the_configuration() -> None:
    statuses = {"0": "normal", "err": "fault"}

    def status_of(sent: object, **changes: Any) -> ReadingStatus:
        content = {"t": SAME, "dust": {"fine": 5, "unit": "ug/m3"}, "st": sent}
        (reading,) = of_json(content, statuses=statuses, **changes).readings()
        return reading.status

    assert status_of(0) is ReadingStatus.NORMAL
    assert status_of("err") is ReadingStatus.FAULT
    assert status_of("what?") is ReadingStatus.UNKNOWN
    (reading,) = of_json({"t": SAME, "laeq": 60}, unflagged="unknown").readings()
    assert reading.status is ReadingStatus.UNKNOWN
    assert JsonFormat(time="t", columns=json_format().columns).unflagged is ReadingStatus.UNKNOWN


def test_records_of_names_and_values_are_read_too() -> None:
    columns = [
        {"quantity": "laeq", "value": "v", "unit_at": "u", "when": {"n": "LAeq"}},
        {"quantity": "wind_speed", "value": "v", "unit_at": "u", "when": {"n": "WS"}},
    ]
    content = {
        "at": SAME,
        "data": {"list": [
            {"n": "LAeq", "v": 60, "u": "dBA"}, {"n": "WS", "v": 3, "u": "m/s"},
            {"n": "UV", "v": 3, "u": "1"},
        ]},
    }  # fmt: skip
    result = of_json(content, records="data.list", time="/at", columns=columns)
    assert [(one.quantity, one.value) for one in result.readings()] == [
        ("laeq", 60.0),
        ("wind_speed", 3.0),
    ]
    assert the_reasons(result) == [("record", "holds none of the configured values")]


def test_messages_may_name_their_device() -> None:
    changes: dict[str, Any] = {"device_at": "id", "devices": {"A-1": "d7"}}
    content = {"t": SAME, "laeq": 60}
    result = of_json({**content, "id": "A-1"}, {**content, "id": "A-2"}, **changes)
    assert [one.device_id for one in result.readings()] == ["d7"]
    assert the_reasons(result) == [("record", "device is not configured")]
    assert the_reasons(of_json(content, device_id=None)) == [("record", "device is not configured")]


def test_refusals_are_counted_by_reason_and_show_the_first() -> None:
    sent = [
        message({"t": SAME, "laeq": value}, ARRIVED + timedelta(seconds=late))
        for value, late in ((200, 2), (300, 1), (400, 3))
    ]
    (refused,) = read_json(sent, json_format(), "d1").refused
    assert (refused.count, refused.example) == (3, "300")
    assert refused.first_received_at == ARRIVED + timedelta(seconds=1)
    (refused,) = of_json({"t": SAME, "laeq": "9" * 100}).refused
    assert refused.example == "9" * 40


def test_no_refusal_shows_a_whole_message() -> None:
    secret = b"password=hunter2"
    results = [of_json(secret), of_json({"password": "hunter2"})]
    results.append(read_hj212([message(b"##" + secret)], Hj212Format(), "d1"))
    for result in results:
        assert result.refused
        assert "hunter2" not in repr(result.refused)


# HJ 212


def station(
    factors: dict[str, dict[str, str]], command: str = "2011", system: str = "32", **changes: Any
) -> StationValues:
    given: dict[str, Any] = {
        "received_at": NOON + timedelta(days=2), "station": "MN1", "system": system,
        "command": command, "data_time": "20260310200000", "factors": factors, **changes,
    }  # fmt: skip
    return StationValues(**given)


def of_station(*packets: StationValues, **changes: Any) -> Readings:
    return read_station_values(packets, Hj212Format.model_validate(changes), "d1")


def test_a_stations_packet_becomes_readings() -> None:
    result = read_hj212([message(WATER), message(QUESTION)], Hj212Format(), "d1")
    assert result.refused == ()
    at = datetime(2016, 1, 3, 5, 30, 30, tzinfo=UTC)
    assert [(one.quantity, one.value, one.unit, one.at) for one in result.readings()] == [
        ("ammonia_nitrogen", 3.0943, "mg/L", at),
        ("cod", 18.0412, "mg/L", at),
        ("ph", 8.2137, "1", at),
        ("water_flow", 39.5604, "m³/h", at),
    ]
    assert {one.status for one in result.readings()} == {ReadingStatus.NORMAL}


@pytest.mark.parametrize(("flag", "status"), FLAGS.items())
def test_flags_have_names(flag: str, status: ReadingStatus) -> None:
    (reading,) = of_station(station({"011": {"Rtd": "18", "Flag": flag}})).readings()
    assert reading.status is status


@pytest.mark.parametrize("fields", [{"Rtd": "18", "Flag": "Z"}, {"Rtd": "18"}])
def test_without_a_known_flag_nothing_is_normal(fields: dict[str, str]) -> None:
    (reading,) = of_station(station({"011": fields})).readings()
    assert reading.status is ReadingStatus.UNKNOWN


@pytest.mark.parametrize(
    ("command", "span_s"), [("2051", 600.0), ("2061", 3600.0), ("2031", 86400.0)]
)
def test_history_is_stamped_with_its_start(command: str, span_s: float) -> None:
    fields = {"Avg": "18", "Min": "9", "Max": "27", "Cou": "100", "Flag": "N"}
    result = of_station(station({"w01018": fields}, command))
    assert result.refused == ()
    assert [(one.kind.value, one.value) for one in result.readings()] == [
        ("average", 18.0), ("maximum", 27.0), ("minimum", 9.0),
    ]  # fmt: skip
    for one in result.readings():
        assert (one.since, one.span_s) == (NOON, span_s)


def test_the_span_of_minute_data_is_the_stations() -> None:
    (reading,) = of_station(station({"LA": {"Avg": "60"}}, "2051"), minute_span_s=60).readings()
    assert reading.span_s == 60.0


def test_noise_over_an_hour_is_an_average() -> None:
    (reading,) = of_station(station({"Leq": {"Data": "61.2", "Flag": "N"}}, "2061")).readings()
    assert (reading.quantity, reading.kind) == ("laeq", ReadingKind.AVERAGE)


@pytest.mark.parametrize(
    ("packet", "what", "reason"),
    [
        (station({"a34006": {"Rtd": "1"}}), "a34006", "factor code is not known"),
        (station({"011": {"Rtd": "abc"}}), "011", "is no number"),
        (station({"001": {"Rtd": "14.1"}}), "001", "lies outside 0 to 14 1"),
        (station({"011": {"Avg": "1"}}), "011", "Avg does not go with command 2011"),
        (station({"011": {"Rtd": "1"}}, "2061"), "011", "Rtd does not go with command 2061"),
        (station({}, data_time="20260310"), "DataTime", "time is not in the configured form"),
        (station({}, data_time=""), "DataTime", "time is not in the configured form"),
        (station({"a34004": {"Rtd": "35"}}, system="22"), "a34004",
         "stations send pm2_5 in different units: configure the factor"),
        (station({"a34004": {"Rtd": "35"}}, system="31"), "a34004",
         "stations send pm2_5 in different units: configure the factor"),
        (station({"a21026": {"Rtd": "35"}}, system="22"), "a21026",
         "stations send so2 in different units: configure the factor"),
    ],
)  # fmt: skip
def test_a_stations_value_is_refused_with_the_reason(
    packet: StationValues, what: str, reason: str
) -> None:
    result = of_station(packet)
    assert len(result.frame) == 0
    assert the_reasons(result) == [(what, reason)]


def test_a_factor_of_unclear_unit_can_be_configured() -> None:
    factors = {"a34004": {"quantity": "pm2_5", "unit": "ug/m3"}}
    (reading,) = of_station(
        station({"a34004": {"Rtd": "35"}}, system="22"), factors=factors
    ).readings()
    assert (reading.quantity, reading.value) == ("pm2_5", 35.0)


def test_gases_of_a_flue_are_in_milligrams() -> None:
    (reading,) = of_station(station({"a21026": {"Rtd": "35"}}, system="31")).readings()
    assert (reading.value, reading.unit) == (35000.0, "µg/m³")


def test_a_configured_factor_comes_before_the_shipped_one() -> None:
    factors = {"011": {"quantity": "cod", "unit": "g/L"}}
    (reading,) = of_station(station({"011": {"Rtd": "0.018"}}), factors=factors).readings()
    assert reading.value == 18.0


def test_stations_of_a_feed_are_told_apart() -> None:
    packets = [station({"011": {"Rtd": "1"}}), station({"011": {"Rtd": "2"}}, station="MN2")]
    result = of_station(*packets, stations={"MN2": "d2"})
    assert [(one.device_id, one.value) for one in result.readings()] == [("d2", 2.0)]
    assert the_reasons(result) == [("DataTime", "station MN1 is not configured")]


def split(number: int, of: int, content: str) -> bytes:
    return framed(
        f"QN=20260310200000123;ST=32;CN=2011;PW=1;MN=MN1;Flag=7;PNUM={of};PNO={number};"
        f"CP=&&{content}&&".encode()
    )


def test_split_packets_are_put_together_first() -> None:
    parts = [split(1, 2, "DataTime=20260310200000;011-Rtd=18,011-Flag=N"),
             split(2, 2, "001-Rtd=7,001-Flag=N")]  # fmt: skip
    sent = [message(part, ARRIVED + timedelta(seconds=n)) for n, part in enumerate(parts)]
    once = read_hj212(sent, Hj212Format(), "d1")
    assert once.refused == ()
    assert [one.quantity for one in once.readings()] == ["cod", "ph"]
    assert read_hj212(sent[::-1], Hj212Format(), "d1").to_bytes() == once.to_bytes()
    twice = read_hj212([*sent, *sent[::-1]], Hj212Format(), "d1")
    assert len(twice.frame) == 2
    assert the_reasons(read_hj212(sent[1:], Hj212Format(), "d1")) == [
        ("message", "other parts of the split packet are missing")
    ]


def test_bytes_that_are_no_packet_are_refused() -> None:
    result = read_hj212([message(b"noise"), message(WATER[:-6] + b"0000\r\n")], Hj212Format(), "d1")
    assert [(one.reason, one.count) for one in result.refused] == [("is no HJ 212 packet", 2)]


def test_shipped_factors_have_units_of_their_quantities() -> None:
    assert FACTORS["060"].quantity == FACTORS["w21003"].quantity == "ammonia_nitrogen"
    assert FACTORS["011"].quantity == FACTORS["w01018"].quantity == "cod"


# Frames


def test_of_two_for_one_moment_the_first_received_wins() -> None:
    sent = [
        message({"t": SAME, "laeq": value}, ARRIVED + timedelta(seconds=late))
        for value, late in ((61, 2), (63, 1), (63, 3), (60, 4), (61, 5))
    ]
    result = read_json(sent, json_format(), "d1")
    assert [one.value for one in result.readings()] == [63.0]
    assert result.conflicts["value"].tolist() == [61.0, 60.0]
    assert result.repeated == 2
    one_each = [read_json([one], json_format(), "d1") for one in sent]
    backwards = merged([merged(one_each[3:]), merged(one_each[:3])])
    assert backwards.to_bytes() == result.to_bytes()


def test_zero_has_one_sign() -> None:
    zero, negative = (
        Reading(device_id="d1", quantity="rain", at=NOON, value=value, unit="mm")
        for value in (0.0, -0.0)
    )
    both = from_readings([negative, zero], ARRIVED)
    assert (len(both.conflicts), both.repeated) == (0, 1)
    one_each = [from_readings([one], ARRIVED).to_bytes() for one in (zero, negative)]
    assert one_each[0] == one_each[1]


def test_values_of_other_kinds_spans_and_devices_are_no_repeats() -> None:
    def average(span_s: float, **changes: Any) -> Reading:
        given: dict[str, Any] = {"device_id": "d1", "kind": ReadingKind.AVERAGE, **changes}
        return Reading(quantity="laeq", at=NOON, value=60, unit="dB(A)", span_s=span_s, **given)

    different = [
        average(60), average(3600), average(60, kind=ReadingKind.MAXIMUM),
        average(60, device_id="d2"),
    ]  # fmt: skip
    result = from_readings([*different, different[0]], ARRIVED)
    assert set(result.readings()) == set(different)
    assert (len(result.frame), result.repeated) == (4, 1)


def test_frames_are_validated_sorted_and_typed() -> None:
    frame = of_json({"t": "2026-03-10T12:00:01Z", "laeq": 60}, {"t": SAME, "laeq": 61}).frame
    FRAME.validate(frame)
    assert frame["at"].is_monotonic_increasing
    assert str(frame["at"].dtype) == str(frame["received_at"].dtype) == "datetime64[us, UTC]"
    assert str(of_json().frame["at"].dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    ("column", "value", "check"),
    [
        ("value", float("nan"), "not_nullable"),
        ("value", 161.0, "value is possible"),
        ("unit", "dB", "isin"),
        ("status", "fine", "isin"),
        ("kind", "average", "span fits the kind"),
        ("device_id", "D 1", "str_matches"),
    ],
)
def test_a_frame_with_such_a_row_is_refused(column: str, value: Any, check: str) -> None:
    good = of_json({"t": SAME, "laeq": 60})
    frame = good.frame.copy()
    frame[column] = value
    bad = Readings(frame, good.conflicts, (), 0)
    with pytest.raises(EvidenceError, match=check):
        merged([bad])


def test_a_frame_with_one_reading_twice_is_no_valid_frame() -> None:
    stored = json.loads(of_json({"t": SAME, "laeq": 60}).to_bytes())
    stored["frame"] = {name: [*column, *column] for name, column in stored["frame"].items()}
    with pytest.raises(EvidenceError, match="multiple_fields_uniqueness"):
        from_bytes(json.dumps(stored).encode())


def test_bytes_give_the_readings_back() -> None:
    result = of_json(
        {"t": SAME, "laeq": 60}, {"t": SAME, "laeq": 61}, b"{", {"t": SAME, "laeq": 60}
    )
    again = from_bytes(result.to_bytes())
    assert again.to_bytes() == result.to_bytes()
    assert again.readings() == result.readings()
    assert again.refused == result.refused
    assert len(again.conflicts) == again.repeated == 1
    empty = of_json()
    assert from_bytes(empty.to_bytes()).to_bytes() == empty.to_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", b'{"format":"other"}', b"[" * 100_000]
)
def test_bytes_that_are_no_readings_are_refused(content: bytes) -> None:
    with pytest.raises(EvidenceError):
        from_bytes(content)


def test_bytes_of_another_format_are_refused() -> None:
    content = of_json({"t": SAME, "laeq": 60}).to_bytes()
    with pytest.raises(EvidenceError, match="format"):
        from_bytes(content.replace(b"readings 1", b"readings 2"))


TEXTS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12),
    st.sampled_from([SAME, "2026-03-10T12:00:30Z", "60", "61.5", "mg/m3", "NaN", "-1e400"]),
)  # fmt: skip
CONTENTS = st.recursive(
    TEXTS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["t", "laeq", "dust", "fine", "unit", "st", "0"]), inner, max_size=5
        ),
    ),
    max_leaves=12,
)


def payloads() -> st.SearchStrategy[bytes]:
    likely = st.fixed_dictionaries(
        {"t": st.sampled_from([SAME, "2026-03-10T12:00:30Z", "?"])},
        optional={
            "laeq": st.sampled_from([60, 61, "61.5", -0.0, 0, 999, None]),
            "dust": st.fixed_dictionaries({"fine": TEXTS, "unit": TEXTS}),
        },
    )
    as_json = st.one_of(likely, likely, likely, likely, CONTENTS).map(
        lambda one: json.dumps(one).encode()
    )
    return st.one_of(as_json, as_json, as_json, st.binary(max_size=30))


@st.composite
def sent_messages(draw: st.DrawFn) -> list[Message]:
    moments = st.integers(0, 5).map(lambda late: ARRIVED + timedelta(seconds=late))
    return draw(st.lists(st.builds(Message, moments, payloads()), min_size=2, max_size=16))


@settings(max_examples=60, deadline=None)
@given(messages=sent_messages(), seed=st.integers(0, 2**32))
def test_the_same_messages_in_any_order_and_grouping_give_the_same_bytes(
    messages: list[Message], seed: int
) -> None:
    def read(some: Sequence[Message]) -> Readings:
        return read_json(some, json_format(), "d1")

    expected = read(messages).to_bytes()
    shuffled = random.Random(seed).sample(messages, len(messages))
    assert read(shuffled).to_bytes() == expected
    half = len(shuffled) // 2
    parts = [read(shuffled[half:]), read(shuffled[: half // 2]), read(shuffled[half // 2 : half])]
    assert merged(parts).to_bytes() == expected
    assert merged([merged(parts[:2]), parts[2]]).to_bytes() == expected
    assert from_bytes(expected).to_bytes() == expected


@settings(max_examples=100, deadline=None)
@given(
    factors=st.dictionaries(
        st.sampled_from([*FACTORS, "a34004", "x"]) | st.text(max_size=5),
        st.dictionaries(
            st.sampled_from(["Rtd", "Avg", "Min", "Max", "Data", "Flag", "Cou"]),
            st.text(max_size=6) | st.floats().map(repr) | st.sampled_from(["7", "N", "D"]),
        ),
        max_size=6,
    ),
    command=st.sampled_from(["2011", "2051", "2061", "2031", "9014"]),
    data_time=st.text(max_size=17) | st.just("20260310200000"),
)
def test_whatever_a_station_says_is_read_or_refused(
    factors: dict[str, dict[str, str]], command: str, data_time: str
) -> None:
    result = of_station(station(factors, command, data_time=data_time))
    assert from_bytes(result.to_bytes()).to_bytes() == result.to_bytes()
    assert len(result.readings()) == len(result.frame)
