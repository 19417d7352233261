"""Facts about segments of live footage, from a real RTSP server: each frame, its time, each gap."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import av
import pytest

from feeds.recorder import RecorderState
from feeds.segments import Moment, Segment, SegmentFile, SegmentFolder, gap_between
from feeds.tape import ClockTrack
from media.footage import frames
from tests.feeds.recording import (
    EXACT,
    FPS,
    GOP,
    Store,
    assert_gaps_are_exact,
    at_camera,
    lost,
    recorder,
    wait_until,
)
from tests.feeds.rtsp_peer import Peer, read_marks


def test_every_frame_is_recorded_once_and_dated_by_the_camera(peer: Peer, tmp_path: Path) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store)
    recording.start()
    wait_until(lambda: len(store.segments) >= 3, 10)
    status = recording.status()
    recording.stop()
    numbers = store.numbers
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    sent = [frame.number for frame in peer.sent() if frame.sessions]
    assert sent[-1] - numbers[-1] <= 3
    for segment, data in zip(store.segments, store.bytes, strict=True):
        marks = read_marks(data)
        assert segment.packets == len(marks)
        assert segment.captured_at_basis == "camera"
        assert abs(segment.captured_at - at_camera(marks[0])) < EXACT
        assert abs(segment.last.camera_at - at_camera(marks[-1])) < EXACT  # type: ignore[operator]
        assert segment.camera_ahead_s == pytest.approx(3.0, abs=0.1)
        assert segment.path.name.startswith("gate-1_20")
        assert not segment.gaps
    assert [segment.ended for segment in store.segments][-2:] == ["full", "stopped"]
    assert status.state is RecorderState.RECORDING
    assert status.gap_count == 0
    assert status.packets >= 3 * FPS
    assert status.silent_s < 0.5
    assert status.bytes_per_s > 0
    assert status.camera_ahead_s == pytest.approx(3.0, abs=0.1)
    assert recording.status().state is RecorderState.STOPPED
    assert not list((tmp_path / "spool").glob("*.mp4*"))
    copied = tmp_path / "copy.mp4"
    copied.write_bytes(store.bytes[1])
    read = list(frames(copied))
    assert len(read) == store.segments[1].packets == FPS
    assert read[0].t_s == 0.0


def test_frames_of_one_time_are_all_kept(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.mp4"
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        file = SegmentFile(path, stream, "camera")
        for number, packet in enumerate(container.demux(stream)):
            if packet.size:
                packet.dts = packet.pts = (packet.dts or 0) if number != 7 else 0
                file.write(packet)
        file.close()
    assert file.packets == len(list(frames(path))) == 4 * FPS


def test_a_late_sender_report_dates_the_segment_all_the_same(clip: Path, tmp_path: Path) -> None:
    arguments = ("--first-report-s", "1.0", "--clock-offset-s", "-7200")
    with Peer(clip, tmp_path / "sent.jsonl", *arguments, password="") as peer:
        store = Store()
        recording = recorder(peer, tmp_path / "spool", store, window_s=2.0)
        recording.start()
        wait_until(lambda: recording.status().camera_ahead_s is not None, 5)
        side_file = next((tmp_path / "spool").glob("*.json"))
        wait_until(lambda: '"captured_at_basis": "camera"' in side_file.read_text(), 1)
        wait_until(lambda: len(store.segments) >= 1, 15)
        recording.stop()
    assert store.segments[0].captured_at_basis == "camera"
    assert abs(store.segments[0].captured_at - at_camera(store.marks[0])) < EXACT
    assert store.segments[0].camera_ahead_s == pytest.approx(-7200, abs=0.1)


def test_without_sender_reports_arrival_dates_the_segment(clip: Path, tmp_path: Path) -> None:
    with Peer(clip, tmp_path / "sent.jsonl", "--report-every-s", "0", password="") as peer:
        store = Store()
        recording = recorder(peer, tmp_path / "spool", store)
        recording.start()
        wait_until(lambda: len(store.segments) >= 2, 15)
        recording.stop()
    for segment, data in zip(store.segments, store.bytes, strict=True):
        assert segment.captured_at_basis == "arrival"
        assert segment.captured_at == segment.received_at
        assert segment.camera_ahead_s is None
        # What the way takes; FFmpeg's buffers, of a second and then of a frame, are reckoned out.
        late = segment.captured_at - at_camera(read_marks(data)[0])
        assert timedelta(0) <= late < timedelta(seconds=0.9 / FPS)


def test_time_stamps_that_leap_mislead_nobody(peer: Peer, tmp_path: Path) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store, window_s=30.0)
    recording.start()
    for jump_s in (900.0, -3.0):
        before = recording.status().packets
        wait_until(lambda: recording.status().packets > before + GOP, 10)  # noqa: B023
        peer.tell(jump_s=jump_s)
    before = recording.status().packets
    wait_until(lambda: recording.status().packets > before + 2 * GOP, 10)
    recording.stop()
    assert len(lost(peer.sent(), store.numbers, reachable_only=True)) <= 2 * 2 * FPS
    for segment, data in zip(store.segments, store.bytes, strict=True):
        assert abs(segment.captured_at - at_camera(read_marks(data)[0])) < EXACT
    assert [segment.ended for segment in store.segments][:2] == ["the time stamps leapt"] * 2
    assert_gaps_are_exact(store, peer.sent())


@pytest.mark.parametrize(("window_s", "resumes"), [(1.0, "until key"), (30.0, "no")])
def test_a_pause_of_the_camera_is_a_gap_inside_or_between_segments(
    peer: Peer, tmp_path: Path, window_s: float, resumes: str
) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store, timeout_s=5.0, window_s=window_s)
    recording.start()
    wait_until(lambda: recording.status().packets > FPS, 10)
    peer.tell(mute="yes")
    time.sleep(1.7)
    peer.tell(mute=resumes)
    before = recording.status().packets
    wait_until(lambda: recording.status().packets > before + 3, 5)
    recording.stop()
    assert (len(store.segments) == 1) == (window_s > 10)
    gaps = [gap for segment in store.segments for gap in segment.gaps]
    assert [gap.reason for gap in gaps] == ["the camera sent nothing"]
    assert_gaps_are_exact(store, peer.sent())


def test_a_camera_that_is_set_right_is_noticed(clip: Path, tmp_path: Path) -> None:
    arguments = ("--report-every-s", "0.3", "--clock-offset-s", "60")
    with Peer(clip, tmp_path / "sent.jsonl", *arguments, password="") as peer:
        store = Store()
        recording = recorder(peer, tmp_path / "spool", store)
        recording.start()
        wait_until(lambda: len(store.segments) >= 1, 10)
        assert recording.status().clock_set_at is None
        peer.tell(clock_offset_s=1.0)
        wait_until(lambda: recording.status().clock_set_at is not None, 5)
        recording.stop()
    assert store.segments[0].camera_ahead_s == pytest.approx(60, abs=0.1)
    assert store.segments[-1].camera_ahead_s == pytest.approx(1, abs=0.1)
    assert not any(segment.gaps for segment in store.segments)
    assert abs(store.segments[-1].captured_at - at_camera(read_marks(store.bytes[-1])[0])) < EXACT


def test_the_last_frame_is_known_however_the_recorder_ended(tmp_path: Path) -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    folder = SegmentFolder("gate-1", tmp_path)
    assert folder.open()
    assert folder.last_recorded() is None
    segments = []
    for minute in range(3):
        at = noon + timedelta(minutes=minute)
        path = folder.path_for(at)
        segments.append(
            Segment(
                feed_id="gate-1", path=path, captured_at=at, captured_at_basis="arrival",
                received_at=at, duration_s=59.0, packets=1, codec="h264",
            )
        )  # fmt: skip
        folder.note(segments[-1]).write_bytes(b"footage")
        folder.finish(segments[-1])
    last = Moment(arrived_at=noon + timedelta(minutes=2, seconds=59))
    assert folder.last_recorded() == last
    (tmp_path / "last.json").unlink()
    assert folder.last_recorded() == last
    while (segment := folder.oldest(0.0)) is not None:
        assert segment == segments.pop(0)
        assert folder.bytes == 7 * folder.waiting
        folder.discard(segment)
    assert folder.bytes == 0
    assert folder.last_recorded() is None
    folder.close()


def test_drift_is_measured_over_minutes_and_anew_after_the_clock_was_set() -> None:
    track, noon = ClockTrack(), datetime(2026, 6, 1, 12, tzinfo=UTC)
    for n in range(40):
        track.add(noon + timedelta(seconds=10 * n), 2.0 + 10 * n * 80e-6)
        if n < 30:
            assert track.drift_ppm is None
    assert track.drift_ppm == pytest.approx(80, abs=0.1)
    assert track.set_at is None
    track.add(noon + timedelta(seconds=400), 0.01)
    assert track.drift_ppm is None
    assert track.set_at == noon + timedelta(seconds=400)


@pytest.mark.parametrize(("set_by_s", "basis"), [(1.9, "camera"), (2.1, "arrival")])
def test_a_gap_is_read_from_a_clock_that_was_not_set_meanwhile(set_by_s: float, basis: str) -> None:
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    camera = noon + timedelta(seconds=100)
    last = Moment(arrived_at=noon, camera_at=camera)
    first = last.later(60)
    assert first.camera_at is not None
    first = first.model_copy(update={"camera_at": first.camera_at + timedelta(seconds=set_by_s)})
    gap = gap_between(last, first, "why")
    assert gap.basis == basis
    assert gap.duration_s == pytest.approx(60 + (set_by_s if basis == "camera" else 0))
    unknown = Moment(arrived_at=noon + timedelta(seconds=60))
    assert gap_between(last, unknown, "why").basis == "arrival"
