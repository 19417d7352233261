"""MISB ST 0601, the UAS Datalink Local Set: packets alone, or in an MPEG transport stream.

``tstrans`` takes packets and streams apart, checks each packet's checksum and maps its numbers to
units; here stands where a packet begins and ends among damaged bytes, and what it means for the
camera: ST 0601 gives the sensor's angles from the airframe's.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from tstrans.exceptions import DemuxError, KlvError
from tstrans.klv import UasDatalinkLs, decode_uas_datalink
from tstrans.mpegts import Demuxer, DemuxEvent

from enforcement.flights import turned
from feeds.telemetry.log import LogBook, Refusal, TelemetryLog, pose_of

UNIVERSAL_LABEL = bytes.fromhex("060e2b34020b01010e01030101000000")
"""Every packet begins with these 16 bytes (ST 0601, "UAS Datalink Local Set")."""

LONGEST_PACKET = 65_536
"""Bytes; the local sets of aircraft measure some hundred."""

_PIECE = 188 * 4096
_MOST_HELD = 64 * 1024 * 1024
_MOST_WAITING = 1_000
_TICKS_PER_S = 90_000
_TURN = 2**33
"""Ticks after which presentation times start anew (ISO/IEC 13818-1)."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_US, _LATEST_US = 946_684_800_000_000, 4_102_444_800_000_000
"""Years 2000 to 2100: a clock that shows another year was never set."""


def read_packets(data: bytes, name: str) -> TelemetryLog:
    """The poses of packets one after the other, as a ``.klv`` or ``.bin`` file holds them.

    Raises BadTelemetry if no packet gives a pose.
    """
    book = LogBook(name)
    _take_packets(data, None, book)
    return book.close("ST 0601 packet")


def read_transport_stream(stream: BinaryIO, name: str) -> TelemetryLog:
    """The poses of a transport stream's metadata, with ``t_s`` from its first picture.

    Read in pieces, so that the stream may be large; shorter than 13 hours, after which its clock
    is no longer unambiguous. Without pictures ``t_s`` counts from the first packet of metadata.
    Raises BadTelemetry if no packet gives a pose.
    """
    found: list[tuple[int, bytes]] = []
    first_picture: int | None = None
    held = 0
    for ticks, payload in _timed(_samples(stream)):
        if payload is None:
            first_picture = ticks if first_picture is None else first_picture
        elif held + len(payload) <= _MOST_HELD:
            found.append((ticks, payload))
            held += len(payload)
    # Pictures that are shown before the first one of the stream need one that was cut off.
    start = first_picture if first_picture is not None else found[0][0] if found else 0
    timed = first_picture is not None or any(ticks != 0 for ticks, _ in found)
    book = LogBook(name)
    for ticks, payload in found:
        _take_packets(payload, _since(ticks, start) / _TICKS_PER_S if timed else None, book)
    return book.close("ST 0601 packet")


def _timed(samples: Iterator[tuple[int, bytes | None]]) -> Iterator[tuple[int, bytes | None]]:
    """Metadata that carry no presentation time get that of the picture next to them.

    A picture is known to be whole when the next one begins, and comes out after what lies between.
    """
    waiting: list[bytes] = []
    latest = 0
    for ticks, payload in samples:
        if payload is not None and ticks == 0 and len(waiting) < _MOST_WAITING:
            waiting.append(payload)
            continue
        if payload is None:
            latest = ticks
            yield from _released(waiting, latest)
        yield ticks, payload
    yield from _released(waiting, latest)


def _released(waiting: list[bytes], picture: int) -> Iterator[tuple[int, bytes | None]]:
    # Beside the very start of the clock, 0 is a time like any other.
    ticks = picture if abs(_since(0, picture)) > _TICKS_PER_S else 0
    for payload in waiting:
        yield ticks, payload
    waiting.clear()


