"""DJI Cloud API: what docks say of the files that they upload, out of MQTT messages.

A dock sends one ``file_upload_callback`` a file, to ``thing/product/{gateway_sn}/events``. The
file's fields stand under ``data.file``, in older versions under ``data`` itself; numbers come as
numbers or as texts. Firmware that counts adds ``data.flight_task``.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from enforcement.dock import DockUpload, FileCount, SerialNumber
from enforcement.flights import Degrees, Latitude, Longitude, Metres
from feeds.messages import Message

METHOD = "file_upload_callback"

_METHOD_BYTES = METHOD.encode()
_NOTHING: Mapping[str, Any] = {}

T = TypeVar("T")

_COUNT: TypeAdapter[int] = TypeAdapter(FileCount)
_LATITUDE: TypeAdapter[float] = TypeAdapter(Latitude)
_LONGITUDE: TypeAdapter[float] = TypeAdapter(Longitude)
_HEIGHT: TypeAdapter[float] = TypeAdapter(Metres)
_YAW: TypeAdapter[float] = TypeAdapter(Degrees)
_RESULT: TypeAdapter[int] = TypeAdapter(int)
_SERIAL: TypeAdapter[str] = TypeAdapter(SerialNumber)


def uploads(messages: Iterable[Message]) -> tuple[list[DockUpload], int]:
    """The uploads that these messages tell, in their order, and how many callbacks were refused.

    Refused is a callback that tells no flight or no object, or an upload that failed; a number
    that can't be is left out of its record. Other messages, the cloud's replies among them, count
    for nothing. A message that was sent twice gives its upload twice. Never raises.
    """
    found: list[DockUpload] = []
    refused = 0
    for message in messages:
        # A dock also sends its position every second or two: that is not even parsed.
        if _METHOD_BYTES not in message.payload or message.topic.endswith("_reply"):
            continue
        whole = _parsed(message.payload)
        if whole is not None and whole.get("method") != METHOD:
            continue
        upload = None if whole is None else _upload(message, whole)
        if upload is None:
            refused += 1
        else:
            found.append(upload)
    return found, refused


def _parsed(payload: bytes) -> Mapping[str, Any] | None:
    """None if it is no JSON object."""
    try:
        whole = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return whole if isinstance(whole, dict) else None


def _upload(message: Message, whole: Mapping[str, Any]) -> DockUpload | None:
    data = _within(whole, "data")
    file = _within(data, "file") if "file" in data else data
    ext = _within(file, "ext") or file
    result = data.get("result")
    if result is not None and _valid(_RESULT, result) != 0:
        return None
    metadata = _within(file, "metadata") or file
    place = _place(metadata)
    task = _within(data, "flight_task") or data
    try:
        return DockUpload.model_validate(
            {
                "flight_id": ext.get("flight_id", data.get("flight_id")),
                "object_key": file.get("object_key"),
                "received_at": message.received_at,
                "expected": _valid(_COUNT, task.get("expected_file_count")),
                "uploaded": _valid(_COUNT, task.get("uploaded_file_count")),
                "latitude_deg": None if place is None else place[0],
                "longitude_deg": None if place is None else place[1],
                "relative_height_m": _valid(_HEIGHT, metadata.get("relative_altitude")),
                "gimbal_yaw_deg": _valid(_YAW, metadata.get("gimbal_yaw_degree")),
                "gateway": _gateway(message.topic, whole),
            }
        )
    except ValidationError:
        return None


def _place(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    """Both or neither; (0, 0) stands for no fix."""
    shot = _within(metadata, "shoot_position")
    latitude = _valid(_LATITUDE, shot.get("lat", metadata.get("latitude")))
    longitude = _valid(_LONGITUDE, shot.get("lng", metadata.get("longitude")))
    if latitude is None or longitude is None or (latitude, longitude) == (0.0, 0.0):
        return None
    return latitude, longitude


def _gateway(topic: str, whole: Mapping[str, Any]) -> str:
    """By the topic, to which a broker can hold each dock, else by what the message says."""
    parts = topic.split("/")
    if parts[-4:-2] == ["thing", "product"]:
        named: Any = parts[-2]
    else:
        named = whole.get("gateway")
    return _valid(_SERIAL, named) or ""


def _within(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = record.get(key)
    return found if isinstance(found, dict) else _NOTHING


def _valid(of: TypeAdapter[T], value: object) -> T | None:
    """The value, or None if it can't be what it says it is. A number may come as a text."""
    if isinstance(value, bool):
        return None
    try:
        return of.validate_python(value)
    except ValidationError:
        return None
