"""Facts about recording live cameras without end, against a real RTSP server on loopback."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from enforcement.places import RtspSource
from feeds.recorder import SPOOL_FULL, Recorder, RecorderState, back_off_s
from feeds.tape import NOT_RUNNING
from tests.feeds.recording import (
    ENCODED,
    EXACT,
    FPS,
    GOP,
    SECRETS,
    Store,
    assert_gaps_are_exact,
    at_camera,
    lost,
    recorder,
    wait_until,
)
from tests.feeds.rtsp_peer import Peer, read_marks, write_clip


def wait_for_packets(recording: Recorder, more: int) -> None:
    before = recording.status().packets
    wait_until(lambda: recording.status().packets > before + more, 5)


def test_outages_cost_little_and_are_listed_exactly(
    peer: Peer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    store, environ = Store(), {"CAMERA_PASSWORD": SECRETS[0]}
    recording = recorder(peer, tmp_path / "spool", store, environ=environ)
    recording.start()

    wait_for_packets(recording, GOP)
    peer.kill()
    time.sleep(0.8)
    peer.start()
    wait_for_packets(recording, GOP)
    peer.hang()
    wait_until(lambda: recording.status().state is not RecorderState.RECORDING, 2.5)
    peer.resume()
    wait_for_packets(recording, GOP)
    peer.tell(password=SECRETS[1])
    wait_until(lambda: recording.status().state is RecorderState.REFUSED, 3)
    time.sleep(0.8)
    assert "401" in str(recording.status().last_error)
    assert len(peer.refusals()) == 1
    environ["CAMERA_PASSWORD"] = SECRETS[1]
    wait_for_packets(recording, GOP)
    status = recording.status()
    recording.stop()
    assert_gaps_are_exact(store, peer.sent())
    gaps = [gap for segment in store.segments for gap in segment.gaps]
    assert list(status.gaps) == gaps
    assert [gap.reason.split(";")[0] for gap in gaps] == [
        "closed the connection", "does not answer within 1 s", "closed the connection",
    ]  # fmt: skip
    assert "refuses the connection" in gaps[0].reason
    assert "refuses the credentials (401)" in gaps[2].reason
    assert len(lost(peer.sent("/live/1"), store.numbers, reachable_only=True)) <= 3 * 2 * FPS
    assert_nothing_is_told(capfd, caplog, tmp_path / "spool", store, repr(status))


def assert_nothing_is_told(
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    folder: Path,
    store: Store,
    *more: str,
) -> None:
    printed = capfd.readouterr()
    texts = [printed.out, printed.err, caplog.text, *more, *map(repr, store.segments)]
    texts += [path.read_text("latin-1") for path in folder.iterdir()]
    texts += [path.name for path in folder.iterdir()]
    for secret in (*SECRETS, *ENCODED):
        assert not any(secret in text for text in texts)
    assert "gate-1" in caplog.text


def test_a_wrong_password_is_tried_once_and_told_once(
    clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = ("--user", "viewer", "--basic")
    with Peer(clip, tmp_path / "sent.jsonl", *arguments, password="right") as peer:
        store = Store()
        environ = {"CAMERA_PASSWORD": "wrong"}
        recording = recorder(peer, tmp_path / "spool", store, environ=environ)
        recording.start()
        wait_until(lambda: recording.status().state is RecorderState.REFUSED, 5)
        time.sleep(0.6)
        assert len(peer.refusals()) == 1
        assert caplog.text.count("401") == 1
        url = f"rtsp://viewer:right@127.0.0.1:{peer.port}/live/1"
        recording.replace_source(RtspSource(url=url, window_s=1.0, timeout_s=1.0))
        wait_until(lambda: recording.status().state is RecorderState.RECORDING, 3)
        recording.stop()


RECORD_UNTIL_KILLED = """
import os, sys, time
from datetime import UTC, datetime
from pathlib import Path
from enforcement.errors import StoreUnavailable
from enforcement.places import RtspSource
from feeds.recorder import Recorder

def away(segment):
    raise StoreUnavailable("The store is away.")

