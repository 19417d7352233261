"""Facts about what docks say of the files that they uploaded."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enforcement.dock import DockUpload
from feeds.dock import uploads
from feeds.messages import Message

FLIGHT = "0d4b7a4e-7b1a-4c9e-9d5e-3f6f3f1f2a10"
AT = datetime(2026, 11, 24, 5, 52, 18, tzinfo=UTC)
TOPIC = "thing/product/DOCK7/events"

Json = dict[str, Any]


def callback(**changes: Any) -> Json:
    """A callback as docks send it; ``changes`` replace parts of ``data.file.metadata``,
    ``data.file`` and ``data``, wherever such a key stands."""
    metadata = {
        "absolute_altitude": 56.311,
        "create_time": "2026-11-24 13:52:04",
        "gimbal_yaw_degree": "-91.40",
        "relative_altitude": 41.124,
        "shoot_position": {"lat": 22.1, "lng": 113.5},
    }
    file = {
        "object_key": f"docks/river/{FLIGHT}/DJI_0001.JPG",
        "name": "DJI_0001.JPG",
        "path": "DJI_202611241352_001",
        "ext": {"flight_id": FLIGHT, "drone_model_key": "0-91-0", "is_original": True},
        "metadata": metadata,
    }
    data: Json = {
        "file": file,
        "flight_task": {"uploaded_file_count": 3, "expected_file_count": 12, "flight_type": 0},
    }
    for key, value in changes.items():
        next(part for part in (metadata, file, data) if key in part or part is data)[key] = value
    return {"bid": "b", "tid": "t", "gateway": "DOCK7", "timestamp": 1, "data": data,
            "method": "file_upload_callback"}  # fmt: skip


def message(content: object, topic: str = TOPIC) -> Message:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Message(AT, payload, topic)


def the_upload(content: object, topic: str = TOPIC) -> DockUpload:
    (found,), refused = uploads([message(content, topic)])
    assert refused == 0
    return found


def is_refused(content: object) -> bool:
    found, refused = uploads([message(content)])
    assert len(found) + refused == 1
    return refused == 1


def is_ignored(content: object, topic: str = TOPIC) -> bool:
    return uploads([message(content, topic)]) == ([], 0)


def test_a_callback_tells_file_flight_counts_place_and_dock() -> None:
    assert the_upload(callback()) == DockUpload(
        flight_id=FLIGHT,
        object_key=f"docks/river/{FLIGHT}/DJI_0001.JPG",
        received_at=AT,
        expected=12,
        uploaded=3,
        latitude_deg=22.1,
        longitude_deg=113.5,
        relative_height_m=41.124,
        gimbal_yaw_deg=-91.4,
        gateway="DOCK7",
    )


def test_fields_that_stand_under_data_itself_are_found_as_well() -> None:
    flat = {
        "object_key": "a/b.mp4",
        "flight_id": "f1",
        "expected_file_count": "4",
        "uploaded_file_count": "1",
        "latitude": "22.5",
        "longitude": "113",
        "relative_altitude": "40",
    }
    found = the_upload({"method": "file_upload_callback", "data": flat})
    assert (found.flight_id, found.object_key, found.gateway) == ("f1", "a/b.mp4", "DOCK7")
    assert (found.expected, found.uploaded) == (4, 1)
    assert (found.latitude_deg, found.longitude_deg, found.relative_height_m) == (22.5, 113.0, 40.0)


def test_a_part_that_is_flat_is_found_beside_parts_that_are_not() -> None:
    flat = callback()["data"]["file"]
    found = the_upload({"method": "file_upload_callback", "data": flat})
    assert (found.flight_id, found.latitude_deg, found.expected) == (FLIGHT, 22.1, None)
    file = {"object_key": "a/b.mp4"}
    other = {"method": "file_upload_callback", "data": {"file": file, "flight_id": "f2"}}
    assert the_upload(other).flight_id == "f2"


def test_firmware_that_does_not_count_leaves_the_counts_open() -> None:
    found = the_upload(callback(flight_task=None))
    assert (found.expected, found.uploaded) == (None, None)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("relative_altitude", "high", "relative_height_m"),
        ("relative_altitude", 1e9, "relative_height_m"),
        ("relative_altitude", float("nan"), "relative_height_m"),
        ("relative_altitude", True, "relative_height_m"),
        ("gimbal_yaw_degree", "Infinity", "gimbal_yaw_deg"),
        ("gimbal_yaw_degree", [1], "gimbal_yaw_deg"),
        ("shoot_position", {"lat": 91, "lng": 10}, "latitude_deg"),
        ("shoot_position", {"lat": 10}, "latitude_deg"),
        ("shoot_position", {"lng": 10}, "longitude_deg"),
        ("shoot_position", {"lat": 0, "lng": "0.0"}, "latitude_deg"),
        ("shoot_position", "22.1,113.5", "longitude_deg"),
        ("flight_task", {"expected_file_count": -1}, "expected"),
        ("flight_task", {"expected_file_count": 2.5}, "expected"),
        ("flight_task", {"expected_file_count": 10**30}, "expected"),
        ("flight_task", {"uploaded_file_count": "many"}, "uploaded"),
    ],
)
def test_a_number_that_cannot_be_is_left_out(key: str, value: object, field: str) -> None:
    found = the_upload(callback(**{key: value}))
    assert getattr(found, field) is None
    assert found.flight_id == FLIGHT


@pytest.mark.parametrize(
    "changes",
    [
        {"ext": {}},
        {"ext": {"flight_id": ""}},
        {"ext": {"flight_id": 7}},
        {"ext": {"flight_id": "../../etc"}},
        {"ext": {"flight_id": "a/b"}},
        {"ext": {"flight_id": ".hidden"}},
        {"ext": {"flight_id": "a\nb"}},
        {"ext": {"flight_id": "\ud800"}},
        {"ext": {"flight_id": "f" * 129}},
        {"object_key": ""},
        {"object_key": None},
        {"object_key": "k" * 1025},
        {"object_key": "a\x00b"},
        {"file": "a.mp4"},
        {"file": None},
        {"result": 1},
        {"result": "314000"},
        {"result": "what"},
    ],
)
def test_what_tells_no_flight_no_object_or_a_failure_is_refused(changes: Json) -> None:
    assert is_refused(callback(**changes))


@pytest.mark.parametrize("result", [0, "0", None])
def test_an_upload_that_says_it_went_well_counts(result: object) -> None:
    assert the_upload(callback(result=result)).flight_id == FLIGHT


def test_a_broken_callback_is_refused_and_takes_no_other_along() -> None:
    whole = json.dumps(callback()).encode()
    deep = b"[" * 100_000 + b"file_upload_callback"
    broken = [whole[:-1], b"\xff" + whole, b"[" + whole + b"]", deep]
    batch = [message(whole), *map(message, broken), message(whole)]
    found, refused = uploads(batch)
    assert (len(found), refused) == (2, 4)


def test_other_messages_of_docks_count_for_nothing() -> None:
    other = {"method": "highest_priority_upload_flighttask_media", "data": {"flight_id": FLIGHT}}
    quoting = {"method": "hms", "data": {"text": "file_upload_callback"}}
    assert is_ignored(other)
    assert is_ignored(quoting)
    assert is_ignored(b"\x00\xff no JSON")
    assert is_ignored(b"")


def test_the_cloud_s_own_reply_is_no_callback() -> None:
    reply = {"method": "file_upload_callback", "data": {"result": 0}}
    assert is_ignored(reply, "thing/product/DOCK7/events_reply")
    assert is_refused(reply)


@pytest.mark.parametrize("topic", ["thing/product/DOCK7/requests", "relay/7", ""])
def test_the_method_counts_and_not_the_topic(topic: str) -> None:
    assert the_upload(callback(), topic).flight_id == FLIGHT


def test_the_topic_names_the_dock_before_the_message_does() -> None:
    content = callback() | {"gateway": "somebody else"}
    assert the_upload(content).gateway == "DOCK7"
    assert the_upload(content, "bridged/thing/product/DOCK8/events").gateway == "DOCK8"
    assert the_upload(content, "relay").gateway == "somebody else"
    assert the_upload(content | {"gateway": 7}, "relay").gateway == ""
    assert the_upload(content | {"gateway": "a\nb"}, "relay").gateway == ""


def test_uploads_come_in_the_order_of_the_messages_with_their_times() -> None:
    batch = []
    for number in range(5):
        payload = json.dumps(callback(object_key=f"k{number}")).encode()
        batch.append(Message(AT + timedelta(seconds=number), payload, TOPIC))
    found, _ = uploads([*batch, batch[0]])
    assert [one.object_key for one in found] == ["k0", "k1", "k2", "k3", "k4", "k0"]
    assert found[4].received_at == AT + timedelta(seconds=4)


# Whatever comes

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from(["22.1", "1e400", "NaN", "-0", "٣", FLIGHT, "1" * 5000])
)
KEYS = st.sampled_from(
    ["file", "ext", "metadata", "flight_id", "object_key", "shoot_position", "lat", "lng",
     "flight_task", "expected_file_count", "uploaded_file_count", "relative_altitude",
     "gimbal_yaw_degree", "result", "data", "gateway"]
)  # fmt: skip
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=8),
    max_leaves=25,
)
TOPICS = st.sampled_from([TOPIC, "", "/", "thing/product/events"]) | st.text()


@given(ANYTHING, TOPICS)
@example({"file": {"ext": {"flight_id": "f"}, "object_key": 10**5000}}, TOPIC)
def test_whatever_a_callback_holds_it_is_taken_or_refused(data: object, topic: str) -> None:
    content = {"method": "file_upload_callback", "data": data}
    try:
        payload = json.dumps(content).encode()
    except ValueError:  # an integer with more digits than Python writes
        payload = (
            b'{"method": "file_upload_callback", "data": {"object_key": ' + b"1" * 5001 + b"}}"
        )
    found, refused = uploads([Message(AT, payload, topic)])
    expected = 0 if topic.endswith("_reply") else 1
    assert len(found) + refused == expected
    for one in found:
        assert DockUpload.model_validate_json(one.model_dump_json()) == one
        assert (one.latitude_deg is None) == (one.longitude_deg is None)


WHOLE = json.dumps(callback()).encode()


@given(st.integers(0, len(WHOLE) - 1), st.binary(max_size=4))
def test_no_damage_makes_the_parser_raise(place: int, damage: bytes) -> None:
    payload = WHOLE[:place] + damage + WHOLE[place + 1 :]
    found, refused = uploads([Message(AT, payload, TOPIC)])
    assert len(found) + refused <= 1


@given(st.lists(st.binary(), max_size=5))
def test_no_bytes_make_the_parser_raise(payloads: list[bytes]) -> None:
    batch = [Message(AT, one + b"file_upload_callback", TOPIC) for one in payloads]
    assert uploads(batch) == ([], len(batch))
