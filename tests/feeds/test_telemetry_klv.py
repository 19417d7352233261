"""ST 0601 packets, written here by hand after the standard, and in a stream that FFmpeg muxed."""

import io
import math
import struct
from datetime import UTC, datetime
from fractions import Fraction

import av
import numpy as np
import pytest
from tstrans import mpegts

from enforcement.errors import BadTelemetry
from feeds.telemetry import klv, log, read_packets, read_transport_stream

LABEL = bytes.fromhex("060e2b34020b01010e01030101000000")
MOMENT = datetime(2026, 11, 23, 8, 0, 0, 250_000, tzinfo=UTC)


def item(tag: int, value: bytes) -> bytes:
    return bytes([tag, len(value)]) + value


def signed(degrees: float, span: float, size: int) -> bytes:
    """±span over the whole of a signed integer less its lowest value (ST 0601, e.g. tag 13)."""
    top = (1 << (8 * size - 1)) - 1
    return round(degrees / span * top).to_bytes(size, "big", signed=True)


def unsigned(value: float, low: float, high: float, size: int) -> bytes:
    return round((value - low) / (high - low) * ((1 << (8 * size)) - 1)).to_bytes(size, "big")


def checksum(data: bytes) -> bytes:
    """Running sum of 16-bit words, the odd byte out counting as a high one (ST 0601, tag 1)."""
    padded = data + b"\x00" * (len(data) % 2)
    total: int = sum(struct.unpack(f">{len(padded) // 2}H", padded))
    return (total & 0xFFFF).to_bytes(2, "big")


def packet(
    *items: bytes, latitude: float = 31.2, long_length: bool = False, moment: datetime = MOMENT
) -> bytes:
    body = (
        item(2, round(moment.timestamp() * 1_000_000).to_bytes(8, "big"))
        + item(13, signed(latitude, 90, 4))
        + item(14, signed(-121.4, 180, 4))
        + b"".join(items)
        + item(65, b"\x0d")
        + b"\x01\x02"
    )
    length = len(body) + 2
    head = struct.pack(">BI", 0x84, length) if long_length or length > 127 else bytes([length])
    start = LABEL + head + body
    return start + checksum(start)


ATTITUDE = (
    item(5, unsigned(350.0, 0, 360, 2)),
    item(6, signed(0.0, 20, 2)),
    item(7, signed(0.0, 50, 2)),
    item(18, unsigned(30.0, 0, 360, 4)),
    item(19, signed(-40.0, 180, 4)),
    item(20, unsigned(0.0, 0, 360, 4)),
)


def test_a_packet_gives_time_place_height_and_field_of_view() -> None:
    found = read_packets(
        packet(item(15, unsigned(150, -900, 19_000, 2)), item(75, unsigned(161, -900, 19_000, 2)),
               item(16, unsigned(60, 0, 180, 2)), item(5, unsigned(90, 0, 360, 2))),
        "a.klv",
    )  # fmt: skip
    (pose,) = found.poses
    assert found.refused == ()
    assert pose.moment == MOMENT
    assert pose.latitude_deg == pytest.approx(31.2, abs=1e-6)
    assert pose.longitude_deg == pytest.approx(-121.4, abs=1e-6)
    assert pose.altitude_m == pytest.approx(150, abs=0.2)
    assert pose.ellipsoid_height_m == pytest.approx(161, abs=0.2)
    assert pose.horizontal_fov_deg == pytest.approx(60, abs=0.01)
    assert pose.heading_deg == pytest.approx(90, abs=0.01)
    assert pose.t_s is None
    assert pose.gimbal_pitch_deg is None


def test_the_camera_looks_where_airframe_and_sensor_together_turn_it() -> None:
    (pose,) = read_packets(packet(*ATTITUDE), "a.klv").poses
    assert pose.gimbal_yaw_deg == pytest.approx(20.0, abs=0.01)
    assert pose.gimbal_pitch_deg == pytest.approx(-40.0, abs=0.01)
    assert pose.gimbal_roll_deg == pytest.approx(0.0, abs=0.01)