source = RtspSource(url=sys.argv[1], window_s=30.0, timeout_s=1.0)
clock = lambda: datetime.now(UTC)
Recorder("gate-1", source, Path(sys.argv[2]), away, environ=os.environ, clock=clock).start()
time.sleep(60)
"""


def test_a_killed_recorder_loses_little_and_the_next_one_hands_it_on(tmp_path: Path) -> None:
    clip, spool = tmp_path / "clip.mp4", tmp_path / "spool"
    # Key frames far apart: what is kept must not hang on them.
    write_clip(clip, width=160, height=96, fps=FPS, seconds=2, gop=2 * FPS)
    with Peer(clip, tmp_path / "sent.jsonl", "--user", "viewer", password=SECRETS[0]) as peer:
        url = f"rtsp://viewer:{{CAMERA_PASSWORD}}@127.0.0.1:{peer.port}/live/1"
        killed = subprocess.Popen(
            [sys.executable, "-c", RECORD_UNTIL_KILLED, url, str(spool)],
            env=os.environ | {"CAMERA_PASSWORD": SECRETS[0]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        wait_until(lambda: any(p.stat().st_size > 6000 for p in spool.glob("*.part")), 15)
        time.sleep(1.6)
        killed.send_signal(signal.SIGKILL)
        killed_at = time.time()
        printed = killed.communicate(timeout=10)[0].decode()
        store = Store()
        recording = recorder(peer, spool, store)
        recording.start()
        wait_until(lambda: len(store.segments) >= 1, 5)
        wait_until(lambda: recording.status().packets > 3, 10)
        recording.stop()
        first, second = store.segments[:2]
        marks = read_marks(store.bytes[0])
        assert first.ended == "cut off"
        assert first.packets == len(marks) > 1.5 * FPS
        assert abs(first.captured_at - at_camera(marks[0])) < EXACT
        assert abs(first.last.camera_at - at_camera(marks[-1])) < EXACT  # type: ignore[operator]
        assert killed_at - marks[-1][1] < 1.0
        assert [gap.reason for gap in second.gaps] == [NOT_RUNNING]
        assert_gaps_are_exact(store, peer.sent())
    assert not any(secret in printed for secret in (*SECRETS, *ENCODED))


def test_what_the_store_did_not_take_waits_for_the_next_recorder(
    peer: Peer, tmp_path: Path
) -> None:
    store = Store()
    store.is_away = True
    recording = recorder(peer, tmp_path / "spool", store)
    recording.start()
    wait_until(lambda: recording.status().segments_waiting >= 2, 10)
    recording.stop()
    waiting = recording.status().segments_waiting
    assert not recording.is_alive()
    # The oldest has lost its side file: its name still says when it began.
    oldest = min((tmp_path / "spool").glob("*.mp4"))
    oldest.with_suffix(".json").write_text("{")
    store.is_away = False
    following = recorder(peer, tmp_path / "spool", store)
    following.start()
    wait_until(lambda: len(store.segments) >= waiting, 10)
    following.stop()
    first, second = store.segments[:2]
    assert first.path == oldest
    assert store.numbers == sorted(set(store.numbers))
    assert first.captured_at_basis == "arrival"
    assert first.packets == len(read_marks(store.bytes[0]))
    assert abs(first.received_at + timedelta(seconds=3) - at_camera(store.marks[0])).seconds < 2
    assert second.captured_at_basis == "camera"


def test_a_full_spool_pauses_the_recording_and_keeps_what_is_there(
    peer: Peer, tmp_path: Path
) -> None:
    store = Store()
    store.is_away = True
    recording = recorder(peer, tmp_path / "spool", store, spool_limit_bytes=12_000)
    recording.start()
    wait_until(lambda: recording.status().state is RecorderState.SPOOL_FULL, 15)
    wait_until(lambda: recording.status().store_error == "The store is away.", 5)
    kept = sorted((tmp_path / "spool").glob("*.mp4"))
    time.sleep(0.7)
    assert sorted((tmp_path / "spool").glob("*.mp4*")) == kept
    assert 12_000 <= recording.status().spool_bytes < 20_000
    store.is_away = False
    before = recording.status().packets
    wait_until(lambda: recording.status().packets > before + 3, 10)
    recording.stop()
    assert [segment.path for segment in store.segments][: len(kept)] == kept
    gaps = [gap for segment in store.segments for gap in segment.gaps]
    assert [gap.reason for gap in gaps][:1] == [SPOOL_FULL]
    assert recording.status().store_error is None
    assert_gaps_are_exact(store, peer.sent())


def test_a_disk_that_fails_loses_nothing_that_was_written(peer: Peer, tmp_path: Path) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store, window_s=30.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, hard))
    try:
        recording.start()
        wait_until(lambda: recording.status().disk_error is not None, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    wait_until(lambda: recording.status().state is RecorderState.RECORDING, 5)
    wait_until(lambda: recording.status().packets > len(store.numbers) + FPS, 5)
    recording.stop()
    assert store.segments[0].ended == "cut off"
    assert 5_000 < len(store.bytes[0]) <= 12_000
    assert store.segments[0].packets >= len(read_marks(store.bytes[0])) - 1 > FPS / 2
    gaps = [gap for segment in store.segments for gap in segment.gaps]
    assert "cannot be written" in gaps[0].reason
    numbers = store.numbers
    assert len(lost(peer.sent(), numbers, reachable_only=True)) <= 2 * FPS


def test_a_changed_entry_of_the_catalog_is_followed_at_once(peer: Peer, tmp_path: Path) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store)
    recording.start()
    wait_until(lambda: recording.status().packets > 0, 10)
    url = f"rtsp://viewer:{{CAMERA_PASSWORD}}@127.0.0.1:{peer.port}/live/2"
    recording.replace_source(RtspSource(url=url, window_s=1.0, timeout_s=1.0))
    wait_until(lambda: any(frame.sessions for frame in peer.sent("/live/2")), 5)
    before = recording.status().packets
    wait_until(lambda: recording.status().packets > before, 5)
    recording.stop()
    assert [segment.gaps[0].reason for segment in store.segments if segment.gaps] == [
        "its entry in the catalog changed"
    ]


def test_noise_on_the_line_costs_frames_but_not_the_recording(peer: Peer, tmp_path: Path) -> None:
    store = Store()
    recording = recorder(peer, tmp_path / "spool", store)
    recording.start()
    wait_until(lambda: recording.status().packets > FPS, 10)
    peer.tell(garble=0.4)
    time.sleep(0.7)
    peer.tell(garble=0.0)
    clean_from = time.time()
    time.sleep(1.7)
    assert recording.is_alive()
    recording.stop()
    sent = [frame for frame in peer.sent() if frame.sessions]
    clean = [frame.number for frame in sent if frame.at_s > clean_from + 1.0][:-3]
    assert len(clean) > 5
    assert set(clean) <= set(store.numbers)


def test_two_recorders_never_share_a_folder(peer: Peer, tmp_path: Path) -> None:
    stores = Store(), Store()
    first = recorder(peer, tmp_path / "spool", stores[0], window_s=30.0)
    second = recorder(peer, tmp_path / "spool", stores[1], window_s=30.0)
    first.start()
    wait_until(lambda: first.status().state is RecorderState.RECORDING, 5)
    second.start()
    wait_until(lambda: "Another recorder" in str(second.status().disk_error), 5)
    assert second.status().packets == 0
    first.stop(timeout_s=0.0)
    wait_until(lambda: second.status().packets > GOP, 5)
    assert second.status().disk_error is None
    second.stop()
    assert not set(stores[0].numbers) & set(stores[1].numbers)
    assert len(stores[1].segments) == 1


@pytest.mark.parametrize(
    ("away_s", "longest_s"),
    [(0.0, 1.25), (119.0, 1.25), (121.0, 3.75), (3599.0, 3.75), (1e6, 18.75)],
)
def test_a_camera_that_comes_back_soon_is_called_soon(away_s: float, longest_s: float) -> None:
    waits = [[back_off_s(tries, away_s) for _ in range(50)] for tries in (0, 1, 5, 5000)]
    assert max(waits[0]) <= 0.125
    assert max(waits[1]) <= 0.25
    assert longest_s * 0.6 <= min(waits[3]) < max(waits[3]) <= longest_s
    assert len(set(waits[3])) > 40
