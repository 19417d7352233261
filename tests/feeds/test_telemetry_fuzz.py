"""Hostile telemetry: whatever the bytes, a parser gives poses or says why not.

``SIGHTLINE_FUZZ_CASES=10000`` runs that many cases a parser instead of the everyday number.
"""

import io
import math
import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from enforcement.errors import BadTelemetry, NoGroundPosition
from enforcement.flights import AircraftPose, TelemetryConventions
from enforcement.geometry import Point
from feeds.georeference import ground_position, view_from_pose
from feeds.telemetry import (
    TelemetryLog,
    read_packets,
    read_srt,
    read_still,
    read_transport_stream,
)
from tests.feeds import test_telemetry_klv as klv
from tests.feeds import test_telemetry_stills as stills

CASES = int(os.environ.get("SIGHTLINE_FUZZ_CASES", "150"))
pytestmark = pytest.mark.timeout(120 if CASES < 1000 else 3600)
fuzz = settings(
    max_examples=CASES, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip

SRT = (
    "\ufeff1\r\n00:00:00,000 --> 00:00:01,000\r\n"
    "F/5.6, GPS (-59.409424, -34.650200, 16), HOME (-59.4, -34.6, 7.60m), H 17.39m, "
    "F.PRY (-8.9°, 2.9°, -75.0°), G.PRY (-27.3°, 0.0°, -76.0°)\r\n\r\n"
    "2\n00:00:01,000 --> 00:00:02,000\n2022.06.21 16:06:17\n"
    "GPS(36.6146,-6.1120,0.0M) BAROMETER:0.3M\n\n"
    '3\n00:00:02,000 --> 00:00:02,033\n<font size="36">SrtCnt : 1, DiffTime : 33ms\n'
    "2022-08-07 13:40:40,774,808\n[iso : 100] [focal_len : 240] [dzoom_ratio: 10000, delta:0] "
    "[latitude: 41.424724] [longtitude : 2.234156] [rel_alt: 1.3 abs_alt: 117.0] "
    "[gb_yaw: 30.0 gb_pitch: -45.0 gb_roll: 0.0] </font>\n\n"
).encode()
PACKETS = klv.packet(*klv.ATTITUDE) + klv.packet(long_length=True) + klv.packet()
STREAM = klv.stream([(t / 10, klv.packet(*klv.ATTITUDE)) for t in range(10)]).getvalue()
STILL = stills.still(own={**stills.TAKEN, 0x9011: "+08:00", 0xA405: 24})

CONVENTIONS = (
    TelemetryConventions(),
    TelemetryConventions(time_zone="Europe/Berlin", gimbal_yaw="from_nose", gps_order="lat_lon",
                         unnamed_altitude="above_take_off"),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: bytes, pieces: tuple[bytes, ...]) -> bytes:
    """The whole with up to eight places changed, cut out, doubled or filled with something else."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 8))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        span = draw(st.integers(1, 40))
        deed = draw(st.sampled_from(["flip", "cut", "double", "insert", "end"]))
        if deed == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif deed == "cut":
            del data[at : at + span]
        elif deed == "double":
            data[at:at] = data[at : at + span] * draw(st.integers(1, 20))
        elif deed == "insert":
            data[at:at] = draw(st.sampled_from(pieces) | st.binary(max_size=24))
        elif deed == "end":
            del data[at:]
    return bytes(data)


def hostile(whole: bytes, *pieces: bytes) -> st.SearchStrategy[bytes]:
    return damaged(whole, pieces) | st.binary(max_size=400) | st.lists(
        st.sampled_from(pieces) | st.binary(max_size=8), max_size=60
    ).map(b"".join)  # fmt: skip


def hold(read: Callable[[], TelemetryLog]) -> None:
    """The log keeps its promises, or the file is refused with a reason."""
    try:
        found = read()
    except BadTelemetry as refusal:
        reason = str(refusal)
    else:
        check_log(found)
        return
    assert len(reason) > len("x: .")


def check_log(found: TelemetryLog) -> None:
    assert found.poses
    assert all(refused.reason for refused in found.refused)
    numbers = [refused.number for refused in found.refused]
    assert numbers == sorted(set(numbers))
    for pose in found.poses:
        check(pose)


def check(pose: AircraftPose) -> None:
    assert AircraftPose.model_validate_json(pose.model_dump_json()) == pose
    assert (pose.latitude_deg, pose.longitude_deg) != (0, 0)
    try:
        fix = ground_position(view_from_pose(pose, aspect=16 / 9), Point(0.5, 0.9))
    except NoGroundPosition:
        return
    assert all(math.isfinite(number) for number in (*fix.place, *fix[1:]))


@fuzz
@given(
    hostile(SRT, b"-->", b"\n\n", b"\n1\n", b"GPS(", b"[latitude: ", b"[longitude: 1.5]", b"\x00",
            "°".encode(), b"\xff\xfe", b"9" * 30, b"00:00:00,000 --> 00:00:00,000\n", b"N/A"),
    st.sampled_from(CONVENTIONS),
)  # fmt: skip
def test_any_subtitle_file_is_read_or_refused(
    data: bytes, conventions: TelemetryConventions
) -> None:
    hold(lambda: read_srt(data, "x", conventions))


@fuzz
@given(hostile(PACKETS, klv.LABEL, klv.packet(), b"\x84\xff\xff\xff\xff", b"\x80", b"\x01\x02"))
def test_any_packets_are_read_or_refused(data: bytes) -> None:
    hold(lambda: read_packets(data, "x"))


@st.composite
def signed_packets(draw: st.DrawFn) -> bytes:
    """Damage that a right checksum vouches for, so that every value behind it is looked at."""
    items = draw(st.lists(st.tuples(st.integers(3, 127), st.binary(max_size=12)), max_size=20))
    return klv.packet(*(klv.item(tag, value) for tag, value in items))


@fuzz
@given(signed_packets())
def test_any_values_in_a_packet_are_read_or_refused(data: bytes) -> None:
    hold(lambda: read_packets(data, "x"))


@fuzz
@given(hostile(STREAM, klv.LABEL, STREAM[:188], STREAM[188:376], b"\x47", bytes(188)))
def test_any_transport_stream_is_read_or_refused(data: bytes) -> None:
    hold(lambda: read_transport_stream(io.BytesIO(data), "x"))


@fuzz
@given(
    hostile(STILL, b"\xff\xe1", b"\xff\xd8", b"\xff\xd9", b"Exif\x00\x00", b"II*\x00", b"<a>",
            b"http://ns.adobe.com/xap/1.0/\x00", b"\xff\xff\xff\xff", bytes(8)),
    st.sampled_from(CONVENTIONS),
)  # fmt: skip
def test_any_still_is_read_or_refused(data: bytes, conventions: TelemetryConventions) -> None:
    hold(lambda: read_still(data, "x", conventions))