def test_an_airframe_that_banks_rolls_a_camera_ahead_and_tilts_one_to_the_side() -> None:
    bank = item(7, signed(20.0, 50, 2))
    ahead = (*ATTITUDE[:2], bank, item(18, bytes(4)), item(19, bytes(4)))
    (pose,) = read_packets(packet(*ahead), "a.klv").poses
    assert pose.gimbal_roll_deg == pytest.approx(20.0, abs=0.01)
    assert pose.gimbal_pitch_deg == pytest.approx(0.0, abs=0.01)
    aside = (*ATTITUDE[:2], bank, item(18, unsigned(90.0, 0, 360, 4)), item(19, bytes(4)))
    (pose,) = read_packets(packet(*aside), "a.klv").poses
    assert pose.gimbal_yaw_deg == pytest.approx(80.0, abs=0.01)
    assert pose.gimbal_pitch_deg == pytest.approx(-20.0, abs=0.01)
    assert pose.gimbal_roll_deg == pytest.approx(0.0, abs=0.01)


def test_a_camera_straight_down_keeps_its_yaw() -> None:
    down = (*ATTITUDE[:4], item(19, signed(-90.0, 180, 4)))
    (pose,) = read_packets(packet(*down), "a.klv").poses
    assert pose.gimbal_pitch_deg == pytest.approx(-90.0, abs=0.01)
    assert (pose.gimbal_yaw_deg or 0) + 0 == pytest.approx(20.0, abs=0.1)


def test_steep_airframes_and_rolled_sensors_count_too() -> None:
    steep = (item(90, signed(25.0, 90, 4)), item(91, signed(0.0, 90, 4)), item(20, bytes(4)))
    ahead = (ATTITUDE[0], ATTITUDE[1], ATTITUDE[2], item(18, bytes(4)), item(19, bytes(4)))
    (pose,) = read_packets(packet(*ahead, *steep), "a.klv").poses
    assert pose.gimbal_pitch_deg == pytest.approx(25.0, abs=0.01)
    rolled = (*ahead, item(20, unsigned(15.0, 0, 360, 4)))
    (pose,) = read_packets(packet(*rolled), "a.klv").poses
    assert pose.gimbal_roll_deg == pytest.approx(15.0, abs=0.01)


@pytest.mark.parametrize("missing", range(5))
def test_without_one_angle_of_the_chain_no_direction_is_stated(missing: int) -> None:
    rest = [one for number, one in enumerate(ATTITUDE) if number != missing]
    (pose,) = read_packets(packet(*rest), "a.klv").poses
    assert pose.gimbal_yaw_deg is None
    assert pose.gimbal_pitch_deg is None


def test_lengths_may_be_written_short_or_long() -> None:
    assert len(read_packets(packet() + packet(long_length=True), "a.klv").poses) == 2


OUT_OF_RANGE = b"\x80\x00\x00\x00"
"""ST 0601's mark for a value that cannot be given."""


def without(tag: int, size: int = 4) -> bytes:
    """A packet with a tag renamed to one that nobody knows, and a right checksum."""
    whole = packet()
    at = whole.index(bytes([tag, size]), 17)
    changed = whole[:at] + bytes([120]) + whole[at + 1 : -2]
    return changed + checksum(changed)


def marked(tag: int) -> bytes:
    whole = packet()
    at = whole.index(bytes([tag, 4]), 18)
    changed = whole[: at + 2] + OUT_OF_RANGE + whole[at + 6 : -2]
    return changed + checksum(changed)