def _samples(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Presentation time in ticks, 0 if it has none, and the metadata; None for a picture."""
    demuxer = Demuxer()
    while piece := stream.read(_PIECE):
        try:
            demuxer.feed(piece)
            yield from _drained(demuxer)
        except DemuxError:
            # What was taken apart before the damage counts; after it nothing can be found.
            return
    try:
        demuxer.flush()
        yield from _drained(demuxer)
    except DemuxError:
        return


def _drained(demuxer: Demuxer) -> Iterator[tuple[int, bytes | None]]:
    while (event := demuxer.next_event()) is not None:
        if isinstance(event, DemuxEvent.Video):
            yield event.pts.raw, None
        elif (
            isinstance(event, DemuxEvent.Metadata | DemuxEvent.UnknownSample)
            and UNIVERSAL_LABEL in event.payload
        ):
            yield event.pts.raw, event.payload


def _since(ticks: int, start: int) -> int:
    """From one time stamp to another, the shorter way round: the clock of 33 bits starts anew."""
    return (ticks - start + _TURN // 2) % _TURN - _TURN // 2


def _take_packets(data: bytes, t_s: float | None, book: LogBook) -> None:
    """Every packet in these bytes; damaged bytes cost no more than the packet they lie in."""
    begin = data.find(UNIVERSAL_LABEL)
    if begin != 0 and data:
        book.refuse("bytes before the first ST 0601 packet" if begin > 0 else
                    "holds no ST 0601 packet")  # fmt: skip
    while begin >= 0 and not book.is_full:
        following = data.find(UNIVERSAL_LABEL, begin + len(UNIVERSAL_LABEL))
        end = following if following >= 0 else len(data)
        room = data[begin : min(end, begin + LONGEST_PACKET)]
        try:
            packet, rest = _packet(room)
            fields = _fields(packet)
            if t_s is not None:
                fields["t_s"] = t_s
            book.take(pose_of(fields))
        except Refusal as refusal:
            book.refuse(str(refusal))
        else:
            if rest.strip(b"\x00"):
                book.refuse("bytes between ST 0601 packets")
        begin = following


def _packet(room: bytes) -> tuple[bytes, bytes]:
    """The packet at the start of ``room``, by its own length, and what lies behind it."""
    at = len(UNIVERSAL_LABEL)
    head = room[at : at + 1]
    if not head:
        raise Refusal("packet is cut off")
    length, at = head[0], at + 1
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 8 or at + octets > len(room):
            raise Refusal("packet states no readable length")
        length = int.from_bytes(room[at : at + octets], "big")
        at += octets
    if at + length > len(room):
        raise Refusal("packet is cut off")
    return room[: at + length], room[at + length :]


def _fields(packet: bytes) -> dict[str, Any]:
    """Fields of the pose; raises Refusal."""
    try:
        values = decode_uas_datalink(packet)
    except KlvError as error:
        kind = str(error.kind.value).replace("_", " ")
        raise Refusal(f"packet refused: {kind}") from error
    if values.timestamp_us is None:
        raise Refusal("packet states no time")
    if not _EARLIEST_US <= values.timestamp_us < _LATEST_US:
        raise Refusal("packet states an impossible time")
    if values.sensor_lat_deg is None or values.sensor_lon_deg is None:
        raise Refusal("states no position")
    fields = {
        "moment": _EPOCH + timedelta(microseconds=values.timestamp_us),
        "latitude_deg": values.sensor_lat_deg,
        "longitude_deg": values.sensor_lon_deg,
        "altitude_m": values.sensor_alt_m,
        "ellipsoid_height_m": values.sensor_ellipsoid_height_m,
        "heading_deg": values.platform_heading_deg,
        "horizontal_fov_deg": values.sensor_hfov_deg or None,
        **_camera(values),
    }
    return {key: value for key, value in fields.items() if value is not None}


def _camera(values: UasDatalinkLs) -> dict[str, float]:
    """The camera's yaw, pitch and roll from the horizon and true north; empty if an angle of the
    chain is missing. Only the sensor's own roll may be: sensors without that axis leave it out.

    ST 0601 turns the airframe by heading, pitch and roll, and the sensor, within the airframe, by
    azimuth, elevation and roll, each about the axis that the turn before left (ST 0601, tags 5 to
    7 and 18 to 20).
    """
    pitch, roll = values.platform_pitch_full_deg, values.platform_roll_full_deg
    chain = (
        values.platform_heading_deg,
        values.platform_pitch_deg if pitch is None else pitch,
        values.platform_roll_deg if roll is None else roll,
        values.sensor_rel_az_deg,
        values.sensor_rel_el_deg,
        values.sensor_rel_roll_deg or 0.0,
    )
    if any(angle is None for angle in chain):
        return {}
    h, p, r, az, el, rr = (math.radians(angle or 0.0) for angle in chain)
    matrix = _product(_turn(h, p, r), _turn(az, el, rr))
    yaw = math.atan2(matrix[1][0], matrix[0][0])
    tilt = math.asin(max(-1.0, min(1.0, -matrix[2][0])))
    if abs(tilt) > math.radians(89.999):
        # Straight up or down, yaw and roll turn about one axis: all of it counts as yaw.
        yaw, bank = math.atan2(-matrix[0][1], matrix[1][1]), 0.0
    else:
        bank = math.atan2(matrix[2][1], matrix[2][2])
    return {
        "gimbal_yaw_deg": turned(math.degrees(yaw)),
        "gimbal_pitch_deg": math.degrees(tilt),
        "gimbal_roll_deg": math.degrees(bank),
    }


_Matrix = tuple[tuple[float, ...], ...]


def _turn(yaw: float, pitch: float, roll: float) -> _Matrix:
    """From axes forward, right, down to north, east, down; radians."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cr, sr = math.cos(roll), math.sin(roll)
    return (
        (cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr),
        (sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr),
        (-sp, cp * sr, cp * cr),
    )


def _product(a: _Matrix, b: _Matrix) -> _Matrix:
    return tuple(
        tuple(sum(a[i][k] * b[k][j] for k in range(3)) for j in range(3)) for i in range(3)
    )
