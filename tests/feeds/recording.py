"""What tests of recorded cameras share: a store, a recorder, and what they are held against."""

import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from enforcement.errors import StoreUnavailable
from enforcement.places import RtspSource
from feeds.recorder import Recorder
from feeds.segments import Segment
from tests.feeds.rtsp_peer import Peer, Sent, read_marks

FPS, GOP = 20, 10
SECRETS = ("s3cr:t@/old", "n3w:w@rd/")
ENCODED = ("s3cr%3At%40%2Fold", "n3w%3Aw%40rd%2F")
MADE: list[Recorder] = []
"""All recorders of the current test."""
EXACT = timedelta(milliseconds=2)
_FEW_FRAMES_S = 0.25


class Store:
    """Takes segments with their bytes; can be away."""

    def __init__(self) -> None:
        self.segments: list[Segment] = []
        self.bytes: list[bytes] = []
        self.is_away = False

    def __call__(self, segment: Segment) -> None:
        if self.is_away:
            raise StoreUnavailable("The store is away.")
        self.bytes.append(segment.path.read_bytes())
        self.segments.append(segment)

    @property
    def marks(self) -> list[tuple[int, float]]:
        """Number and camera time of every recorded frame."""
        return [mark for data in self.bytes for mark in read_marks(data)]

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.marks]


def recorder(
    peer: Peer, folder: Path, store: Callable[[Segment], None], **settings: object
) -> Recorder:
    settings = {"window_s": 1.0, "timeout_s": 1.0, "path": "live/1"} | settings
    url = f"rtsp://viewer:{{CAMERA_PASSWORD}}@127.0.0.1:{peer.port}/{settings.pop('path')}"
    source = RtspSource.model_validate(
        {"url": url, "window_s": settings.pop("window_s"), "timeout_s": settings.pop("timeout_s")}
    )
    settings.setdefault("clock", lambda: datetime.now(UTC))
    settings.setdefault("environ", {"CAMERA_PASSWORD": peer.password})
    made = Recorder("gate-1", source, folder, store, **settings)  # type: ignore[arg-type]
    MADE.append(made)
    return made


def wait_until(fact: Callable[[], bool], within_s: float) -> None:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if fact():
            return
        time.sleep(0.02)
    raise AssertionError(f"did not come true within {within_s} s")


def at_camera(number_and_time: tuple[int, float]) -> datetime:
    return datetime.fromtimestamp(number_and_time[1], UTC)


def lost(sent: list[Sent], kept: list[int], *, reachable_only: bool) -> list[int]:
    """Numbers of frames that are not on disk, from the first to the last that is."""
    due = {frame.number for frame in sent if frame.sessions or not reachable_only}
    return sorted(number for number in due - set(kept) if kept[0] < number < kept[-1])


def assert_gaps_are_exact(store: Store, sent: list[Sent]) -> None:
    """Every break in the numbers is a listed gap, to the frame, and there are no others.

    No break: a number that the busy peer itself left out, and a few frames at the start of a
    session, before FFmpeg has understood the stream.
    """
    due = sorted(frame.number for frame in sent)
    breaks = [
        (at_camera(before), at_camera(after))
        for before, after in pairwise(store.marks)
        if bisect_left(due, after[0]) > bisect_right(due, before[0])
        and after[1] - before[1] > _FEW_FRAMES_S
    ]
    gaps = [gap for segment in store.segments for gap in segment.gaps]
    assert len(gaps) == len(breaks), (gaps, breaks)
    for gap, (before, after) in zip(gaps, breaks, strict=True):
        assert gap.basis == "camera"
        assert abs(gap.from_at - before) < EXACT
        assert abs(gap.to_at - after) < EXACT