def flipped(at: int) -> bytes:
    whole = bytearray(packet())
    whole[at] ^= 0x10
    return bytes(whole)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (flipped(30), "checksum mismatch"),
        (flipped(-1), "checksum mismatch"),
        (packet()[:-9], "packet is cut off"),
        (LABEL, "packet is cut off"),
        (LABEL + b"\x88" + b"\xff" * 8 + packet()[17:], "packet is cut off"),
        (LABEL + b"\x80" + packet()[17:], "no readable length"),
        (LABEL + b"\x89" + bytes(9), "no readable length"),
        (without(13), "states no position"),
        (marked(14), "states no position"),
        (without(2, 8), "no time"),
        (packet(moment=datetime(1999, 12, 31, tzinfo=UTC)), "impossible time"),
    ],
    ids=range(11),
)
def test_a_broken_packet_is_lost_alone_and_says_why(broken: bytes, reason: str) -> None:
    found = read_packets(packet(latitude=31.1) + broken + packet(latitude=31.3), "a.klv")
    assert [round(pose.latitude_deg, 3) for pose in found.poses] == [31.1, 31.3]
    assert [one.number for one in found.refused] == [2]
    assert reason in found.refused[0].reason


def test_bytes_that_are_no_packet_are_named_and_skipped() -> None:
    found = read_packets(b"noise" + packet() + b"more noise" + packet(), "a.klv")
    assert len(found.poses) == 2
    assert [one.reason for one in found.refused] == [
        "bytes before the first ST 0601 packet", "bytes between ST 0601 packets",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "holds no ST 0601 packet"), (b"no packet here", "holds no ST 0601 packet"),
     (flipped(30), "checksum mismatch")],
)  # fmt: skip
def test_bytes_without_a_usable_packet_are_refused_as_a_whole(data: bytes, reason: str) -> None:
    with pytest.raises(BadTelemetry, match=f"a.klv: .*{reason}"):
        read_packets(data, "a.klv")


def test_no_more_packets_are_kept_than_a_flight_can_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST_CUES", 20)
    found = read_packets((packet() + flipped(30)) * 50, "a.klv")
    assert len(found.poses) + len(found.refused) == 20


def test_an_endless_packet_is_looked_at_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(klv, "LONGEST_PACKET", 40)
    with pytest.raises(BadTelemetry, match="cut off"):
        read_packets(packet(), "a.klv")


def stream(
    packets: list[tuple[float, bytes]], start_s: float = 0.0, pictures: bool = True
) -> io.BytesIO:
    """A transport stream of one second of H.264 with reordered pictures, and this metadata."""
    target = io.BytesIO()
    with av.open(target, "w", format="mpegts") as container:
        video = container.add_stream("libx264", rate=10, options={"bf": "2"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        metadata = container.add_data_stream("klv")
        muxed = []
        for number in range(10):
            noise = np.random.default_rng(number).integers(0, 255, (48, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="bgr24")
            frame.pts, frame.time_base = number + round(start_s * 10), Fraction(1, 10)
            muxed += video.encode(frame)
        muxed += video.encode(None)
        for at_s, content in packets:
            one = av.Packet(content)
            one.stream, one.time_base = metadata, Fraction(1, 90_000)
            one.pts = one.dts = round((start_s + at_s) * 90_000)
            muxed.append(one)
        for one in sorted(muxed, key=lambda one: (one.dts or 0) * (one.time_base or 1)):
            if pictures or one.stream is metadata:
                container.mux(one)
    target.seek(0)
    return target


def test_a_stream_gives_poses_with_times_from_its_first_picture() -> None:
    times = [0.0, 0.2, 0.5]
    found = read_transport_stream(
        stream([(t, packet(latitude=31 + t)) for t in times], start_s=100.0), "a.ts"
    )
    assert [pose.t_s for pose in found.poses] == pytest.approx(times)
    assert [pose.latitude_deg for pose in found.poses] == pytest.approx(
        [31 + t for t in times], abs=1e-6
    )
    assert found.refused == ()


def test_a_stream_whose_clock_starts_anew_keeps_its_order() -> None:
    """After 2^33 ticks, 95,443.7 s: here, half a second after the first picture."""
    times = [0.0, 0.3, 0.6, 0.9]
    whole = stream([(t, packet(latitude=31 + t)) for t in times], start_s=95_443.2)
    found = read_transport_stream(whole, "a.ts")
    assert [pose.t_s for pose in found.poses] == pytest.approx(times, abs=1e-4)
    assert [pose.latitude_deg for pose in found.poses] == pytest.approx(
        [31 + t for t in times], abs=1e-6
    )


def test_a_stream_without_pictures_counts_from_its_first_packet() -> None:
    found = read_transport_stream(
        stream([(0.3, packet()), (0.7, packet())], pictures=False), "a.ts"
    )
    assert [pose.t_s for pose in found.poses] == pytest.approx([0.0, 0.4])


def muxed(*, timed: bool, pictures: bool = True, start: int = 900_000) -> io.BytesIO:
    """What FFmpeg does not write: metadata without presentation times, a clock that begins at 0."""
    program = mpegts.MuxerProgramConfigBuilder(1, 0x1000).add_video(0x100, mpegts.VideoCodec.H264)
    program.add_klv(0x101, mpegts.KlvStreamType.PRIVATE_DATA, carries_pts=timed)
    muxer = mpegts.Muxer(mpegts.MuxerConfigBuilder().add_program(program.build()).build())
    piece, whole = bytearray(188 * 64), io.BytesIO()
    for number in range(4):
        time = mpegts.Pts90khz.from_raw(start + number * 9_000)
        if pictures and (number or start):
            muxer.push_video(b"\x00\x00\x00\x01\x65" + bytes(99), pts=time, key_frame=True)
        muxer.push_klv(packet(latitude=31 + number / 10), pts=time)
        whole.write(piece[: muxer.pull(piece)])
    whole.seek(0)
    return whole


def test_metadata_without_a_time_have_that_of_the_picture_next_to_them() -> None:
    found = read_transport_stream(muxed(timed=False), "a.ts")
    assert [pose.t_s for pose in found.poses] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    lone = read_transport_stream(muxed(timed=False, pictures=False), "a.ts")
    assert [pose.t_s for pose in lone.poses] == [None] * 4
    assert [round(pose.latitude_deg, 3) for pose in lone.poses] == [31.0, 31.1, 31.2, 31.3]


def test_the_beginning_of_the_clock_is_a_time_like_any_other() -> None:
    """One packet at 0, then pictures and packets from 0.1 s on."""
    found = read_transport_stream(muxed(timed=True, start=0), "a.ts")
    assert [pose.t_s for pose in found.poses] == pytest.approx([-0.1, 0.0, 0.1, 0.2])


def test_a_broken_packet_in_a_stream_is_lost_alone() -> None:
    found = read_transport_stream(
        stream([(0.0, packet()), (0.2, flipped(30)), (0.4, packet())]), "a.ts"
    )
    assert [pose.t_s for pose in found.poses] == pytest.approx([0.0, 0.4])
    assert len(found.refused) == 1
    assert "checksum mismatch" in found.refused[0].reason


def test_a_stream_that_is_cut_off_or_damaged_keeps_what_came_before() -> None:
    whole = stream([(t / 10, packet()) for t in range(10)]).getvalue()
    half = read_transport_stream(io.BytesIO(whole[: len(whole) // 2]), "a.ts")
    assert 2 <= len(half.poses) < 10
    middle = len(whole) // 2
    hole = 188 * 20 + 57
    holed = whole[:middle] + bytes(hole) + whole[middle + hole :]
    found = read_transport_stream(io.BytesIO(holed), "a.ts")
    assert len(half.poses) < len(found.poses) < 10
    assert all(math.isfinite(pose.t_s or 0.0) for pose in found.poses)


@pytest.mark.parametrize("data", [b"", b"\x47" * 4000, b"nothing of the kind" * 400])
def test_a_stream_without_metadata_is_refused(data: bytes) -> None:
    with pytest.raises(BadTelemetry, match="holds no ST 0601 packet"):
        read_transport_stream(io.BytesIO(data), "a.ts")
    with pytest.raises(BadTelemetry, match="holds no ST 0601 packet"):
        read_transport_stream(stream([]), "a.ts")
